//! `MutatingAdmissionPolicy`: changes that expressions make (KEP-3962).
//!
//! Entry point: [`mutate`]. First all policies that concern the request are found, then their changes are made one
//! after the other. Source: upstream's `policy/mutating`.

use std::sync::Arc;

use api::cel::admission::{Input, Matched};
use api::cel::{RUNTIME_BUDGET, mutation};
use api::patch::typed::{self, Duplicates};
use api::patch::{PatchError, json};
use api::pruning::FieldValidation;
use api::{Status, object};
use serde_json::{Value, json};

use super::policies::{Binding, Bound, Mutation, Policy};
use super::{Round, params};
use crate::admission::Attributes;
use crate::admission::webhook::matching::Subject;
use crate::admission::webhook::versions::Row;
use crate::admission::webhook::{is_exempt, keep_owners};

/// A policy that is to change the object, with one set of parameters.
struct Invocation {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    row: Row,
    params: Option<Value>,
}

/// What went wrong with policies whose failures count.
#[derive(Default)]
struct Failures(Vec<Failure>);

struct Failure {
    message: String,
    /// The status says `Invalid`, although its code is that of `Forbidden`.
    invalid: bool,
}

impl Failures {
    fn add(&mut self, policy: &Policy, binding: Option<&Binding>, error: &str, invalid: bool) {
        if !policy.fails {
            return;
        }
        let who = match binding {
            Some(binding) => format!("policy '{}' with binding '{}'", policy.name, binding.name),
            None => format!("policy {:?}", policy.name),
        };
        self.0.push(Failure { message: format!("{who} denied request: {error}"), invalid });
    }

    fn conclude(self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let mut body = attributes.forbidden(object, "").to_json();
        body["message"] = first.message.as_str().into();
        if first.invalid {
            body["reason"] = "Invalid".into();
        }
        body["details"]["causes"] =
            self.0.iter().map(|failure| json!({"message": failure.message})).collect();
        Err(Status::passed_on(body))
    }
}

/// Why a change was not made.
enum Refusal {
    /// The policy's failure.
    Policy(String),
    /// The request's end, whatever the failure policy says.
    Request(Status),
}

/// The plugin.
pub(in crate::admission) async fn mutate(
    attributes: &Attributes<'_>,
    object: &mut Value,
) -> Result<(), Status> {
    let policies = attributes.call.server.policies.read().mutating();
    if policies.is_empty() || is_exempt(&attributes.kind) {
        return Ok(());
    }
    let before = object.clone();
    let base = Subject::of(attributes, &before).await;
    let mut failures = Failures::default();
    let mut found = Vec::new();
    for bound in policies.iter() {
        invocations(&base, bound, &mut found, &mut failures).await;
    }
    if !found.is_empty() {
        Round::on(base.with(&before)).check_namespace()?;
        perform(&base, object, &found, &mut failures).await?;
    }
    keep_owners(attributes, &before, object);
    failures.conclude(attributes, object)
}

/// The bindings of a policy that concern the request, each with its parameters.
async fn invocations(
    subject: &Subject<'_>,
    (policy, bindings): &Bound,
    found: &mut Vec<Invocation>,
    failures: &mut Failures,
) {
    let misconfigured = |failures: &mut Failures, binding: Option<&Binding>, error: &str| {
        let what = if binding.is_some() { "binding" } else { "policy" };
        failures.add(policy, binding, &format!("failed to configure {what}: {error}"), false);
    };
    let row = match policy.criteria.matches(subject) {
        Ok(None) => return,
        Ok(Some(row)) => row,
        Err(status) => return misconfigured(failures, None, &status.message),
    };
    let kind = match params::kind(subject.attributes, policy) {
        Ok(kind) => kind,
        Err(error) => return misconfigured(failures, None, &error),
    };
    for binding in bindings {
        let applies =
            binding.criteria.as_ref().map_or(Ok(true), |of| of.matches(subject).map(|row| row.is_some()));
        match applies {
            Ok(true) => {}
            Ok(false) => continue,
            Err(status) => {
                misconfigured(failures, Some(binding), &status.message);
                continue;
            }
        }
        match params::collect(subject.attributes, kind.as_ref(), binding).await {
            Ok(all) => found.extend(all.into_iter().map(|params| Invocation {
                policy: Arc::clone(policy),
                binding: Arc::clone(binding),
                row: row.clone(),
                params,
            })),
            Err(error) => misconfigured(failures, Some(binding), &error),
        }
    }
}

impl Invocation {
    /// Unlike any other's.
    fn id(&self) -> String {
        let params = self.params.as_ref().map(|params| (object::namespace(params), object::name(params)));
        format!("{} {} {params:?}", self.policy.name, self.binding.name)
    }
}

