//! Rules of `authorization.k8s.io`: questions of who may do what.

use serde_json::{Value, json};

use super::check::{self, list, text};
use crate::object;
use crate::status::Cause;
use crate::strategy::Strategy;

/// May somebody, or the one who asks, do one thing.
pub struct AccessReview {
    /// Whether the question is about somebody who is named.
    pub names_subject: bool,
    /// Whether the question is about one namespace.
    pub local: bool,
}

impl Strategy for AccessReview {
    fn validate(&self, review: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &review["spec"];
        let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        if !resource.is_null() && !other.is_null() {
            let detail = "cannot be specified in combination with resourceAttributes";
            causes.push(Cause::invalid("spec.nonResourceAttributes", other, detail));
        }
        if resource.is_null() && other.is_null() {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            causes.push(Cause::invalid("spec.resourceAttributes", &Value::Null, detail));
        }
        if self.names_subject && text(spec, "user").is_empty() && list(spec, "groups").is_empty() {
            let detail = "at least one of user or group must be specified";
            causes.push(Cause::invalid("spec.user", &json!(""), detail));
        }
        for (name, of_labels) in [("fieldSelector", false), ("labelSelector", true)] {
            selector(&mut causes, &format!("spec.resourceAttributes.{name}"), &resource[name], of_labels);
        }
        let allowed: &[&str] = if self.local { &["namespace", "managedFields"] } else { &["managedFields"] };
        let metadata = &review["metadata"];
        let extra =
            |(key, value): (&String, &Value)| !allowed.contains(&key.as_str()) && *value != Value::Null;
        if metadata.as_object().is_some_and(|fields| fields.iter().any(extra)) {
            let detail = if self.local { "must be empty except for namespace" } else { "must be empty" };
            causes.push(Cause::invalid("metadata", metadata, detail));
        }
        if self.local {
            local(&mut causes, review);
        }
        causes
    }
}

/// A selector is a text or a list (KEP-4601). Operators that are not known here are left to the authorizers.
fn selector(causes: &mut Vec<Cause>, path: &str, selector: &Value, of_labels: bool) {
    if selector.is_null() {
        return;
    }
    let (raw, requirements) = (text(selector, "rawSelector"), list(selector, "requirements"));
    if !raw.is_empty() && !requirements.is_empty() {
        let detail = "may not specified at the same time as requirements";
        causes.push(Cause::invalid(format!("{path}.rawSelector"), &json!(raw), detail));
    }
    if raw.is_empty() && requirements.is_empty() {
        let detail = format!("when {path} is specified, requirements or rawSelector is required");
        causes.push(Cause::required(format!("{path}.requirements"), &detail));
    }
    for (at, requirement) in requirements.iter().enumerate() {
        let path = format!("{path}.requirements[{at}]");
        let values = list(requirement, "values");
        if !of_labels && text(requirement, "key").is_empty() {
            causes.push(Cause::required(format!("{path}.key"), "must be specified"));
        }
        match text(requirement, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(format!("{path}.values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(format!("{path}.values"), detail));
            }
            _ => {}
        }
        if of_labels {
            check::label(causes, &path, requirement);
        }
    }
}

fn local(causes: &mut Vec<Cause>, review: &Value) {
    let (resource, other) = (&review["spec"]["resourceAttributes"], &review["spec"]["nonResourceAttributes"]);
    let namespace = text(resource, "namespace");
    if !resource.is_null() && namespace != object::namespace(review) {
        let field = "spec.resourceAttributes.namespace";
        causes.push(Cause::invalid(field, &json!(namespace), "must match metadata.namespace"));
    }
    if !other.is_null() {
        causes.push(Cause::invalid(
            "spec.nonResourceAttributes",
            other,
            "disallowed on this kind of request",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(review: &AccessReview, object: Value, expect: &[&str]) {
        let texts: Vec<_> = review.validate(&object).iter().map(Cause::to_string).collect();
        assert_eq!(texts, expect, "{object}");
    }

    #[test]
    fn questions_that_cannot_be_answered() {
        let own = AccessReview { names_subject: false, local: false };
        check(&own, json!({"metadata": {}, "spec": {"resourceAttributes": {"verb": "get"}}}), &[]);
        check(
            &own,
            json!({"metadata": {"name": "x"}, "spec": {}}),
            &[
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
                "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
            ],
        );
        check(
            &own,
            json!({"spec": {"resourceAttributes": {}, "nonResourceAttributes": {"path": "/"}}}),
            &[
                "spec.nonResourceAttributes: Invalid value: {\"path\":\"/\"}: cannot be specified in combination with resourceAttributes",
            ],
        );
        check(
            &own,
            json!({"spec": {"resourceAttributes": {"fieldSelector": {}, "labelSelector": {"rawSelector": "a",
                "requirements": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Exists", "values": ["c"]}]}}}}),
            &[
                "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
                "spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a\": may not specified at the same time as requirements",
                "spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "spec.resourceAttributes.labelSelector.requirements[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ],
        );
        let broken = json!([{"key": "", "operator": "In"}]);
        check(
            &own,
            json!({"spec": {"resourceAttributes": {"fieldSelector": {"requirements": broken},
                "labelSelector": {"requirements": [{"key": "-", "operator": "In", "values": ["-"]}]}}}}),
            &[
                "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
                "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "spec.resourceAttributes.labelSelector.requirements[0].key: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                "spec.resourceAttributes.labelSelector.requirements[0].values[0]: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            ],
        );
        let local = AccessReview { names_subject: true, local: true };
        check(
            &local,
            json!({"metadata": {"namespace": "a"}, "spec": {"user": "u", "resourceAttributes": {"namespace": "a"}}}),
            &[],
        );
        check(
            &local,
            json!({"metadata": {"namespace": "a"}, "spec": {"nonResourceAttributes": {}}}),
            &[
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                "spec.nonResourceAttributes: Invalid value: {}: disallowed on this kind of request",
            ],
        );
        check(
            &local,
            json!({"metadata": {"namespace": "a"}, "spec": {"groups": ["g"], "resourceAttributes": {}}}),
            &["spec.resourceAttributes.namespace: Invalid value: \"\": must match metadata.namespace"],
        );
    }
}
