//! `gantry create configmap` and `create secret`: keys from literals, files, folders and env files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Common;
use crate::ctl::manifest::{reason, text_of};
use crate::ctl::{Failure, Outcome};

/// Where keys and values come from.
#[derive(clap::Args, Default)]
pub struct Sources {
    /// KEY=VALUE; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// A file, KEY=FILE, or a folder; may be repeated.
    #[arg(long, value_name = "[KEY=]PATH")]
    from_file: Vec<String>,
    /// A file of KEY=VALUE lines; may be repeated.
    #[arg(long, value_name = "FILE")]
    from_env_file: Vec<String>,
    /// Add a hash of the content to the name; not supported.
    #[arg(long)]
    append_hash: bool,
}

type Pairs = Vec<(String, Vec<u8>)>;

impl Sources {
    fn read(&self) -> Outcome<Pairs> {
        if self.append_hash {
            return Err(Failure::new("--append-hash: this version does not make hashed names"));
        }
        if !self.from_env_file.is_empty() && (!self.from_file.is_empty() || !self.from_literal.is_empty()) {
            return Err(Failure::new("from-env-file cannot be combined with from-file or from-literal"));
        }
        let mut pairs = Pairs::new();
        for literal in &self.from_literal {
            let (key, value) =
                literal.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                    Failure::new(format!("invalid literal source {literal}, expected key=value"))
                })?;
            let quoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
            pairs.push((key.to_owned(), quoted.unwrap_or(value).as_bytes().to_vec()));
        }
        self.from_file.iter().try_for_each(|source| file(source, &mut pairs))?;
        self.from_env_file.iter().try_for_each(|source| env_file(source, &mut pairs))?;
        for (at, (key, _)) in pairs.iter().enumerate() {
            if pairs.iter().take(at).any(|(other, _)| other == key) {
                return Err(Failure::new(format!(
                    "cannot add key {key:?}, another key by that name already exists"
                )));
            }
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
                return Err(Failure::new(format!(
                    "{key:?} is not valid key name: a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                )));
            }
        }
        Ok(pairs)
    }
}

fn file(source: &str, pairs: &mut Pairs) -> Outcome {
    let (key, path) = match source.split_once('=') {
        Some(("", _)) => {
            return Err(Failure::new(format!(
                "key name for file path {} missing",
                source.trim_start_matches('=')
            )));
        }
        Some((key, "")) => return Err(Failure::new(format!("file path for key name {key} missing"))),
        Some((key, path)) => (Some(key), path),
        None => (None, source),
    };
    let wrong = |error: &std::io::Error| Failure::new(format!("error reading {path}: {}", reason(error)));
    let metadata = std::fs::metadata(path).map_err(|error| wrong(&error))?;
    let base = |path: &std::path::Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !metadata.is_dir() {
        let name = key.map_or_else(|| base(std::path::Path::new(path)), str::to_owned);
        pairs.push((name, std::fs::read(path).map_err(|error| wrong(&error))?));
        return Ok(());
    }
    if key.is_some() {
        return Err(Failure::new("cannot give a key name for a directory path"));
    }
    let entries = std::fs::read_dir(path).map_err(|error| wrong(&error))?;
    let mut inside: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    inside.sort();
    for path in inside {
        pairs.push((base(&path), std::fs::read(&path)?));
    }
    Ok(())
}

fn env_file(source: &str, pairs: &mut Pairs) -> Outcome {
    for line in text_of(source)?.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => (line, std::env::var(line).unwrap_or_default()),
        };
        pairs.push((key.to_owned(), value.into_bytes()));
    }
    Ok(())
}

/// Flags of `create configmap`.
#[derive(clap::Args)]
pub struct ConfigMap {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    sources: Sources,
}

impl ConfigMap {
    pub(super) fn object(&self) -> Outcome<Value> {
        let (mut data, mut binary) = (Map::new(), Map::new());
        for (key, bytes) in self.sources.read()? {
            match String::from_utf8(bytes) {
                Ok(text) => drop(data.insert(key, json!(text))),
                Err(error) => drop(binary.insert(key, json!(STANDARD.encode(error.as_bytes())))),
            }
        }
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name}});
        for (field, map) in [("data", data), ("binaryData", binary)] {
            if !map.is_empty() {
                object[field] = Value::Object(map);
            }
        }
        Ok(object)
    }
}

