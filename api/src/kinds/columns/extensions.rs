//! What extends the API: webhooks, admission policies, API services; and what rules its use: signing
//! requests and flow control.

use serde_json::{Value, json};

use super::{Column, NONE, age, items, name, or, selector_text, str, text};
use crate::time;

fn length(name: &'static str, description: &'static str, path: &'static str) -> Column {
    Column::new(name, "integer", description, move |object, _| items(object, path).len().into())
}

pub(in crate::kinds) fn webhooks() -> Vec<Column> {
    vec![name(), length("Webhooks", "Number of webhooks.", "/webhooks"), age()]
}

pub(in crate::kinds) fn validating_policy() -> Vec<Column> {
    vec![name(), length("Validations", "Number of rules.", "/spec/validations"), param_kind(), age()]
}

pub(in crate::kinds) fn mutating_policy() -> Vec<Column> {
    vec![name(), length("Mutations", "Number of rules.", "/spec/mutations"), param_kind(), age()]
}

fn param_kind() -> Column {
    text("ParamKind", "Kind of its parameters.", |policy| match policy.pointer("/spec/paramKind") {
        Some(kind) if kind.is_object() => format!("{}/{}", str(kind, "/apiVersion"), str(kind, "/kind")),
        _ => "<unset>".to_owned(),
    })
}

pub(in crate::kinds) fn policy_binding() -> Vec<Column> {
    let policy = text("PolicyName", "The policy that is put to work.", |binding| {
        str(binding, "/spec/policyName").to_owned()
    });
    vec![name(), policy, text("ParamRef", "Its parameters.", param_ref), age()]
}

fn param_ref(binding: &Value) -> String {
    let reference = &binding["spec"]["paramRef"];
    match (str(reference, "/name"), str(reference, "/namespace")) {
        ("", _) if reference["selector"].is_object() => selector_text(&reference["selector"]),
        ("", _) => "<unset>".to_owned(),
        (name, namespace) => format!("{}/{name}", or(namespace, "*")),
    }
}

pub(in crate::kinds) fn api_service() -> Vec<Column> {
    let service = text("Service", "Who serves the version.", |object| match &object["spec"]["service"] {
        service if service.is_object() => {
            format!("{}/{}", str(service, "/namespace"), str(service, "/name"))
        }
        _ => "Local".to_owned(),
    });
    let available = text("Available", "Whether it can be used.", |object| {
        let condition = items(object, "/status/conditions").iter().find(|c| c["type"] == "Available");
        match condition.map(|c| (str(c, "/status"), str(c, "/reason"))) {
            None => "Unknown".to_owned(),
            Some(("True", _)) => "True".to_owned(),
            Some((status, reason)) => format!("{status} ({reason})"),
        }
    });
    vec![name(), service, available, age()]
}

pub(in crate::kinds) fn signing_request() -> Vec<Column> {
    vec![
        name(),
        age(),
        text("SignerName", "Who shall sign.", |request| or(str(request, "/spec/signerName"), NONE)),
        text("Requestor", "Who asked.", |request| str(request, "/spec/username").to_owned()),
        text("RequestedDuration", "How long it shall hold.", |request| {
            let seconds = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
            seconds.map_or_else(|| NONE.to_owned(), time::human)
        }),
        text("Condition", "What became of it.", signing_state),
    ]
}

pub(in crate::kinds) fn trust_bundle() -> Vec<Column> {
    let signer =
        text("SignerName", "Whose authorities they are.", |bundle| or(str(bundle, "/spec/signerName"), NONE));
    vec![name(), signer]
}

fn signing_state(request: &Value) -> String {
    let has = |kind: &str| items(request, "/status/conditions").iter().any(|c| c["type"] == kind);
    let mut state = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !str(request, "/status/certificate").is_empty() {
        state.push_str(",Issued");
    }
    state
}

pub(in crate::kinds) fn flow_schema() -> Vec<Column> {
    vec![
        name(),
        text("PriorityLevel", "Where its requests go.", |schema| {
            str(schema, "/spec/priorityLevelConfiguration/name").to_owned()
        }),
        as_it_is(
            "MatchingPrecedence",
            "The smaller, the sooner it is tried.",
            "/spec/matchingPrecedence",
            json!(0),
        ),
        text("DistinguisherMethod", "What tells its flows apart.", |schema| {
            or(str(schema, "/spec/distinguisherMethod/type"), NONE)
        }),
        age(),
        text("MissingPL", "Whether its priority level does not exist.", |schema| {
            let dangling = items(schema, "/status/conditions").iter().find(|c| c["type"] == "Dangling");
            dangling.map_or("?", |condition| str(condition, "/status")).to_owned()
        }),
    ]
}

/// A cell that keeps its type, in a column of strings.
fn as_it_is(name: &'static str, description: &'static str, path: &'static str, absent: Value) -> Column {
    Column::new(name, "string", description, move |object, _| {
        object.pointer(path).filter(|value| !value.is_null()).unwrap_or(&absent).clone()
    })
}

pub(in crate::kinds) fn priority_level() -> Vec<Column> {
    vec![
        name(),
        text("Type", "Limited or Exempt.", |level| str(level, "/spec/type").to_owned()),
        as_it_is(
            "NominalConcurrencyShares",
            "Its share of the seats.",
            "/spec/limited/nominalConcurrencyShares",
            NONE.into(),
        ),
        as_it_is("Queues", "Number of queues.", "/spec/limited/limitResponse/queuing/queues", NONE.into()),
        as_it_is(
            "HandSize",
            "Queues a flow may use.",
            "/spec/limited/limitResponse/queuing/handSize",
            NONE.into(),
        ),
        as_it_is(
            "QueueLengthLimit",
            "Requests that may wait in a queue.",
            "/spec/limited/limitResponse/queuing/queueLengthLimit",
            NONE.into(),
        ),
        age(),
    ]
}
