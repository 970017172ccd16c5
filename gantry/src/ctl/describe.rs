//! `gantry describe`: an object laid out as kubectl does, and the events about it.
//!
//! Entry point: [`run`]. A kind is a row of [`KINDS`]: a list of [`Row`]s, each a line or a function that
//! writes several; kinds without a row get the generic outline. What a description shows of other objects
//! is read first ([`related`]), so that writing it is pure.

mod cluster;
mod containers;
mod events;
mod generic;
mod networking;
mod policies;
mod related;
mod sheet;
mod volumes;
mod workloads;

use serde_json::Value;

use super::connection::Connection;
use super::manifest::Files;
use super::resources::Resources;
use super::selection::{Choice, Target};
use super::{Failure, Outcome};
pub use cluster::rule_rows;
pub use events::interval;
use related::Related;
use sheet::Sheet;
pub use sheet::format_selector;

/// Flags of `describe`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE, TYPE NAME…, TYPE/NAME…
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// In every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Show the events about each object.
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    show_events: bool,
    /// How many objects to ask for at once; all are asked for.
    #[arg(long = "chunk-size", value_name = "COUNT", default_value_t = 500, hide = true)]
    _chunk_size: u32,
}

/// Writes part of a description.
type Writer = fn(&mut Sheet, &Value, &Related);

/// A part of a description; paths are JSON pointers.
enum Row {
    /// A line, empty when the field is not there.
    Text(&'static str, &'static str),
    /// A line when the field is there and not empty.
    If(&'static str, &'static str),
    /// A line with another text when the field is not there.
    Or(&'static str, &'static str, &'static str),
    /// A line with a time when it is there.
    Time(&'static str, &'static str),
    /// Labels, one a line.
    Labels(&'static str, &'static str),
    /// `metadata.annotations`.
    Annotations,
    /// `metadata.ownerReferences`' controller.
    Owner,
    /// Anything else.
    Part(Writer),
    /// The events.
    Events,
}

/// How kinds are described, by group and kind.
const KINDS: &[(&str, &str, &[Row])] = &[
    ("", "Pod", workloads::POD),
    ("apps", "Deployment", workloads::DEPLOYMENT),
    ("apps", "ReplicaSet", workloads::REPLICA_SET),
    ("", "ReplicationController", workloads::REPLICATION_CONTROLLER),
    ("apps", "StatefulSet", workloads::STATEFUL_SET),
    ("apps", "DaemonSet", workloads::DAEMON_SET),
    ("batch", "Job", workloads::JOB),
    ("batch", "CronJob", workloads::CRON_JOB),
    ("", "Service", networking::SERVICE),
    ("", "Endpoints", networking::ENDPOINTS),
    ("discovery.k8s.io", "EndpointSlice", networking::ENDPOINT_SLICE),
    ("networking.k8s.io", "Ingress", networking::INGRESS),
    ("networking.k8s.io", "IngressClass", networking::INGRESS_CLASS),
    ("networking.k8s.io", "NetworkPolicy", networking::NETWORK_POLICY),
    ("", "Node", cluster::NODE),
    ("", "Namespace", cluster::NAMESPACE),
    ("", "ConfigMap", cluster::CONFIG_MAP),
    ("", "Secret", cluster::SECRET),
    ("", "ServiceAccount", cluster::SERVICE_ACCOUNT),
    ("rbac.authorization.k8s.io", "Role", cluster::ROLE),
    ("rbac.authorization.k8s.io", "ClusterRole", cluster::ROLE),
    ("rbac.authorization.k8s.io", "RoleBinding", cluster::BINDING),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", cluster::BINDING),
    ("", "PersistentVolume", volumes::VOLUME),
    ("", "PersistentVolumeClaim", volumes::CLAIM),
    ("storage.k8s.io", "StorageClass", volumes::STORAGE_CLASS),
    ("", "ResourceQuota", policies::QUOTA),
    ("", "LimitRange", policies::LIMITS),
    ("policy", "PodDisruptionBudget", policies::BUDGET),
    ("scheduling.k8s.io", "PriorityClass", policies::PRIORITY),
    ("autoscaling", "HorizontalPodAutoscaler", policies::AUTOSCALER),
];

/// Describes objects.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    if arguments.words.is_empty() && arguments.files.is_empty() {
        return Err(Failure::Plain(
            "error: You must specify the type of resource to describe. Use \"kubectl api-resources\" for a complete list of supported resources.".to_owned(),
        ));
    }
    let resources = Resources::discover(connection).await?;
    let named = arguments.words.len() > 1 || arguments.words.iter().any(|word| word.contains('/'));
    let choice = Choice {
        selector: &arguments.selector,
        all: !named && arguments.selector.is_empty(),
        all_namespaces: arguments.all_namespaces,
        fetch: true,
        ..Choice::of(&arguments.words, &arguments.files)
    };
    let (mut targets, mut failures) = choice.targets(connection, &resources).await?;
    let exact = !targets.is_empty();
    if failures.iter().any(Failure::is_not_found) && targets.is_empty() {
        targets = by_prefix(connection, &resources, &arguments, &mut failures).await?;
    }
    for (at, target) in targets.iter().enumerate() {
        if at > 0 && exact {
            print!("\n\n");
        }
        print!("{}", description(connection, target, arguments.show_events).await?);
        if !exact {
            println!();
        }
    }
    if targets.is_empty() && failures.is_empty() {
        match arguments.all_namespaces {
            true => eprintln!("No resources found"),
            false => eprintln!("No resources found in {} namespace.", connection.default_namespace()),
        }
    }
    Failure::all(failures)
}

