//! Who owns which field: gives every write to `api::patch::apply` with what it needs to know of the kind.
//!
//! Entry points: [`record`] for writes that are no apply, [`apply`] and [`apply_scale`] for those that are,
//! [`manager`] for the name of the writer.

use std::sync::Arc;

use api::patch::apply::scale::Scale;
use api::patch::apply::{Versions, Writer};
use api::patch::field_set::{FieldSet, PathElement};
use api::patch::typed::Typing;
use api::{Kind, KindTable, Status, object};
use serde_json::{Map, Value};

use crate::call::Call;
use crate::request::Options;

/// Longer names would only serve to fill objects; upstream's `FieldManagerMaxLength`.
const MAX_MANAGER_BYTES: usize = 128;

/// How a write tells who owns what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// The writer owns what it changed.
    Track,
    /// The writer owns the number of replicas, through the `scale` subresource.
    Scale,
    /// The object has its owners already, or the write is the server's own.
    Settled,
}

/// The name a writer owns fields by: what the request says, else the first word of the user agent.
pub(crate) fn manager(options: &Options, user_agent: &str) -> String {
    if !options.field_manager.is_empty() {
        return options.field_manager.clone();
    }
    let mut name = String::new();
    for letter in user_agent.split('/').next().unwrap_or_default().chars().filter(|c| is_print(*c)) {
        if name.len() + letter.len_utf8() > MAX_MANAGER_BYTES {
            break;
        }
        name.push(letter);
    }
    name
}

/// Go's `unicode.IsPrint`.
fn is_print(letter: char) -> bool {
    letter == ' ' || !(letter.is_control() || letter.is_whitespace())
}

/// The rows an object can be seen through, for entries in other versions than the request's.
struct Rows {
    kind: Arc<Kind>,
    table: Arc<KindTable>,
}

impl Rows {
    fn row(&self, api_version: &str) -> Option<&Arc<Kind>> {
        if self.kind.api_version() == api_version {
            return Some(&self.kind);
        }
        let row = self.table.kind(api_version, &self.kind.kind)?;
        (row.prefix(None) == self.kind.prefix(None)).then_some(row)
    }
}

impl Versions for Rows {
    fn typing(&self, api_version: &str) -> Option<Typing<'_>> {
        Some(Typing::of(self.row(api_version)?.schema()))
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        let (from, to) = (self.row(from)?, self.row(to)?);
        let mut object = object.clone();
        if let Some(converted) = from.converted() {
            (converted.to_storage)(&mut object);
        }
        if let Some(converted) = to.converted() {
            (converted.from_storage)(&mut object);
        }
        object["apiVersion"] = to.api_version().into();
        Some(object)
    }
}

fn with_writer<T>(call: &Call, reset: FieldSet, use_it: impl FnOnce(&Writer<'_>) -> T) -> T {
    let rows = Rows { kind: Arc::clone(&call.kind), table: call.server.kinds() };
    let writer = Writer {
        manager: &call.manager(),
        api_version: &call.kind.api_version(),
        subresource: &call.info.subresource,
        now: &call.server.now(),
        versions: &rows,
        reset,
    };
    use_it(&writer)
}

/// What this path cannot write: `status` on the object itself, all but `status` and metadata on `status`,
/// and of custom objects not even metadata there.
fn reset(call: &Call, objects: [&Value; 2]) -> FieldSet {
    if call.info.subresource != "status" {
        let fields: &[&[&str]] = if call.kind.has_status() { &[&["status"]] } else { &[] };
        return FieldSet::of_fields(fields);
    }
    let mut set = FieldSet::default();
    let writable = |key: &str| key == "status" || (key == "metadata" && !call.kind.is_custom());
    for key in objects.iter().filter_map(|object| object.as_object()).flat_map(Map::keys) {
        if !writable(key) {
            set.insert(&[PathElement::field(key)]);
        }
    }
    set
}

/// Records in `new` who owns what now. Both objects are in the stored form; `live` is empty on creation.
pub(crate) fn record(call: &Call, owners: Owners, live: &Value, new: &mut Value) {
    match owners {
        Owners::Settled => {}
        Owners::Scale => {
            let parent = live["metadata"]["managedFields"].clone();
            let (before, after) = (replicas(call, live), replicas(call, new));
            let list = with_scale(call, &parent, |scale| scale.track(&before, &after));
            put(new, list);
        }
        Owners::Track if call.kind.converted().is_none() => {
            let reset = reset(call, [live, new]);
            with_writer(call, reset, |writer| writer.track(live, new));
        }
        Owners::Track => {
            // Paths are those of the version that was written.
            let mut before = live.clone();
            let mut after = new.clone();
            call.to_row(&mut before);
            call.to_row(&mut after);
            let reset = reset(call, [&before, &after]);
            with_writer(call, reset, |writer| writer.track(&before, &mut after));
            put(new, after["metadata"]["managedFields"].take());
        }
    }
}

fn put(object: &mut Value, list: Value) {
    let metadata = object::metadata_mut(object);
    if list.as_array().is_none_or(Vec::is_empty) {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), list);
    }
}

/// The object with a configuration applied, both in the row's form; `live` is empty on creation.
///
/// # Errors
/// 400 for a configuration of another kind or with owners in it, 409 for conflicts.
pub(crate) fn apply(call: &Call, live: &Value, config: &Value) -> Result<Value, Status> {
    expect_kind(config, &call.kind.api_version(), &call.kind.kind)?;
    let force = call.options.force == Some(true);
    let reset = reset(call, [live, config]);
    Ok(with_writer(call, reset, |writer| writer.apply(live, config, force))?)
}

/// The object (in the row's form) with its owners, and the number of replicas, after a Scale was applied.
///
/// # Errors
/// As [`apply`].
pub(crate) fn apply_scale(call: &Call, live: &Value, config: &Value) -> Result<(Value, Value), Status> {
    expect_kind(config, "autoscaling/v1", "Scale")?;
    let force = call.options.force == Some(true);
    let count = replicas(call, live);
    let parent = &live["metadata"]["managedFields"];
    let (wanted, list) = with_scale(call, parent, |scale| scale.apply(&count, config, force))?;
    let mut new = live.clone();
    put(&mut new, list);
    Ok((new, wanted))
}

fn expect_kind(config: &Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    if (text("apiVersion"), text("kind")) == (api_version, kind) {
        return Ok(());
    }
    let got = api::patch::apply::kind_text(text("apiVersion"), text("kind"));
    Err(Status::bad_request(format!("invalid object type: {got}")))
}

/// Where the kind keeps the number of replicas.
fn replicas_path(call: &Call) -> Vec<String> {
    let custom = call.kind.custom.as_ref().and_then(|custom| custom.scale.as_ref());
    custom.map_or_else(|| vec!["spec".to_owned(), "replicas".to_owned()], |paths| paths.spec.clone())
}

fn replicas(call: &Call, object: &Value) -> Value {
    let found = replicas_path(call).iter().try_fold(object, |value, key| value.get(key));
    found.and_then(Value::as_i64).unwrap_or_default().into()
}

fn with_scale<T>(call: &Call, parent: &Value, use_it: impl FnOnce(&Scale<'_>) -> T) -> T {
    use_it(&Scale {
        parent,
        api_version: &call.kind.api_version(),
        replicas: &replicas_path(call).join("."),
        manager: &call.manager(),
        now: &call.server.now(),
    })
}
