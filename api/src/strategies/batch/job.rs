//! Rules of jobs. `policies` checks what a job says of pods that fail and of early success, `status` what
//! controllers report.

mod indexes;
mod policies;
mod status;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::super::check::{self, list, text};
use super::super::{apps, pod};
use crate::names;
use crate::object;
use crate::selector::LabelSelector;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// Caps the text of `status.completedIndexes`.
const MAX_INDEXED_PARALLELISM: i64 = 100_000;
/// With `backoffLimitPerIndex`, beyond so many completions the next two bounds hold.
const MANY_COMPLETIONS: i64 = 100_000;
const MAX_PARALLELISM_OF_MANY: i64 = 10_000;
const MAX_FAILED_OF_MANY: i64 = 10_000;
const MAX_MANAGER_BYTES: usize = 63;
/// Labels that carry the job's uid and name, the old ones and the present ones.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// Runs pods until enough of them succeeded.
pub struct Job;

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        pod::default_template(object);
        // A new job gets its template's labels once they are complete.
        if has_generated_labels(object) {
            default_labels(object);
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
        let labelled = template_labels(object).is_some_and(|labels| !labels.is_empty());
        if object["spec"]["manualSelector"] != true {
            generate_selector(object);
        }
        if labelled || has_generated_labels(object) {
            default_labels(object);
        }
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        generated_selector(&mut causes, object);
        validate_spec(&mut causes, spec, "spec");
        if spec["selector"].is_null() {
            causes.push(Cause::required("spec.selector", ""));
        } else {
            check::label_selector(&mut causes, "spec.selector", &spec["selector"]);
        }
        if let Ok(selector) = LabelSelector::from_object(&spec["selector"]) {
            apps::matches_labels(&mut causes, &selector, &spec["template"], "spec.template");
        }
        hostnames(&mut causes, object);
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (new, before) = (&object["spec"], &old["spec"]);
        let mut immutable = |field: &str| {
            check::immutable(&mut causes, &format!("spec.{field}"), &new[field], &before[field]);
        };
        if !is_indexed(new) {
            immutable("completions");
        }
        immutable("selector");
        for field in
            ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
        {
            immutable(field);
        }
        let (completions, parallelism) = (&new["completions"], &new["parallelism"]);
        let elastic = completions == &before["completions"] || completions == parallelism;
        if is_indexed(new) && !completions.is_null() && !elastic {
            let detail = "can only be modified in tandem with spec.parallelism";
            causes.push(Cause::invalid("spec.completions", completions, detail));
        }
        template_update(&mut causes, object, old);
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource == "status" {
            return status::validate(object, old);
        }
        self.validate_update(object, old)
    }
}

fn template_labels(object: &Value) -> Option<&Map<String, Value>> {
    object["spec"]["template"]["metadata"]["labels"].as_object()
}

fn has_generated_labels(object: &Value) -> bool {
    template_labels(object).is_some_and(|labels| labels.contains_key(NAME_LABELS[1]))
}

/// A job without labels has those of its template.
fn default_labels(object: &mut Value) {
    let Some(labels) = template_labels(object).cloned() else { return };
    let own = object::metadata_mut(object).entry("labels").or_insert_with(|| json!({}));
    if own.as_object().is_none_or(Map::is_empty) {
        *own = Value::Object(labels);
    }
}

/// Gives pods labels nobody else's have, and selects them. What the user set stays, and is refused later if
/// it is wrong.
fn generate_selector(object: &mut Value) {
    let (name, uid) = (object::name(object).to_owned(), object::uid(object).to_owned());
    let spec = object::section(object, "spec");
    let template = spec.entry("template").or_insert_with(|| json!({}));
    let metadata = object::section(template, "metadata").entry("labels").or_insert_with(|| json!({}));
    if let Value::Object(labels) = metadata {
        for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
            for key in keys {
                labels.entry(key).or_insert_with(|| value.as_str().into());
            }
        }
    }
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    if selector.is_null() {
        *selector = json!({});
    }
    object::section(selector, "matchLabels").entry(UID_LABELS[1]).or_insert_with(|| uid.into());
}

