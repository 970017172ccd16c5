//! `gantry explain`: a kind's fields and what they mean, from the server's OpenAPI v3.

use serde_json::Value;

use super::connection::Connection;
use super::resources::{Resource, Resources};
use super::{Failure, Outcome};

/// Lines of text are broken behind this column, indentation included.
const WIDTH: usize = 80;

/// Flags of `explain`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE or TYPE.FIELD.FIELD…
    target: Option<String>,
    /// All fields of all fields, without what they mean.
    #[arg(long)]
    recursive: bool,
    /// GROUP/VERSION.
    #[arg(long, value_name = "VERSION", default_value = "")]
    api_version: String,
    /// `plaintext` or `plaintext-openapiv2`; both print the same.
    #[arg(long = "output", value_name = "FORMAT", default_value = "plaintext")]
    _output: String,
}

/// Explains.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let Some(target) = &arguments.target else {
        return Err(Failure::Plain("error: You must specify the type of resource to explain. Use \"kubectl api-resources\" for a complete list of supported resources.".to_owned()));
    };
    let resources = Resources::discover(connection).await?;
    let (resource, path) = chosen(&resources, target, &arguments.api_version)?;
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    let document = connection.get(&format!("/openapi/v3/{root}/{}", resource.api_version())).await.map_err(
        |failure| match failure.is_not_found() {
            true => Failure::new(format!("couldn't find resource for \"{}\"", described(resource))),
            false => failure,
        },
    )?;
    let schemas = Schemas(&document["components"]["schemas"]);
    let top = schemas
        .of_kind(resource)
        .ok_or_else(|| Failure::new(format!("couldn't find resource for \"{}\"", described(resource))))?;
    print!("{}", explained(&schemas, resource, top, &path, arguments.recursive)?);
    Ok(())
}

fn described(resource: &Resource) -> String {
    let version =
        if resource.group.is_empty() { format!("/{}", resource.version) } else { resource.api_version() };
    format!("{version}, Kind={}", resource.kind)
}

/// The resource and the fields below it: `pods.spec.containers`, `deployments.apps`.
fn chosen<'a>(
    resources: &'a Resources,
    target: &str,
    api_version: &str,
) -> Outcome<(&'a Resource, Vec<String>)> {
    let parts: Vec<&str> = target.trim_end_matches('.').split('.').collect();
    let (first, fields) = parts.split_first().ok_or_else(|| Failure::new("nothing to explain"))?;
    let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    if !api_version.is_empty() {
        let kind = resources.named(first)?.kind.clone();
        let found = resources.by_kind(api_version, &kind);
        let found = found.ok_or_else(|| {
            Failure::new(format!("couldn't find resource for \"{api_version}, Kind={kind}\""))
        })?;
        return Ok((found, fields));
    }
    // A group may be part of the name; the longest that fits wins.
    for length in (1..=parts.len()).rev() {
        let (name, rest) = parts.split_at(length);
        if length > 1
            && let Ok(found) = resources.named(&name.join("."))
            && !found.group.is_empty()
            && name.get(1..).is_some_and(|group| group.join(".").ends_with(&found.group))
        {
            return Ok((found, rest.iter().map(|field| (*field).to_owned()).collect()));
        }
    }
    Ok((resources.named(first)?, fields))
}

struct Schemas<'a>(&'a Value);

