//! What a controller may report of a job. Rules hold for what a write changes: a status that already broke
//! one does not block everything else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::super::check::{self, is_true, list, text};
use super::indexes;
use crate::status::Cause;
use crate::time;

/// Checks a write of the status.
pub(super) fn validate(object: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let change = Change { spec: &object["spec"], new: &object["status"], old: &old["status"] };
    check::none_negative(
        &mut causes,
        "status",
        change.new,
        &["active", "succeeded", "failed", "ready", "terminating"],
    );
    uncounted(&mut causes, &change.new["uncountedTerminatedPods"]);
    change.conditions(&mut causes);
    change.times(&mut causes);
    change.finished(&mut causes);
    change.indexes(&mut causes);
    change.counters(&mut causes);
    causes
}

/// Each pod counts once.
fn uncounted(causes: &mut Vec<Cause>, pods: &Value) {
    let mut seen = BTreeSet::new();
    for kind in ["succeeded", "failed"] {
        for (at, uid) in list(pods, kind).iter().enumerate() {
            let field = format!("status.uncountedTerminatedPods.{kind}[{at}]");
            match uid.as_str().unwrap_or_default() {
                "" => causes.push(Cause::invalid(field, &json!(""), "must not be empty")),
                known if !seen.insert(known) => causes.push(Cause::duplicate(field, uid)),
                _ => {}
            }
        }
    }
}

