//! `gantry api-resources`, `api-versions`, `version`, `cluster-info`, `options`: what the server is and
//! serves.

use std::io::IsTerminal as _;

use clap::CommandFactory as _;
use serde_json::json;

use super::connection::{Connection, query};
use super::get::list_of;
use super::output::json_text;
use super::resources::{Resource, Resources};
use super::tabs::TABLE;
use super::{Failure, Globals, Outcome};

/// Flags of `api-resources`.
#[derive(clap::Args)]
pub struct ResourceArguments {
    /// Only this group; empty is core.
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// Only those in a namespace, or only those outside.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    namespaced: Option<bool>,
    /// Only those with all of these verbs.
    #[arg(long, value_name = "VERBS", value_delimiter = ',')]
    verbs: Vec<String>,
    /// Only those of all these categories.
    #[arg(long, value_name = "CATEGORIES", value_delimiter = ',')]
    categories: Vec<String>,
    /// `name` or `kind`.
    #[arg(long, value_name = "FIELD", default_value = "")]
    sort_by: String,
    /// `wide` or `name`.
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    output: String,
    /// Without headings.
    #[arg(long)]
    no_headers: bool,
    /// Use what was discovered before; nothing is kept.
    #[arg(long = "cached", hide = true)]
    _cached: bool,
}

impl ResourceArguments {
    fn wants(&self, resource: &Resource) -> bool {
        self.api_group.as_ref().is_none_or(|group| *group == resource.group)
            && self.namespaced.is_none_or(|namespaced| namespaced == resource.namespaced)
            && self.verbs.iter().all(|verb| resource.verbs.contains(verb))
            && self.categories.iter().all(|category| resource.categories.contains(category))
            && !resource.verbs.is_empty()
    }

    fn row(&self, resource: &Resource) -> Vec<String> {
        let mut row = vec![
            resource.plural.clone(),
            resource.short_names.join(","),
            resource.api_version(),
            resource.namespaced.to_string(),
            resource.kind.clone(),
        ];
        if self.output == "wide" {
            row.push(resource.verbs.join(","));
            row.push(resource.categories.join(","));
        }
        row
    }
}

/// Lists resources.
pub async fn resources(connection: &Connection, arguments: ResourceArguments) -> Outcome {
    if !["", "wide", "name"].contains(&arguments.output.as_str()) {
        return Err(Failure::new(format!("--output {} is not available", arguments.output)));
    }
    let resources = Resources::discover(connection).await?;
    let mut found: Vec<&Resource> =
        resources.preferred().filter(|resource| arguments.wants(resource)).collect();
    match arguments.sort_by.as_str() {
        "" => found.sort_by_key(|r| (r.group.clone(), r.plural.clone())),
        "name" => found.sort_by_key(|r| r.plural.clone()),
        "kind" => found.sort_by_key(|r| r.kind.clone()),
        _ => return Err(Failure::new("--sort-by accepts only name or kind")),
    }
    if arguments.output == "name" {
        found.iter().for_each(|resource| println!("{}", resource.plural_name()));
        return Ok(());
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !arguments.no_headers {
        let mut names = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        if arguments.output == "wide" {
            names.extend(["VERBS", "CATEGORIES"]);
        }
        rows.push(names.into_iter().map(str::to_owned).collect());
    }
    rows.extend(found.iter().map(|resource| arguments.row(resource)));
    print!("{}", TABLE.table(&rows));
    Ok(())
}

/// Lists groups and their versions.
pub async fn versions(connection: &Connection) -> Outcome {
    let mut all = vec!["v1".to_owned()];
    let groups = connection.get("/apis").await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let versions = group["versions"].as_array().into_iter().flatten();
        all.extend(versions.filter_map(|version| version["groupVersion"].as_str()).map(str::to_owned));
    }
    all.sort();
    all.dedup();
    all.iter().for_each(|version| println!("{version}"));
    Ok(())
}

/// Flags of `version`.
#[derive(clap::Args)]
pub struct VersionArguments {
    /// Only the tool's own.
    #[arg(long)]
    pub client: bool,
    /// `json` or `yaml`.
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    output: String,
}

