//! One call of a webhook: the review, the answer, and what failure means.

use std::sync::Arc;

use api::cel::ResourceCheck;
use api::cel::admission::{Input, Matched};
use api::patch::json;
use api::pruning::FieldValidation;
use api::{Reason, Status};
use serde_json::Value;

use super::configurations::{COMPOSER, Hook};
use super::matching::Subject;
use super::review::{self, Answer};
use super::versions::Shown;
use crate::admission::Attributes;
use crate::admission::policy::authorizer::Asker;
use crate::webhook_client;

/// Why a webhook's call did not end with its consent.
pub(super) enum Failure {
    /// It could not be asked, or its answer is not acceptable: the failure policy decides.
    Call(String),
    /// It said no, or asked for what cannot be done: nothing decides about that.
    Refusal(Status),
}

/// What a webhook is asked about a request, if it is to be asked: rules, selectors and conditions all fit.
///
/// # Errors
/// When that cannot be said.
pub(super) async fn applies(hook: &Hook, subject: &Subject<'_>) -> Result<Option<(Shown, Value)>, Status> {
    let Some(row) = hook.criteria.matches(subject)? else { return Ok(None) };
    let attributes = subject.attributes;
    let request = review::request(attributes, &row);
    let shown = subject.show(row).await?;
    if hook.conditions.is_empty() {
        return Ok(Some((shown, request)));
    }
    let asker = Asker::of(attributes.call);
    let resource = asker.requested(attributes);
    match hook.conditions.evaluate(&COMPOSER, &input(&shown, &request, &asker, &resource)) {
        Matched::Yes => Ok(Some((shown, request))),
        Matched::No => Ok(None),
        Matched::Failed(error) => {
            let (group, plural, _) = attributes.resource();
            Err(Status::forbidden(group, plural, &attributes.name, &error))
        }
    }
}

fn input<'a>(
    shown: &'a Shown,
    request: &'a Value,
    asker: &'a Asker<'_>,
    resource: &'a ResourceCheck,
) -> Input<'a> {
    Input {
        object: shown.object.as_ref(),
        old_object: shown.old.as_ref(),
        request,
        namespace: None,
        params: None,
        authorizer: Some((asker, resource)),
    }
}

/// Asks a webhook; its warnings and annotations are the request's from then on.
pub(super) async fn ask(
    hook: &Hook,
    attributes: &Attributes<'_>,
    (shown, request): &(Shown, Value),
    mutating: bool,
) -> Result<Answer, Failure> {
    if attributes.dry_run() && !hook.dry_runs {
        let text = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Failure::Refusal(Status::bad_request(text)));
    }
    let call = attributes.call;
    let mut request = request.clone();
    request["object"] = shown.object.clone().unwrap_or_default();
    request["oldObject"] = shown.old.clone().unwrap_or_default();
    let review = review::review(&hook.review_versions, &call.server.rng.uid(), &request)
        .map_err(|error| Failure::Call(format!("could not create admission objects: {error}")))?;
    let answer = webhook_client::post(&call.server, &hook.target, &review, Some(hook.timeout)).await;
    let answer = answer.map_err(|error| Failure::Call(format!("failed to call webhook: {error}")))?;
    let answer = Answer::read(&review, &answer, mutating)
        .map_err(|error| Failure::Call(format!("received invalid webhook response: {error}")))?;
    for (key, value) in &answer.annotations {
        call.annotate(&format!("{}/{key}", hook.name), value.as_str());
    }
    answer.warnings.iter().for_each(|warning| call.warn(warning.as_str()));
    if !answer.allowed {
        return Err(Failure::Refusal(review::denial(&hook.name, &answer.result)));
    }
    Ok(answer)
}

/// The error of a call that failed, if the failure policy makes it one.
pub(super) fn decide(hook: &Arc<Hook>, failure: Failure) -> Result<(), Status> {
    match failure {
        Failure::Refusal(status) => Err(status),
        Failure::Call(reason) => {
            let error = format!("failed calling webhook {:?}: {reason}", hook.name);
            tracing::warn!(webhook = hook.name, error, fails = hook.fails, "a webhook's call failed");
            if hook.fails { Err(Status::internal(error)) } else { Ok(()) }
        }
    }
}

/// The object as the answer's patch makes it, in the stored form of the call; `None` if there is no patch.
pub(super) async fn patched(
    hook: &Hook,
    attributes: &Attributes<'_>,
    shown: &Shown,
    answer: &Answer,
) -> Result<Option<Value>, Failure> {
    if answer.patch.is_empty() {
        return Ok(None);
    }
    let patch: Value = serde_json::from_slice(&answer.patch)
        .map_err(|error| Failure::Call(format!("received undecodable patch in webhook response: {error}")))?;
    if patch.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let internal = |text: String| Failure::Refusal(Status::internal(text));
    let Some(object) = &shown.object else {
        let what = format!("admission webhook {:?} attempted to modify the object", hook.name);
        return Err(internal(format!("{what}, which is not supported for this operation")));
    };
    if answer.patch_type != "JSONPatch" {
        return Err(Failure::Call(format!("unsupported patch type {:?}", answer.patch_type)));
    }
    let new = json::apply(object, &patch).map_err(|error| internal(error.to_string()))?;
    let taken = shown.row.take(attributes.call, new, FieldValidation::Ignore).await;
    taken.map(Some).map_err(|status| match status.reason {
        Reason::InternalError => Failure::Refusal(status),
        _ => internal(status.message),
    })
}
