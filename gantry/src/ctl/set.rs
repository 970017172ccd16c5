//! `gantry set`: one part of a workload's pod template, a service's selector, a binding's subjects.

mod env;

use serde_json::{Value, json};

use super::change::{ChangeFlags, each};
use super::connection::Connection;
use super::create::selector_object;
use super::manifest::Files;
use super::resources::{Resource, Resources};
use super::selection::Choice;
use super::{Failure, Outcome};

/// What to set.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Images of containers.
    Image(Arguments),
    /// Environment variables.
    Env(env::Arguments),
    /// Requests and limits.
    Resources(ResourceArguments),
    /// A service's selector.
    Selector(Arguments),
    /// The service account of pods.
    #[command(name = "serviceaccount", visible_alias = "sa")]
    ServiceAccount(Arguments),
    /// Whom a binding is for.
    Subject(SubjectArguments),
}

/// Which objects, and how to tell of the change.
#[derive(clap::Args)]
pub struct Which {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: ChangeFlags,
    /// Every object of the type in the namespace.
    #[arg(long)]
    all: bool,
    /// Label selector.
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Send nothing; the same as --dry-run=client.
    #[arg(long)]
    local: bool,
}

impl Which {
    fn choice<'a>(&'a self, words: &'a [String]) -> Choice<'a> {
        Choice { selector: &self.selector, all: self.all, fetch: true, ..Choice::of(words, &self.files) }
    }

    /// Changes the objects named by `words` as [`each`] does.
    async fn change_each(
        &self,
        connection: &Connection,
        resources: &Resources,
        words: &[String],
        change: impl Fn(&Resource, &mut Value) -> Outcome<String>,
    ) -> Outcome {
        each(&self.change, connection, resources, self.choice(words), "kubectl-set", change).await
    }
}

/// Objects, then KEY=VALUE pairs or one value.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME… or TYPE/NAME…, then what to set.
    words: Vec<String>,
    #[command(flatten)]
    which: Which,
}

/// Flags of `set resources`.
#[derive(clap::Args)]
pub struct ResourceArguments {
    /// TYPE NAME… or TYPE/NAME…
    words: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Which containers; `*` is all.
    #[arg(short, long, value_name = "NAME", default_value = "*")]
    containers: String,
    /// RESOURCE=AMOUNT,…
    #[arg(long, value_name = "AMOUNTS", default_value = "")]
    limits: String,
    /// RESOURCE=AMOUNT,…
    #[arg(long, value_name = "AMOUNTS", default_value = "")]
    requests: String,
}

/// Flags of `set subject`.
#[derive(clap::Args)]
pub struct SubjectArguments {
    /// TYPE NAME… or TYPE/NAME…
    words: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Users; may be repeated.
    #[arg(long = "user", value_name = "NAMES", value_delimiter = ',')]
    users: Vec<String>,
    /// Groups; may be repeated.
    #[arg(long = "group", value_name = "NAMES", value_delimiter = ',')]
    groups: Vec<String>,
    /// NAMESPACE:NAME; may be repeated.
    #[arg(long = "serviceaccount", value_name = "NAMES", value_delimiter = ',')]
    accounts: Vec<String>,
}

/// Sets.
pub async fn run(connection: &Connection, command: Command) -> Outcome {
    let resources = &Resources::discover(connection).await?;
    match command {
        Command::Image(arguments) => image(connection, resources, &arguments).await,
        Command::Env(arguments) => env::run(connection, resources, arguments).await,
        Command::Resources(arguments) => amounts(connection, resources, &arguments).await,
        Command::Selector(arguments) => selector(connection, resources, &arguments).await,
        Command::ServiceAccount(arguments) => account(connection, resources, &arguments).await,
        Command::Subject(arguments) => subject(connection, resources, &arguments).await,
    }
}

/// The pod spec of an object that is a pod or makes pods.
fn pod_spec<'a>(resource: &Resource, object: &'a mut Value) -> Outcome<&'a mut Value> {
    let path = match resource.kind.as_str() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    let name = format!("{}/{}", resource.plural_name(), api::object::name(object));
    object.pointer_mut(path).ok_or_else(|| {
        Failure::new(format!("{name} the object is not a pod or does not have a pod template"))
    })
}

/// The containers a name means, those that run first included; `*` is all.
fn containers<'a>(spec: &'a mut Value, name: &str) -> Vec<&'a mut Value> {
    let Some(fields) = spec.as_object_mut() else { return Vec::new() };
    let lists = fields.iter_mut().filter(|(key, _)| ["containers", "initContainers"].contains(&key.as_str()));
    let all = lists.filter_map(|(_, list)| list.as_array_mut()).flatten();
    all.filter(|container| name == "*" || container["name"] == name).collect()
}

/// Splits arguments into objects and `KEY=VALUE` pairs.
fn split(words: &[String]) -> (Vec<String>, Vec<(String, String)>) {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    (words.iter().filter(|word| !word.contains('=')).cloned().collect(), pairs)
}

