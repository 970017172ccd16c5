//! What managers do to one object: its story, told by applies and updates.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::facts;

mod flows;
mod laws;

/// One kind in one version, and the same fields under another version's name.
struct Kind {
    schema: Option<&'static str>,
}

impl Versions for Kind {
    fn typing(&self, api_version: &str) -> Option<Typing<'_>> {
        let served = ["apps/v1", "apps/v2"].contains(&api_version);
        served.then(|| Typing::of(self.schema.and_then(|name| facts().schema(name))))
    }

    fn convert(&self, object: &Value, _from: &str, to: &str) -> Option<Value> {
        self.typing(to)?;
        let mut object = object.clone();
        object["apiVersion"] = to.into();
        Some(object)
    }
}

const DEPLOYMENT: Kind = Kind { schema: Some("io.k8s.api.apps.v1.Deployment") };
const CUSTOM: Kind = Kind { schema: None };

fn writer<'a>(kind: &'a Kind, manager: &'a str, now: &'a str) -> Writer<'a> {
    Writer {
        manager,
        api_version: "apps/v1",
        subresource: "",
        now,
        versions: kind,
        reset: FieldSet::of_fields(&[&["status"]]),
    }
}

/// A stored object, written by several managers.
struct Story {
    kind: Kind,
    live: Value,
    hour: u8,
}

impl Story {
    fn new(kind: Kind) -> Self {
        Self { kind, live: json!({}), hour: 0 }
    }

    fn now(&mut self) -> String {
        self.hour += 1;
        format!("2026-01-01T{:02}:00:00Z", self.hour)
    }

    fn store(&mut self, mut object: Value) {
        object["metadata"]["uid"] = "u".into();
        self.live = object;
    }

    fn apply(&mut self, manager: &str, config: Value, force: bool) -> Result<(), ApplyError> {
        let now = self.now();
        let object = writer(&self.kind, manager, &now).apply(&self.live, &config, force)?;
        self.store(object);
        Ok(())
    }

    fn update(&mut self, manager: &str, change: impl FnOnce(&mut Value)) {
        let now = self.now();
        let mut object = self.live.clone();
        change(&mut object);
        writer(&self.kind, manager, &now).track(&self.live, &mut object);
        self.store(object);
    }

    /// `manager operation time set` of every owner.
    fn owners(&self) -> Vec<String> {
        let list = self.live["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or("-").to_owned();
        let line = |e: &Value| {
            let hour = text(e, "time").get(11..13).unwrap_or("-").to_owned();
            format!("{} {} {hour} {}", text(e, "manager"), text(e, "operation"), e["fieldsV1"])
        };
        list.iter().map(line).collect()
    }
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}
