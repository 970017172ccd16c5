//! `gantry top pod|node`: what pods and nodes use, from `metrics.k8s.io`.

use api::quantity::Quantity;
use serde_json::Value;

use super::connection::{Connection, query};
use super::tabs::TABLE;
use super::{Failure, Outcome};

/// What to measure.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Pods.
    #[command(visible_aliases = ["pods", "po"])]
    Pod(Pods),
    /// Nodes.
    #[command(visible_aliases = ["nodes", "no"])]
    Node(Nodes),
}

/// Flags of `top pod`.
#[derive(clap::Args)]
pub struct Pods {
    name: Option<String>,
    #[command(flatten)]
    view: View,
    /// In every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Each container.
    #[arg(long)]
    containers: bool,
    /// The sum too.
    #[arg(long)]
    sum: bool,
    /// Field selector.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    field_selector: String,
}

/// Flags of `top node`.
#[derive(clap::Args)]
pub struct Nodes {
    name: Option<String>,
    #[command(flatten)]
    view: View,
    /// Shares of the whole node, not of what pods may have.
    #[arg(long)]
    show_capacity: bool,
}

/// Flags of both.
#[derive(clap::Args)]
pub struct View {
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// `cpu` or `memory`.
    #[arg(long, value_name = "FIELD", default_value = "")]
    sort_by: String,
    /// Without headings.
    #[arg(long)]
    no_headers: bool,
}

/// CPU in thousandths and memory in bytes.
#[derive(Clone, Copy, Default)]
struct Usage {
    cpu: i64,
    memory: i64,
}

impl Usage {
    fn of(usage: &Value) -> Self {
        let amount = |name: &str| Quantity::from_json(&usage[name]).ok();
        Self {
            cpu: amount("cpu").map_or(0, Quantity::milli_value),
            memory: amount("memory").map_or(0, Quantity::value),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }

    fn cells(self) -> [String; 2] {
        [format!("{}m", self.cpu), format!("{}Mi", self.memory / (1024 * 1024))]
    }
}

/// Measures.
pub async fn run(connection: &Connection, command: Command) -> Outcome {
    match command {
        Command::Pod(arguments) => pods(connection, &arguments).await,
        Command::Node(arguments) => nodes(connection, &arguments).await,
    }
}

impl View {
    fn sort(&self, rows: &mut [(Usage, Vec<String>)]) -> Outcome {
        match self.sort_by.as_str() {
            "" => rows.sort_by(|a, b| a.1.cmp(&b.1)),
            "cpu" => rows.sort_by_key(|(usage, _)| std::cmp::Reverse(usage.cpu)),
            "memory" => rows.sort_by_key(|(usage, _)| std::cmp::Reverse(usage.memory)),
            _ => return Err(Failure::new("--sort-by accepts only cpu or memory")),
        }
        Ok(())
    }

    fn print(&self, names: &[&str], rows: Vec<Vec<String>>) {
        let mut all: Vec<Vec<String>> = Vec::new();
        if !self.no_headers {
            all.push(names.iter().map(|name| (*name).to_owned()).collect());
        }
        all.extend(rows);
        print!("{}", TABLE.table(&all));
    }
}

async fn metrics(
    connection: &Connection,
    path: &str,
    name: Option<&str>,
    suffix: &str,
) -> Outcome<Vec<Value>> {
    let root = "/apis/metrics.k8s.io/v1beta1";
    let answer = match name {
        Some(name) => connection.get(&format!("{root}/{path}/{name}")).await.map(|one| vec![one]),
        None => {
            let list = connection.get(&format!("{root}/{path}{suffix}")).await;
            list.map(|list| list["items"].as_array().cloned().unwrap_or_default())
        }
    };
    answer.map_err(|failure| match failure {
        Failure::Server(status)
            if status.code == 404 && status.details.as_ref().is_none_or(|d| d.name.is_empty()) =>
        {
            Failure::new("Metrics API not available")
        }
        other => other,
    })
}

async fn pods(connection: &Connection, arguments: &Pods) -> Outcome {
    if arguments.name.is_some() && !arguments.view.selector.is_empty() {
        return Err(Failure::new("only one of NAME or --selector can be provided"));
    }
    let path = match arguments.all_namespaces {
        true => "pods".to_owned(),
        false => format!("namespaces/{}/pods", connection.default_namespace()),
    };
    let suffix =
        query(&[("labelSelector", &arguments.view.selector), ("fieldSelector", &arguments.field_selector)]);
    let found = metrics(connection, &path, arguments.name.as_deref(), &suffix).await?;
    if found.is_empty() {
        match arguments.all_namespaces {
            true => eprintln!("No resources found"),
            false => eprintln!("No resources found in {} namespace.", connection.default_namespace()),
        }
        return Ok(());
    }
    let (mut rows, mut total) = (Vec::new(), Usage::default());
    for pod in &found {
        let containers = pod["containers"].as_array().into_iter().flatten();
        let each: Vec<(String, Usage)> = containers
            .map(|c| (c["name"].as_str().unwrap_or_default().to_owned(), Usage::of(&c["usage"])))
            .collect();
        let sum = each.iter().fold(Usage::default(), |sum, (_, usage)| sum.plus(*usage));
        total = total.plus(sum);
        let mut head = vec![api::object::name(pod).to_owned()];
        if arguments.all_namespaces {
            head.insert(0, api::object::namespace(pod).to_owned());
        }
        let row = |more: Option<String>, usage: Usage| {
            let cells = head.iter().cloned().chain(more).chain(usage.cells());
            (usage, cells.collect::<Vec<String>>())
        };
        match arguments.containers {
            true => rows.extend(each.into_iter().map(|(name, usage)| row(Some(name), usage))),
            false => rows.push(row(None, sum)),
        }
    }
    arguments.view.sort(&mut rows)?;
    let mut names = vec!["NAME", "CPU(cores)", "MEMORY(bytes)"];
    if arguments.containers {
        names = vec!["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"];
    }
    if arguments.all_namespaces {
        names.insert(0, "NAMESPACE");
    }
    let blanks = names.len().saturating_sub(2);
    let mut rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    if arguments.sum {
        let line = |cells: [String; 2]| {
            let mut line = vec![String::new(); blanks];
            line.extend(cells);
            line
        };
        rows.push(line(["________".to_owned(), "________".to_owned()]));
        rows.push(line(total.cells()));
    }
    arguments.view.print(&names, rows);
    Ok(())
}

async fn nodes(connection: &Connection, arguments: &Nodes) -> Outcome {
    let suffix = query(&[("labelSelector", &arguments.view.selector)]);
    let found = metrics(connection, "nodes", arguments.name.as_deref(), &suffix).await?;
    let field = if arguments.show_capacity { "capacity" } else { "allocatable" };
    let mut rows = Vec::new();
    for node in &found {
        let name = api::object::name(node);
        let usage = Usage::of(&node["usage"]);
        let object = connection.get(&format!("/api/v1/nodes/{name}")).await?;
        let all = Usage::of(&object["status"][field]);
        let share = |used: i64, all: i64| match all {
            0 => "<unknown>".to_owned(),
            all => format!("{}%", used * 100 / all),
        };
        let [cpu, memory] = usage.cells();
        let row =
            vec![name.to_owned(), cpu, share(usage.cpu, all.cpu), memory, share(usage.memory, all.memory)];
        rows.push((usage, row));
    }
    arguments.view.sort(&mut rows)?;
    let names = ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"];
    arguments.view.print(&names, rows.into_iter().map(|(_, row)| row).collect());
    Ok(())
}
