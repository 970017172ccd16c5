//! `gantry set env`: variables of a workload's containers.

use serde_json::{Value, json};

use super::{Which, containers, pod_spec};
use crate::ctl::connection::Connection;
use crate::ctl::manifest::text_of;
use crate::ctl::resources::{Resource, Resources};
use crate::ctl::{Failure, Outcome};

/// Flags of `set env`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME… or TYPE/NAME…, then KEY=VALUE… and KEY-…
    words: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Which containers; `*` is all.
    #[arg(short, long, value_name = "NAME", default_value = "*")]
    containers: String,
    /// KEY=VALUE; may be repeated.
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Every key of `configmap/NAME` or `secret/NAME`.
    #[arg(long, value_name = "TYPE/NAME", default_value = "")]
    from: String,
    /// Only these keys of --from.
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    keys: Vec<String>,
    /// Before the names of variables made by --from.
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Change variables that are already there.
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    overwrite: bool,
    /// Show the variables.
    #[arg(long)]
    list: bool,
}

/// Sets, removes or lists variables.
pub async fn run(connection: &Connection, resources: &Resources, arguments: Arguments) -> Outcome {
    let is_change = |word: &&String| word.contains('=') || (word.len() > 1 && word.ends_with('-'));
    let words: Vec<String> = arguments.words.iter().filter(|word| !is_change(word)).cloned().collect();
    let (mut wanted, mut removed) = (Vec::new(), Vec::new());
    for word in arguments.words.iter().filter(is_change).chain(&arguments.env) {
        match word.split_once('=') {
            Some((name, value)) => wanted.push(json!({"name": name, "value": value})),
            None if word == "-" => wanted.extend(from_input()?),
            None => removed.push(word.trim_end_matches('-').to_owned()),
        }
    }
    wanted.extend(from_object(connection, resources, &arguments).await?);
    if arguments.list {
        return list(connection, resources, &arguments, &words).await;
    }
    if wanted.is_empty() && removed.is_empty() {
        return Err(Failure::new("at least one environment variable must be provided"));
    }
    let change = |resource: &Resource, object: &mut Value| {
        let label = format!("{}/{}", resource.plural, api::object::name(object));
        let spec = pod_spec(resource, object)?;
        let found = containers(spec, &arguments.containers);
        if found.is_empty() {
            return Err(Failure::new(format!(
                "{label} does not have any containers matching {:?}",
                arguments.containers
            )));
        }
        for container in found {
            let mut variables = container["env"].as_array().cloned().unwrap_or_default();
            for variable in &wanted {
                match variables.iter_mut().find(|known| known["name"] == variable["name"]) {
                    Some(_) if !arguments.overwrite => {
                        let name = variable["name"].as_str().unwrap_or_default();
                        return Err(Failure::new(format!(
                            "'{name}' already has a value, and --overwrite is false"
                        )));
                    }
                    Some(known) => *known = variable.clone(),
                    None => variables.push(variable.clone()),
                }
            }
            variables.retain(|known| !removed.iter().any(|name| known["name"] == name.as_str()));
            container["env"] = Value::Array(variables);
        }
        Ok("env updated".to_owned())
    };
    arguments.which.change_each(connection, resources, &words, change).await
}

fn from_input() -> Outcome<Vec<Value>> {
    let text = text_of("-")?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| json!({"name": name, "value": value})).collect())
}

async fn from_object(
    connection: &Connection,
    resources: &Resources,
    arguments: &Arguments,
) -> Outcome<Vec<Value>> {
    if arguments.from.is_empty() {
        return Ok(Vec::new());
    }
    let (resource, name) = resources.one(std::slice::from_ref(&arguments.from))?;
    let field = match resource.kind.as_str() {
        "ConfigMap" => "configMapKeyRef",
        "Secret" => "secretKeyRef",
        other => return Err(Failure::new(format!("unsupported resource specified in --from: {other}"))),
    };
    let object = connection.get(&resource.object(&connection.default_namespace(), &name)).await?;
    let keys = object["data"].as_object().into_iter().flatten().map(|(key, _)| key);
    let keys = keys.filter(|key| arguments.keys.is_empty() || arguments.keys.contains(key));
    let variable = |key: &String| {
        let letters =
            key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
        let variable = format!("{}{}", arguments.prefix, letters.collect::<String>());
        json!({"name": variable, "valueFrom": {field: {"name": name, "key": key}}})
    };
    Ok(keys.map(variable).collect())
}

async fn list(
    connection: &Connection,
    resources: &Resources,
    arguments: &Arguments,
    words: &[String],
) -> Outcome {
    for mut target in arguments.which.choice(words).exactly(connection, resources).await? {
        let spec = pod_spec(&target.resource, &mut target.object)?;
        for container in containers(spec, &arguments.containers) {
            println!(
                "# {} {}, container {}",
                target.resource.kind,
                target.name,
                container["name"].as_str().unwrap_or_default()
            );
            for variable in container["env"].as_array().into_iter().flatten() {
                let name = variable["name"].as_str().unwrap_or_default();
                let from = &variable["valueFrom"];
                let (config, secret) = (&from["configMapKeyRef"], &from["secretKeyRef"]);
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                if from.is_null() {
                    println!("{name}={}", text(&variable["value"]));
                } else if config.is_object() {
                    println!(
                        "# {name} from configmap {}, key {}",
                        text(&config["name"]),
                        text(&config["key"])
                    );
                } else if secret.is_object() {
                    println!("# {name} from secret {}, key {}", text(&secret["name"]), text(&secret["key"]));
                } else {
                    println!("# {name} from field path {}", text(&from["fieldRef"]["fieldPath"]));
                }
            }
        }
    }
    Ok(())
}
