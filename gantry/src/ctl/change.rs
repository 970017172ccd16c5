//! Changing objects one after the other: read, change a copy, send the difference, tell of it.
//!
//! Entry points: [`Sender`], [`each`].

use api::three_way;
use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::output::{DryRun, DryRunFlag, Flags, Report};
use super::resources::{Resource, Resources};
use super::selection::{Choice, Target};
use super::{Failure, Outcome};

/// Media types of the patches.
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// RFC 7386.
pub const MERGE: &str = "application/merge-patch+json";
/// RFC 6902.
pub const JSON_PATCH: &str = "application/json-patch+json";
/// Server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";

/// Flags of every verb that changes objects.
#[derive(clap::Args, Clone, Default)]
pub struct ChangeFlags {
    #[command(flatten)]
    output: Flags,
    #[command(flatten)]
    dry_run: DryRunFlag,
    /// Who is written down as having made the change.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub field_manager: String,
}

impl ChangeFlags {
    /// How changes are told of.
    ///
    /// # Errors
    /// When a flag's value is unknown.
    pub fn report(&self) -> Outcome<Report> {
        Report::new(&self.output, self.dry_run.parse()?)
    }

    /// The flags of `-o`.
    pub fn output_flags(&self) -> Flags {
        self.output.clone()
    }

    /// Sends as the flags say; `verb` is the default manager's second half: `kubectl-label`.
    ///
    /// # Errors
    /// When a flag's value is unknown.
    pub fn sender<'a>(&'a self, connection: &'a Connection, manager: &'a str) -> Outcome<Sender<'a>> {
        let manager = if self.field_manager.is_empty() { manager } else { &self.field_manager };
        Ok(Sender { connection, dry_run: self.dry_run.parse()?, manager, validation: "" })
    }
}

/// Sends changes with the parameters a verb's flags ask for.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    /// Where to.
    pub connection: &'a Connection,
    /// Whether the change is kept.
    pub dry_run: DryRun,
    /// Who makes it.
    pub manager: &'a str,
    /// `Strict`, `Warn`, `Ignore`, or empty for the server's default.
    pub validation: &'a str,
}

impl Sender<'_> {
    /// The query of a request that changes.
    pub fn suffix(&self, extra: &[(&str, &str)]) -> String {
        let mut pairs = vec![
            ("dryRun", self.dry_run.parameter()),
            ("fieldManager", self.manager),
            ("fieldValidation", self.validation),
        ];
        pairs.extend(extra);
        query(&pairs)
    }

    /// Creates an object.
    pub async fn create(&self, target: &Target) -> Outcome<Value> {
        if self.dry_run == DryRun::Client {
            return Ok(target.object.clone());
        }
        self.connection.post(&format!("{}{}", target.collection(), self.suffix(&[])), &target.object).await
    }

    /// Puts an object in the place of the one that stands there.
    pub async fn replace(&self, target: &Target, subresource: &str) -> Outcome<Value> {
        if self.dry_run == DryRun::Client {
            return Ok(target.object.clone());
        }
        let path = format!("{}{}{}", target.path(), slashed(subresource), self.suffix(&[]));
        self.connection.put(&path, &target.object).await
    }

    /// Sends a patch.
    pub async fn patch(
        &self,
        target: &Target,
        subresource: &str,
        media: &str,
        patch: &Value,
    ) -> Outcome<Value> {
        let path = format!("{}{}{}", target.path(), slashed(subresource), self.suffix(&[]));
        self.connection.patch(&path, media, patch).await
    }

    /// Sends the difference between two forms of an object; `None` when there is none.
    pub async fn send(&self, target: &Target, before: &Value, after: &Value) -> Outcome<Option<Value>> {
        if before == after {
            return Ok(None);
        }
        if self.dry_run == DryRun::Client {
            return Ok(Some(after.clone()));
        }
        let (media, patch) = difference(&target.resource, before, before, after);
        self.patch(target, "", media, &patch).await.map(Some)
    }
}

fn slashed(subresource: &str) -> String {
    if subresource.is_empty() { String::new() } else { format!("/{subresource}") }
}

/// The patch from `current` to `wanted`, removing what `last` had and `wanted` has not; strategic when the
/// kind's schema is known.
pub fn difference(
    resource: &Resource,
    last: &Value,
    current: &Value,
    wanted: &Value,
) -> (&'static str, Value) {
    let schema = api::schema::facts().by_gvk(&resource.group, &resource.version, &resource.kind);
    let media = if schema.is_some() { STRATEGIC } else { MERGE };
    (media, three_way::patch(last, wanted, current, schema))
}

/// Changes every chosen object with `change`, which returns what to say of it.
///
/// # Errors
/// All failures at the end; one object's does not keep the others from being changed.
pub async fn each(
    flags: &ChangeFlags,
    connection: &Connection,
    resources: &Resources,
    choice: Choice<'_>,
    manager: &str,
    change: impl Fn(&Resource, &mut Value) -> Outcome<String>,
) -> Outcome {
    let (report, sender) = (flags.report()?, flags.sender(connection, manager)?);
    let (targets, mut failures) = Choice { fetch: true, ..choice }.targets(connection, resources).await?;
    for target in targets {
        let mut after = target.object.clone();
        let outcome = async {
            let said = change(&target.resource, &mut after)?;
            let sent = sender.send(&target, &target.object, &after).await?;
            report.tell(&target.resource, sent.as_ref().unwrap_or(&after), &said)
        };
        if let Err(failure) = outcome.await {
            failures.push(failure.during("patching", &target.source));
        }
    }
    Failure::all(failures)
}

/// Compact JSON as Go writes it, with a newline.
pub fn last_applied_text(object: &Value) -> String {
    super::output::escape_html(&object.to_string()) + "\n"
}

/// Writes the object's own form into its annotation, as `kubectl apply` keeps it.
pub fn remember(object: &mut Value) {
    let metadata = api::object::metadata_mut(object);
    match metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        Some(annotations) => drop(annotations.remove(three_way::LAST_APPLIED)),
        None => drop(metadata.insert("annotations".to_owned(), json!({}))),
    }
    let text = last_applied_text(object);
    let annotations = api::object::metadata_mut(object).get_mut("annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(three_way::LAST_APPLIED.to_owned(), json!(text));
    }
}

/// The form applied last; an empty object when it never was.
pub fn last_applied(object: &Value) -> Value {
    let text = object["metadata"]["annotations"][three_way::LAST_APPLIED].as_str();
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| json!({}))
}
