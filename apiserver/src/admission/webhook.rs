//! Admission webhooks: others are asked about a request over HTTPS, and may change its object.
//!
//! Entry points: [`mutate`] and [`validate`], the two plugins. Which webhooks there are stands in
//! `webhook/configurations.rs`, which of them a request concerns in `webhook/matching.rs`, what they are asked and
//! may answer in `webhook/review.rs`. Source: upstream's `plugin/webhook`.

mod calls;
pub(crate) mod configurations;
pub(crate) mod matching;
pub(crate) mod namespaces;
pub(crate) mod reinvocation;
pub(crate) mod review;
pub(crate) mod versions;

use std::sync::Arc;

use api::patch::apply::Managed;
use api::{Status, object};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::{Attributes, ObjectKind};
use calls::{applies, ask, decide, patched};
use configurations::Hook;
use matching::Subject;
use versions::{Row, Shown};

/// What no webhook or policy is asked about: a broken one must not forbid its own repair.
pub(super) fn is_exempt(kind: &ObjectKind) -> bool {
    kind.group == "admissionregistration.k8s.io"
        && [
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ]
        .contains(&kind.kind.as_str())
}

impl<'a> Subject<'a> {
    /// What webhooks and policies see of an admission.
    pub(super) async fn of(attributes: &'a Attributes<'a>, object: &'a Value) -> Self {
        let namespace = match attributes.namespace() {
            "" => Ok(None),
            name => namespaces::get(&attributes.call.server, name).await.map(Some),
        };
        let rows = versions::rows(attributes);
        let object = Some(object).filter(|object| !object.is_null());
        Self { attributes, object, old: attributes.old, namespace, rows }
    }

    /// The objects in the form of a row.
    ///
    /// # Errors
    /// 500 when a conversion fails.
    pub(super) async fn show(&self, row: Row) -> Result<Shown, Status> {
        let call = self.attributes.call;
        let (mut object, mut old) = (None, None);
        for (from, to) in [(self.object, &mut object), (self.old, &mut old)] {
            if let Some(from) = from {
                let shown = row.show(call, from).await;
                *to = Some(shown.map_err(|status| Status::internal(status.message))?);
            }
        }
        Ok(Shown { row, object, old })
    }

    /// The same after a change of the object.
    pub(super) fn with<'b>(&'b self, object: &'b Value) -> Subject<'b>
    where
        'a: 'b,
    {
        Subject {
            attributes: self.attributes,
            object: Some(object).filter(|object| !object.is_null()),
            old: self.old,
            namespace: self.namespace.clone(),
            rows: self.rows.clone(),
        }
    }
}

/// `MutatingAdmissionWebhook`: one after the other, each sees what those before it made of the object.
pub(super) async fn mutate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let hooks = attributes.call.server.hooks.read().mutating();
    if hooks.is_empty() || is_exempt(&attributes.kind) {
        return Ok(());
    }
    let again = {
        let mut reinvocation = attributes.reinvocation.lock();
        if reinvocation.again {
            reinvocation.webhooks.begin_again(object);
        }
        reinvocation.again
    };
    let before = object.clone();
    let base = Subject::of(attributes, &before).await;
    for (at, hook) in hooks.iter().enumerate() {
        let subject = base.with(object);
        let Some(asked) = applies(hook, &subject).await? else { continue };
        if again && !attributes.reinvocation.lock().webhooks.wants(&hook.id) {
            continue;
        }
        let outcome = one(hook, &subject, &asked, (u8::from(again), at)).await;
        note(attributes, hook, object, &outcome);
        match outcome {
            Ok(Some(new)) => *object = new,
            Ok(None) => {}
            Err(failure) => {
                decide(hook, failure)?;
                let key = format!(
                    "failed-open.mutation.webhook.admission.k8s.io/round_{}_index_{at}",
                    u8::from(again)
                );
                attributes.call.annotate(&key, hook.name.as_str());
            }
        }
    }
    attributes.reinvocation.lock().webhooks.end(object);
    keep_owners(attributes, &before, object);
    Ok(())
}

/// Owners that a mutation left unreadable are those from before, and whoever sent the object hears of it.
pub(super) fn keep_owners(attributes: &Attributes<'_>, before: &Value, object: &mut Value) {
    let owners = &object["metadata"]["managedFields"];
    if owners == &before["metadata"]["managedFields"] {
        return;
    }
    let Err(error) = Managed::decode(owners) else { return };
    attributes.call.warn(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {error}"
    ));
    let metadata = object::metadata_mut(object);
    match before["metadata"].get("managedFields") {
        Some(owners) => drop(metadata.insert("managedFields".to_owned(), owners.clone())),
        None => drop(metadata.remove("managedFields")),
    }
}

/// Asks one webhook, and tells the audit log what it made of the object; the patch itself only where the log has
/// objects as well.
async fn one(
    hook: &Hook,
    subject: &Subject<'_>,
    asked: &(Shown, Value),
    (round, at): (u8, usize),
) -> Result<Option<Value>, calls::Failure> {
    let call = subject.attributes.call;
    let key = |what: &str| format!("{what}.webhook.admission.k8s.io/round_{round}_index_{at}");
    let who = format!("\"configuration\":{},\"webhook\":{}", json!(hook.configuration), json!(hook.name));
    let tell = |mutated: bool| call.annotate(&key("mutation"), format!("{{{who},\"mutated\":{mutated}}}"));
    let answer = ask(hook, subject.attributes, asked, true).await.inspect_err(|_| tell(false))?;
    let outcome = patched(hook, subject.attributes, &asked.0, &answer).await;
    tell(matches!(&outcome, Ok(Some(new)) if Some(new) != subject.object));
    if matches!(&outcome, Ok(Some(_)))
        && call.trail.as_ref().is_some_and(|trail| trail.keeps_objects())
        && let Ok(patch) = serde_json::from_slice::<Value>(&answer.patch)
    {
        call.annotate(&key("patch"), format!("{{{who},\"patch\":{patch},\"patchType\":\"JSONPatch\"}}"));
    }
    outcome
}

/// Remembers who may want a second look.
fn note(
    attributes: &Attributes<'_>,
    hook: &Hook,
    object: &Value,
    outcome: &Result<Option<Value>, calls::Failure>,
) {
    let mut reinvocation = attributes.reinvocation.lock();
    if outcome.as_ref().is_ok_and(|new| new.as_ref().is_some_and(|new| new != object)) {
        reinvocation.webhooks.changed();
        reinvocation.asked = true;
    }
    if hook.reinvocable {
        reinvocation.webhooks.asked(&hook.id);
    }
}

/// `ValidatingAdmissionWebhook`: all at once; the first that refuses is heard when all have answered.
pub(super) async fn validate(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let hooks = attributes.call.server.hooks.read().validating();
    if hooks.is_empty() || is_exempt(&attributes.kind) {
        return Ok(());
    }
    let subject = Subject::of(attributes, object).await;
    let mut asked: Vec<(&Arc<Hook>, (Shown, Value))> = Vec::new();
    for hook in hooks.iter() {
        if let Some(question) = applies(hook, &subject).await? {
            asked.push((hook, question));
        }
    }
    let calls = asked.iter().enumerate().map(|(at, (hook, question))| async move {
        let Err(failure) = ask(hook, attributes, question, false).await else { return Ok(()) };
        let decided = decide(hook, failure);
        if decided.is_ok() {
            let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{at}");
            attributes.call.annotate(&key, hook.name.as_str());
        }
        decided
    });
    let answers: Vec<Result<(), Status>> = calls.collect::<FuturesUnordered<_>>().collect().await;
    answers.into_iter().collect()
}
