//! Fills the defaults that follow from the schema: markers, the curated rules of `facts/defaults.txt`,
//! and the structs Go always writes (`resources: {}`).
//!
//! Entry point [`apply`]. Defaults that need computing belong to strategies. Applying twice changes nothing.

use serde_json::{Map, Value};

use crate::schema::{Condition, DefaultRule, FieldRef, Schema, Type, Wanted};

/// Fills all defaults of `value`, which is of `schema`.
///
/// A field counts as unset when absent or null, and, unless Go holds a pointer, when zero.
pub fn apply(schema: Schema<'_>, value: &mut Value) {
    match value {
        Value::Object(map) => match schema.def() {
            Some(definition) => {
                for rule in &definition.rules {
                    apply_rule(schema, map, rule);
                }
                for field in schema.fields() {
                    apply_field(field, map);
                }
            }
            None => {
                if let Some(values) = schema.values() {
                    map.values_mut().for_each(|value| apply(values, value));
                }
            }
        },
        Value::Array(list) => {
            if let Some(items) = schema.items() {
                list.iter_mut().for_each(|item| apply(items, item));
            }
        }
        _ => {}
    }
}

/// Whether the field counts as not given.
pub(crate) fn is_unset(field: FieldRef<'_>, value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(value) => !field.is_pointer() && is_zero(value),
    }
}

/// Go's zero value, or an empty list or map.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn apply_field(field: FieldRef<'_>, map: &mut Map<String, Value>) {
    let present = map.get(field.name());
    if let Some(default) = field.default().filter(|_| is_unset(field, present)) {
        insert(map, field.name(), default);
    } else if is_plain_struct(field) && present.is_none_or(Value::is_null) {
        map.insert(field.name().to_owned(), Value::Object(Map::new()));
    }
    if let Some(value) = map.get_mut(field.name()) {
        apply(field.schema(), value);
    }
}

/// A struct held by value: Go writes it even when empty.
fn is_plain_struct(field: FieldRef<'_>) -> bool {
    matches!(field.schema().ty(), Type::Object(_)) && !field.is_pointer() && !field.omits_zero()
}

fn insert(map: &mut Map<String, Value>, name: &str, json: &str) {
    if let Ok(value) = serde_json::from_str(json) {
        map.insert(name.to_owned(), value);
    }
}

/// Runs one rule; its path leads from `map` through structs to the field.
fn apply_rule(schema: Schema<'_>, map: &mut Map<String, Value>, rule: &DefaultRule) {
    let (mut schema, mut map, mut rest) = (schema, map, rule.field.as_ref());
    while let Some((head, tail)) = rest.split_once('.') {
        let Some(field) = schema.field(head) else { return };
        if is_plain_struct(field) && map.get(head).is_none_or(Value::is_null) {
            map.insert(head.to_owned(), Value::Object(Map::new()));
        }
        let Some(Value::Object(inner)) = map.get_mut(head) else { return };
        (schema, map, rest) = (field.schema(), inner, tail);
    }
    let unset = schema.field(rest).is_some_and(|field| is_unset(field, map.get(rest)));
    if !unset || !rule.when.iter().all(|condition| holds(schema, map, condition)) {
        return;
    }
    match rule.value.strip_prefix('$') {
        None => insert(map, rest, &rule.value),
        Some(sibling) => {
            if let Some(value) = map.get(sibling).cloned() {
                map.insert(rest.to_owned(), value);
            }
        }
    }
}

