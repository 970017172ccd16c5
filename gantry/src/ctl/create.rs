//! `gantry create`: objects from files, or made from flags.
//!
//! Entry point: [`run`]. A generator turns its flags into one object ([`Generator::object`]); everything
//! else is the same for all.

mod configuration;
mod policies;
mod rbac;
mod services;
mod token;
mod workloads;

pub use policies::selector_object;
use serde_json::{Value, json};
pub use workloads::container;

use super::apply::validation;
use super::change::{ChangeFlags, Sender, remember};
use super::connection::Connection;
use super::manifest::{Files, text_of};
use super::resources::Resources;
use super::selection::{Choice, Target};
use super::{Failure, Outcome, edit};

/// Flags of `create`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    generator: Option<Generator>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    common: Common,
    /// Only objects of the files with these labels.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Change the objects in an editor first.
    #[arg(long)]
    edit: bool,
    /// A path of the server to post the file to.
    #[arg(long, value_name = "PATH")]
    raw: Option<String>,
}

/// Flags of every generator too.
#[derive(clap::Args, Clone, Default)]
pub struct Common {
    #[command(flatten)]
    pub(super) change: ChangeFlags,
    /// Keep the object's own form for apply.
    #[arg(long)]
    pub(super) save_config: bool,
    /// Unknown fields: `strict` refuses, `warn` tells, `ignore` drops them.
    #[arg(long, value_name = "HOW", default_value = "strict", num_args = 0..=1, default_missing_value = "strict", require_equals = true)]
    pub(super) validate: String,
}

/// What can be made from flags.
#[derive(clap::Subcommand)]
pub enum Generator {
    /// Pods that are kept running and rolled over.
    #[command(visible_alias = "deploy")]
    Deployment(workloads::Deployment),
    /// Pods that run to their end.
    Job(workloads::Job),
    /// Jobs by the clock.
    #[command(name = "cronjob", visible_alias = "cj")]
    CronJob(workloads::CronJob),
    /// Files and values pods read.
    #[command(name = "configmap", visible_alias = "cm")]
    ConfigMap(configuration::ConfigMap),
    /// The same, kept secret.
    #[command(subcommand)]
    Secret(configuration::Secret),
    /// A namespace.
    #[command(visible_alias = "ns")]
    Namespace(policies::Named),
    /// Who pods are.
    #[command(name = "serviceaccount", visible_alias = "sa")]
    ServiceAccount(policies::Named),
    /// A stable address of pods.
    #[command(subcommand, visible_alias = "svc")]
    Service(services::Service),
    /// HTTP paths to services.
    #[command(visible_alias = "ing")]
    Ingress(services::Ingress),
    /// What may be done in a namespace.
    Role(rbac::Role),
    /// What may be done in the cluster.
    #[command(name = "clusterrole")]
    ClusterRole(rbac::ClusterRole),
    /// Who has a role in a namespace.
    #[command(name = "rolebinding")]
    RoleBinding(rbac::Binding),
    /// Who has a role in the cluster.
    #[command(name = "clusterrolebinding")]
    ClusterRoleBinding(rbac::Binding),
    /// How much a namespace may use.
    #[command(visible_alias = "resourcequota")]
    Quota(policies::Quota),
    /// How many pods may be missing.
    #[command(name = "poddisruptionbudget", visible_alias = "pdb")]
    PodDisruptionBudget(policies::Budget),
    /// Which pods go first.
    #[command(name = "priorityclass", visible_alias = "pc")]
    PriorityClass(policies::Priority),
    /// A token of a service account.
    Token(token::Arguments),
}

impl Generator {
    fn common(&self) -> &Common {
        match self {
            Self::Deployment(a) => &a.common,
            Self::Job(a) => &a.common,
            Self::CronJob(a) => &a.common,
            Self::ConfigMap(a) => &a.common,
            Self::Secret(a) => a.common(),
            Self::Namespace(a) | Self::ServiceAccount(a) => &a.common,
            Self::Service(a) => a.common(),
            Self::Ingress(a) => &a.common,
            Self::Role(a) => &a.rule.common,
            Self::ClusterRole(a) => &a.rule.common,
            Self::RoleBinding(a) | Self::ClusterRoleBinding(a) => &a.common,
            Self::Quota(a) => &a.common,
            Self::PodDisruptionBudget(a) => &a.common,
            Self::PriorityClass(a) => &a.common,
            Self::Token(a) => &a.common,
        }
    }

