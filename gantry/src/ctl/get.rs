//! `gantry get`: tables from the server, or whole objects as YAML, JSON, names, JSONPath.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use api::jsonpath::Template;
use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::resources::{Resource, Resources};
use super::{Failure, Outcome, Scope, manifest};

/// Asks for a table; whole objects when the server cannot.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Flags of `get`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE, TYPE NAME…, TYPE/NAME…
    words: Vec<String>,
    /// Objects named by files instead.
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// `wide`, `yaml`, `json`, `name`, `jsonpath=TEMPLATE`.
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    output: String,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Field selector.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    field_selector: String,
    /// Every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Go on showing changes.
    #[arg(short, long)]
    watch: bool,
    /// Without headings.
    #[arg(long)]
    no_headers: bool,
    /// Labels as columns.
    #[arg(long)]
    show_labels: bool,
    #[command(flatten)]
    scope: Scope,
}

/// How objects are printed.
enum Format {
    Table { wide: bool },
    Yaml,
    Json,
    Name,
    JsonPath(Template),
}

impl Format {
    fn parse(text: &str) -> Outcome<Self> {
        Ok(match text.split_once('=').unwrap_or((text, "")) {
            ("", _) => Self::Table { wide: false },
            ("wide", _) => Self::Table { wide: true },
            ("yaml", _) => Self::Yaml,
            ("json", _) => Self::Json,
            ("name", _) => Self::Name,
            ("jsonpath", template) => Self::JsonPath(
                Template::parse(template).map_err(|e| anyhow!("error parsing jsonpath {template}, {e}"))?,
            ),
            _ => {
                return Err(Failure::Other(anyhow!(
                    "unable to match a printer suitable for the output format {text:?}, allowed formats are: json,jsonpath,name,wide,yaml"
                )));
            }
        })
    }
}

/// Shows objects.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let format = Format::parse(&arguments.output)?;
    let resources = Resources::discover(connection).await?;
    let mut selected = Vec::new();
    let files = if arguments.filename.is_empty() { Vec::new() } else { manifest::read(&arguments.filename)? };
    for object in &files {
        selected.push((resources.of(object)?, Some(api::object::name(object).to_owned())));
    }
    if files.is_empty() {
        selected = resources.select(&arguments.words)?;
    }
    let several = selected.windows(2).any(|pair| pair[0].0 != pair[1].0);
    let view = View { connection, arguments: &arguments, several };
    match format {
        Format::Table { wide } if arguments.watch => view.watch(&selected, Some(wide), &format).await,
        _ if arguments.watch => view.watch(&selected, None, &format).await,
        Format::Table { wide } => view.tables(&selected, wide).await,
        _ => view.objects(&selected, &format).await,
    }
}

struct View<'a> {
    connection: &'a Connection,
    arguments: &'a Arguments,
    /// More than one kind is shown: names carry theirs.
    several: bool,
}