async fn image(connection: &Connection, resources: &Resources, arguments: &Arguments) -> Outcome {
    let (words, images) = split(&arguments.words);
    if images.is_empty() {
        return Err(Failure::new("at least one image update is required"));
    }
    if images.len() > 1 && images.iter().any(|(name, _)| name == "*") {
        return Err(Failure::new(
            "all containers are already specified by *, but saw more than one container_name=container_image pairs",
        ));
    }
    let change = |resource: &Resource, object: &mut Value| {
        let spec = pod_spec(resource, object)?;
        for (name, image) in &images {
            let found = containers(spec, name);
            if found.is_empty() {
                return Err(Failure::new(format!("unable to find container named {name:?}")));
            }
            found.into_iter().for_each(|container| container["image"] = json!(image));
        }
        Ok("image updated".to_owned())
    };
    arguments.which.change_each(connection, resources, &words, change).await
}

fn parsed(text: &str) -> Outcome<Vec<(String, String)>> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, amount) = pair.split_once('=').ok_or_else(|| {
            Failure::new(format!("invalid argument syntax {pair}, expected <resource>=<value>"))
        })?;
        api::quantity::Quantity::from_json(&json!(amount)).map_err(|_| {
            Failure::new(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            )
        })?;
        Ok((name.to_owned(), amount.to_owned()))
    });
    pairs.collect()
}

async fn amounts(connection: &Connection, resources: &Resources, arguments: &ResourceArguments) -> Outcome {
    let (limits, requests) = (parsed(&arguments.limits)?, parsed(&arguments.requests)?);
    if limits.is_empty() && requests.is_empty() {
        return Err(Failure::new(
            "you must specify an update to requests or limits (in the form of --requests/--limits)",
        ));
    }
    let change = |resource: &Resource, object: &mut Value| {
        let spec = pod_spec(resource, object)?;
        let found = containers(spec, &arguments.containers);
        if found.is_empty() {
            return Err(Failure::new(format!("unable to find container named {}", arguments.containers)));
        }
        for container in found {
            for (part, amounts) in [("limits", &limits), ("requests", &requests)] {
                amounts.iter().for_each(|(name, amount)| container["resources"][part][name] = json!(amount));
            }
        }
        Ok("resource requirements updated".to_owned())
    };
    arguments.which.change_each(connection, resources, &arguments.words, change).await
}

async fn selector(connection: &Connection, resources: &Resources, arguments: &Arguments) -> Outcome {
    let (text, words) = arguments.words.split_last().ok_or_else(|| {
        Failure::new("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    })?;
    let wanted = selector_object(text)?;
    let change = |resource: &Resource, object: &mut Value| {
        if resource.kind != "Service" {
            return Err(Failure::new(
                "Selector for ".to_owned() + &resource.kind + " cannot be set: only a service's can",
            ));
        }
        object["spec"]["selector"] = wanted["matchLabels"].clone();
        Ok("selector updated".to_owned())
    };
    arguments.which.change_each(connection, resources, words, change).await
}

async fn account(connection: &Connection, resources: &Resources, arguments: &Arguments) -> Outcome {
    let (name, words) =
        arguments.words.split_last().ok_or_else(|| Failure::new("serviceaccount is required"))?;
    let change = |resource: &Resource, object: &mut Value| {
        let spec = pod_spec(resource, object)?;
        spec["serviceAccountName"] = json!(name);
        if !spec["serviceAccount"].is_null() {
            spec["serviceAccount"] = json!(name);
        }
        Ok("serviceaccount updated".to_owned())
    };
    arguments.which.change_each(connection, resources, words, change).await
}

async fn subject(connection: &Connection, resources: &Resources, arguments: &SubjectArguments) -> Outcome {
    let group = "rbac.authorization.k8s.io";
    let person = |kind: &str, name: &String| json!({"apiGroup": group, "kind": kind, "name": name});
    let mut wanted: Vec<Value> = arguments.users.iter().map(|name| person("User", name)).collect();
    wanted.extend(arguments.groups.iter().map(|name| person("Group", name)));
    for account in &arguments.accounts {
        let (namespace, name) = account
            .split_once(':')
            .ok_or_else(|| Failure::new("serviceaccount must be <namespace>:<name>"))?;
        wanted.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
    }
    if wanted.is_empty() {
        return Err(Failure::new("you must specify at least one value of user, group or serviceaccount"));
    }
    let change = |resource: &Resource, object: &mut Value| {
        if !resource.kind.ends_with("RoleBinding") {
            return Err(Failure::new(
                "setting subjects is only supported for RoleBinding/ClusterRoleBinding",
            ));
        }
        let mut subjects = object["subjects"].as_array().cloned().unwrap_or_default();
        for subject in &wanted {
            if !subjects.contains(subject) {
                subjects.push(subject.clone());
            }
        }
        object["subjects"] = Value::Array(subjects);
        Ok("subjects updated".to_owned())
    };
    arguments.which.change_each(connection, resources, &arguments.words, change).await
}
