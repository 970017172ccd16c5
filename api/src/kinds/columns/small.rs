//! Kinds with little to show.

use serde_json::Value;

use super::{Column, age, name, str, text};

fn count(name: &'static str, description: &'static str, lists: &'static [&'static str]) -> Column {
    Column::new(name, "string", description, |object, _| {
        let length = |key: &&str| match &object[*key] {
            Value::Object(map) => map.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        lists.iter().map(length).sum::<usize>().into()
    })
}

pub(in crate::kinds) fn config_map() -> Vec<Column> {
    vec![name(), count("Data", "Number of entries.", &["data", "binaryData"]), age()]
}

pub(in crate::kinds) fn secret() -> Vec<Column> {
    let kind = text("Type", "How the data is meant.", |object| str(object, "/type").to_owned());
    vec![name(), kind, count("Data", "Number of entries.", &["data"]), age()]
}

pub(in crate::kinds) fn service_account() -> Vec<Column> {
    vec![name(), count("Secrets", "Number of listed secrets.", &["secrets"]), age()]
}

pub(in crate::kinds) fn namespace() -> Vec<Column> {
    let status = text("Status", "Active or Terminating.", |object| str(object, "/status/phase").to_owned());
    vec![name(), status, age()]
}

pub(in crate::kinds) fn lease() -> Vec<Column> {
    let holder =
        text("Holder", "Who holds the lease.", |object| str(object, "/spec/holderIdentity").to_owned());
    vec![name(), holder, age()]
}
