//! `gantry auth reconcile`: roles and bindings of files; what is there is added to, never taken from
//! unless asked.

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
        let (field, exact) = match target.resource.kind.as_str() {
            "Role" | "ClusterRole" => ("rules", arguments.remove_extra_permissions),
            "RoleBinding" | "ClusterRoleBinding" => ("subjects", arguments.remove_extra_subjects),
            _ => continue,
        };
        let after = match connection.find(&target.path()).await? {
            None => sender.create(&target).await?,
            Some(current) => {
                let wanted = merged(&current[field], &target.object[field], exact);
                target.object = current.clone();
                target.object[field] = wanted;
                if target.object == current { current } else { sender.replace(&target, "").await? }
            }
        };
        report.tell(&target.resource, &after, "reconciled")?;
    }
    Ok(())
}

/// What is there and what is wanted, or only what is wanted.
fn merged(current: &Value, wanted: &Value, exact: bool) -> Value {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    if exact {
        return json!(list(wanted));
    }
    let mut all = list(current);
    for item in list(wanted) {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    json!(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_away_unless_asked() {
        let (current, wanted) = (json!(["a", "b"]), json!(["b", "c"]));
        assert_eq!(merged(&current, &wanted, false), json!(["a", "b", "c"]));
        assert_eq!(merged(&current, &wanted, true), wanted);
    }
}
