//! `ValidatingAdmissionPolicy`: what must hold of an object, and what becomes of it when it does not.
//!
//! Entry point: [`validate`]. [`judge`] is pure. Source: upstream's `policy/validating`.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::cel::admission::{Input, Matched};
use api::cel::{RUNTIME_BUDGET, Value as Cel};
use api::{Cause, Kind, Reason, Status};
use serde_json::{Value, json};

use super::policies::{Binding, Policy, Validation};
use super::{Round, params};
use crate::admission::Attributes;
use crate::admission::webhook::is_exempt;
use crate::admission::webhook::versions::Row;

/// The longest text of a message expression that is shown.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;
/// The longest value of an audit annotation.
const MAX_ANNOTATION_BYTES: usize = 10 * 1024;
/// At most this many failures are told the audit log.
const MAX_FAILURES: usize = 50;

/// Why a request is not to pass.
struct Denied {
    message: String,
    /// `None`: [`Reason::Invalid`].
    reason: Option<Reason>,
}

/// What evaluating a policy gave.
#[derive(Default)]
struct Judgement {
    /// By the index of the validation.
    failures: Vec<(usize, Denied)>,
    /// Wrong annotations deny whatever the binding says.
    broken: Vec<String>,
    annotations: Vec<(String, String)>,
}

impl Judgement {
    /// What cannot be evaluated denies, unless failures are to be ignored.
    fn failed(mut self, policy: &Policy, at: usize, error: &str) -> Self {
        if policy.fails {
            self.failures.push((at, Denied { message: error.to_owned(), reason: None }));
        }
        self
    }
}

/// Everything found while the policies are walked.
#[derive(Default)]
struct Findings {
    denied: Vec<(String, Option<Reason>)>,
    audited: Vec<Value>,
}

impl Findings {
    fn deny(&mut self, policy: &Policy, binding: Option<&Binding>, denied: Denied) {
        let with = binding.map(|binding| format!(" with binding '{}'", binding.name)).unwrap_or_default();
        let name = &policy.name;
        let message = format!("ValidatingAdmissionPolicy '{name}'{with} denied request: {}", denied.message);
        self.denied.push((message, denied.reason));
    }

    /// Something is wrong with the policy or the binding itself.
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, error: &str) {
        if policy.fails {
            let what = if binding.is_some() { "binding" } else { "policy" };
            let message = format!("failed to configure {what}: {error}");
            self.deny(policy, binding, Denied { message, reason: None });
        }
    }
}

/// The plugin.
pub(in crate::admission) async fn validate(
    attributes: &Attributes<'_>,
    object: &Value,
) -> Result<(), Status> {
    let policies = attributes.call.server.policies.read().validating();
    if policies.is_empty() || is_exempt(&attributes.kind) {
        return Ok(());
    }
    let mut round = Round::of(attributes, object).await;
    let mut findings = Findings::default();
    for (policy, bindings) in policies.iter() {
        let row = match policy.criteria.matches(&round.subject) {
            Ok(None) => continue,
            Ok(Some(row)) => row,
            Err(status) => {
                findings.misconfigured(policy, None, &status.message);
                continue;
            }
        };
        let kind = match params::kind(attributes, policy) {
            Ok(kind) => kind,
            Err(error) => {
                findings.misconfigured(policy, None, &error);
                continue;
            }
        };
        let mut annotations: Vec<(String, String)> = Vec::new();
        for binding in bindings {
            let outcome = bound(&mut round, policy, binding, &row, kind.as_ref(), &mut findings).await?;
            annotations.extend(outcome);
        }
        publish(attributes, policy, annotations);
    }
    conclude(attributes, object, findings)
}

/// Evaluates a policy as one binding has it; gives its annotations.
async fn bound(
    round: &mut Round<'_>,
    policy: &Policy,
    binding: &Binding,
    row: &Row,
    params_kind: Option<&Arc<Kind>>,
    findings: &mut Findings,
) -> Result<Vec<(String, String)>, Status> {
    let attributes = round.subject.attributes;
    match binding.criteria.as_ref().map_or(Ok(true), |of| of.matches(&round.subject).map(|row| row.is_some()))
    {
        Ok(true) => {}
        Ok(false) => return Ok(Vec::new()),
        Err(status) => {
            findings.misconfigured(policy, Some(binding), &status.message);
            return Ok(Vec::new());
        }
    }
    let params = match params::collect(attributes, params_kind, binding).await {
        Ok(params) => params,
        Err(error) => {
            findings.misconfigured(policy, Some(binding), &error);
            return Ok(Vec::new());
        }
    };
    let mut annotations = Vec::new();
    for params in &params {
        round.check_namespace()?;
        match round.input(row, params.as_ref()).await {
            Ok(input) => {
                let judgement = judge(policy, &input);
                act(attributes, policy, binding, judgement, findings, &mut annotations);
            }
            Err(status) => {
                let error = format!("failed to convert object version: {}", status.message);
                findings.misconfigured(policy, Some(binding), &error);
            }
        }
    }
    Ok(annotations)
}

