//! One line of the audit log: `Event` of `audit.k8s.io/v1`.
//!
//! Entry points: [`Request`] (what is known when a request arrives), [`Event`], which is written on the thread that
//! writes and not where the request is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use component_base::user::UserInfo;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::policy::{Level, Stage};
use crate::request::RequestInfo;

/// What does not change while a request is served.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) level: Level,
    pub(super) audit_id: String,
    pub(super) uri: String,
    pub(super) method: String,
    pub(super) info: RequestInfo,
    pub(super) user: UserInfo,
    pub(super) impersonated: Option<UserInfo>,
    pub(super) source_ips: Vec<String>,
    pub(super) user_agent: String,
    pub(super) received: Timestamp,
}

/// What is known at a stage.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) request: Arc<Request>,
    pub(super) stage: Stage,
    pub(super) time: Timestamp,
    pub(super) status: Option<Value>,
    pub(super) sent: Option<Arc<Value>>,
    pub(super) answered: Option<Arc<Value>>,
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectReference<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: &'a str,
}

/// metav1.MicroTime.
pub(super) fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn user(user: &UserInfo) -> Value {
    let mut shown = json!({});
    if !user.name.is_empty() {
        shown["username"] = user.name.as_str().into();
    }
    if !user.uid.is_empty() {
        shown["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        shown["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        shown["extra"] = json!(user.extra);
    }
    shown
}

impl Event {
    /// The event as JSON.
    pub(super) fn to_json(&self) -> Value {
        let Request { level, audit_id, uri, info, source_ips, user_agent, received, .. } = &*self.request;
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level, "auditID": audit_id,
            "stage": self.stage, "requestURI": uri, "verb": info.verb, "user": user(&self.request.user),
        });
        if let Some(impersonated) = &self.request.impersonated {
            event["impersonatedUser"] = user(impersonated);
        }
        if !source_ips.is_empty() {
            event["sourceIPs"] = json!(source_ips);
        }
        if !user_agent.is_empty() {
            event["userAgent"] = user_agent.as_str().into();
        }
        if info.is_resource() {
            event["objectRef"] = json!(ObjectReference {
                resource: &info.resource,
                namespace: &info.namespace,
                name: &info.name,
                api_group: &info.group,
                api_version: &info.version,
                subresource: &info.subresource,
            });
        }
        if let Some(status) = &self.status {
            event["responseStatus"] = status.clone();
        }
        if let Some(sent) = &self.sent {
            event["requestObject"] = (**sent).clone();
        }
        if let Some(answered) = &self.answered {
            event["responseObject"] = (**answered).clone();
        }
        event["requestReceivedTimestamp"] = micro_time(*received).into();
        event["stageTimestamp"] = micro_time(self.time).into();
        if !self.annotations.is_empty() {
            event["annotations"] = json!(self.annotations);
        }
        event
    }

    /// The event as a line of upstream's `legacy` format.
    pub(super) fn to_legacy(&self) -> String {
        let Request { audit_id, uri, method, info, user, impersonated, source_ips, user_agent, .. } =
            &*self.request;
        let groups = |user: &UserInfo| {
            let quoted: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
            if quoted.is_empty() { "<none>".to_owned() } else { quoted.join(",") }
        };
        let (who, in_groups) = match impersonated {
            Some(other) => (other.name.clone(), groups(other)),
            None => ("<self>".to_owned(), "<lookup>".to_owned()),
        };
        let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
        let code = self.status.as_ref().and_then(|status| status["code"].as_u64());
        format!(
            "{} AUDIT: id={audit_id:?} stage={:?} ip={:?} method={method:?} user={:?} groups={:?} as={who:?} asgroups={in_groups:?} user-agent={user_agent:?} namespace={:?} uri={uri:?} response=\"{}\"",
            self.time,
            format!("{:?}", self.stage),
            source_ips.first().map_or("<unknown>", String::as_str),
            or_none(&user.name),
            groups(user),
            or_none(&info.namespace),
            code.map_or_else(|| "<deferred>".to_owned(), |code| code.to_string()),
        )
    }
}

/// An object without `metadata.managedFields`, its items' too.
pub(super) fn without_managed_fields(mut object: Value) -> Value {
    let strip = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    strip(&mut object);
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(strip);
    }
    object
}