/// Makes the changes one after the other.
async fn perform(
    base: &Subject<'_>,
    object: &mut Value,
    invocations: &[Invocation],
    failures: &mut Failures,
) -> Result<(), Status> {
    let attributes = base.attributes;
    let again = {
        let mut reinvocation = attributes.reinvocation.lock();
        if reinvocation.again {
            reinvocation.policies.begin_again(object);
        }
        reinvocation.again
    };
    for invocation in invocations {
        let id = invocation.id();
        if again && !attributes.reinvocation.lock().policies.wants(&id) {
            continue;
        }
        let before = object.clone();
        if !one(base, object, invocation, failures).await? {
            continue;
        }
        let mut reinvocation = attributes.reinvocation.lock();
        if *object != before {
            reinvocation.policies.changed();
            reinvocation.asked = true;
        }
        if invocation.policy.reinvocable {
            reinvocation.policies.asked(&id);
        }
    }
    attributes.reinvocation.lock().policies.end(object);
    Ok(())
}

/// All changes of one policy; false if its conditions are not met.
async fn one(
    base: &Subject<'_>,
    object: &mut Value,
    invocation: &Invocation,
    failures: &mut Failures,
) -> Result<bool, Status> {
    let Invocation { policy, binding, row, params } = invocation;
    let current = object.clone();
    let mut round = Round::on(base.with(&current));
    let input = round.input(row, params.as_ref()).await?;
    match policy.conditions.evaluate(&policy.composer, &input) {
        Matched::Yes => {}
        Matched::No => return Ok(false),
        Matched::Failed(error) => {
            failures.add(policy, Some(binding), &error, true);
            return Ok(false);
        }
    }
    for mutation in &policy.mutations {
        if object.is_null() {
            continue;
        }
        let current = object.clone();
        let mut round = Round::on(base.with(&current));
        let input = round.input(row, params.as_ref()).await?;
        let changed = change(policy, mutation, row, &input);
        let taken = match changed {
            Ok((new, strictness)) => taken(base.attributes, row, new, strictness).await,
            Err(error) => Err(Refusal::Policy(error)),
        };
        match taken {
            Ok(new) => *object = new,
            Err(Refusal::Request(status)) => return Err(status),
            Err(Refusal::Policy(error)) => failures.add(policy, Some(binding), &error, true),
        }
    }
    Ok(true)
}

async fn taken(
    attributes: &Attributes<'_>,
    row: &Row,
    new: Value,
    strictness: FieldValidation,
) -> Result<Value, Refusal> {
    row.take(attributes.call, new, strictness).await.map_err(|status| match strictness {
        FieldValidation::Strict => Refusal::Request(Status::internal(status.message)),
        _ => Refusal::Policy(status.message),
    })
}

/// The object with one change made, and how strictly what came out is read.
fn change(
    policy: &Policy,
    mutation: &Mutation,
    row: &Row,
    input: &Input<'_>,
) -> Result<(Value, FieldValidation), String> {
    if let Some(error) = mutation.expression.error() {
        return Err(error.to_owned());
    }
    let of = if mutation.is_json_patch { mutation::json_patch } else { mutation::configuration };
    let mut budget = RUNTIME_BUDGET;
    let mut answers = policy.composer.evaluate([&mutation.expression], input, &mut budget, |value| {
        of(value).map_err(|error| error.to_string())
    })?;
    let said = answers.pop().ok_or("no answer")???;
    let live = input.object.cloned().unwrap_or_default();
    if !mutation.is_json_patch {
        let merged = applied(row, &live, said).map_err(|error| format!("error applying patch: {error}"))?;
        return Ok((merged, FieldValidation::Ignore));
    }
    match json::apply(&live, &said) {
        Ok(new) => Ok((new, FieldValidation::Strict)),
        // A test that fails means that there is nothing to do.
        Err(PatchError::TestFailed(_)) => Ok((live, FieldValidation::Strict)),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

/// The object with a configuration merged in, as server-side apply does it, but without owners.
fn applied(row: &Row, live: &Value, mut config: Value) -> Result<Value, String> {
    for key in ["apiVersion", "kind"] {
        config[key] = live[key].clone();
    }
    let typing = row.typing();
    typed::check(typing, &config, Duplicates::Refused)
        .map_err(|error| format!("failed to convert patch object to typed object: {error}"))?;
    let atomics = typed::atomics(typing, &config);
    if !atomics.is_empty() {
        let list = atomics.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {list}"
        ));
    }
    typed::check(typing, live, Duplicates::Allowed)
        .map_err(|error| format!("failed to convert original object to typed object: {error}"))?;
    Ok(typed::merge(typing, live, &config))
}
