//! One line of the audit log: `Event` of `audit.k8s.io/v1`.
//!
//! Entry points: [`Request`] (what is known when a request arrives), [`Event`], which is written on the thread that
//! writes and not where the request is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use component_base::user::UserInfo;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::policy::{Level, Stage};
use crate::request::RequestInfo;

/// What does not change while a request is served.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) level: Level,
    pub(super) audit_id: String,
    pub(super) uri: String,
    pub(super) method: String,
    pub(super) info: Arc<RequestInfo>,
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

/// `Event`, its fields in upstream's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: Level,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: User<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<User<'a>>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[_]>::is_empty")]
    source_ips: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectReference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<&'a Value>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct User<'a> {
    #[serde(rename = "username", skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<String, Vec<String>>,
}

impl<'a> User<'a> {
    fn of(user: &'a UserInfo) -> Self {
        Self { name: &user.name, uid: &user.uid, groups: &user.groups, extra: &user.extra }
    }
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

impl<'a> ObjectReference<'a> {
    fn of(info: &'a RequestInfo) -> Self {
        Self {
            resource: &info.resource,
            namespace: &info.namespace,
            name: &info.name,
            api_group: &info.group,
            api_version: &info.version,
            subresource: &info.subresource,
        }
    }
}

/// metav1.MicroTime.
pub(super) fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Request { level, audit_id, uri, info, source_ips, user_agent, received, .. } = &*self.request;
        let event = Shown {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: *level,
            audit_id,
            stage: self.stage,
            request_uri: uri,
            verb: info.verb,
            user: User::of(&self.request.user),
            impersonated_user: self.request.impersonated.as_ref().map(User::of),
            source_ips,
            user_agent,
            object_ref: info.is_resource().then(|| ObjectReference::of(info)),
            response_status: self.status.as_ref(),
            request_object: self.sent.as_deref(),
            response_object: self.answered.as_deref(),
            request_received_timestamp: micro_time(*received),
            stage_timestamp: micro_time(self.time),
            annotations: &self.annotations,
        };
        event.serialize(serializer)
    }
}

impl Event {
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