/// What was generated must have got through.
fn generated_selector(causes: &mut Vec<Cause>, object: &Value) {
    let spec = &object["spec"];
    if spec["manualSelector"] == true || spec["selector"].is_null() {
        return;
    }
    let (name, uid) = (object::name(object), object::uid(object));
    if uid.is_empty() {
        causes.push(Cause::required("metadata.uid", ""));
    }
    let mut expected = Map::new();
    for (key, value) in
        [(UID_LABELS[0], uid), (NAME_LABELS[0], name), (UID_LABELS[1], uid), (NAME_LABELS[1], name)]
    {
        has_label(causes, spec, key, value);
        expected.insert(key.to_owned(), value.into());
    }
    let selector = LabelSelector::from_object(&spec["selector"]);
    if selector.is_ok_and(|selector| !selector.matches_json(&Value::Object(expected))) {
        causes.push(Cause::invalid("spec.selector", &spec["selector"], "`selector` not auto-generated"));
    }
}

fn has_label(causes: &mut Vec<Cause>, spec: &Value, key: &str, expected: &str) {
    let labels = &spec["template"]["metadata"]["labels"];
    let (field, detail) = (format!("spec.template.metadata.labels[{key}]"), format!("must be '{expected}'"));
    match labels[key].as_str() {
        None => causes.push(Cause::required(field, &detail)),
        Some(actual) if actual != expected => causes.push(Cause::invalid(field, labels, &detail)),
        Some(_) => {}
    }
}

/// Pods of an indexed job are named after the job and their index.
fn hostnames(causes: &mut Vec<Cause>, object: &Value) {
    let spec = &object["spec"];
    let Some(last) = spec["completions"].as_i64().filter(|n| is_indexed(spec) && *n > 0) else { return };
    let name = object::name(object);
    let longest = format!("{name}-{}", last - 1);
    if !names::dns1123_label(&longest).is_empty() {
        let detail = format!("will not able to create pod with invalid DNS label: {longest}");
        causes.push(Cause::invalid("metadata.name", &json!(name), &detail));
    }
}

fn is_indexed(spec: &Value) -> bool {
    spec["completionMode"] == "Indexed"
}

