//! `get -w`: what is there, then every change.

use serde_json::{Value, json};

use super::{Chosen, Format, Rows, TABLE, View, hide_managed_fields, named};
use crate::ctl::tabs::{self, Memory};
use crate::ctl::{Failure, Outcome};

impl View<'_> {
    /// Shows changes until the server ends the watch.
    pub(super) async fn watch(&self, chosen: &Chosen<'_>) -> Outcome {
        let [(resource, name, namespace)] = chosen.as_slice() else {
            return Err(Failure::new(format!(
                "you may only specify a single resource type: {} given",
                chosen.len()
            )));
        };
        let by_name = name.as_ref().map(|name| format!("metadata.name={name}")).unwrap_or_default();
        let whole = (*resource, None, namespace.clone());
        let accept = if self.format.is_human() { TABLE } else { "application/json" };
        let list_key = if self.format.is_human() { "rows" } else { "items" };
        if let Some(name) = name {
            // A missing object is an error before anything is watched.
            self.connection.get(&resource.object(namespace, name)).await?;
        }
        let list = self.read(&whole, accept, list_key, &[("fieldSelector", &by_name)]).await?;
        let mut printer = EventPrinter {
            view: self,
            chosen,
            memory: Memory::new(tabs::TABLE),
            headings: !self.arguments.view.no_headers,
        };
        if !self.arguments.watch_only {
            if self.format.is_human() {
                printer.print("ADDED", &list)?;
            } else {
                super::items(list.clone(), resource)
                    .iter()
                    .try_for_each(|item| printer.print("ADDED", item))?;
            }
        }
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let extra = [("watch", "true"), ("fieldSelector", &by_name), ("resourceVersion", revision)];
        let path = self.path(&whole, &extra);
        self.connection
            .watch(&path, accept, |event| {
                let kind = event["type"].as_str().unwrap_or_default();
                if kind != "BOOKMARK" {
                    printer.print(kind, &event["object"])?;
                }
                Ok(true)
            })
            .await
    }
}

struct EventPrinter<'a> {
    view: &'a View<'a>,
    chosen: &'a Chosen<'a>,
    memory: Memory,
    headings: bool,
}

impl EventPrinter<'_> {
    fn print(&mut self, kind: &str, object: &Value) -> Outcome {
        let arguments = self.view.arguments;
        let events = arguments.output_watch_events;
        let mut shown = object.clone();
        if !arguments.output.show_managed_fields {
            hide_managed_fields(&mut shown);
        }
        match self.view.format {
            Format::Human { wide } => self.rows(kind, object, *wide),
            Format::Name => println!("{}", named(self.chosen, object)),
            Format::Columns(columns) => {
                print!("{}", columns.table(&[&shown], self.headings));
                self.headings = false;
            }
            format => {
                if matches!(format, Format::Yaml) {
                    println!("---");
                }
                format.print(&if events { json!({"type": kind, "object": shown}) } else { shown })?;
                if matches!(format, Format::JsonPath { .. }) {
                    println!();
                }
            }
        }
        Ok(())
    }

    fn rows(&mut self, kind: &str, table: &Value, wide: bool) {
        let flags = &self.view.arguments.view;
        let Some((resource, ..)) = self.chosen.first() else { return };
        let rows = Rows { flags, resource, wide, with_kind: flags.show_kind };
        let mut lines = rows.of(table, self.headings);
        if lines.len() <= usize::from(self.headings) {
            return;
        }
        if self.view.arguments.output_watch_events {
            for (at, line) in lines.iter_mut().enumerate() {
                let first = if self.headings && at == 0 { "EVENT" } else { kind };
                line.insert(0, first.to_owned());
            }
        }
        self.headings = false;
        print!("{}", self.memory.table(&lines));
    }
}