/// Does with failures what the binding says.
fn act(
    attributes: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    judgement: Judgement,
    findings: &mut Findings,
    annotations: &mut Vec<(String, String)>,
) {
    for (at, failure) in judgement.failures {
        for action in &binding.actions {
            match action.as_str() {
                "Warn" => attributes.call.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                    policy.name, binding.name, failure.message
                )),
                "Audit" => findings.audited.push(json!({
                    "message": failure.message, "policy": policy.name, "binding": binding.name,
                    "expressionIndex": at, "validationActions": binding.actions,
                })),
                _ => {
                    let denied = Denied { message: failure.message.clone(), reason: failure.reason };
                    findings.deny(policy, Some(binding), denied);
                }
            }
        }
    }
    for message in judgement.broken {
        findings.deny(policy, Some(binding), Denied { message, reason: None });
    }
    for annotation in judgement.annotations {
        if !annotations.contains(&annotation) {
            annotations.push(annotation);
        }
    }
}

/// Annotations of all bindings; several values of one key stand behind one another.
fn publish(attributes: &Attributes<'_>, policy: &Policy, annotations: Vec<(String, String)>) {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in annotations {
        let slot = joined.entry(key).or_default();
        if !slot.is_empty() {
            slot.push_str(", ");
        }
        slot.push_str(&value);
    }
    for (key, value) in joined {
        attributes.call.annotate(&format!("{}/{key}", policy.name), value);
    }
}

fn conclude(attributes: &Attributes<'_>, object: &Value, mut findings: Findings) -> Result<(), Status> {
    if !findings.audited.is_empty() {
        findings.audited.truncate(MAX_FAILURES);
        let said = Value::Array(findings.audited).to_string();
        attributes.call.annotate("validation.policy.admission.k8s.io/validation_failure", said);
    }
    let Some((message, reason)) = findings.denied.into_iter().next() else { return Ok(()) };
    let mut status = attributes.forbidden(object, &message);
    status.reason = reason.unwrap_or(Reason::Invalid);
    status.causes = vec![Cause { reason: "", field: String::new(), message }];
    Err(status)
}

/// Evaluates a policy on one input.
fn judge(policy: &Policy, input: &Input<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    match policy.conditions.evaluate(&policy.composer, input) {
        Matched::Yes => {}
        Matched::No => return judgement,
        Matched::Failed(error) => return judgement.failed(policy, 0, &error),
    }
    let mut budget = RUNTIME_BUDGET;
    let expressions = policy.validations.iter().map(|validation| &validation.expression);
    let is_true = |value: &Cel<'_>| value.as_bool() == Some(true);
    let holds = match policy.composer.evaluate(expressions, input, &mut budget, is_true) {
        Ok(holds) => holds,
        Err(error) => return judgement.failed(policy, 0, error),
    };
    let messages = messages(policy, input, &mut budget);
    for (at, (validation, holds)) in policy.validations.iter().zip(holds).enumerate() {
        match (holds, &messages) {
            (Err(error), _) => judgement = judgement.failed(policy, at, &error),
            (Ok(_), Err(error)) => {
                judgement = judgement.failed(policy, at, &format!("failed messageExpression: {error}"));
            }
            (Ok(true), _) => {}
            (Ok(false), Ok(messages)) => {
                let said = messages.get(at).cloned().flatten();
                let denied =
                    Denied { message: message(validation, said), reason: reason(&validation.reason) };
                judgement.failures.push((at, denied));
            }
        }
    }
    annotate(policy, input, judgement)
}

fn reason(word: &str) -> Option<Reason> {
    match word {
        "Forbidden" => Some(Reason::Forbidden),
        "RequestEntityTooLarge" => Some(Reason::RequestEntityTooLarge),
        _ => None,
    }
}

/// What the message expressions say, by the index of the validation.
fn messages(
    policy: &Policy,
    input: &Input<'_>,
    budget: &mut u64,
) -> Result<Vec<Option<String>>, &'static str> {
    let expressions =
        policy.validations.iter().filter_map(|validation| validation.message_expression.as_ref());
    let input = Input { authorizer: None, ..input.clone() };
    let texts =
        policy.composer.evaluate(expressions, &input, budget, |value| value.as_str().map(str::to_owned))?;
    let mut texts = texts.into_iter();
    let next = |validation: &Validation| {
        validation.message_expression.as_ref()?;
        texts.next()?.ok()?
    };
    Ok(policy.validations.iter().map(next).collect())
}

/// The expression's text if it is of use, else the fixed one, else the validation itself.
fn message(validation: &Validation, said: Option<String>) -> String {
    let useful = |text: &str| !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n');
    let said = said.map(|text| text.trim().to_owned()).filter(|text| useful(text));
    said.unwrap_or_else(|| match validation.message.trim() {
        "" => format!("failed expression: {}", validation.expression.text.trim()),
        message => message.to_owned(),
    })
}

fn annotate(policy: &Policy, input: &Input<'_>, mut judgement: Judgement) -> Judgement {
    let mut budget = RUNTIME_BUDGET;
    let expressions = policy.annotations.iter().map(|(_, expression)| expression);
    let values = policy.composer.evaluate(expressions, input, &mut budget, |value| {
        // Null, the only other type there can be, means no annotation.
        value.as_str().map(|text| text.trim().to_owned()).unwrap_or_default()
    });
    let values = match values {
        Ok(values) => values,
        Err(error) => return Judgement::default().failed(policy, 0, error),
    };
    for ((key, _), value) in policy.annotations.iter().zip(values) {
        match value {
            Ok(value) if value.is_empty() => {}
            Ok(mut value) => {
                value.truncate(value.floor_char_boundary(MAX_ANNOTATION_BYTES));
                judgement.annotations.push((key.clone(), value));
            }
            Err(error) if policy.fails => judgement.broken.push(error),
            Err(_) => {}
        }
    }
    judgement
}
