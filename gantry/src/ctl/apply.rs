//! `gantry apply`: declarative management, compatible with objects kubectl has applied, client-side and
//! server-side.

mod last_applied;

use serde_json::{Value, json};

use super::change::{APPLY, ChangeFlags, Sender, difference, last_applied, remember};
use super::connection::Connection;
use super::manifest::Files;
use super::output::{DryRun, Report};
use super::resources::Resources;
use super::selection::{Choice, Target};
use super::{Failure, Outcome};

/// Flags of `apply`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<last_applied::Command>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: ChangeFlags,
    /// Only objects of the files with these labels.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Let the server merge, field by field.
    #[arg(long)]
    server_side: bool,
    /// Take fields that others manage.
    #[arg(long)]
    force_conflicts: bool,
    /// Unknown fields: `strict` refuses, `warn` tells, `ignore` drops them.
    #[arg(long, value_name = "HOW", default_value = "strict", num_args = 0..=1, default_missing_value = "strict", require_equals = true)]
    validate: String,
    /// Keep the applied form in an annotation; always so.
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide = true)]
    overwrite: String,
    /// Delete and create what cannot be changed.
    #[arg(long)]
    force: bool,
    /// Remove what is no longer in the files; not supported.
    #[arg(long)]
    prune: bool,
    /// For `--prune`.
    #[arg(long, hide = true)]
    all: bool,
    /// Return at once; this is always so without `--force`.
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide = true)]
    wait: String,
}

/// What `--validate` asks of the server.
pub fn validation(flag: &str) -> Outcome<&'static str> {
    match flag {
        "true" | "strict" => Ok("Strict"),
        "warn" => Ok("Warn"),
        "false" | "ignore" => Ok("Ignore"),
        other => Err(Failure::new(format!(
            "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
        ))),
    }
}

/// Applies every object; one refusal does not keep the others from being applied.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    if let Some(command) = arguments.command {
        return last_applied::run(connection, command).await;
    }
    if arguments.files.is_empty() {
        return Err(Failure::new("must specify one of -f and -k"));
    }
    if arguments.prune {
        return Err(Failure::new("--prune: this version does not prune; delete objects by name or label"));
    }
    if arguments.force_conflicts && !arguments.server_side {
        return Err(Failure::new("--force-conflicts only works with --server-side"));
    }
    let report = arguments.change.report()?;
    if arguments.server_side && report.dry_run() == DryRun::Client {
        return Err(Failure::new(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        ));
    }
    let manager = if arguments.server_side { "kubectl" } else { "kubectl-client-side-apply" };
    let sender = Sender {
        validation: validation(&arguments.validate)?,
        ..arguments.change.sender(connection, manager)?
    };
    let resources = Resources::discover(connection).await?;
    let choice = Choice { selector: &arguments.selector, ..Choice::of(&[], &arguments.files) };
    let (targets, mut failures) = choice.targets(connection, &resources).await?;
    if targets.is_empty() && failures.is_empty() {
        return Err(Failure::new("no objects passed to apply"));
    }
    let apply = Apply { connection, sender, report: &report, arguments: &arguments };
    let mut applied = Vec::new();
    for target in targets {
        match apply.one(&target).await {
            Ok(object) => applied.push(object),
            Err(failure) => failures.push(failure),
        }
    }
    apply.whole(applied)?;
    Failure::all(failures)
}

struct Apply<'a> {
    connection: &'a Connection,
    sender: Sender<'a>,
    report: &'a Report,
    arguments: &'a Arguments,
}

