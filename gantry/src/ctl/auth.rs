//! `gantry auth can-i|whoami|reconcile`: who one is, and what one may do.

mod reconcile;

use serde_json::{Value, json};

use super::connection::Connection;
use super::describe::rule_rows;
use super::output::{Flags, Format};
use super::resources::Resources;
use super::tabs::TABLE;
use super::{Failure, Outcome};

/// What to ask.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Whether something may be done.
    CanI(CanI),
    /// Who one is.
    Whoami(Whoami),
    /// Bring roles and bindings to what files say, adding only.
    Reconcile(reconcile::Arguments),
}

/// Flags of `auth can-i`.
#[derive(clap::Args)]
pub struct CanI {
    /// VERB TYPE[/NAME], VERB TYPE NAME, or VERB /PATH.
    words: Vec<String>,
    /// In every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Print nothing; the exit code is the answer.
    #[arg(short, long)]
    quiet: bool,
    /// `log`, `status`, …
    #[arg(long, value_name = "NAME", default_value = "")]
    subresource: String,
    /// Everything that may be done in the namespace.
    #[arg(long)]
    list: bool,
    /// Without headings.
    #[arg(long)]
    no_headers: bool,
}

/// Flags of `auth whoami`.
#[derive(clap::Args)]
pub struct Whoami {
    #[command(flatten)]
    output: Flags,
}

/// Asks.
pub async fn run(connection: &Connection, command: Command) -> Outcome {
    match command {
        Command::CanI(arguments) if arguments.list => list(connection, &arguments).await,
        Command::CanI(arguments) => can_i(connection, &arguments).await,
        Command::Whoami(arguments) => whoami(connection, &arguments).await,
        Command::Reconcile(arguments) => reconcile::run(connection, &arguments).await,
    }
}

async fn can_i(connection: &Connection, arguments: &CanI) -> Outcome {
    let (verb, what, name) = match arguments.words.as_slice() {
        [verb, what] => match what.split_once('/') {
            Some((kind, name)) if !kind.is_empty() => (verb, kind, name),
            _ => (verb, what.as_str(), ""),
        },
        [verb, what, name] => (verb, what.as_str(), name.as_str()),
        _ => {
            return Err(Failure::new(
                "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.",
            ));
        }
    };
    let mut spec = json!({"nonResourceAttributes": {"verb": verb, "path": what}});
    if !what.starts_with('/') {
        let (group, plural, namespaced) = resource(connection, what).await?;
        let namespace = match (arguments.all_namespaces, namespaced) {
            (false, true) => connection.default_namespace(),
            _ => String::new(),
        };
        let mut attributes = json!({"verb": verb, "group": group, "resource": plural});
        for (field, value) in
            [("namespace", namespace.as_str()), ("name", name), ("subresource", &arguments.subresource)]
        {
            if !value.is_empty() {
                attributes[field] = json!(value);
            }
        }
        spec = json!({"resourceAttributes": attributes});
    }
    let review =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    let answer = connection.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await?;
    let (allowed, status) = (answer["status"]["allowed"] == true, &answer["status"]);
    if !arguments.quiet {
        let mut line = if allowed { "yes" } else { "no" }.to_owned();
        for (field, title) in [("reason", ""), ("evaluationError", "")] {
            if let (false, Some(text)) = (allowed, status[field].as_str().filter(|text| !text.is_empty())) {
                line.push_str(&format!(" - {title}{text}"));
            }
        }
        println!("{line}");
    }
    if allowed { Ok(()) } else { Err(Failure::Silent(1)) }
}

/// The group, the plural and whether it is in namespaces; a kind the server does not know is asked about
/// as it is written, with a warning.
async fn resource(connection: &Connection, word: &str) -> Outcome<(String, String, bool)> {
    if word == "*" {
        return Ok(("*".to_owned(), "*".to_owned(), true));
    }
    let resources = Resources::discover(connection).await?;
    match resources.named(word) {
        Ok(found) => {
            if !found.namespaced {
                let group =
                    if found.group.is_empty() { String::new() } else { format!(" group '{}'", found.group) };
                eprintln!(
                    "Warning: resource '{}' is not namespace scoped{}\n",
                    found.plural,
                    if group.is_empty() { String::new() } else { format!(" in{group}") }
                );
            }
            Ok((found.group.clone(), found.plural.clone(), found.namespaced))
        }
        Err(_) => {
            let (plural, group) = word.split_once('.').unwrap_or((word, ""));
            match group {
                "" => eprintln!("Warning: the server doesn't have a resource type '{plural}'\n"),
                group => eprintln!(
                    "Warning: the server doesn't have a resource type '{plural}' in group '{group}'\n"
                ),
            }
            Ok((group.to_owned(), plural.to_owned(), true))
        }
    }
}

async fn list(connection: &Connection, arguments: &CanI) -> Outcome {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": connection.default_namespace()}});
    let answer = connection.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).await?;
    let rules = |field: &str| answer["status"][field].as_array().cloned().unwrap_or_default();
    let mut all = rules("resourceRules");
    all.extend(rules("nonResourceRules"));
    let mut rows = rule_rows(&all);
    // By group, then by resource; what is no resource stands last.
    rows.sort_by_key(|row| {
        let resource = row.first().cloned().unwrap_or_default();
        let group = resource.split_once('.').map(|(_, group)| group.to_owned()).unwrap_or_default();
        (resource.is_empty(), group, resource, row.clone())
    });
    if !arguments.no_headers {
        let names = ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"];
        rows.insert(0, names.map(str::to_owned).to_vec());
    }
    print!("{}", TABLE.table(&rows));
    Ok(())
}

async fn whoami(connection: &Connection, arguments: &Whoami) -> Outcome {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = connection.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await?;
    let format = Format::parse(&arguments.output, false)?;
    if !format.is_human() {
        return format.print(&answer);
    }
    let user = &answer["status"]["userInfo"];
    let mut rows = vec![vec!["ATTRIBUTE".to_owned(), "VALUE".to_owned()]];
    for (title, field) in [("Username", "username"), ("UID", "uid")] {
        if let Some(text) = user[field].as_str().filter(|text| !text.is_empty()) {
            rows.push(vec![title.to_owned(), text.to_owned()]);
        }
    }
    let list = |value: &Value| {
        let all = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        format!("[{}]", all.collect::<Vec<_>>().join(" "))
    };
    if user["groups"].is_array() {
        rows.push(vec!["Groups".to_owned(), list(&user["groups"])]);
    }
    for (key, value) in user["extra"].as_object().into_iter().flatten() {
        rows.push(vec![format!("Extra: {key}"), list(value)]);
    }
    print!("{}", TABLE.table(&rows));
    Ok(())
}