impl<'a> Schemas<'a> {
    fn of_kind(&self, resource: &Resource) -> Option<&'a Value> {
        let all = self.0.as_object().into_iter().flatten().map(|(_, schema)| schema);
        all.into_iter().find(|schema| {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
            kinds.into_iter().any(|gvk| {
                gvk["group"] == resource.group.as_str()
                    && gvk["version"] == resource.version.as_str()
                    && gvk["kind"] == resource.kind.as_str()
            })
        })
    }

    /// What a schema refers to, directly or as the only part of `allOf`.
    fn referred(&self, schema: &'a Value) -> &'a Value {
        let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        match reference.and_then(|reference| reference.rsplit('/').next()) {
            Some(name) => &self.0[name],
            None => schema,
        }
    }

    fn reference(schema: &Value) -> Option<&str> {
        let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        reference.and_then(|reference| reference.rsplit(['/', '.']).next())
    }

    /// What is inside lists and maps.
    fn element(&self, schema: &'a Value) -> &'a Value {
        let schema = self.referred(schema);
        match (&schema["items"], &schema["additionalProperties"]) {
            (items, _) if items.is_object() => self.element(items),
            (_, values) if values.is_object() => self.element(values),
            _ => schema,
        }
    }

    /// What a schema says of itself, then what its parts say.
    fn descriptions(&self, schema: &'a Value, texts: &mut Vec<&'a str>) {
        let own = if schema["$ref"].is_string() { self.referred(schema) } else { schema };
        texts.extend(own["description"].as_str().filter(|text| !text.is_empty()));
        for part in own["allOf"].as_array().into_iter().flatten() {
            self.descriptions(part, texts);
        }
        for inner in [&own["items"], &own["additionalProperties"]] {
            if inner.is_object() {
                self.descriptions(inner, texts);
            }
        }
    }

    fn type_name(&self, schema: &'a Value) -> String {
        if let Some(name) = Self::reference(schema) {
            // Times, quantities and the like are shown as what they are written as.
            return match self.referred(schema)["type"].as_str() {
                Some("object") | None => name.to_owned(),
                Some(other) => other.to_owned(),
            };
        }
        match schema["type"].as_str() {
            Some("array") => format!("[]{}", self.type_name(&schema["items"])),
            Some("object") if schema["additionalProperties"].is_object() => {
                format!("map[string]{}", self.type_name(&schema["additionalProperties"]))
            }
            Some("object") | None => "Object".to_owned(),
            Some(other) => other.to_owned(),
        }
    }
}

fn explained(
    schemas: &Schemas<'_>,
    resource: &Resource,
    top: &Value,
    path: &[String],
    recursive: bool,
) -> Outcome<String> {
    let mut out = String::new();
    if !resource.group.is_empty() {
        out.push_str(&format!("GROUP:      {}\n", resource.group));
    }
    out.push_str(&format!("KIND:       {}\nVERSION:    {}\n\n", resource.kind, resource.version));
    let (mut schema, mut field) = (top, top);
    for name in path {
        let parent = schemas.element(schema);
        let found = parent["properties"].get(name).filter(|found| !found.is_null());
        let last = path.last().unwrap_or(name);
        schema = found.ok_or_else(|| {
            // kubectl has printed this much by then.
            print!("{out}");
            Failure::new(format!("field {last:?} does not exist"))
        })?;
        field = schema;
    }
    if let Some(name) = path.last() {
        out.push_str(&format!("FIELD: {name} <{}>\n", schemas.type_name(field)));
        choices(field, "ENUM:", &mut out);
        out.push_str("\n\n");
    }
    out.push_str("DESCRIPTION:\n");
    let mut texts = Vec::new();
    schemas.descriptions(field, &mut texts);
    match texts.as_slice() {
        [] => out.push_str("    <empty>\n"),
        texts => {
            texts.iter().for_each(|text| wrapped(text, 4, &mut out));
            out.push_str("    \n");
        }
    }
    let inner = schemas.element(field);
    if inner["properties"].is_object() {
        out.push_str("FIELDS:\n");
        fields(schemas, inner, 2, recursive, &mut Vec::new(), &mut out);
    }
    out.push('\n');
    Ok(out)
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().into_iter().flatten().any(|required| required == name)
}

/// The values a field may have, if only some are: one a line below `ENUM:`, or the first four.
fn choices(schema: &Value, title: &str, out: &mut String) {
    let values: Vec<&str> =
        schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut values: Vec<&str> =
        values.into_iter().map(|value| if value.is_empty() { "\"\"" } else { value }).collect();
    if values.is_empty() {
        return;
    }
    if title == "ENUM:" {
        out.push_str(title);
        values.iter().for_each(|value| out.push_str(&format!("\n    {value}")));
        return;
    }
    if values.len() > 4 {
        values.truncate(4);
        values.push("....");
    }
    out.push_str(&format!("\n{title}{}", values.join(", ")));
}

fn fields<'a>(
    schemas: &Schemas<'a>,
    schema: &'a Value,
    indent: usize,
    recursive: bool,
    above: &mut Vec<&'a Value>,
    out: &mut String,
) {
    let pad = " ".repeat(indent);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let mark = if is_required(schema, name) { " -required-" } else { "" };
        out.push_str(&format!("{pad}{name}\t<{}>{mark}", schemas.type_name(field)));
        choices(field, &format!("{pad}enum: "), out);
        out.push('\n');
        if recursive {
            let inner = schemas.element(field);
            let seen = above.iter().any(|above| std::ptr::eq(*above, inner));
            if inner["properties"].is_object() && !seen {
                above.push(inner);
                fields(schemas, inner, indent + 2, recursive, above, out);
                above.pop();
            }
            continue;
        }
        let text = field["description"].as_str().filter(|text| !text.is_empty());
        wrapped(text.unwrap_or("<no description>"), indent + 2, out);
        out.push('\n');
    }
}

/// Words of each line, broken at the width; spaces between words of one line stay.
fn wrapped(text: &str, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    for line in text.split('\n') {
        let (mut current, mut spaces) = (String::new(), 0);
        for (at, word) in line.split(' ').enumerate() {
            spaces += usize::from(at > 0);
            if word.is_empty() {
                continue;
            }
            let length = indent + current.chars().count() + spaces + word.chars().count();
            if !current.is_empty() && length > WIDTH {
                out.push_str(&format!("{pad}{current}\n"));
                current.clear();
            } else {
                current.push_str(&" ".repeat(spaces));
            }
            current.push_str(word);
            spaces = 0;
        }
        out.push_str(&format!("{pad}{current}\n"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_and_text() {
        let all = json!({"io.x.Spec": {"type": "object", "properties": {
            "list": {"type": "array", "items": {"$ref": "#/components/schemas/io.x.Item"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "one": {"allOf": [{"$ref": "#/components/schemas/io.x.Item"}]}}},
            "io.x.Item": {"type": "object", "properties": {"a": {"type": "integer"}}}});
        let schemas = Schemas(&all);
        let mut out = String::new();
        fields(&schemas, &all["io.x.Spec"], 2, true, &mut Vec::new(), &mut out);
        assert_eq!(
            out,
            "  list\t<[]Item>\n    a\t<integer>\n  map\t<map[string]string>\n  one\t<Item>\n    a\t<integer>\n"
        );
        let mut out = String::new();
        wrapped(&"word ".repeat(20), 4, &mut out);
        assert!(out.lines().count() == 2 && out.lines().all(|line| line.len() <= 80), "{out}");
    }
}
