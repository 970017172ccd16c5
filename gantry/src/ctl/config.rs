//! `gantry config`: the kubeconfig itself, as text; contexts, clusters and users in it.
//!
//! Entry point: [`run`]. A kubeconfig is read and written as plain JSON values, so that fields this tool
//! does not know stay as they are.

mod entries;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::manifest::reason;
use super::output::json_text;
use super::tabs::TABLE;
use super::{Failure, Globals, Outcome};

/// What to do with the kubeconfig.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Show it.
    View(View),
    /// List contexts.
    GetContexts(GetContexts),
    /// List clusters.
    GetClusters,
    /// List users.
    GetUsers,
    /// Show which context is in use.
    CurrentContext,
    /// Use a context.
    #[command(visible_alias = "use")]
    UseContext {
        /// Its name.
        name: String,
    },
    /// Make or change a context.
    SetContext(entries::Context),
    /// Make or change a cluster.
    SetCluster(entries::Cluster),
    /// Make or change a user.
    SetCredentials(entries::Credentials),
    /// Set a field by its path.
    Set {
        /// Such as `contexts.NAME.namespace`.
        path: String,
        /// The new value.
        value: String,
    },
    /// Remove a field by its path.
    Unset {
        /// Such as `contexts.NAME.namespace`.
        path: String,
    },
    /// Remove a context.
    DeleteContext {
        /// Its name.
        name: String,
    },
    /// Remove a cluster.
    DeleteCluster {
        /// Its name.
        name: String,
    },
    /// Remove a user.
    DeleteUser {
        /// Its name.
        name: String,
    },
    /// Give a context another name.
    RenameContext {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
}

/// Flags of `config view`.
#[derive(clap::Args)]
pub struct View {
    /// `yaml`, `json` or `jsonpath=TEMPLATE`.
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: String,
    /// Only what the context in use needs.
    #[arg(long)]
    minify: bool,
    /// Put the content of files in their place.
    #[arg(long)]
    flatten: bool,
    /// Show keys and tokens.
    #[arg(long)]
    raw: bool,
}

/// Flags of `config get-contexts`.
#[derive(clap::Args)]
pub struct GetContexts {
    names: Vec<String>,
    /// Without headings.
    #[arg(long)]
    no_headers: bool,
    /// `name`.
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    output: String,
}

/// The kubeconfig and the file it is written to.
struct Kubeconfig {
    content: Value,
    path: PathBuf,
}

impl Kubeconfig {
    /// The file of `--kubeconfig`, or those of `KUBECONFIG` merged, or the one in the user's home.
    fn open(globals: &Globals) -> Outcome<Self> {
        let files = match &globals.kubeconfig {
            Some(path) => vec![path.clone()],
            None => client::kubeconfig::locate().unwrap_or_default(),
        };
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let named = std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty());
        let path = files.first().cloned().or(named).unwrap_or_else(|| home.join(".kube/config"));
        let mut content = json!({"apiVersion": "v1", "clusters": [], "contexts": [], "current-context": "",
            "kind": "Config", "preferences": {}, "users": []});
        for file in &files {
            match std::fs::read_to_string(file) {
                Ok(text) => merge(&mut content, parsed(file, &text)?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Failure::new(format!("open {}: {}", file.display(), reason(&error))));
                }
            }
        }
        Ok(Self { content, path })
    }

    fn save(&self) -> Outcome {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create(true).truncate(true).open(&self.path)?;
        std::io::Write::write_all(&mut file, api::codec::yaml::emit(&self.content).as_bytes())?;
        Ok(())
    }

    fn current(&self) -> &str {
        self.content["current-context"].as_str().unwrap_or_default()
    }

    fn list(&self, kind: &str) -> &[Value] {
        self.content[kind].as_array().map_or(&[][..], Vec::as_slice)
    }

    fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.list(kind).iter().find(|entry| entry["name"] == name)
    }

    /// The inner part of a named entry, made if it is not there; whether it was there.
    fn entry(&mut self, kind: &str, inner: &str, name: &str) -> Outcome<(&mut Value, bool)> {
        let there = self.find(kind, name).is_some();
        if !self.content[kind].is_array() {
            self.content[kind] = json!([]);
        }
        let list =
            self.content[kind].as_array_mut().ok_or_else(|| Failure::new(format!("{kind} is no list")))?;
        if !there {
            list.push(json!({"name": name, inner: {}}));
        }
        let found = list.iter_mut().find(|entry| entry["name"] == name);
        let entry = found.ok_or_else(|| Failure::new(format!("{kind} has no {name}")))?;
        Ok((&mut entry[inner], there))
    }
}

