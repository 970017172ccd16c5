//! The only code that performs Actions.
//!
//! Entry point: [`Executor::execute`]. Actions run in order; runs of creates and runs of deletes go in
//! slow-start batches (1, 2, 4, …), so a refusal that would hit every one of them costs few requests.
//! The first failure ends the plan. Every write carries the preconditions of its [`Target`].

use futures::future::join_all;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{ApiResource, Request};
use serde_json::{Value, json};

use crate::events::Recorder;
use crate::informer::Mark;
use crate::key::Key;
use crate::plan::{Action, EventDraft, Plan, Propagation, Report, Target};
use crate::request;

/// Which kind of write failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Looking at the cluster, before anything was written.
    Observe,
    /// POST of an object.
    Create,
    /// PUT.
    Replace,
    /// Merge patch.
    Patch,
    /// DELETE.
    Delete,
    /// POST to a subresource.
    Post,
}

/// Why a plan was not carried out to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{act:?} {plural} {key}: {message}")]
pub struct Failure {
    /// What was tried.
    pub act: Act,
    /// On which resource.
    pub plural: String,
    /// On which object; the name is empty for a create with a generated name.
    pub key: Key,
    /// HTTP status; 0 when there was no answer.
    pub code: u16,
    /// `Conflict`, `Forbidden`, …; empty when there was no answer.
    pub reason: String,
    /// As the server told it.
    pub message: String,
}

impl Failure {
    /// From a request's error.
    pub fn new(act: Act, resource: &ApiResource, key: Key, error: &kube::Error) -> Self {
        let (code, reason, message) = match request::api_status(error) {
            Some(status) => (status.code, status.reason.clone(), status.message.clone()),
            None => (0, String::new(), error.to_string()),
        };
        Self { act, plural: resource.plural.clone(), key, code, reason, message }
    }

    /// Whether somebody else wrote first, or the object went away: looking again is the cure.
    pub fn is_stale(&self) -> bool {
        (self.code == 409 && self.reason != "AlreadyExists") || (self.code == 404 && self.act != Act::Create)
    }
}

/// What a plan did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was written, for [`crate::informer::Informers::shows`].
    pub marks: Vec<Mark>,
    /// The first failure, if any.
    pub failure: Option<Failure>,
}

/// Performs plans through one client, telling people through one recorder. Clones share both.
#[derive(Clone)]
pub struct Executor {
    client: kube::Client,
    recorder: Recorder,
}

/// One performed action: the name of what was written, and the mark it left.
type Done = (String, Option<Mark>);

impl Executor {
    /// Performs plans through `client`, telling people through `recorder`.
    pub fn new(client: kube::Client, recorder: Recorder) -> Self {
        Self { client, recorder }
    }

    /// Carries out a plan as far as it goes.
    pub async fn execute(&self, plan: Plan) -> Outcome {
        let Plan { actions, events, mut reports, .. } = plan;
        let mut outcome = Outcome::default();
        let (mut start, mut batch) = (0, 1);
        while start < actions.len() {
            let end = start + batch.min(run_length(&actions[start..]));
            let results = join_all(actions[start..end].iter().map(|action| self.perform(action))).await;
            for (index, result) in (start..end).zip(results) {
                let report = reports.remove(&index).unwrap_or_default();
                self.settle(&mut outcome, report, &actions[index], result);
            }
            if outcome.failure.is_some() {
                return outcome;
            }
            let same_run = actions.get(end).is_some_and(|next| batchable(next) == batchable(&actions[start]));
            batch = if same_run && batchable(&actions[start]).is_some() { batch * 2 } else { 1 };
            start = end;
        }
        events.into_iter().for_each(|event| self.recorder.record(event));
        outcome
    }

    fn settle(&self, outcome: &mut Outcome, report: Report, action: &Action, result: Result<Done, Failure>) {
        match result {
            Ok((name, mark)) => {
                outcome.marks.extend(mark);
                if let Some(event) = report.success {
                    self.recorder.record(filled(event, "{name}", &name));
                }
            }
            Err(failure) if futile(action, &failure) => {}
            Err(failure) => {
                if let Some(event) = report.failure {
                    let event = filled(event, "{name}", &failure.key.name);
                    self.recorder.record(filled(event, "{error}", &failure.message));
                }
                outcome.failure.get_or_insert(failure);
            }
        }
    }

    async fn perform(&self, action: &Action) -> Result<Done, Failure> {
        match action {
            Action::Create { resource, namespace, object } => {
                self.create(resource, namespace.as_deref(), object).await
            }
            Action::Replace { target, subresource, object } => {
                self.replace(target, *subresource, object).await.map_err(|e| failed(Act::Replace, target, &e))
            }
            Action::Patch { target, subresource, patch } => {
                self.patch(target, *subresource, patch).await.map_err(|e| failed(Act::Patch, target, &e))
            }
            Action::Delete { target, propagation, grace_period_seconds } => {
                self.delete(target, *propagation, *grace_period_seconds).await
            }
            Action::Post { target, subresource, object } => {
                self.post(target, subresource, object).await.map_err(|e| failed(Act::Post, target, &e))
            }
        }
    }