impl Apply<'_> {
    async fn one(&self, target: &Target) -> Outcome<(Target, Value)> {
        if target.name.is_empty() {
            return Err(match target.object["metadata"]["generateName"].as_str() {
                Some(generate) if !generate.is_empty() => {
                    Failure::new(format!("from {generate}: cannot use generate name with apply"))
                }
                _ => Failure::new("resource name may not be empty"),
            });
        }
        let (object, said) = if self.arguments.server_side {
            (self.server_side(target).await?, "serverside-applied")
        } else {
            self.client_side(target).await?
        };
        if self.report.is_human() {
            self.report.tell(&target.resource, &object, said)?;
        }
        Ok((target.clone(), object))
    }

    /// With `-o`, what was applied is printed as one: the object, or a list of them.
    fn whole(&self, applied: Vec<(Target, Value)>) -> Outcome {
        if self.report.is_human() {
            return Ok(());
        }
        applied.iter().try_for_each(|(target, object)| self.report.tell(&target.resource, object, ""))
    }

    async fn server_side(&self, target: &Target) -> Outcome<Value> {
        let force = if self.arguments.force_conflicts { "true" } else { "" };
        let path = format!("{}{}", target.path(), self.sender.suffix(&[("force", force)]));
        self.connection.patch(&path, APPLY, &target.object).await.map_err(|failure| match failure {
            Failure::Server(status) if status.reason == "Conflict" => Failure::Plain(format!(
                "error: Apply failed with {}\nPlease review the fields above--they currently have other managers. Here\nare the ways you can resolve this warning:\n* If you intend to manage all of these fields, please re-run the apply\n  command with the `--force-conflicts` flag.\n* If you do not intend to manage all of the fields, please edit your\n  manifest to remove references to the fields that should keep their\n  current managers.\n* You may co-own fields by updating your manifest to match the existing\n  value; in this case, you'll become the manager if the other manager(s)\n  stop managing the field (remove it from their configuration).\nSee https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts",
                status.message.trim_start_matches("Apply failed with ")
            )),
            other => other,
        })
    }

    async fn client_side(&self, target: &Target) -> Outcome<(Value, &'static str)> {
        let mut wanted = target.clone();
        remember(&mut wanted.object);
        let source = target.source.as_str();
        let Some(current) = self.connection.find(&target.path()).await? else {
            let made = self.sender.create(&wanted).await.map_err(|f| f.during("creating", source))?;
            return Ok((made, "created"));
        };
        if current["metadata"]["annotations"][api::three_way::LAST_APPLIED].is_null() && self.report.sends() {
            eprintln!(
                "Warning: resource {} is missing the kubectl.kubernetes.io/last-applied-configuration annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically.",
                format_args!("{}/{}", target.resource.plural, target.name)
            );
        }
        let (media, patch) = difference(&target.resource, &last_applied(&current), &current, &wanted.object);
        if self.report.sends() && patch == json!({}) {
            return Ok((current, "unchanged"));
        }
        if !self.report.sends() {
            let schema = api::schema::facts().by_gvk(
                &target.resource.group,
                &target.resource.version,
                &target.resource.kind,
            );
            let after = match schema {
                Some(_) => api::patch::strategic::apply(&current, &patch, schema),
                None => api::patch::merge::apply(&current, &patch),
            };
            return Ok((after.map_err(|error| Failure::new(format!("{error:?}")))?, "configured"));
        }
        let sent = self.sender.patch(target, "", media, &patch).await;
        let sent = match sent {
            Err(failure)
                if self.arguments.force && (failure.is(422, "Invalid") || failure.is(409, "Conflict")) =>
            {
                self.connection.delete(&target.path(), &json!({"gracePeriodSeconds": 0})).await?;
                super::delete::until_gone(self.connection, target, api::object::uid(&current), None).await?;
                self.sender.create(&wanted).await
            }
            Err(failure) => Err(patching(failure, &patch, target)),
            made => made,
        };
        sent.map(|object| (object, "configured"))
    }
}

/// A refused patch with what was sent and to what, as kubectl shows it.
fn patching(failure: Failure, patch: &Value, target: &Target) -> Failure {
    let sent = super::output::escape_html(&patch.to_string());
    let resource = &target.resource;
    let group_version =
        if resource.group.is_empty() { format!("/{}", resource.version) } else { resource.api_version() };
    let text = format!(
        "applying patch:\n{sent}\nto:\nResource: \"{group_version}, Resource={}\", GroupVersionKind: \"{group_version}, Kind={}\"\nName: {:?}, Namespace: {:?}\nfor: {:?}",
        resource.plural, resource.kind, target.name, target.namespace, target.source,
    );
    match failure {
        Failure::Server(mut status) => {
            status.message =
                format!("error when {text}: error when patching {:?}: {}", target.source, status.message);
            Failure::Server(status)
        }
        other => other,
    }
}