fn parsed(file: &Path, text: &str) -> Outcome<Value> {
    let documents = api::codec::yaml::decode_all(text).map_err(|error| {
        Failure::new(format!("error loading config file {:?}: {error}", file.display().to_string()))
    })?;
    Ok(documents.into_iter().next().unwrap_or_default())
}

/// The first file wins; entries of the same name are the first's.
fn merge(content: &mut Value, more: Value) {
    let Value::Object(more) = more else { return };
    for (key, value) in more {
        match (content.get_mut(&key), value) {
            (Some(Value::Array(all)), Value::Array(new)) => {
                for entry in new {
                    if all.iter().all(|known| known["name"] != entry["name"]) {
                        all.push(entry);
                    }
                }
            }
            (Some(Value::String(known)), Value::String(new)) if known.is_empty() => *known = new,
            (Some(Value::Null) | None, value) => content[&key] = value,
            _ => {}
        }
    }
}

/// Runs a command.
pub fn run(globals: &Globals, command: Command) -> Outcome {
    let mut config = Kubeconfig::open(globals)?;
    match command {
        Command::View(view) => return config.view(globals, &view),
        Command::GetContexts(arguments) => return config.contexts(&arguments),
        Command::GetClusters => config.names("clusters"),
        Command::GetUsers => config.names("users"),
        Command::CurrentContext => match config.current() {
            "" => return Err(Failure::new("current-context is not set")),
            name => println!("{name}"),
        },
        Command::UseContext { name } => {
            if config.find("contexts", &name).is_none() {
                return Err(Failure::new(format!("no context exists with the name: {name:?}")));
            }
            config.content["current-context"] = json!(name);
            config.save()?;
            println!("Switched to context {name:?}.");
        }
        Command::SetContext(arguments) => entries::set_context(&mut config, globals, &arguments)?,
        Command::SetCluster(arguments) => entries::set_cluster(&mut config, globals, &arguments)?,
        Command::SetCredentials(arguments) => entries::set_credentials(&mut config, globals, &arguments)?,
        Command::Set { path, value } => {
            entries::set_path(&mut config, &path, Some(value))?;
            println!("Property {path:?} set.");
        }
        Command::Unset { path } => {
            entries::set_path(&mut config, &path, None)?;
            println!("Property {path:?} unset.");
        }
        Command::DeleteContext { name } => config.delete("contexts", "context", &name)?,
        Command::DeleteCluster { name } => config.delete("clusters", "cluster", &name)?,
        Command::DeleteUser { name } => config.delete("users", "user", &name)?,
        Command::RenameContext { from, to } => config.rename(&from, &to)?,
    }
    Ok(())
}

impl Kubeconfig {
    fn names(&self, kind: &str) {
        println!("NAME");
        let mut names: Vec<&str> =
            self.list(kind).iter().filter_map(|entry| entry["name"].as_str()).collect();
        names.sort_unstable();
        names.iter().for_each(|name| println!("{name}"));
    }