impl View<'_> {
    fn namespace(&self) -> Option<String> {
        (!self.arguments.all_namespaces).then(|| self.connection.namespace(&self.arguments.scope))
    }

    fn path(&self, resource: &Resource, name: Option<&str>, extra: &[(&str, &str)]) -> String {
        let base = resource.collection(self.namespace().as_deref());
        let mut pairs = vec![
            ("labelSelector", self.arguments.selector.as_str()),
            ("fieldSelector", self.arguments.field_selector.as_str()),
        ];
        pairs.extend(extra);
        match name {
            Some(name) => format!("{base}/{name}{}", query(extra)),
            None => format!("{base}{}", query(&pairs)),
        }
    }

    async fn tables(&self, selected: &[(&Resource, Option<String>)], wide: bool) -> Outcome {
        let mut shown = false;
        let mut missing = None;
        let mut at = 0;
        while let Some((resource, name)) = selected.get(at) {
            // Rows of one kind share one table, as the columns then line up.
            let run =
                selected[at..].iter().take_while(|(r, n)| r == resource && n.is_some() == name.is_some());
            let names: Vec<Option<&str>> = run.map(|(_, n)| n.as_deref()).collect();
            at += names.len();
            let mut table: Option<Value> = None;
            for name in names {
                let answer = self.connection.get_as(&self.path(resource, name, &[]), TABLE).await;
                match (answer, &mut table) {
                    (Ok(next), None) => table = Some(next),
                    (Ok(next), Some(table)) => append(table, next),
                    (Err(failure @ Failure::Server(_)), _) if selected.len() > 1 => {
                        eprintln!("{failure}");
                        missing = Some(failure);
                    }
                    (Err(failure), _) => return Err(failure),
                }
            }
            if let Some(table) = table.filter(|t| t["rows"].as_array().is_some_and(|rows| !rows.is_empty())) {
                if shown {
                    println!();
                }
                shown = true;
                print!("{}", self.render(&table, resource, wide, !self.arguments.no_headers));
            }
        }
        if let Some(_failure) = missing {
            return Err(Failure::ExitCode(1));
        }
        if !shown {
            match self.namespace().filter(|_| selected.iter().any(|(r, _)| r.namespaced)) {
                Some(namespace) => eprintln!("No resources found in {namespace} namespace."),
                None => eprintln!("No resources found"),
            }
        }
        Ok(())
    }

    async fn objects(&self, selected: &[(&Resource, Option<String>)], format: &Format) -> Outcome {
        let mut items = Vec::new();
        for (resource, name) in selected {
            let mut answer = self.connection.get(&self.path(resource, name.as_deref(), &[])).await?;
            match answer.get_mut("items").and_then(Value::as_array_mut) {
                Some(found) if name.is_none() => {
                    for mut item in found.drain(..) {
                        item["apiVersion"] = json!(resource.api_version());
                        item["kind"] = json!(resource.kind);
                        items.push(item);
                    }
                }
                _ => items.push(answer),
            }
        }
        let single = matches!(selected, [(_, Some(_))]);
        for item in &mut items {
            api::object::metadata_mut(item).remove("managedFields");
        }
        match format {
            Format::Name => items.iter().for_each(|item| println!("{}", self.name(selected, item))),
            _ => {
                let whole = match (single, items.pop()) {
                    (true, Some(item)) => item,
                    (_, last) => {
                        items.extend(last);
                        json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
                    }
                };
                print_whole(&whole, format)?;
            }
        }
        Ok(())
    }

    fn name(&self, selected: &[(&Resource, Option<String>)], item: &Value) -> String {
        let resource = selected.iter().find(|(r, _)| item["kind"] == r.kind.as_str());
        let kind = resource.map_or_else(String::new, |(r, _)| r.singular_name());
        format!("{kind}/{}", api::object::name(item))
    }

    async fn watch(
        &self,
        selected: &[(&Resource, Option<String>)],
        wide: Option<bool>,
        format: &Format,
    ) -> Outcome {
        let [(resource, name)] = selected else {
            return Err(Failure::Other(anyhow!("you may only specify a single resource type")));
        };
        let field = name.as_ref().map(|name| format!("metadata.name={name}")).unwrap_or_default();
        let path = self.path(resource, None, &[("watch", "true"), ("fieldSelector", &field)]);
        let mut header = !self.arguments.no_headers;
        let accept = if wide.is_some() { TABLE } else { "application/json" };
        self.connection
            .watch(&path, accept, |event| {
                if event["type"] == "BOOKMARK" {
                    return Ok(true);
                }
                match wide {
                    Some(wide) => print!("{}", self.render(&event["object"], resource, wide, header)),
                    None if matches!(format, Format::Name) => {
                        println!("{}", self.name(selected, &event["object"]))
                    }
                    None => print_whole(&event["object"], format)?,
                }
                header = false;
                Ok(true)
            })
            .await
    }

    /// A server's table as aligned text: three spaces between columns, as kubectl has it.
    fn render(&self, table: &Value, resource: &Resource, wide: bool, headers: bool) -> String {
        let definitions = table["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
        let keep: Vec<usize> = (0..definitions.len())
            .filter(|i| wide || definitions[*i]["priority"].as_i64().unwrap_or(0) == 0)
            .collect();
        let mut lines = Vec::new();
        if headers {
            let names =
                keep.iter().map(|i| definitions[*i]["name"].as_str().unwrap_or_default().to_uppercase());
            let mut line: Vec<String> = names.collect();
            self.prefix_and_suffix(&mut line, "NAMESPACE", "LABELS", resource);
            lines.push(line);
        }
        for row in table["rows"].as_array().into_iter().flatten() {
            let mut line: Vec<String> = keep.iter().map(|i| cell(&row["cells"][*i])).collect();
            if self.several
                && let Some(first) = line.first_mut()
            {
                *first = format!("{}/{first}", resource.singular_name());
            }
            let labels = labels(&row["object"]["metadata"]["labels"]);
            self.prefix_and_suffix(&mut line, api::object::namespace(&row["object"]), &labels, resource);
            lines.push(line);
        }
        aligned(&lines)
    }

    fn prefix_and_suffix(&self, line: &mut Vec<String>, namespace: &str, labels: &str, resource: &Resource) {
        if self.arguments.all_namespaces && resource.namespaced {
            line.insert(0, namespace.to_owned());
        }
        if self.arguments.show_labels {
            line.push(labels.to_owned());
        }
    }
}

fn append(table: &mut Value, mut next: Value) {
    if let (Some(rows), Some(more)) = (table["rows"].as_array_mut(), next["rows"].as_array_mut()) {
        rows.append(more);
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    }
}

fn labels(labels: &Value) -> String {
    let pairs: Vec<String> =
        labels.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", cell(v))).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// Lines of cells in columns; the last column is not padded.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in lines {
        let last = line.len().saturating_sub(1);
        for (i, cell) in line.iter().enumerate() {
            let pad = if i == last { 0 } else { widths[i] + 3 - cell.chars().count() };
            out.push_str(cell);
            out.push_str(&" ".repeat(pad));
        }
        out.push('\n');
    }
    out
}

fn print_whole(object: &Value, format: &Format) -> Outcome {
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(object).context("cannot write JSON")?),
        Format::Yaml => print!("{}", api::codec::yaml::emit(object)),
        Format::JsonPath(template) => {
            print!(
                "{}",
                template.render(object, true).map_err(|e| anyhow!("error executing jsonpath: {e}"))?
            );
        }
        Format::Name | Format::Table { .. } => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let line = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let text = aligned(&[line(&["NAME", "READY", "AGE"]), line(&["guestbook", "1/1", "5s"])]);
        assert_eq!(text, "NAME        READY   AGE\nguestbook   1/1     5s\n");
    }

    #[test]
    fn formats() {
        assert!(matches!(Format::parse("wide").ok(), Some(Format::Table { wide: true })));
        let error = Format::parse("paper").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("unable to match a printer"), "{error}");
    }
}