fn holds(schema: Schema<'_>, map: &Map<String, Value>, condition: &Condition) -> bool {
    let name = condition.field.as_ref();
    let set = |name: &str| schema.field(name).is_some_and(|field| !is_unset(field, map.get(name)));
    match &condition.wanted {
        Wanted::Set => set(name),
        Wanted::Unset => !set(name),
        Wanted::OneOf(texts) => {
            map.get(name).and_then(Value::as_str).is_some_and(|text| texts.iter().any(|t| t == text))
        }
        Wanted::Only => !map.keys().any(|key| key != name && set(key)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::facts;

    #[track_caller]
    fn defaulted(definition: &str, mut value: Value) -> Value {
        apply(facts().schema(definition).unwrap(), &mut value);
        let once = value.clone();
        apply(facts().schema(definition).unwrap(), &mut value);
        assert_eq!(value, once, "applying twice changed {definition}");
        value
    }

    #[test]
    fn deployment() {
        let got = defaulted(
            "io.k8s.api.apps.v1.Deployment",
            json!({"spec": {"template": {"spec": {"containers": [
                {"name": "a", "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}}}
            ]}}}}),
        );
        assert_eq!(
            got,
            json!({
                "metadata": {}, "status": {},
                "spec": {
                    "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                    "template": {"metadata": {}, "spec": {
                        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
                        "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
                        "containers": [{
                            "name": "a", "resources": {},
                            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                            "ports": [{"containerPort": 80, "protocol": "TCP"}],
                            "livenessProbe": {
                                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                            },
                        }],
                    }},
                },
            })
        );
    }

    #[test]
    fn single_fields() {
        let cases = [
            (
                "io.k8s.api.apps.v1.DeploymentStrategy",
                json!({"type": "Recreate"}),
                json!({"type": "Recreate"}),
            ),
            (
                "io.k8s.api.core.v1.ServicePort",
                json!({"port": 80}),
                json!({"port": 80, "protocol": "TCP", "targetPort": 80}),
            ),
            (
                "io.k8s.api.core.v1.ServicePort",
                json!({"port": 80, "targetPort": "web", "protocol": "UDP"}),
                json!({"port": 80, "targetPort": "web", "protocol": "UDP"}),
            ),
            ("io.k8s.api.core.v1.Volume", json!({"name": "v"}), json!({"name": "v", "emptyDir": {}})),
            (
                "io.k8s.api.core.v1.Volume",
                json!({"name": "v", "configMap": {"name": "c"}}),
                json!({"name": "v", "configMap": {"name": "c", "defaultMode": 420}}),
            ),
            (
                "io.k8s.api.core.v1.ConfigMapVolumeSource",
                json!({"defaultMode": 0}),
                json!({"defaultMode": 0}),
            ),
            (
                "io.k8s.api.core.v1.Probe",
                json!({"timeoutSeconds": 0}),
                json!({
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                }),
            ),
            (
                "io.k8s.api.networking.v1.NetworkPolicySpec",
                json!({"podSelector": {}, "egress": [{}]}),
                json!({
                    "podSelector": {}, "egress": [{}], "policyTypes": ["Ingress", "Egress"],
                }),
            ),
            (
                "io.k8s.api.apps.v1.StatefulSetUpdateStrategy",
                json!({}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
            ),
            (
                "io.k8s.api.core.v1.ServiceSpec",
                json!({"sessionAffinity": "ClientIP"}),
                json!({
                    "sessionAffinity": "ClientIP", "type": "ClusterIP", "internalTrafficPolicy": "Cluster",
                    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                }),
            ),
        ];
        for (definition, input, expect) in cases {
            assert_eq!(defaulted(definition, input), expect, "{definition}");
        }
    }

    #[test]
    fn only_a_whole_job_gets_job_defaults() {
        let job = defaulted("io.k8s.api.batch.v1.Job", json!({"spec": {"template": {}, "parallelism": 0}}));
        assert_eq!(job["spec"]["backoffLimit"], 6);
        assert_eq!((&job["spec"]["parallelism"], &job["spec"]["completions"]), (&json!(0), &Value::Null));
        let cron = defaulted("io.k8s.api.batch.v1.CronJob", json!({"spec": {"jobTemplate": {"spec": {}}}}));
        assert_eq!(cron["spec"]["jobTemplate"]["spec"]["backoffLimit"], Value::Null);
        assert_eq!(cron["spec"]["concurrencyPolicy"], "Allow");
    }
}
