//! `gantry get`: tables from the server, or whole objects as YAML, JSON, names, JSONPath, columns.

mod table;
mod watch;

use http::Method;
use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::manifest::Files;
use super::output::{self, Format, hide_managed_fields, sort_by};
use super::resources::{Resource, Resources};
use super::selection::items;
use super::{Failure, Outcome, history};
pub use table::{Rows, TABLE, joined as joined_labels};

/// Flags of `get`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE, TYPE NAME…, TYPE/NAME…
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: output::Flags,
    #[command(flatten)]
    view: table::Flags,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Field selector.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    field_selector: String,
    /// Go on showing changes.
    #[arg(short, long)]
    watch: bool,
    /// Show changes only.
    #[arg(long)]
    watch_only: bool,
    /// Show what kind of change each is.
    #[arg(long)]
    output_watch_events: bool,
    /// As it was at a revision, at a time (RFC 3339), or an age ago such as `10m`.
    #[arg(long, value_name = "REVISION|TIME|AGE", conflicts_with_all = ["watch", "watch_only"])]
    at: Option<String>,
    /// What to sort by, a JSONPath.
    #[arg(long, value_name = "PATH", default_value = "")]
    sort_by: String,
    /// Nothing to show is fine.
    #[arg(long)]
    ignore_not_found: bool,
    /// How many objects to ask for at once; 0 is all.
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    chunk_size: u32,
    /// A path of the server, printed as it answers.
    #[arg(long, value_name = "PATH")]
    raw: Option<String>,
    /// `status`, `scale`, …
    #[arg(long, value_name = "NAME", default_value = "")]
    subresource: String,
    /// Tables are made by the server; this is always so.
    #[arg(long = "server-print", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide = true)]
    _server_print: String,
}

/// One resource's objects, or one of them.
type Chosen<'a> = Vec<(&'a Resource, Option<String>, String)>;

/// Shows objects.
pub async fn run(connection: &Connection, mut arguments: Arguments) -> Outcome {
    // An age is counted once, so that all objects are shown as of the same moment.
    arguments.at = arguments.at.as_deref().map(history::moment).transpose()?;
    if let Some(path) = &arguments.raw {
        let text = connection.raw(Method::GET, path, None).await?;
        print!("{text}");
        return Ok(());
    }
    let format = Format::parse(&arguments.output, true)?;
    if arguments.words.is_empty() && arguments.files.is_empty() {
        return Err(Failure::Plain(
            "You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples"
                .to_owned(),
        ));
    }
    let resources = Resources::discover(connection).await?;
    let view = View { connection, arguments: &arguments, format: &format };
    let (chosen, failures) = view.chosen(&resources)?;
    if arguments.watch || arguments.watch_only {
        return view.watch(&chosen).await;
    }
    if format.is_human() {
        view.tables(&chosen, failures).await
    } else {
        view.objects(&chosen, failures).await
    }
}

struct View<'a> {
    connection: &'a Connection,
    arguments: &'a Arguments,
    format: &'a Format,
}

