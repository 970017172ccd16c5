//! `gantry describe`: an object as an indented outline, and the events about it.

use serde_json::Value;

use super::connection::{Connection, query};
use super::get::aligned;
use super::resources::{Resource, Resources};
use super::{Outcome, Scope};

/// Flags of `describe`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE, TYPE NAME…, TYPE/NAME…
    #[arg(required = true)]
    words: Vec<String>,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    #[command(flatten)]
    scope: Scope,
}

/// Describes objects.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let resources = Resources::discover(connection).await?;
    let namespace = connection.namespace(&arguments.scope);
    let mut shown = 0;
    for (resource, name) in resources.select(&arguments.words)? {
        let objects = match name {
            Some(name) => vec![connection.get(&resource.object(&namespace, &name)).await?],
            None => {
                let suffix = query(&[("labelSelector", &arguments.selector)]);
                let path = format!("{}{suffix}", resource.collection(Some(&namespace)));
                let mut list = connection.get(&path).await?;
                list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default()
            }
        };
        for object in objects {
            if shown > 0 {
                println!("\n");
            }
            shown += 1;
            print!("{}", outline(&object));
            print!("{}", events(connection, resource, &object).await?);
        }
    }
    if shown == 0 {
        eprintln!("No resources found in {namespace} namespace.");
    }
    Ok(())
}

/// The object's own part.
fn outline(object: &Value) -> String {
    let mut out = String::new();
    let metadata = &object["metadata"];
    let mut head = vec![vec!["Name:".to_owned(), text(&metadata["name"])]];
    if !metadata["namespace"].is_null() {
        head.push(vec!["Namespace:".to_owned(), text(&metadata["namespace"])]);
    }
    for (title, map) in [("Labels:", &metadata["labels"]), ("Annotations:", &metadata["annotations"])] {
        let entries: Vec<String> = map
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != api::three_way::LAST_APPLIED)
            .map(|(key, value)| format!("{key}={}", text(value)))
            .collect();
        let first = entries.first().cloned().unwrap_or_else(|| "<none>".to_owned());
        head.push(vec![title.to_owned(), first]);
        head.extend(entries.into_iter().skip(1).map(|entry| vec![String::new(), entry]));
    }
    head.push(vec!["Created:".to_owned(), text(&metadata["creationTimestamp"])]);
    if let Some(owner) = metadata["ownerReferences"].as_array().and_then(|o| o.first()) {
        head.push(vec![
            "Controlled By:".to_owned(),
            format!("{}/{}", text(&owner["kind"]), text(&owner["name"])),
        ]);
    }
    out.push_str(&aligned(&head));
    for (key, value) in object.as_object().into_iter().flatten() {
        if !["apiVersion", "kind", "metadata"].contains(&key.as_str()) {
            entry(&title(key), value, 0, &mut out);
        }
    }
    out
}

/// `readinessProbe` → `Readiness Probe`.
fn title(key: &str) -> String {
    let mut out = String::new();
    for (at, c) in key.chars().enumerate() {
        if at == 0 {
            out.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() && !out.ends_with(|p: char| p.is_uppercase()) {
                out.push(' ');
            }
            out.push(c);
        }
    }
    out
}

fn entry(key: &str, value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(fields) if fields.is_empty() => out.push_str(&format!("{pad}{key}:  {{}}\n")),
        Value::Object(fields) => {
            out.push_str(&format!("{pad}{key}:\n"));
            for (key, value) in fields {
                // Keys of maps such as labels are data, recognisable by characters no field has.
                let shown = if key.contains(['.', '/', '-', '_']) { key.clone() } else { title(key) };
                entry(&shown, value, depth + 1, out);
            }
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let texts: Vec<String> = items.iter().map(text).collect();
            out.push_str(&format!("{pad}{key}:  {}\n", texts.join(", ")));
        }
        Value::Array(items) => {
            out.push_str(&format!("{pad}{key}:\n"));
            for (at, item) in items.iter().enumerate() {
                let name = ["name", "type", "mountPath"].iter().find_map(|k| item[*k].as_str());
                entry(&name.map_or_else(|| at.to_string(), str::to_owned), item, depth + 1, out);
            }
        }
        Value::String(long) if long.contains('\n') => {
            out.push_str(&format!("{pad}{key}:\n"));
            for line in long.lines() {
                out.push_str(&format!("{pad}  {line}\n"));
            }
        }
        other => out.push_str(&format!("{pad}{key}:  {}\n", text(other))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    }
}

async fn events(connection: &Connection, resource: &Resource, object: &Value) -> Outcome<String> {
    let selector = format!("involvedObject.uid={}", api::object::uid(object));
    let namespace = match api::object::namespace(object) {
        "" if resource.kind == "Node" => return Ok(String::new()),
        "" => "default",
        namespace => namespace,
    };
    let path = format!("/api/v1/namespaces/{namespace}/events{}", query(&[("fieldSelector", &selector)]));
    let list = connection.get_as(&path, "application/json;as=Table;v=v1;g=meta.k8s.io").await?;
    let rows = list["rows"].as_array().cloned().unwrap_or_default();
    if rows.is_empty() {
        return Ok("Events:  <none>\n".to_owned());
    }
    let column = |name: &str| {
        let definitions = list["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
        definitions.iter().position(|d| d["name"] == name)
    };
    let (Some(kind), Some(reason), Some(age), Some(message)) =
        (column("Type"), column("Reason"), column("Last Seen"), column("Message"))
    else {
        return Ok(String::new());
    };
    let line = |cells: [&str; 4]| [""].into_iter().chain(cells).map(str::to_owned).collect::<Vec<_>>();
    let mut lines =
        vec![line(["Type", "Reason", "Age", "Message"]), line(["----", "------", "---", "-------"])];
    for row in rows {
        let cell = |at: usize| text(&row["cells"][at]);
        lines.push(line([&cell(kind), &cell(reason), &cell(age), &cell(message)]));
    }
    Ok(format!("Events:\n{}", aligned(&lines)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outline() {
        let text = outline(&json!({
            "metadata": {"name": "x", "namespace": "n", "labels": {"a": "b", "c": "d"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "web", "args": ["a", "b"]}], "podIP": "1.2.3.4"},
        }));
        for part in [
            "Name:          x\n",
            "Labels:        a=b\n",
            "c=d",
            "Node Name:  node-1",
            "  Containers:\n    web:\n",
            "Args:  a, b",
            "Pod IP:  1.2.3.4",
        ] {
            assert!(text.contains(part), "lacks {part:?}:\n{text}");
        }
    }
}