/// A name nobody has may be the beginning of names.
async fn by_prefix(
    connection: &Connection,
    resources: &Resources,
    arguments: &Arguments,
    failures: &mut Vec<Failure>,
) -> Outcome<Vec<Target>> {
    let [kind, prefix] = arguments.words.as_slice() else { return Ok(Vec::new()) };
    let choice =
        Choice { all: true, fetch: true, ..Choice::of(std::slice::from_ref(kind), &arguments.files) };
    let (mut targets, _) = choice.targets(connection, resources).await?;
    targets.retain(|target| target.name.starts_with(prefix.as_str()));
    if !targets.is_empty() {
        failures.clear();
    }
    Ok(targets)
}

async fn description(connection: &Connection, target: &Target, show_events: bool) -> Outcome<String> {
    let resource = &target.resource;
    let known = KINDS.iter().find(|(group, kind, _)| *group == resource.group && *kind == resource.kind);
    let related = related::read(connection, target, show_events).await;
    let mut sheet = Sheet::default();
    match known {
        Some((.., rows)) => rows.iter().for_each(|row| row.write(&mut sheet, &target.object, &related)),
        None => generic::write(&mut sheet, &target.object, &related),
    }
    Ok(sheet.finish())
}

impl Row {
    fn write(&self, sheet: &mut Sheet, object: &Value, related: &Related) {
        match self {
            Self::Text(label, path) => sheet.field(0, label, sheet::at(object, path)),
            Self::If(label, path) => {
                let text = sheet::at(object, path);
                if !text.is_empty() {
                    sheet.field(0, label, text);
                }
            }
            Self::Or(label, path, other) => {
                let text = sheet::at(object, path);
                sheet.field(0, label, if text.is_empty() { (*other).to_owned() } else { text });
            }
            Self::Time(label, path) => {
                if let Some(value) = object.pointer(path).filter(|value| !value.is_null()) {
                    sheet.field(0, label, sheet::time(value));
                }
            }
            Self::Labels(label, path) => {
                sheet.labels("", label, object.pointer(path).unwrap_or(&Value::Null));
            }
            Self::Annotations => sheet.annotations("", &object["metadata"]["annotations"]),
            Self::Owner => {
                let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
                if let Some(owner) = owners.into_iter().find(|owner| owner["controller"] == true) {
                    let text = format!("{}/{}", sheet::text(&owner["kind"]), sheet::text(&owner["name"]));
                    sheet.field(0, "Controlled By", text);
                }
            }
            Self::Part(writer) => writer(sheet, object, related),
            Self::Events => {
                if let Some(events) = &related.events {
                    events::write(sheet, events, related.now);
                }
            }
        }
    }
}

/// A pod template, as `rollout history` shows it.
pub fn pod_template(template: &Value) -> String {
    let mut sheet = Sheet::default();
    workloads::template(&mut sheet, template);
    // kubectl shows it with its tabs.
    sheet.raw()
}

/// What rows write of an object alone.
#[cfg(test)]
fn described(rows: &[Row], object: &Value) -> String {
    let mut sheet = Sheet::default();
    let related = Related::default();
    rows.iter().for_each(|row| row.write(&mut sheet, object, &related));
    sheet.finish()
}
