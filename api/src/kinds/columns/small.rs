//! Kinds with little to show.

use serde_json::Value;

use super::{Column, NONE, age, items, name, str, text};

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
    let status =
        text("Status", "The status of the namespace", |object| str(object, "/status/phase").to_owned());
    vec![name(), status, age()]
}

pub(in crate::kinds) fn lease() -> Vec<Column> {
    let holder =
        text("Holder", "Who holds the lease.", |object| str(object, "/spec/holderIdentity").to_owned());
    vec![name(), holder, age()]
}

pub(in crate::kinds) fn controller_revision() -> Vec<Column> {
    let controller = text("Controller", "Controller of the object", |object| {
        let owners = items(object, "/metadata/ownerReferences");
        let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else {
            return NONE.to_owned();
        };
        let group = str(owner, "/apiVersion").split_once('/').map_or("", |(group, _)| group);
        let kind = str(owner, "/kind").to_lowercase();
        let dot = if group.is_empty() { "" } else { "." };
        format!("{kind}{dot}{group}/{}", str(owner, "/name"))
    });
    let revision = Column::new("Revision", "string", "Its place in the history.", |object, _| {
        object["revision"].as_i64().unwrap_or_default().into()
    });
    vec![name(), controller, revision, age()]
}

pub(in crate::kinds) fn component_status() -> Vec<Column> {
    let healthy = |component: &Value, key: &str| {
        let found = items(component, "/conditions").iter().find(|c| c["type"] == "Healthy");
        found.and_then(|condition| condition[key].as_str()).map(ToOwned::to_owned)
    };
    vec![
        name(),
        text("Status", "Status of the component conditions", move |component| {
            match healthy(component, "status").as_deref() {
                None => "Unknown",
                Some("True") => "Healthy",
                Some(_) => "Unhealthy",
            }
            .to_owned()
        }),
        text("Message", "Message of the component conditions", move |component| {
            healthy(component, "message").unwrap_or_default()
        }),
        text("Error", "Error of the component conditions", move |component| {
            healthy(component, "error").unwrap_or_default()
        }),
    ]
}

pub(in crate::kinds) fn runtime_class() -> Vec<Column> {
    let handler =
        text("Handler", "The runtime's name on the node.", |object| str(object, "/handler").to_owned());
    vec![name(), handler, age()]
}
