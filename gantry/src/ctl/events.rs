//! `gantry events`: what happened, oldest first.

use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::describe::interval;
use super::get::list_of;
use super::output::{Flags, Format, hide_managed_fields};
use super::resources::Resources;
use super::tabs::{Memory, TABLE};
use super::{Failure, Outcome};

/// Flags of `events`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: Flags,
    /// Only about TYPE/NAME.
    #[arg(long = "for", value_name = "TYPE/NAME", default_value = "")]
    about: String,
    /// Only of these types: `Normal`, `Warning`.
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    types: Vec<String>,
    /// In every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Go on showing new ones.
    #[arg(short, long)]
    watch: bool,
    /// Without headings.
    #[arg(long)]
    no_headers: bool,
    /// How many objects to ask for at once; all are asked for.
    #[arg(long = "chunk-size", value_name = "COUNT", default_value_t = 500, hide = true)]
    _chunk_size: u32,
}

/// Shows events.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    for kind in &arguments.types {
        if !["normal", "warning"].contains(&kind.to_lowercase().as_str()) {
            return Err(Failure::new("valid --types are Normal or Warning"));
        }
    }
    let format = Format::parse(&arguments.output, false)?;
    let mut terms = Vec::new();
    if !arguments.about.is_empty() {
        let resources = Resources::discover(connection).await?;
        let (resource, name) = resources
            .one(std::slice::from_ref(&arguments.about))
            .map_err(|_| Failure::new("--for must be in resource/name form"))?;
        terms.push(format!("involvedObject.kind={}", resource.kind));
        terms.push(format!("involvedObject.name={name}"));
        terms.push(format!("involvedObject.apiVersion={}", resource.api_version()));
    }
    let base = match arguments.all_namespaces {
        true => "/api/v1/events".to_owned(),
        false => format!("/api/v1/namespaces/{}/events", connection.default_namespace()),
    };
    let selector = terms.join(",");
    let path = |extra: &[(&str, &str)]| {
        let pairs: Vec<(&str, &str)> =
            [("fieldSelector", selector.as_str())].iter().chain(extra).copied().collect();
        format!("{base}{}", query(&pairs))
    };
    let list = connection.get(&path(&[])).await?;
    let mut events = list["items"].as_array().cloned().unwrap_or_default();
    events.retain(|event| arguments.wants(event));
    events.sort_by_key(last_seen);
    for event in &mut events {
        if !arguments.output.show_managed_fields {
            hide_managed_fields(event);
        }
        event["apiVersion"] = json!("v1");
        event["kind"] = json!("Event");
    }
    let mut table = Memory::new(TABLE);
    let mut headings = !arguments.no_headers;
    if !format.is_human() {
        format.print(&list_of(events))?;
    } else if events.is_empty() && !arguments.watch {
        match arguments.all_namespaces {
            true => eprintln!("No events found."),
            false => eprintln!("No events found in {} namespace.", connection.default_namespace()),
        }
    } else {
        print!("{}", table.table(&arguments.rows(&events, &mut headings)));
    }
    if !arguments.watch {
        return Ok(());
    }
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let path = path(&[("watch", "true"), ("resourceVersion", revision)]);
    connection
        .watch(&path, "application/json", |change| {
            let event = &change["object"];
            if change["type"] != "DELETED" && arguments.wants(event) {
                let rows = arguments.rows(std::slice::from_ref(event), &mut headings);
                print!("{}", table.table(&rows));
            }
            Ok(true)
        })
        .await
}

fn last_seen(event: &Value) -> String {
    let places = [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]];
    places.iter().find_map(|place| place.as_str()).unwrap_or_default().to_owned()
}

impl Arguments {
    fn wants(&self, event: &Value) -> bool {
        let kind = event["type"].as_str().unwrap_or_default();
        self.types.is_empty() || self.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind))
    }

    fn rows(&self, events: &[Value], headings: &mut bool) -> Vec<Vec<String>> {
        let now = component_base::clock::RealClock::shared().now();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut rows: Vec<Vec<String>> = Vec::new();
        if std::mem::take(headings) {
            rows.push(["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"].map(str::to_owned).to_vec());
        }
        rows.extend(events.iter().map(|event| {
            let object = &event["involvedObject"];
            let name = format!("{}/{}", text(&object["kind"]), text(&object["name"]));
            let message = text(&event["message"]).trim().to_owned();
            vec![interval(event, now), text(&event["type"]), text(&event["reason"]), name, message]
        }));
        if self.all_namespaces {
            let namespaces = events.iter().map(api::object::namespace);
            let heading = (rows.len() > events.len()).then_some("NAMESPACE");
            for (row, namespace) in rows.iter_mut().zip(heading.into_iter().chain(namespaces)) {
                row.insert(0, namespace.to_owned());
            }
        }
        rows
    }
}