    fn view(mut self, globals: &Globals, view: &View) -> Outcome {
        if view.minify {
            let name = globals.context.clone().unwrap_or_else(|| self.current().to_owned());
            let context = self.find("contexts", &name).cloned();
            let context = context.ok_or_else(|| match name.as_str() {
                "" => Failure::new("current-context must exist in order to minify"),
                name => Failure::new(format!("cannot locate context {name}")),
            })?;
            let inner = &context["context"];
            let keep = [
                ("clusters", inner["cluster"].clone()),
                ("users", inner["user"].clone()),
                ("contexts", json!(name)),
            ];
            for (kind, name) in keep {
                if let Some(list) = self.content[kind].as_array_mut() {
                    list.retain(|entry| entry["name"] == name);
                }
            }
            self.content["current-context"] = json!(name);
        }
        if view.flatten {
            entries::flatten(&mut self.content)?;
        } else if !view.raw {
            entries::redact(&mut self.content);
        }
        match view.output.split_once('=').unwrap_or((view.output.as_str(), "")) {
            ("yaml", _) => print!("{}", api::codec::yaml::emit(&self.content)),
            ("json", _) => print!("{}", json_text(&self.content)),
            ("jsonpath", template) => {
                let template = api::jsonpath::Template::parse(template).map_err(Failure::new)?;
                print!("{}", template.render(&self.content, true).map_err(Failure::new)?);
            }
            (other, _) => {
                return Err(Failure::new(format!(
                    "unable to match a printer suitable for the output format {other:?}, allowed formats are: json,jsonpath,yaml"
                )));
            }
        }
        Ok(())
    }

    fn contexts(&self, arguments: &GetContexts) -> Outcome {
        let mut found: Vec<&Value> = Vec::new();
        for name in &arguments.names {
            let context = self.find("contexts", name);
            found.push(context.ok_or_else(|| Failure::new(format!("context {name} not found")))?);
        }
        if arguments.names.is_empty() {
            found = self.list("contexts").iter().collect();
        }
        found.sort_by_key(|context| context["name"].as_str().unwrap_or_default().to_owned());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if arguments.output == "name" {
            found.iter().for_each(|context| println!("{}", text(&context["name"])));
            return Ok(());
        }
        let mut rows: Vec<Vec<String>> = Vec::new();
        if !arguments.no_headers {
            rows.push(["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"].map(str::to_owned).to_vec());
        }
        rows.extend(found.iter().map(|context| {
            let (name, inner) = (text(&context["name"]), &context["context"]);
            let mark = if name == self.current() { "*" } else { "" };
            vec![
                mark.to_owned(),
                name,
                text(&inner["cluster"]),
                text(&inner["user"]),
                text(&inner["namespace"]),
            ]
        }));
        print!("{}", TABLE.table(&rows));
        Ok(())
    }

    fn delete(&mut self, kind: &str, one: &str, name: &str) -> Outcome {
        let place = self.path.display().to_string();
        if self.find(kind, name).is_none() {
            return Err(Failure::new(format!("cannot delete {one} {name}, not in {place}")));
        }
        if let Some(list) = self.content[kind].as_array_mut() {
            list.retain(|entry| entry["name"] != name);
        }
        if kind == "contexts" && self.current() == name {
            eprintln!(
                "warning: this removed your active context, use \"kubectl config use-context\" to select a different one"
            );
        }
        self.save()?;
        println!("deleted {one} {name} from {place}");
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Outcome {
        if self.find("contexts", to).is_some() {
            return Err(Failure::new(format!(
                "cannot rename the context {from:?}, the context {to:?} already exists in {}",
                self.path.display()
            )));
        }
        if self.find("contexts", from).is_none() {
            return Err(Failure::new(format!(
                "cannot rename the context {from:?}, it's not in {}",
                self.path.display()
            )));
        }
        let was_current = self.current() == from;
        for context in self.content["contexts"].as_array_mut().into_iter().flatten() {
            if context["name"] == from {
                context["name"] = json!(to);
            }
        }
        if was_current {
            self.content["current-context"] = json!(to);
        }
        self.save()?;
        println!("Context {from:?} renamed to {to:?}.");
        Ok(())
    }
}
