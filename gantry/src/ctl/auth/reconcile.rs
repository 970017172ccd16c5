//! `gantry auth reconcile`: roles and bindings of files; what is there is added to, never taken from
//! unless asked.

use api::rbac::reconcile::{Plan, plan};
use api::rbac::{PolicyRule, missing};
use serde_json::{Value, json};

use crate::ctl::change::ChangeFlags;
use crate::ctl::connection::Connection;
use crate::ctl::manifest::Files;
use crate::ctl::resources::Resources;
use crate::ctl::selection::Choice;
use crate::ctl::{Failure, Outcome};

/// Flags of `auth reconcile`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: ChangeFlags,
    /// Remove what the files do not have from roles.
    #[arg(long)]
    remove_extra_permissions: bool,
    /// Remove what the files do not have from bindings.
    #[arg(long)]
    remove_extra_subjects: bool,
}

/// Reconciles every role and binding of the files.
pub async fn run(connection: &Connection, arguments: &Arguments) -> Outcome {
    if arguments.files.is_empty() {
        return Err(Failure::new("no objects passed to reconcile"));
    }
    let resources = Resources::discover(connection).await?;
    let (report, sender) =
        (arguments.change.report()?, arguments.change.sender(connection, "kubectl-auth-reconcile")?);
    let choice = Choice::of(&[], &arguments.files);
    for mut target in choice.exactly(connection, &resources).await? {
        let exact = match target.resource.kind.as_str() {
            "Role" | "ClusterRole" => arguments.remove_extra_permissions,
            "RoleBinding" | "ClusterRoleBinding" => arguments.remove_extra_subjects,
            _ => continue,
        };
        let Some(current) = connection.find(&target.path()).await? else {
            let made = sender.create(&target).await?;
            report.tell(&target.resource, &made, "reconciled")?;
            eprintln!("\treconciliation required create");
            Changes::between(&target.object, &Value::Null).tell(false);
            continue;
        };
        let changes = Changes::between(&target.object, &current);
        let (after, what) = match plan(&target.object, &current, exact) {
            Plan::Keep => {
                report.tell(&target.resource, &current, "reconciled")?;
                continue;
            }
            Plan::Update(new) => {
                target.object = new;
                (sender.replace(&target, "").await?, "update")
            }
            Plan::Recreate(new) => {
                connection.delete(&target.path(), &json!({})).await?;
                target.object = new;
                (sender.create(&target).await?, "recreate")
            }
        };
        report.tell(&target.resource, &after, "reconciled")?;
        eprintln!("\treconciliation required {what}");
        changes.tell(exact);
    }
    Ok(())
}

/// What a role or binding lacks, and what it has besides; as kubectl, and so Go, prints it.
struct Changes {
    kind: &'static str,
    missing: Vec<String>,
    extra: Vec<String>,
}

impl Changes {
    fn between(wanted: &Value, current: &Value) -> Self {
        if wanted["roleRef"].is_object() {
            let subjects = |object: &Value| object["subjects"].as_array().cloned().unwrap_or_default();
            let without = |all: &[Value], others: &[Value]| {
                let left = all.iter().filter(|subject| !others.contains(subject));
                left.map(|subject| fields(subject, &["kind", "apiGroup", "name", "namespace"])).collect()
            };
            let (wanted, current) = (subjects(wanted), subjects(current));
            return Self {
                kind: "subjects",
                missing: without(&wanted, &current),
                extra: without(&current, &wanted),
            };
        }
        let texts = |rules: Vec<PolicyRule>| {
            let names = ["verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"];
            rules.iter().map(|rule| fields(&rule.to_json(), &names)).collect()
        };
        let (wanted, current) = (PolicyRule::all_of(wanted), PolicyRule::all_of(current));
        Self {
            kind: "rules",
            missing: texts(missing(&current, &wanted)),
            extra: texts(missing(&wanted, &current)),
        }
    }

    fn tell(&self, exact: bool) {
        let extra: &[String] = if exact { &self.extra } else { &[] };
        for (what, list) in [("missing", self.missing.as_slice()), ("extra", extra)] {
            let done = if what == "missing" { "added" } else { "removed" };
            if !list.is_empty() {
                eprintln!("\t{what} {} {done}:", self.kind);
                list.iter().for_each(|item| eprintln!("\t\t{item}"));
            }
        }
    }
}

/// Some fields in the form of Go's `%+v`.
fn fields(value: &Value, names: &[&str]) -> String {
    let shown = names.iter().map(|name| {
        let mut letters = name.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter();
        let go_name: String = first.chain(letters).collect();
        let go_name = go_name.replace("ApiGroup", "APIGroup");
        match &value[*name] {
            Value::String(text) => format!("{go_name}:{text}"),
            Value::Array(list) => {
                let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                format!("{go_name}:[{}]", words.join(" "))
            }
            _ if name.ends_with('s') || name.ends_with("URLs") => format!("{go_name}:[]"),
            _ => format!("{go_name}:"),
        }
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_as_go_prints_them() {
        let role =
            |verbs: Value| json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]});
        let changes = Changes::between(&role(json!(["get", "list"])), &role(json!(["get", "watch"])));
        assert_eq!(
            changes.missing,
            ["{Verbs:[list] APIGroups:[] Resources:[pods] ResourceNames:[] NonResourceURLs:[]}"]
        );
        assert_eq!(
            changes.extra,
            ["{Verbs:[watch] APIGroups:[] Resources:[pods] ResourceNames:[] NonResourceURLs:[]}"]
        );
        let binding = |name: &str| json!({"roleRef": {}, "subjects": [{"kind": "User", "apiGroup": "g", "name": name}]});
        let changes = Changes::between(&binding("a"), &binding("b"));
        assert_eq!(changes.missing, ["{Kind:User APIGroup:g Name:a Namespace:}"]);
    }
}