    /// The object the flags describe.
    async fn object(&self, connection: &Connection, resources: &Resources) -> Outcome<Value> {
        match self {
            Self::Deployment(a) => a.object(),
            Self::Job(a) => a.object(connection).await,
            Self::CronJob(a) => Ok(a.object()),
            Self::ConfigMap(a) => a.object(),
            Self::Secret(a) => a.object(),
            Self::Namespace(a) => Ok(with(a.object("Namespace"), json!({"spec": {}, "status": {}}))),
            Self::ServiceAccount(a) => Ok(a.object("ServiceAccount")),
            Self::Service(a) => a.object(),
            Self::Ingress(a) => a.object(),
            Self::Role(a) => a.object(resources),
            Self::ClusterRole(a) => a.object(resources),
            Self::RoleBinding(a) => a.object("RoleBinding", &connection.default_namespace()),
            Self::ClusterRoleBinding(a) => a.object("ClusterRoleBinding", &connection.default_namespace()),
            Self::Quota(a) => a.object(),
            Self::PodDisruptionBudget(a) => a.object(),
            Self::PriorityClass(a) => a.object(),
            Self::Token(_) => Ok(Value::Null),
        }
    }
}

/// An object with more fields.
pub(super) fn with(mut object: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (object.as_object_mut(), more) {
        fields.extend(more);
    }
    object
}

/// Creates objects.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    if let Some(Generator::Token(token)) = &arguments.generator {
        return token.run(connection).await;
    }
    if let Some(path) = &arguments.raw {
        let text = text_of(arguments.files.filename.first().map_or("-", String::as_str))?;
        print!("{}", connection.raw(http::Method::POST, path, Some(text)).await?);
        return Ok(());
    }
    let resources = Resources::discover(connection).await?;
    match &arguments.generator {
        Some(generator) => {
            let object = generator.object(connection, &resources).await?;
            made(connection, &resources, generator.common(), object, "kubectl-create").await
        }
        None if arguments.files.is_empty() => Err(Failure::new("must specify one of -f and -k")),
        None => from_files(connection, &resources, &arguments).await,
    }
}

/// Creates an object made from flags and tells of it.
pub(super) async fn made(
    connection: &Connection,
    resources: &Resources,
    common: &Common,
    object: Value,
    manager: &str,
) -> Outcome {
    let object = sent(connection, resources, common, object, manager).await?;
    let resource = resources.of(&object, "")?;
    common.change.report()?.tell(resource, &object, "created")
}

/// Creates an object made from flags.
pub(super) async fn sent(
    connection: &Connection,
    resources: &Resources,
    common: &Common,
    mut object: Value,
    manager: &str,
) -> Outcome<Value> {
    let resource = resources.of(&object, "")?.clone();
    if common.save_config {
        remember(&mut object);
    }
    if let (true, Some(namespace)) = (resource.namespaced, connection.enforced_namespace()) {
        api::object::metadata_mut(&mut object).insert("namespace".to_owned(), json!(namespace));
    }
    let namespace = connection.default_namespace();
    let target = Target { resource, namespace, name: String::new(), object, source: String::new() };
    let validation = validation(&common.validate)?;
    let sender = Sender { validation, ..common.change.sender(connection, manager)? };
    sender.create(&target).await.map_err(|failure| match failure {
        Failure::Server(mut status) if status.reason == "AlreadyExists" || status.reason == "NotFound" => {
            status.message = format!("failed to create {}: {}", target.resource.singular, status.message);
            // kubectl wraps these and so shows them without the server's name.
            Failure::Plain(format!("error: {}", status.message))
        }
        other => other,
    })
}

async fn from_files(connection: &Connection, resources: &Resources, arguments: &Arguments) -> Outcome {
    let common = &arguments.common;
    let report = common.change.report()?;
    let validation = validation(&common.validate)?;
    let sender = Sender { validation, ..common.change.sender(connection, "kubectl-create")? };
    let choice = Choice { selector: &arguments.selector, ..Choice::of(&[], &arguments.files) };
    let (targets, mut failures) = choice.targets(connection, resources).await?;
    if targets.is_empty() && failures.is_empty() {
        return Err(Failure::new("no objects passed to create"));
    }
    for mut target in targets {
        if arguments.edit {
            match edit::in_editor(&target.object, false, "")? {
                Some(edited) => target.object = edited,
                None => return Err(Failure::new("Edit cancelled, no changes made.")),
            }
        }
        if common.save_config {
            remember(&mut target.object);
        }
        let outcome =
            sender.create(&target).await.map_err(|failure| failure.during("creating", &target.source));
        failures.extend(outcome.and_then(|object| report.tell(&target.resource, &object, "created")).err());
    }
    Failure::all(failures)
}