/// Kinds of secrets.
#[derive(clap::Subcommand)]
pub enum Secret {
    /// Any keys.
    Generic(Generic),
    /// A certificate and its key.
    Tls(Tls),
    /// A login at an image registry.
    DockerRegistry(Registry),
}

/// Flags of `create secret generic`.
#[derive(clap::Args)]
pub struct Generic {
    name: String,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    sources: Sources,
    /// The secret's type.
    #[arg(long = "type", value_name = "TYPE", default_value = "")]
    kind: String,
}

/// Flags of `create secret tls`.
#[derive(clap::Args)]
pub struct Tls {
    name: String,
    #[command(flatten)]
    common: Common,
    /// The certificate's file.
    #[arg(long, value_name = "FILE")]
    cert: String,
    /// The key's file.
    #[arg(long, value_name = "FILE")]
    key: String,
}

/// Flags of `create secret docker-registry`.
#[derive(clap::Args)]
pub struct Registry {
    name: String,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    sources: Sources,
    /// The registry's address.
    #[arg(long, value_name = "URL", default_value = "https://index.docker.io/v1/")]
    docker_server: String,
    /// The login's name.
    #[arg(long, value_name = "NAME", default_value = "")]
    docker_username: String,
    /// The login's password.
    #[arg(long, value_name = "PASSWORD", default_value = "")]
    docker_password: String,
    /// The login's address.
    #[arg(long, value_name = "EMAIL", default_value = "")]
    docker_email: String,
}

impl Secret {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Generic(a) => &a.common,
            Self::Tls(a) => &a.common,
            Self::DockerRegistry(a) => &a.common,
        }
    }

    pub(super) fn object(&self) -> Outcome<Value> {
        match self {
            Self::Generic(a) => Ok(secret(&a.name, &a.kind, a.sources.read()?)),
            Self::Tls(a) => {
                let read = |path: &str| {
                    std::fs::read(path).map_err(|e| Failure::new(format!("open {path}: {}", reason(&e))))
                };
                let pairs =
                    vec![("tls.crt".to_owned(), read(&a.cert)?), ("tls.key".to_owned(), read(&a.key)?)];
                Ok(secret(&a.name, "kubernetes.io/tls", pairs))
            }
            Self::DockerRegistry(a) => a.object(),
        }
    }
}

impl Registry {
    fn object(&self) -> Outcome<Value> {
        let kind = "kubernetes.io/dockerconfigjson";
        let mut pairs = self.sources.read()?;
        if pairs.is_empty() {
            if self.docker_username.is_empty() || self.docker_password.is_empty() {
                return Err(Failure::new(
                    "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required",
                ));
            }
            let auth = STANDARD.encode(format!("{}:{}", self.docker_username, self.docker_password));
            // In the order Go writes the fields, so that the bytes are kubectl's.
            let mut fields = vec![("username", &self.docker_username), ("password", &self.docker_password)];
            if !self.docker_email.is_empty() {
                fields.push(("email", &self.docker_email));
            }
            fields.push(("auth", &auth));
            let fields: Vec<String> =
                fields.into_iter().map(|(field, value)| format!("\"{field}\":{}", json!(value))).collect();
            let text = format!("{{\"auths\":{{{}:{{{}}}}}}}", json!(self.docker_server), fields.join(","));
            pairs.push((".dockerconfigjson".to_owned(), text.into_bytes()));
        }
        Ok(secret(&self.name, kind, pairs))
    }
}

fn secret(name: &str, kind: &str, pairs: Pairs) -> Value {
    let data: Map<String, Value> =
        pairs.into_iter().map(|(key, bytes)| (key, json!(STANDARD.encode(bytes)))).collect();
    let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    if !data.is_empty() {
        object["data"] = Value::Object(data);
    }
    if !kind.is_empty() {
        object["type"] = json!(kind);
    }
    object
}