/// Checks a `JobSpec` at `path`, but for its selector.
pub(super) fn validate_spec(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    let at = |field: &str| format!("{path}.{field}");
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    check::none_negative(causes, path, spec, &counts);
    let per_index = &spec["backoffLimitPerIndex"];
    if !spec["maxFailedIndexes"].is_null() && per_index.is_null() {
        causes.push(Cause::required(at("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    manager(causes, &spec["managedBy"], &at("managedBy"));
    let mode = text(spec, "completionMode");
    if !spec["completionMode"].is_null() && !["NonIndexed", "Indexed"].contains(&mode) {
        causes.push(Cause::not_supported(at("completionMode"), &json!(mode), &["NonIndexed", "Indexed"]));
    }
    match mode {
        "Indexed" => indexed(causes, spec, path),
        "" | "NonIndexed" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if !spec[field].is_null() {
                    causes.push(Cause::invalid(at(field), &spec[field], "requires indexed completion mode"));
                }
            }
        }
        _ => {}
    }
    policies::validate(causes, spec, path);
    pod::validate_template(causes, &spec["template"], &at("template"));
    restart_policy(causes, spec, &at("template.spec.restartPolicy"));
}

fn manager(causes: &mut Vec<Cause>, manager: &Value, field: &str) {
    let Some(name) = manager.as_str() else { return };
    if name.is_empty() {
        causes.push(Cause::required(field, ""));
        return;
    }
    for (wrong, why) in names::domain_prefixed_path(name) {
        causes.push(Cause::invalid(field, &json!(wrong), &why));
    }
    if name.len() > MAX_MANAGER_BYTES {
        causes.push(Cause::too_long(field, MAX_MANAGER_BYTES));
    }
}

fn indexed(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    let at = |field: &str| format!("{path}.{field}");
    let number = |field: &str| spec[field].as_i64();
    let (completions, parallelism, failed) =
        (number("completions"), number("parallelism"), number("maxFailedIndexes"));
    if completions.is_none() {
        causes.push(Cause::required(at("completions"), "when completion mode is Indexed"));
    }
    let mut too_large = |field: &str, value: Option<i64>, most: i64, when: &str| {
        if let Some(value) = value.filter(|value| *value > most) {
            let detail = format!("must be less than or equal to {most}{when}");
            causes.push(Cause::invalid(at(field), &json!(value), &detail));
        }
    };
    let when = " when completion mode is Indexed";
    too_large("parallelism", parallelism, MAX_INDEXED_PARALLELISM, when);
    if completions.is_some_and(|completions| failed.is_some_and(|failed| failed > completions)) {
        let field = "maxFailedIndexes";
        let detail = "must be less than or equal to completions";
        causes.push(Cause::invalid(at(field), &spec[field], detail));
    }
    let mut too_large = |field: &str, value: Option<i64>, most: i64, when: &str| {
        if let Some(value) = value.filter(|value| *value > most) {
            let detail = format!("must be less than or equal to {most}{when}");
            causes.push(Cause::invalid(at(field), &json!(value), &detail));
        }
    };
    too_large("maxFailedIndexes", failed, MAX_INDEXED_PARALLELISM, "");
    let many = completions.is_some_and(|completions| completions > MANY_COMPLETIONS);
    if !many || spec["backoffLimitPerIndex"].is_null() {
        return;
    }
    let when =
        format!(" when completions are above {MANY_COMPLETIONS} and used with backoff limit per index");
    too_large("parallelism", parallelism, MAX_PARALLELISM_OF_MANY, &when);
    too_large("maxFailedIndexes", failed, MAX_FAILED_OF_MANY, &when);
    if failed.is_none() {
        let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
        causes.push(Cause::required(at("maxFailedIndexes"), &detail));
    }
}

/// A pod that always restarts never ends.
fn restart_policy(causes: &mut Vec<Cause>, spec: &Value, field: &str) {
    let policy = text(&spec["template"]["spec"], "restartPolicy");
    match policy {
        "" | "Always" => {
            causes.push(Cause::required(field, "valid values: \"OnFailure\", \"Never\""));
        }
        "OnFailure" if !spec["podFailurePolicy"].is_null() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            causes.push(Cause::invalid(field, &json!(policy), detail));
        }
        "OnFailure" | "Never" => {}
        _ => causes.push(Cause::not_supported(field, &json!(policy), &["OnFailure", "Never"])),
    }
}

/// A job that waits may still be told where its pods go and what they get; one that runs may not.
fn template_update(causes: &mut Vec<Cause>, object: &Value, old: &Value) {
    let (new, before) = (&object["spec"]["template"], &old["spec"]["template"]);
    let suspended = old["spec"]["suspend"] == true;
    let idle = old["status"]["active"].as_i64().unwrap_or_default() == 0;
    let stopped = check::is_true(&old["status"], "Suspended") && idle;
    let mut munged = new.clone();
    if suspended && (old["status"]["startTime"].is_null() || stopped) {
        scheduling_of(&mut munged, before);
        for field in ["containers", "initContainers"] {
            resources_of(&mut munged, before, field);
        }
    }
    if munged != *before {
        check::immutable(causes, "spec.template", new, before);
    }
}

/// Puts back what says where pods go.
fn scheduling_of(template: &mut Value, before: &Value) {
    if let Some(metadata) = template.get_mut("metadata") {
        for field in ["annotations", "labels"] {
            check::copy(metadata, &before["metadata"], field);
        }
    }
    let Some(spec) = template.get_mut("spec") else { return };
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        check::copy(spec, &before["spec"], field);
    }
    let affinity = object::section(spec, "affinity");
    match before["spec"]["affinity"].get("nodeAffinity") {
        Some(node) => drop(affinity.insert("nodeAffinity".to_owned(), node.clone())),
        None => drop(affinity.remove("nodeAffinity")),
    }
    if affinity.is_empty() && before["spec"]["affinity"].is_null() {
        object::remove(spec, "affinity");
    }
}

fn resources_of(template: &mut Value, before: &Value, field: &str) {
    let known = list(&before["spec"], field);
    let containers = template["spec"].get_mut(field).and_then(Value::as_array_mut);
    for (container, known) in containers.into_iter().flatten().zip(known) {
        if container["name"] == known["name"] {
            check::copy(container, known, "resources");
        }
    }
}