    async fn create(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<Done, Failure> {
        let requests = request::requests(resource, namespace);
        let sent = self.send(requests.create(&PostParams::default(), object.to_string().into_bytes())).await;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let error = match sent {
            Ok(created) => return Ok(done(resource, &created)),
            Err(error) => error,
        };
        let key = Key::new(namespace.unwrap_or_default(), name);
        let failure = Failure::new(Act::Create, resource, key, &error);
        // A create whose answer got lost, repeated: what we wanted is there.
        if failure.reason == "AlreadyExists"
            && !name.is_empty()
            && let Ok(existing) = self.send(requests.get(name, &kube::api::GetParams::default())).await
            && controller_uid(&existing).is_some()
            && controller_uid(&existing) == controller_uid(object)
            && existing["metadata"]["deletionTimestamp"].is_null()
        {
            return Ok(done(resource, &existing));
        }
        Err(failure)
    }

    async fn replace(
        &self,
        target: &Target,
        subresource: Option<&str>,
        object: &Value,
    ) -> Result<Done, kube::Error> {
        let mut object = object.clone();
        add_preconditions(&mut object, target);
        let (requests, params) = (requests_for(target), PostParams::default());
        let body = object.to_string().into_bytes();
        let request = match subresource {
            Some(subresource) => requests.replace_subresource(subresource, &target.name, &params, body),
            None => requests.replace(&target.name, &params, body),
        };
        Ok(done(&target.resource, &self.send(request).await?))
    }

    async fn patch(
        &self,
        target: &Target,
        subresource: Option<&str>,
        patch: &Value,
    ) -> Result<Done, kube::Error> {
        let mut patch = patch.clone();
        add_preconditions(&mut patch, target);
        let (requests, params, patch) = (requests_for(target), PatchParams::default(), Patch::Merge(patch));
        let request = match subresource {
            Some(subresource) => requests.patch_subresource(subresource, &target.name, &params, &patch),
            None => requests.patch(&target.name, &params, &patch),
        };
        Ok(done(&target.resource, &self.send(request).await?))
    }

    async fn delete(
        &self,
        target: &Target,
        propagation: Propagation,
        grace_period_seconds: Option<u32>,
    ) -> Result<Done, Failure> {
        let preconditions =
            Preconditions { uid: target.uid.clone(), resource_version: target.resource_version.clone() };
        let wanted = preconditions.uid.is_some() || preconditions.resource_version.is_some();
        let params = DeleteParams {
            grace_period_seconds,
            propagation_policy: Some(match propagation {
                Propagation::Background => PropagationPolicy::Background,
                Propagation::Foreground => PropagationPolicy::Foreground,
                Propagation::Orphan => PropagationPolicy::Orphan,
            }),
            preconditions: wanted.then_some(preconditions),
            ..DeleteParams::default()
        };
        match self.send(requests_for(target).delete(&target.name, &params)).await {
            Err(error) if request::code(&error) != Some(404) => Err(failed(Act::Delete, target, &error)),
            _ => Ok((target.name.clone(), gone(target))),
        }
    }

    async fn post(&self, target: &Target, subresource: &str, object: &Value) -> Result<Done, kube::Error> {
        let body = object.to_string().into_bytes();
        let requests = requests_for(target);
        self.send(requests.create_subresource(subresource, &target.name, &PostParams::default(), body))
            .await?;
        Ok((target.name.clone(), None))
    }

    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, kube::Error> {
        self.client.request(request.map_err(kube::Error::BuildRequest)?).await
    }
}

/// Whether actions of this sort may run side by side, and which sort.
fn batchable(action: &Action) -> Option<Act> {
    match action {
        Action::Create { .. } => Some(Act::Create),
        Action::Delete { .. } => Some(Act::Delete),
        _ => None,
    }
}

/// How many of the first actions are of one batchable sort; at least 1.
fn run_length(actions: &[Action]) -> usize {
    let Some(first) = actions.first().and_then(batchable) else { return 1 };
    actions.iter().take_while(|action| batchable(action) == Some(first)).count()
}

/// Creating in a namespace that is going away: nothing is lost by not doing it, and trying again
/// would be refused again.
fn futile(action: &Action, failure: &Failure) -> bool {
    matches!(action, Action::Create { .. })
        && failure.code == 403
        && failure.message.contains("because it is being terminated")
}

fn filled(mut event: EventDraft, placeholder: &str, value: &str) -> EventDraft {
    event.message = event.message.replace(placeholder, value);
    event
}

fn failed(act: Act, target: &Target, error: &kube::Error) -> Failure {
    let key = Key::new(target.namespace.clone().unwrap_or_default(), target.name.clone());
    Failure::new(act, &target.resource, key, error)
}

fn requests_for(target: &Target) -> Request {
    request::requests(&target.resource, target.namespace.as_deref())
}

fn add_preconditions(object: &mut Value, target: &Target) {
    let preconditions = [("uid", &target.uid), ("resourceVersion", &target.resource_version)];
    for (field, value) in preconditions {
        if let Some(value) = value {
            object["metadata"][field] = json!(value);
        }
    }
}

fn controller_uid(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}

fn done(resource: &ApiResource, written: &Value) -> Done {
    let meta = &written["metadata"];
    let revision = meta["resourceVersion"].as_str().and_then(|r| r.parse().ok());
    let name = meta["name"].as_str().unwrap_or_default().to_owned();
    (name, revision.map(|revision| Mark::Revision { resource: resource.clone(), revision }))
}

fn gone(target: &Target) -> Option<Mark> {
    Some(Mark::Gone {
        resource: target.resource.clone(),
        key: Key::new(target.namespace.clone().unwrap_or_default(), target.name.clone()),
        uid: target.uid.clone()?,
    })
}

#[cfg(test)]
mod tests;
