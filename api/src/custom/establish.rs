//! Which names a definition gets, and whether it is established. Pure.
//!
//! Entry point: [`settle`]. Names already accepted for another definition of the group are taken; whoever
//! has a name keeps it. Source: apiextensions' naming and establishing controllers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{condition, definition};
use crate::object;
use crate::strategies::apiextensions::set_condition;

/// The definition with the status it should have; `others` are all definitions (it may be among them).
pub fn settle<'a>(crd: &Value, others: impl Iterator<Item = &'a Value>, now: &str) -> Value {
    let mut out = crd.clone();
    let (names, problem) = accepted(crd, others);
    object::section(&mut out, "status").insert("acceptedNames".to_owned(), names);
    let accepted = problem.is_none();
    let verdict = problem.unwrap_or(("NoConflicts", "no conflicts found".to_owned()));
    let word = if accepted { "True" } else { "False" };
    set_condition(&mut out, "NamesAccepted", (word, verdict.0, &verdict.1), now);
    if !is_established(crd) {
        let verdict = match accepted {
            true => ("True", "InitialNamesAccepted", "the initial names have been accepted"),
            false => ("False", "NotAccepted", "not all names are accepted"),
        };
        set_condition(&mut out, "Established", verdict, now);
    }
    if let Some((status, reason, message)) = definition::approval_condition(crd) {
        let name = "KubernetesAPIApprovalPolicyConformant";
        set_condition(&mut out, name, (status, reason, &message), now);
    }
    out
}

/// Whether its objects are served.
pub fn is_established(crd: &Value) -> bool {
    condition(crd, "Established").is_some_and(|condition| condition["status"] == "True")
}

/// The names it gets, and the first conflict.
fn accepted<'a>(
    crd: &Value,
    others: impl Iterator<Item = &'a Value>,
) -> (Value, Option<(&'static str, String)>) {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others.filter(|other| other["spec"]["group"] == crd["spec"]["group"]) {
        if object::name(other) == object::name(crd) {
            continue;
        }
        let names = &other["status"]["acceptedNames"];
        let text = |key: &str| names[key].as_str().filter(|text| !text.is_empty());
        let short = names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        resources.extend(["plural", "singular"].into_iter().filter_map(text).chain(short));
        kinds.extend(["kind", "listKind"].into_iter().filter_map(text));
    }
    let (wanted, had) = (&crd["spec"]["names"], &crd["status"]["acceptedNames"]);
    let mut names = if had.is_object() { had.clone() } else { json!({}) };
    let mut problem = None;
    let taken = |text: &str| format!("{text:?} is already in use");
    for (key, reason, used) in [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ] {
        let text = wanted[key].as_str().unwrap_or_default();
        if wanted[key] != had[key] && used.contains(text) {
            problem = Some((reason, taken(text)));
        } else {
            names[key] = wanted[key].clone();
        }
        if key == "singular" {
            let list = wanted["shortNames"].as_array().into_iter().flatten();
            let mine = had["shortNames"].as_array();
            let conflicts: Vec<String> = list
                .filter(|name| mine.is_none_or(|mine| !mine.contains(name)))
                .filter_map(Value::as_str)
                .filter(|name| resources.contains(name))
                .map(taken)
                .collect();
            match conflicts.as_slice() {
                [] => copy(&mut names, wanted, "shortNames"),
                [one] => problem = Some(("ShortNamesConflict", one.clone())),
                many => problem = Some(("ShortNamesConflict", format!("[{}]", many.join(", ")))),
            }
        }
    }
    copy(&mut names, wanted, "categories");
    (names, problem)
}

fn copy(to: &mut Value, from: &Value, key: &str) {
    match from.get(key) {
        Some(value) => to[key] = value.clone(),
        None => {
            object::remove(to, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({"metadata": {"name": format!("{plural}.example.com")}, "spec": {"group": "example.com", "names": {
            "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
            "shortNames": short}}})
    }

    fn verdict(crd: &Value, name: &str) -> String {
        let condition = condition(crd, name).unwrap();
        format!("{} {} {}", condition["status"], condition["reason"], condition["message"]).replace('"', "")
    }

    #[test]
    fn the_first_keeps_its_names() {
        let first = settle(&crd("widgets", "Widget", &["w"]), [].into_iter(), "t");
        assert_eq!(verdict(&first, "NamesAccepted"), "True NoConflicts no conflicts found");
        assert!(is_established(&first));
        assert_eq!(first["status"]["acceptedNames"], first["spec"]["names"]);
        let second = settle(&crd("gadgets", "Widget", &["w"]), [&first].into_iter(), "t");
        assert_eq!(
            verdict(&second, "NamesAccepted"),
            "False ListKindConflict \\WidgetList\\ is already in use"
        );
        assert_eq!(verdict(&second, "Established"), "False NotAccepted not all names are accepted");
        assert_eq!(second["status"]["acceptedNames"]["plural"], "gadgets");
        assert_eq!(second["status"]["acceptedNames"].get("kind"), None);
        let freed = settle(&second, [].into_iter(), "later");
        assert!(is_established(&freed));
        assert_eq!(condition(&freed, "Established").unwrap()["lastTransitionTime"], "later");
        assert_eq!(settle(&freed, [&freed].into_iter(), "later still"), freed);
    }
}