/// Prints versions; `connection` is `None` for the tool's own.
pub async fn version(connection: Option<&Connection>, arguments: &VersionArguments) -> Outcome {
    // The Kubernetes version whose API this tool speaks.
    let client = json!({"gitVersion": format!("v{}", env!("CARGO_PKG_VERSION")), "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)});
    let mut all = json!({"clientVersion": client});
    if let Some(connection) = connection {
        all["serverVersion"] = connection.get("/version").await?;
    }
    match arguments.output.as_str() {
        "json" => print!("{}", json_text(&all).replace("    ", "  ")),
        "yaml" => print!("{}", api::codec::yaml::emit(&all)),
        "" => {
            for (title, field) in [("Client", "clientVersion"), ("Server", "serverVersion")] {
                if let Some(version) = all[field]["gitVersion"].as_str() {
                    println!("{title} Version: {version}");
                }
            }
        }
        _ => return Err(Failure::new("--output must be 'yaml' or 'json'")),
    }
    Ok(())
}

/// What to show of the cluster.
#[derive(clap::Args)]
pub struct ClusterArguments {
    #[command(subcommand)]
    command: Option<ClusterCommand>,
}

/// More than addresses.
#[derive(clap::Subcommand)]
enum ClusterCommand {
    /// The objects one needs to find a fault, and pods' logs.
    Dump(DumpArguments),
}

/// Flags of `cluster-info dump`.
#[derive(clap::Args)]
struct DumpArguments {
    /// Every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// These namespaces.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    namespaces: Vec<String>,
}

/// Prints where the control plane and its services are.
pub async fn cluster(connection: &Connection, arguments: ClusterArguments) -> Outcome {
    if let Some(ClusterCommand::Dump(dump)) = arguments.command {
        return self::dump(connection, &dump).await;
    }
    // A cluster that cannot be reached has no address worth showing.
    let selector = query(&[("labelSelector", "kubernetes.io/cluster-service=true")]);
    let services = connection.get(&format!("/api/v1/namespaces/kube-system/services{selector}")).await?;
    let terminal = std::io::stdout().is_terminal();
    let shown = |name: &str, address: &str| match terminal {
        true => println!("\x1b[0;32m{name}\x1b[0m is running at \x1b[0;33m{address}\x1b[0m"),
        false => println!("{name} is running at {address}"),
    };
    shown("Kubernetes control plane", connection.address());
    for service in services["items"].as_array().into_iter().flatten() {
        let name = service["metadata"]["labels"]["kubernetes.io/name"].as_str();
        let own = api::object::name(service);
        let port =
            service["spec"]["ports"][0]["name"].as_str().map(|port| format!(":{port}")).unwrap_or_default();
        let path = format!("/api/v1/namespaces/kube-system/services/{own}{port}/proxy");
        shown(name.unwrap_or(own), &format!("{}{path}", connection.address()));
    }
    println!("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.");
    Ok(())
}

async fn dump(connection: &Connection, arguments: &DumpArguments) -> Outcome {
    let mut namespaces = arguments.namespaces.clone();
    if arguments.all_namespaces {
        let list = connection.get("/api/v1/namespaces").await?;
        let names = list["items"].as_array().into_iter().flatten().map(api::object::name);
        namespaces = names.map(str::to_owned).collect();
    } else if namespaces.is_empty() {
        namespaces = vec!["kube-system".to_owned(), connection.default_namespace()];
    }
    print!("{}", json_text(&connection.get("/api/v1/nodes").await?));
    for namespace in namespaces {
        let core = format!("/api/v1/namespaces/{namespace}");
        let apps = format!("/apis/apps/v1/namespaces/{namespace}");
        for path in [
            format!("{core}/events"),
            format!("{core}/services"),
            format!("{apps}/daemonsets"),
            format!("{apps}/deployments"),
            format!("{apps}/replicasets"),
        ] {
            let list = connection.find(&path).await?.unwrap_or_else(|| list_of(Vec::new()));
            print!("{}", json_text(&list));
        }
        let pods = connection.get(&format!("{core}/pods")).await?;
        print!("{}", json_text(&pods));
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = api::object::name(pod);
            for container in super::pods::containers(pod) {
                println!("==== START logs for container {container} of pod {namespace}/{name} ====");
                let path = format!("{core}/pods/{name}/log{}", query(&[("container", &container)]));
                match connection.raw(http::Method::GET, &path, None).await {
                    Ok(text) => print!("{text}"),
                    Err(failure) => println!("{failure}"),
                }
                println!("==== END logs for container {container} of pod {namespace}/{name} ====");
            }
        }
    }
    Ok(())
}

/// The flags every verb has.
pub fn options() {
    #[derive(clap::Parser)]
    struct All {
        #[command(flatten)]
        _globals: Globals,
    }
    println!("The following options can be passed to any command:\n");
    for flag in All::command().get_arguments().filter(|flag| flag.get_id() != "help") {
        let short = flag.get_short().map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        println!("    {short}--{}:\n\t{help}", flag.get_long().unwrap_or_default());
    }
}

/// Used by tests of rows.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let resource = Resource {
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            kind: "Deployment".to_owned(),
            plural: "deployments".to_owned(),
            singular: "deployment".to_owned(),
            short_names: vec!["deploy".to_owned()],
            categories: vec!["all".to_owned()],
            namespaced: true,
            verbs: vec!["get".to_owned(), "list".to_owned()],
        };
        let arguments = |group: Option<&str>, verbs: &[&str]| ResourceArguments {
            api_group: group.map(str::to_owned),
            namespaced: None,
            verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
            categories: Vec::new(),
            sort_by: String::new(),
            output: String::new(),
            no_headers: false,
            _cached: false,
        };
        assert!(arguments(Some("apps"), &["get"]).wants(&resource));
        assert!(!arguments(Some(""), &[]).wants(&resource));
        assert!(!arguments(None, &["delete"]).wants(&resource));
        let row = arguments(None, &[]).row(&resource).join(" ");
        assert_eq!(row, "deployments deploy apps/v1 true Deployment");
    }
}