/// A status, the one before, and the specification it is about.
struct Change<'a> {
    spec: &'a Value,
    new: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    fn is(&self, condition: &str) -> bool {
        is_true(self.new, condition)
    }

    fn was(&self, condition: &str) -> bool {
        is_true(self.old, condition)
    }

    /// Whether a condition, or a field of the status, is not what it was.
    fn turned(&self, condition: &str) -> bool {
        self.is(condition) != self.was(condition)
    }

    fn changed(&self, field: &str) -> bool {
        self.new[field] != self.old[field]
    }

    fn is_finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn finish_changed(&self) -> bool {
        self.is_finished() != (self.was("Complete") || self.was("Failed"))
    }

    fn count(&self, field: &str) -> i64 {
        self.new[field].as_i64().unwrap_or_default()
    }

    fn conditions(&self, causes: &mut Vec<Cause>) {
        let (complete, failed) = (self.is("Complete"), self.is("Failed"));
        let (target, criteria) = (self.is("FailureTarget"), self.is("SuccessCriteriaMet"));
        let completion = self.turned("Complete");
        let refused = [
            (
                (completion || self.turned("Failed")) && complete && failed,
                "cannot set Complete=True and Failed=true conditions",
            ),
            (
                (completion || self.turned("FailureTarget")) && complete && target,
                "cannot set Complete=True and FailureTarget=true conditions",
            ),
            (
                (self.turned("Failed") || self.changed("failedIndexes")) && failed && !target,
                "cannot set Failed=True condition without the FailureTarget=true condition",
            ),
            (
                (completion || self.turned("SuccessCriteriaMet")) && complete && !criteria,
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ),
            (criteria && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
            (criteria && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
            (
                !self.spec["successPolicy"].is_null() && complete && !criteria,
                "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
            ),
            (self.was("Failed") && !failed, "cannot disable the terminal Failed=True condition"),
            (self.was("Complete") && !complete, "cannot disable the terminal Complete=True condition"),
            (
                self.was("FailureTarget") && !target,
                "cannot disable the terminal FailureTarget=True condition",
            ),
            (
                self.was("SuccessCriteriaMet") && !criteria,
                "cannot disable the SuccessCriteriaMet=True condition",
            ),
            (
                self.was("Complete") && !self.was("SuccessCriteriaMet") && criteria,
                "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
            ),
        ];
        for (_, why) in refused.into_iter().filter(|(wrong, _)| *wrong) {
            causes.push(Cause::invalid_unshown("status.conditions", why));
        }
    }

    fn times(&self, causes: &mut Vec<Cause>) {
        let (start, end) = (&self.new["startTime"], &self.new["completionTime"]);
        let (field, complete) = ("status.completionTime", self.is("Complete"));
        if self.turned("Complete") || self.changed("completionTime") {
            if !end.is_null() && !complete {
                let detail = "cannot set completionTime when there is no Complete=True condition";
                causes.push(Cause::invalid(field, end, detail));
            }
            if end.is_null() && complete {
                causes.push(Cause::required(field, "completionTime is required for Complete jobs"));
            }
        }
        let backwards = || time::read(end).zip(time::read(start)).is_some_and(|(end, start)| end < start);
        if (self.changed("startTime") || self.changed("completionTime")) && backwards() {
            causes.push(Cause::invalid(field, end, "must be equal to or after `startTime`"));
        }
        if !end.is_null() && !self.old["completionTime"].is_null() && self.changed("completionTime") {
            causes.push(Cause::invalid(field, end, check::IMMUTABLE));
        }
        let begun = !self.old["startTime"].is_null();
        if begun && self.changed("startTime") && self.spec["suspend"] != true {
            let detail = "startTime cannot be removed for unsuspended job";
            causes.push(Cause::required("status.startTime", detail));
        }
    }

    /// What has ended has no pods left.
    fn finished(&self, causes: &mut Vec<Cause>) {
        if !self.is_finished() {
            return;
        }
        let touched = |field: &str| self.finish_changed() || self.changed(field);
        for field in ["active", "terminating"] {
            if touched(field) && self.count(field) > 0 {
                let detail = format!("{field}>0 is invalid for finished job");
                causes.push(Cause::invalid(format!("status.{field}"), &self.new[field], &detail));
            }
        }
        if touched("startTime") && self.new["startTime"].is_null() {
            causes.push(Cause::required("status.startTime", "startTime is required for finished job"));
        }
        let field = "uncountedTerminatedPods";
        let pods = &self.new[field];
        if touched(field) && list(pods, "failed").len() + list(pods, "succeeded").len() > 0 {
            causes.push(Cause::invalid(format!("status.{field}"), pods, "must be empty for finished job"));
        }
    }

    fn indexes(&self, causes: &mut Vec<Cause>) {
        let completions = self.spec["completions"].as_i64();
        let (completed, failed) = (text(self.new, "completedIndexes"), &self.new["failedIndexes"]);
        let per_index = !self.spec["backoffLimitPerIndex"].is_null();
        let (completed_changed, failed_changed) =
            (self.changed("completedIndexes"), self.changed("failedIndexes"));
        let mut wrong = |field: &str, why: &str| {
            causes.push(Cause::invalid(format!("status.{field}"), &self.new[field], why));
        };
        if let Some(completions) = completions {
            if completed_changed && let Err(error) = indexes::count(completed, completions) {
                wrong("completedIndexes", &format!("error parsing completedIndexes: {error}"));
            }
            let failed = failed.as_str().filter(|_| per_index && failed_changed);
            if let Some(Err(error)) = failed.map(|text| indexes::count(text, completions)) {
                wrong("failedIndexes", &format!("error parsing failedIndexes: {error}"));
            }
        }
        if completed_changed && !completed.is_empty() && !super::is_indexed(self.spec) {
            let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
            wrong("completedIndexes", why);
        }
        if failed_changed && !per_index && !failed.is_null() {
            wrong("failedIndexes", "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
        }
        let both = (completed_changed || failed_changed).then_some(completions).flatten();
        let clash = both.and_then(|n| indexes::overlap(completed, failed.as_str()?, n));
        if let Some(index) = clash {
            wrong("failedIndexes", &format!("failedIndexes and completedIndexes overlap at index: {index}"));
        }
    }

    fn counters(&self, causes: &mut Vec<Cause>) {
        let more_ready = self.count("ready") > self.count("active");
        if (self.changed("ready") || self.changed("active")) && more_ready {
            let detail = "cannot set more ready pods than active";
            causes.push(Cause::invalid("status.ready", &self.new["ready"], detail));
        }
        // An indexed job whose completions follow its parallelism may be scaled down.
        let elastic = super::is_indexed(self.spec) && self.spec["completions"] == self.spec["parallelism"];
        for field in ["failed", "succeeded"] {
            let before = self.old[field].as_i64().unwrap_or_default();
            if self.count(field) < before && !(field == "succeeded" && elastic) {
                let detail = format!("cannot decrease the {field} counter");
                causes.push(Cause::invalid(format!("status.{field}"), &json!(self.count(field)), &detail));
            }
        }
    }
}
