//! `metadata.managedFields`, decoded: who owns what, in which version, since when.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::object;
use crate::patch::field_set::{FieldSet, FieldsError};

/// The field of `metadata`.
pub(super) const FIELD: &str = "managedFields";

/// How a manager came to own fields. Applied sets are declarations, updated ones traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Any other write.
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who: entries of one manager differ by operation and subresource, updates by version too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// The field manager's name.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// Version of its writes; empty for appliers, who have one entry whatever version they apply.
    pub api_version: String,
    /// Empty for the object itself.
    pub subresource: String,
}

impl Manager {
    pub(super) fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self {
            name: name.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }
}

/// What somebody owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    /// Version the paths are of.
    pub(super) api_version: String,
    /// metav1.Time of the last change.
    pub(super) time: Option<String>,
}

/// An entry that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagedError {
    /// Neither `Apply` nor `Update`.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// No version.
    #[error("apiVersion must not be empty")]
    Version,
    /// No `fieldsType`.
    #[error("missing fieldsType in managed fields entry {0}")]
    NoType(usize),
    /// A form of sets nobody knows.
    #[error("invalid fieldsType {0:?} in managed fields entry {1}")]
    Type(String, usize),
    /// A set that is none.
    #[error("error decoding set: {0}")]
    Fields(#[from] FieldsError),
}

/// All owners of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Managed {
    pub(super) entries: BTreeMap<Manager, Owned>,
}

impl Managed {
    /// Reads the list.
    ///
    /// # Errors
    /// [`ManagedError`] at the first entry that cannot be read.
    pub fn decode(list: &Value) -> Result<Self, ManagedError> {
        let mut entries = BTreeMap::new();
        for (at, entry) in list.as_array().into_iter().flatten().enumerate() {
            let text = |key: &str| entry[key].as_str().unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(ManagedError::Operation),
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() {
                return Err(ManagedError::Version);
            }
            match text("fieldsType") {
                "FieldsV1" => {}
                "" => return Err(ManagedError::NoType(at)),
                other => return Err(ManagedError::Type(other.to_owned(), at)),
            }
            let set = match &entry["fieldsV1"] {
                Value::Null => FieldSet::default(),
                fields => FieldSet::from_json(fields)?,
            };
            let manager = Manager::new(text("manager"), operation, api_version, text("subresource"));
            let time = entry["time"].as_str().map(str::to_owned);
            entries.insert(manager, Owned { set, api_version: api_version.to_owned(), time });
        }
        Ok(Self { entries })
    }

    /// The owners a stored object names; none if they cannot be read.
    pub(super) fn of_stored(list: &Value) -> Self {
        Self::decode(list).unwrap_or_default()
    }

    /// The owners a request brings along; `None` if the stored ones count.
    pub(super) fn of_request(sent: &Value, stored: &Value) -> Option<Self> {
        match Self::decode(sent) {
            Ok(managed) if !managed.is_empty() => Some(managed),
            _ => (!is_blank(stored)).then(|| Self::of_stored(stored)),
        }
    }

    /// Whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The wire form: appliers before updaters, then by age.
    pub fn encode(&self) -> Value {
        let mut entries: Vec<(&Manager, &Owned)> = self.entries.iter().collect();
        entries.sort_by(|(a, x), (b, y)| {
            let key = |m: &Manager| (m.operation.as_str(), m.subresource.clone());
            let rest = (&a.name, &x.api_version, key(a).1).cmp(&(&b.name, &y.api_version, key(b).1));
            key(a).0.cmp(key(b).0).then_with(|| x.time.cmp(&y.time)).then(rest)
        });
        entries.into_iter().map(|(manager, owned)| entry(manager, owned)).collect()
    }

    /// Adds a set to what an updater owns.
    pub(super) fn grow(&mut self, manager: Manager, mut set: FieldSet, api_version: &str, now: &str) {
        if let Some(before) = self.entries.remove(&manager) {
            set.absorb(before.set);
        }
        let owned = Owned { set, api_version: api_version.to_owned(), time: Some(now.to_owned()) };
        self.entries.insert(manager, owned);
    }

    /// Makes a set all that a manager owns; returns what it owned before.
    pub(super) fn replace(&mut self, manager: Manager, set: FieldSet, api_version: &str) -> Option<Owned> {
        let last = self.entries.get(&manager).cloned();
        let time = last.as_ref().and_then(|last| last.time.clone());
        self.entries.insert(manager, Owned { set, api_version: api_version.to_owned(), time });
        last
    }

    /// Takes paths from a manager.
    pub(super) fn strip(&mut self, manager: &Manager, paths: &FieldSet) {
        if let Some(owned) = self.entries.get_mut(manager) {
            owned.set.subtract(paths);
            if owned.set.is_empty() {
                self.entries.remove(manager);
            }
        }
    }

    /// Notes that a manager changed something now.
    pub(super) fn stamp(&mut self, manager: &Manager, now: &str) {
        if let Some(owned) = self.entries.get_mut(manager) {
            owned.time = Some(now.to_owned());
        }
    }
}

fn entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = Map::new();
    if !manager.name.is_empty() {
        entry.insert("manager".to_owned(), manager.name.as_str().into());
    }
    entry.insert("operation".to_owned(), manager.operation.as_str().into());
    entry.insert("apiVersion".to_owned(), owned.api_version.as_str().into());
    if let Some(time) = &owned.time {
        entry.insert("time".to_owned(), time.as_str().into());
    }
    entry.insert("fieldsType".to_owned(), "FieldsV1".into());
    entry.insert("fieldsV1".to_owned(), owned.set.to_json());
    if !manager.subresource.is_empty() {
        entry.insert("subresource".to_owned(), manager.subresource.as_str().into());
    }
    Value::Object(entry)
}

/// Sets or, if there are no owners, removes the list.
pub(super) fn put(object: &mut Value, list: Value) {
    let metadata = object::metadata_mut(object);
    if is_blank(&list) {
        metadata.remove(FIELD);
    } else {
        metadata.insert(FIELD.to_owned(), list);
    }
}

pub(super) fn is_blank(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

/// Whether a list asks to forget all owners: it is empty, or has one entry that is.
pub(super) fn is_reset(list: &Value) -> bool {
    match list.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => *one == json!({}),
        _ => false,
    }
}

/// Whether two objects differ at most in the times of their owners. If so, the write that made the second
/// one of the first changed nothing.
pub fn same_but_times(a: &Value, b: &Value) -> bool {
    let (left, right) = (&a["metadata"][FIELD], &b["metadata"][FIELD]);
    let (Some(left), Some(right)) = (left.as_array(), right.as_array()) else { return false };
    let timeless = |entry: &Value| {
        let mut entry = entry.clone();
        object::remove(&mut entry, "time");
        entry
    };
    let owners = left.len() == right.len()
        && left.iter().zip(right).all(|(x, y)| x == y || timeless(x) == timeless(y));
    if !owners || object::differs_outside(a, b, &["metadata"]) {
        return false;
    }
    let (x, y) = (&a["metadata"], &b["metadata"]);
    !object::differs_outside(x, y, &[FIELD])
}
