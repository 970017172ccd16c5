//! Contexts, clusters and users of a kubeconfig, and fields by their path.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Kubeconfig;
use crate::ctl::manifest::reason;
use crate::ctl::{Failure, Globals, Outcome};

/// Flags of `config set-context`; `--cluster` and `--namespace` are those every verb has.
#[derive(clap::Args)]
pub struct Context {
    name: Option<String>,
    /// The context in use.
    #[arg(long)]
    current: bool,
    /// The user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// Flags of `config set-cluster`; `--server` and the certificate flags are those every verb has.
#[derive(clap::Args)]
pub struct Cluster {
    name: String,
    /// Put the files' content into the kubeconfig.
    #[arg(long)]
    embed_certs: bool,
    /// A proxy to reach the cluster through.
    #[arg(long, value_name = "URL")]
    proxy_url: Option<String>,
}

/// Flags of `config set-credentials`; `--token` and the certificate flags are those every verb has.
#[derive(clap::Args)]
pub struct Credentials {
    name: String,
    /// Put the files' content into the kubeconfig.
    #[arg(long)]
    embed_certs: bool,
    /// A user's name, for servers that ask for a password.
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// A user's password.
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
}

type Fields<'a> = &'a [(&'a str, Option<String>)];

/// Writes what is given into a named entry.
fn write(config: &mut Kubeconfig, kind: &str, inner: &str, name: &str, fields: Fields<'_>) -> Outcome<bool> {
    let (entry, there) = config.entry(kind, inner, name)?;
    for (field, value) in fields {
        if let Some(value) = value {
            entry[*field] = json!(value);
        }
    }
    config.save()?;
    Ok(there)
}

/// Makes or changes a context.
pub fn set_context(config: &mut Kubeconfig, globals: &Globals, arguments: &Context) -> Outcome {
    let name = match (&arguments.name, arguments.current) {
        (Some(name), false) => name.clone(),
        (None, true) if !config.current().is_empty() => config.current().to_owned(),
        (None, true) => return Err(Failure::new("no current context is set")),
        _ => return Err(Failure::new("you must specify a non-empty context name or --current")),
    };
    let fields = [
        ("cluster", globals.cluster.clone()),
        ("user", arguments.user.clone()),
        ("namespace", globals.namespace.clone()),
    ];
    let there = write(config, "contexts", "context", &name, &fields)?;
    println!("Context {name:?} {}.", if there { "modified" } else { "created" });
    Ok(())
}

/// Base64 of a file, for the field's `-data` twin.
fn embedded(path: &std::path::Path) -> Outcome<String> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::new(format!("could not read {}: {}", path.display(), reason(&error))))?;
    Ok(STANDARD.encode(bytes))
}

/// A file's path, or its content under the field's `-data` twin.
fn file(entry: &mut Value, field: &str, path: Option<&std::path::PathBuf>, embed: bool) -> Outcome {
    let Some(path) = path else { return Ok(()) };
    let data = format!("{field}-data");
    let (keep, drop_field, value) = match embed {
        true => (data.as_str(), field, embedded(path)?),
        false => {
            let absolute = std::path::absolute(path)?;
            (field, data.as_str(), absolute.display().to_string())
        }
    };
    if let Some(fields) = entry.as_object_mut() {
        fields.remove(drop_field);
        fields.insert(keep.to_owned(), json!(value));
    }
    Ok(())
}

/// Makes or changes a cluster.
pub fn set_cluster(config: &mut Kubeconfig, globals: &Globals, arguments: &Cluster) -> Outcome {
    let (entry, _) = config.entry("clusters", "cluster", &arguments.name)?;
    file(entry, "certificate-authority", globals.certificate_authority.as_ref(), arguments.embed_certs)?;
    if globals.insecure_skip_tls_verify {
        entry["insecure-skip-tls-verify"] = json!(true);
    }
    let fields = [
        ("server", globals.server.clone()),
        ("tls-server-name", globals.tls_server_name.clone()),
        ("proxy-url", arguments.proxy_url.clone()),
    ];
    write(config, "clusters", "cluster", &arguments.name, &fields)?;
    println!("Cluster {:?} set.", arguments.name);
    Ok(())
}

/// Makes or changes a user.
pub fn set_credentials(config: &mut Kubeconfig, globals: &Globals, arguments: &Credentials) -> Outcome {
    let (entry, _) = config.entry("users", "user", &arguments.name)?;
    file(entry, "client-certificate", globals.client_certificate.as_ref(), arguments.embed_certs)?;
    file(entry, "client-key", globals.client_key.as_ref(), arguments.embed_certs)?;
    let fields = [
        ("token", globals.token.clone()),
        ("username", arguments.username.clone()),
        ("password", arguments.password.clone()),
    ];
    write(config, "users", "user", &arguments.name, &fields)?;
    println!("User {:?} set.", arguments.name);
    Ok(())
}

/// Sets or removes the field at a path: `current-context`, `contexts.NAME.namespace`.
pub fn set_path(config: &mut Kubeconfig, path: &str, value: Option<String>) -> Outcome {
    let (kind, rest) = path.split_once('.').unwrap_or((path, ""));
    let inner = match kind {
        "contexts" => "context",
        "clusters" => "cluster",
        "users" => "user",
        _ => "",
    };
    let typed = |value: String| match value.as_str() {
        "true" => json!(true),
        "false" => json!(false),
        _ => json!(value),
    };
    if inner.is_empty() || rest.is_empty() {
        match value {
            Some(value) => config.content[path] = typed(value),
            None => drop(config.content.as_object_mut().and_then(|fields| fields.remove(path))),
        }
        return config.save();
    }
    match (rest.rsplit_once('.'), value) {
        (Some((name, field)), Some(value)) => {
            let (entry, _) = config.entry(kind, inner, name)?;
            entry[field] = typed(value);
        }
        (Some((name, field)), None) if config.find(kind, name).is_some() => {
            let (entry, _) = config.entry(kind, inner, name)?;
            entry.as_object_mut().and_then(|fields| fields.remove(field));
        }
        (_, None) => {
            if let Some(list) = config.content[kind].as_array_mut() {
                list.retain(|entry| entry["name"] != rest);
            }
        }
        (None, Some(_)) => {
            return Err(Failure::new(format!("{path} is no field: name it as {kind}.NAME.FIELD")));
        }
    }
    config.save()
}

/// Hides keys, certificates and tokens.
pub fn redact(content: &mut Value) {
    for (kind, inner) in [("clusters", "cluster"), ("users", "user")] {
        for entry in content[kind].as_array_mut().into_iter().flatten() {
            for (field, value) in entry[inner].as_object_mut().into_iter().flatten() {
                if field.ends_with("-data") {
                    *value = json!("DATA+OMITTED");
                } else if ["token", "password"].contains(&field.as_str()) {
                    *value = json!("REDACTED");
                }
            }
        }
    }
}

/// Puts the content of files in their place.
pub fn flatten(content: &mut Value) -> Outcome {
    for (kind, inner, fields) in [
        ("clusters", "cluster", &["certificate-authority"][..]),
        ("users", "user", &["client-certificate", "client-key"][..]),
    ] {
        for entry in content[kind].as_array_mut().into_iter().flatten() {
            for field in fields {
                let path = entry[inner][*field].as_str().map(std::path::PathBuf::from);
                file(&mut entry[inner], field, path.as_ref(), true)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &std::path::Path) -> Kubeconfig {
        Kubeconfig {
            content: json!({"contexts": [], "clusters": [], "users": []}),
            path: folder.join("config"),
        }
    }

    #[test]
    fn fields_by_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        set_path(&mut config, "contexts.a.namespace", Some("x".to_owned())).expect("set");
        set_path(&mut config, "current-context", Some("a".to_owned())).expect("set");
        assert_eq!(config.content["contexts"], json!([{"name": "a", "context": {"namespace": "x"}}]));
        set_path(&mut config, "contexts.a.namespace", None).expect("unset");
        assert_eq!(config.content["contexts"][0]["context"], json!({}));
        set_path(&mut config, "contexts.a", None).expect("unset");
        assert_eq!(config.content["contexts"], json!([]));
        assert!(std::fs::read_to_string(&config.path).expect("a file").contains("current-context: a"));
    }

    #[test]
    fn secrets_are_hidden() {
        let mut content = json!({"clusters": [{"cluster": {"certificate-authority-data": "x", "server": "s"}}],
            "users": [{"user": {"token": "t"}}]});
        redact(&mut content);
        assert_eq!(content["clusters"][0]["cluster"]["certificate-authority-data"], "DATA+OMITTED");
        assert_eq!(content["clusters"][0]["cluster"]["server"], "s");
        assert_eq!(content["users"][0]["user"]["token"], "REDACTED");
    }
}
