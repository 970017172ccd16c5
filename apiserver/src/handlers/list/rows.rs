//! Rows of a Table, each made of one object's bytes: cells need a tree, but the metadata a row brings along is
//! copied as it stands, and what no column shows is left out of the tree.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use api::Status;
use api::table::{IncludeObject, Shape, Tables};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::call::Call;
use crate::negotiation::Accepted;
use crate::{encode, output};

/// The bulk of most metadata, which built-in kinds' columns never show.
const MANAGED_FIELDS: &str = "managedFields";

/// Makes the rows of one list.
pub(super) struct Rows {
    /// Of cells alone.
    pub(super) tables: Tables,
    include: IncludeObject,
    api_version: &'static str,
    shape: Shape,
    call: Arc<Call>,
}

impl Rows {
    /// Rows as the caller wants them.
    pub(super) fn of(call: &Arc<Call>, accepted: Accepted) -> Result<Self, Status> {
        let include = output::include_object(call)?;
        let api_version = accepted.meta_version();
        let tables = Tables::of(&call.kind, api_version, call.server.clock.now(), IncludeObject::None);
        let shape = Shape::of(call.kind.printed_from);
        Ok(Self { tables, include, api_version, shape, call: Arc::clone(call) })
    }

    /// The row of a stored object; `None` if its bytes are not what this server stores.
    pub(super) fn row(&self, stored: &Bytes) -> Option<String> {
        let bytes = self.call.visible(stored).ok()?;
        // Columns of a custom kind may show anything.
        let item = if self.call.kind.is_custom() || self.shape != Shape::default() {
            self.shape.read(&bytes)
        } else {
            without_owners(&bytes)
        };
        let row = self.tables.row(&item.ok()?).to_string();
        let object = match self.include {
            IncludeObject::None => return Some(row),
            IncludeObject::Metadata => encode::metadata_only(self.api_version, &bytes).ok()?,
            IncludeObject::Object => bytes,
        };
        Some(format!("{},\"object\":{}}}", row.strip_suffix('}')?, std::str::from_utf8(&object).ok()?))
    }
}

type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// An object's tree without the list of who owns its fields.
fn without_owners(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let members: Members<'_> = serde_json::from_slice(bytes)?;
    let mut object = Map::new();
    for (key, value) in members {
        let value = match &*key {
            "metadata" => metadata(value)?,
            _ => serde_json::from_str(value.get())?,
        };
        object.insert(key.into_owned(), value);
    }
    Ok(Value::Object(object))
}

fn metadata(raw: &RawValue) -> Result<Value, serde_json::Error> {
    let members: Members<'_> = serde_json::from_str(raw.get())?;
    let kept = members.into_iter().filter(|(key, _)| key != MANAGED_FIELDS);
    let parsed = kept.map(|(key, value)| Ok((key.into_owned(), serde_json::from_str(value.get())?)));
    parsed.collect::<Result<Map<_, _>, serde_json::Error>>().map(Value::Object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_owners_are_left_out() {
        let mut object = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "a\u{e9}\"", "labels": {"managedFields": "x"}, "managedFields": [{"manager": "m"}]},
            "spec": {"managedFields": [1, 2.5, null, true]}, "status": {},
        });
        let read = without_owners(object.to_string().as_bytes()).expect("JSON");
        object["metadata"].as_object_mut().expect("an object").remove(MANAGED_FIELDS);
        assert_eq!(read, object);
        assert!(without_owners(b"[1]").is_err());
    }
}
