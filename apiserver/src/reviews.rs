//! Reviews: who am I, who holds this token, who may do what. Questions that are posted, answered at once
//! from authentication and authorisation as they are, and never stored.

mod access;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Status, object};
use axum::body::Body;
use component_base::user::UserInfo;
use http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::chain::method_not_allowed;
use crate::handlers::body;
use crate::{admission, authn, output};

/// Answers a review of any kind.
pub(crate) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    if call.info.verb != "create" || !call.info.name.is_empty() {
        return Err(method_not_allowed());
    }
    let headers = request.headers().clone();
    let mut review = body::object(call, request).await?;
    if call.kind.namespaced() {
        agree(call, &mut review)?;
    }
    let attributes = admission::Attributes::create(call, &review);
    admission::admit(&attributes, &mut review).await?;
    let causes = call.kind.strategy.validate(&review);
    if !causes.is_empty() {
        return Err(Status::invalid(&call.kind.group, &call.kind.kind, object::name(&review), causes));
    }
    review["status"] = match call.kind.kind.as_ref() {
        "SelfSubjectReview" => {
            object::metadata_mut(&mut review)
                .insert("creationTimestamp".to_owned(), call.server.now().into());
            json!({"userInfo": user_json(&call.user)})
        }
        "TokenReview" => token(call, &review["spec"]).await?,
        "SelfSubjectRulesReview" => access::rules(call, &review["spec"])?,
        "SelfSubjectAccessReview" => access::access(&call.server, &call.user, &review["spec"]).await,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            access::access(&call.server, &subject(&review["spec"]), &review["spec"]).await
        }
        _ => return Err(method_not_allowed()),
    };
    object::metadata_mut(&mut review);
    output::computed(call, &headers, review).map(|mut response| {
        *response.status_mut() = StatusCode::CREATED;
        response
    })
}

/// The namespace of the path is that of the review.
fn agree(call: &Call, review: &mut Value) -> Result<(), Status> {
    let namespace = call.info.namespace.as_str();
    match object::namespace(review) {
        "" => {
            object::metadata_mut(review).insert("namespace".to_owned(), namespace.into());
            Ok(())
        }
        same if same == namespace => Ok(()),
        _ => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// The user a question names.
fn subject(spec: &Value) -> UserInfo {
    let extra = spec["extra"].as_object().into_iter().flatten();
    UserInfo {
        name: text(spec, "user").to_owned(),
        uid: text(spec, "uid").to_owned(),
        groups: texts(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect::<BTreeMap<_, _>>(),
    }
}

async fn token(call: &Call, spec: &Value) -> Result<Value, Status> {
    let bearer = text(spec, "token");
    if bearer.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = texts(&spec["audiences"]);
    Ok(match authn::review(&call.server, bearer, &audiences).await {
        Ok((user, audiences)) => {
            json!({"authenticated": true, "user": user_json(&user), "audiences": audiences})
        }
        Err(problem) => json!({"user": {}, "error": problem}),
    })
}

/// `authentication.k8s.io/v1 UserInfo`; what is empty is left out.
pub(crate) fn user_json(user: &UserInfo) -> Value {
    let fields = [
        ("username", json!(user.name), user.name.is_empty()),
        ("uid", json!(user.uid), user.uid.is_empty()),
        ("groups", json!(user.groups), user.groups.is_empty()),
        ("extra", json!(user.extra), user.extra.is_empty()),
    ];
    let kept = fields.into_iter().filter(|(_, _, empty)| !empty);
    Value::Object(kept.map(|(key, value, _)| (key.to_owned(), value)).collect::<Map<_, _>>())
}
