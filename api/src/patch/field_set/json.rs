//! The wire form of a set, `FieldsV1`: a tree whose keys are path elements (`f:`, `k:`, `v:`, `i:`) and
//! where `.` says that a node with something below it is itself a member.

use serde_json::{Map, Value};

use super::{FieldSet, PathElement};

/// Text that is no `FieldsV1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// A node that is no object.
    #[error("a set of fields must be an object, not {0}")]
    NotAnObject(String),
    /// A key of no known form.
    #[error("parsing key as path element: {0}")]
    Element(String),
}

const SELF: &str = ".";

impl FieldSet {
    /// The `FieldsV1` form.
    pub fn to_json(&self) -> Value {
        Value::Object(self.members(false))
    }

    fn members(&self, include_self: bool) -> Map<String, Value> {
        let mut out = Map::new();
        if include_self && !self.is_empty() {
            out.insert(SELF.to_owned(), Value::Object(Map::new()));
        }
        for (element, member, below) in self.nodes() {
            out.insert(text(element), Value::Object(below.members(member)));
        }
        out
    }

    /// Reads `FieldsV1`. Elements of kinds this version does not know are left out, as upstream does.
    ///
    /// # Errors
    /// [`FieldsError`] for a node that is no object and for elements that cannot be read.
    pub fn from_json(value: &Value) -> Result<Self, FieldsError> {
        Ok(read(value)?.0)
    }
}

/// What is below a node, and whether the node is a member.
fn read(value: &Value) -> Result<(FieldSet, bool), FieldsError> {
    let Value::Object(map) = value else { return Err(FieldsError::NotAnObject(value.to_string())) };
    let mut set = FieldSet::default();
    let mut member = false;
    for (key, inner) in map {
        if key == SELF {
            member = true;
            continue;
        }
        let Some(element) = element(key)? else { continue };
        let (below, is_member) = read(inner)?;
        set.graft(element, is_member, below);
    }
    let childless = set.is_empty();
    Ok((set, member || childless))
}

fn text(element: &PathElement) -> String {
    match element {
        PathElement::Field(name) => format!("f:{name}"),
        PathElement::Key(fields) => {
            let shown: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
                .collect();
            format!("k:{{{}}}", shown.join(","))
        }
        PathElement::Value(value) => format!("v:{value}"),
        PathElement::Index(index) => format!("i:{index}"),
    }
}

/// `None` for a kind of element that does not exist (yet).
fn element(key: &str) -> Result<Option<PathElement>, FieldsError> {
    let bad = |why: String| FieldsError::Element(why);
    if key.len() < 2 {
        return Err(bad("key must be 2 characters long:".to_owned()));
    }
    let Some((kind, rest)) = key.split_once(':').filter(|(kind, _)| kind.len() == 1) else {
        return Err(bad(format!("missing colon: {key}")));
    };
    Ok(Some(match kind {
        "f" => PathElement::field(rest),
        "v" => PathElement::Value(serde_json::from_str(rest).map_err(|e| bad(e.to_string()))?),
        "k" => {
            let fields: Map<String, Value> = serde_json::from_str(rest).map_err(|e| bad(e.to_string()))?;
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            PathElement::Key(fields)
        }
        "i" => PathElement::Index(rest.parse().map_err(|_| bad(format!("{rest:?} is no index")))?),
        _ => return Ok(None),
    }))
}