impl View<'_> {
    fn chosen<'r>(&self, resources: &'r Resources) -> Outcome<(Chosen<'r>, Vec<Failure>)> {
        let namespace = self.connection.default_namespace();
        if self.arguments.files.is_empty() {
            let chosen = resources.select(&self.arguments.words)?;
            if self.arguments.view.all_namespaces && chosen.iter().any(|(_, name)| name.is_some()) {
                return Err(Failure::new("a resource cannot be retrieved by name across all namespaces"));
            }
            let by_selector =
                !self.arguments.selector.is_empty() || !self.arguments.field_selector.is_empty();
            if by_selector && chosen.iter().any(|(_, name)| name.is_some()) {
                return Err(Failure::new("name cannot be provided when a selector is specified"));
            }
            return Ok((
                chosen.into_iter().map(|(r, name)| (r, name, namespace.clone())).collect(),
                Vec::new(),
            ));
        }
        let (mut chosen, mut failures) = (Chosen::new(), Vec::new());
        for item in self.arguments.files.read()? {
            let own = api::object::namespace(&item.object);
            let namespace = if own.is_empty() { namespace.clone() } else { own.to_owned() };
            match resources.of(&item.object, &item.source) {
                Ok(resource) => {
                    chosen.push((resource, Some(api::object::name(&item.object).to_owned()), namespace))
                }
                Err(failure) => failures.push(failure),
            }
        }
        Ok((chosen, failures))
    }

    fn path(
        &self,
        (resource, name, namespace): &(&Resource, Option<String>, String),
        extra: &[(&str, &str)],
    ) -> String {
        let arguments = self.arguments;
        let base = resource.collection((!arguments.view.all_namespaces).then_some(namespace.as_str()));
        let mut pairs = vec![
            ("labelSelector", arguments.selector.as_str()),
            ("fieldSelector", arguments.field_selector.as_str()),
        ];
        pairs.extend(extra);
        match name {
            Some(name) if arguments.subresource.is_empty() => format!("{base}/{name}{}", query(extra)),
            Some(name) => format!("{base}/{name}/{}{}", arguments.subresource, query(extra)),
            None => format!("{base}{}", query(&pairs)),
        }
    }

    /// An object, or all pages of a list in one; `list` is where the answer keeps what it lists.
    async fn read(
        &self,
        what: &(&Resource, Option<String>, String),
        accept: &str,
        list: &str,
        extra: &[(&str, &str)],
    ) -> Outcome<Value> {
        let chunk = match (self.arguments.chunk_size, &what.1) {
            (0, _) | (_, Some(_)) => String::new(),
            (size, None) => size.to_string(),
        };
        let mut whole: Option<Value> = None;
        let mut token = String::new();
        loop {
            let at = self.arguments.at.as_deref().unwrap_or_default();
            let mut pairs =
                vec![("limit", chunk.as_str()), ("continue", token.as_str()), ("gantry.dev/at", at)];
            pairs.extend(extra);
            let mut page = self.connection.get_as(&self.path(what, &pairs), accept).await?;
            let next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            match &mut whole {
                None => whole = Some(page),
                Some(whole) => {
                    if let (Some(all), Some(more)) = (whole[list].as_array_mut(), page[list].as_array_mut()) {
                        all.append(more);
                    }
                }
            }
            if next.is_empty() {
                return Ok(whole.unwrap_or_default());
            }
            token = next;
        }
    }

    /// Keeps a refusal for the end, unless it may be ignored.
    fn note(&self, failure: Failure, failures: &mut Vec<Failure>) -> Outcome {
        match failure {
            Failure::Server(_) if self.arguments.ignore_not_found && failure.is_not_found() => {}
            Failure::Server(_) => failures.push(failure),
            other => return Err(other),
        }
        Ok(())
    }

    fn several(chosen: &Chosen<'_>) -> bool {
        chosen.windows(2).any(|pair| matches!(pair, [a, b] if a.0 != b.0))
    }

    async fn tables(&self, chosen: &Chosen<'_>, mut failures: Vec<Failure>) -> Outcome {
        let include = if self.arguments.sort_by.is_empty() { "" } else { "Object" };
        let mut shown = 0;
        let wide = matches!(self.format, Format::Human { wide: true });
        let with_kind = self.arguments.view.show_kind || Self::several(chosen);
        // Rows of one kind after another share one table, as the columns then line up.
        for run in chosen.chunk_by(|a, b| a.0 == b.0 && a.1.is_some() == b.1.is_some()) {
            let mut table: Option<Value> = None;
            for what in run {
                match (self.read(what, TABLE, "rows", &[("includeObject", include)]).await, &mut table) {
                    (Ok(next), None) => table = Some(table::or_plain(next)),
                    (Ok(next), Some(table)) => table::append(table, next),
                    (Err(failure), _) => self.note(failure, &mut failures)?,
                }
            }
            let (Some(mut table), Some((resource, ..))) = (table, run.first()) else { continue };
            if let Some(rows) = table["rows"].as_array_mut() {
                if !self.arguments.sort_by.is_empty() {
                    sort_by(rows, &self.arguments.sort_by, |row| row["object"].clone())?;
                }
                if rows.is_empty() {
                    continue;
                }
            }
            if shown > 0 {
                println!();
            }
            shown += 1;
            let rows = Rows { flags: &self.arguments.view, resource, wide, with_kind };
            print!("{}", super::tabs::TABLE.table(&rows.of(&table, !self.arguments.view.no_headers)));
        }
        if shown == 0 && failures.is_empty() && !self.arguments.ignore_not_found {
            self.say_nothing_found(chosen);
        }
        Failure::all(failures)
    }

    fn say_nothing_found(&self, chosen: &Chosen<'_>) {
        let namespaced = chosen.iter().all(|(r, ..)| r.namespaced) && !self.arguments.view.all_namespaces;
        match chosen.first() {
            Some((.., namespace)) if namespaced => eprintln!("No resources found in {namespace} namespace."),
            _ => eprintln!("No resources found"),
        }
    }

    async fn objects(&self, chosen: &Chosen<'_>, mut failures: Vec<Failure>) -> Outcome {
        let mut found = Vec::new();
        for what in chosen {
            match self.read(what, "application/json", "items", &[]).await {
                Ok(answer) if what.1.is_none() => found.extend(items(answer, what.0)),
                Ok(answer) => found.push(answer),
                Err(failure) => self.note(failure, &mut failures)?,
            }
        }
        let single = matches!(chosen.as_slice(), [(_, Some(_), _)]);
        if !self.arguments.output.show_managed_fields {
            found.iter_mut().for_each(hide_managed_fields);
        }
        if !self.arguments.sort_by.is_empty() {
            sort_by(&mut found, &self.arguments.sort_by, Value::clone)?;
        }
        match self.format {
            Format::Name => found.iter().for_each(|item| println!("{}", named(chosen, item))),
            Format::Columns(columns) => {
                let all: Vec<&Value> = found.iter().collect();
                print!("{}", columns.table(&all, !self.arguments.view.no_headers));
            }
            format => match (single, found.as_slice()) {
                (true, [one]) => format.print(one)?,
                (true, _) => {}
                (false, []) if !failures.is_empty() => {}
                _ => format.print(&list_of(found))?,
            },
        }
        Failure::all(failures)
    }
}

/// A `List` of objects of any kinds.
pub fn list_of(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

fn named(chosen: &Chosen<'_>, item: &Value) -> String {
    let fits = |r: &Resource| item["kind"] == r.kind.as_str() && item["apiVersion"] == r.api_version();
    let resource = chosen.iter().find(|(r, ..)| fits(r));
    let kind = resource.map_or_else(String::new, |(r, ..)| r.singular_name());
    format!("{kind}/{}", api::object::name(item))
}
