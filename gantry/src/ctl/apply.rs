//! `gantry apply`: client-side declarative management, compatible with objects kubectl has applied.

use std::path::PathBuf;

use api::three_way::{self, LAST_APPLIED};
use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::resources::Resources;
use super::{Outcome, Scope, manifest};

/// Flags of `apply`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Files, folders, or `-` for standard input.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// `none`, or `server`: check without keeping anything.
    #[arg(long, value_name = "WHERE", default_value = "none", value_parser = ["none", "server"])]
    dry_run: String,
    #[command(flatten)]
    scope: Scope,
}

/// Applies every object; stops at the first the server refuses.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let objects = manifest::read(&arguments.filename)?;
    let resources = Resources::discover(connection).await?;
    let default_namespace = connection.namespace(&arguments.scope);
    let dry_run = arguments.dry_run == "server";
    for mut object in objects {
        let resource = resources.of(&object)?;
        let own_namespace = api::object::namespace(&object).to_owned();
        let namespace = if own_namespace.is_empty() { default_namespace.clone() } else { own_namespace };
        if resource.namespaced {
            api::object::metadata_mut(&mut object).insert("namespace".to_owned(), json!(namespace));
        }
        let name = api::object::name(&object).to_owned();
        let suffix = query(&[
            ("fieldManager", "gantry-client-side-apply"),
            ("fieldValidation", "Strict"),
            ("dryRun", if dry_run { "All" } else { "" }),
        ]);
        let outcome = match connection.find(&resource.object(&namespace, &name)).await? {
            None => {
                remember(&mut object);
                let path = format!("{}{suffix}", resource.collection(Some(&namespace)));
                connection.post(&path, &object).await?;
                "created"
            }
            Some(current) => {
                let patch = difference(&mut object, &current);
                if patch == json!({}) {
                    "unchanged"
                } else {
                    let path = format!("{}{suffix}", resource.object(&namespace, &name));
                    connection.patch(&path, "application/strategic-merge-patch+json", &patch).await?;
                    "configured"
                }
            }
        };
        let note = if dry_run { " (server dry run)" } else { "" };
        println!("{}/{name} {outcome}{note}", resource.singular_name());
    }
    Ok(())
}

/// Writes the object's own form into its annotation, as kubectl does: compact JSON and a newline.
fn remember(object: &mut Value) {
    let metadata = api::object::metadata_mut(object);
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    } else {
        metadata.insert("annotations".to_owned(), json!({}));
    }
    let text = format!("{object}\n");
    object["metadata"]["annotations"][LAST_APPLIED] = json!(text);
}

fn difference(object: &mut Value, current: &Value) -> Value {
    let last: Value = current["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| json!({}));
    remember(object);
    let (group, version) = match object["apiVersion"].as_str().unwrap_or_default().split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", object["apiVersion"].as_str().unwrap_or_default()),
    };
    let schema = api::schema::facts().by_gvk(group, version, object["kind"].as_str().unwrap_or_default());
    three_way::patch(&last, object, current, schema)
}
