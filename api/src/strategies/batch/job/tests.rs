//! Tables for jobs.

use serde_json::{Value, json};

use super::super::super::trial::Trial;

fn job() -> Trial {
    Trial::of(
        "jobs",
        json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}}),
    )
}

fn indexed() -> Trial {
    Trial::of(
        "jobs",
        json!({"metadata": {"name": "j"}, "spec": {"completionMode": "Indexed", "completions": 5,
            "parallelism": 5, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}}),
    )
}

fn spec(fields: Value) -> Value {
    json!({ "spec": fields })
}

#[test]
fn a_minimal_job_is_filled_in() {
    let job = job().created(json!({}));
    let labels = json!({"controller-uid": "u-1", "batch.kubernetes.io/controller-uid": "u-1",
        "job-name": "j", "batch.kubernetes.io/job-name": "j"});
    assert_eq!(job["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(job["metadata"]["labels"], labels);
    let spec = &job["spec"];
    assert_eq!(spec["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}));
    for (field, expect) in [
        ("completions", json!(1)),
        ("parallelism", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ] {
        assert_eq!(spec[field], expect, "{field}");
    }
    assert_eq!(job["status"], json!({}));
}

#[test]
fn selectors_are_generated_or_given() {
    let job = job();
    job.refuses(
        json!({"spec": {"template": {"metadata": {"labels": {"job-name": "other"}}}}}),
        &["spec.template.metadata.labels[job-name]: Invalid value: \
             {\"batch.kubernetes.io/controller-uid\":\"u-1\",\"batch.kubernetes.io/job-name\":\"j\",\
             \"controller-uid\":\"u-1\",\"job-name\":\"other\"}: must be 'j'"],
    );
    job.refuses(
        spec(json!({"manualSelector": true})),
        &[
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        ],
    );
    job.refuses(
        json!({"spec": {"manualSelector": true, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}}}}),
        &[],
    );
    job.refuses(
        spec(json!({"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "other"}}})),
        &[
            "spec.selector: Invalid value: {\"matchLabels\":{\"batch.kubernetes.io/controller-uid\":\"other\"}}: \
             `selector` not auto-generated",
            "spec.template.metadata.labels: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u-1\",\
             \"batch.kubernetes.io/job-name\":\"j\",\"controller-uid\":\"u-1\",\"job-name\":\"j\"}: \
             `selector` does not match template `labels`",
        ],
    );
}

#[test]
fn counts_and_modes() {
    let job = job();
    job.refuses(
        spec(json!({"parallelism": -1, "completions": -1, "backoffLimit": -1, "activeDeadlineSeconds": -1,
            "ttlSecondsAfterFinished": -1})),
        &[
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
            "spec.completions: Invalid value: -1: must be greater than or equal to 0",
            "spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
            "spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    job.refuses(
        spec(json!({"completionMode": "Sorted"})),
        &["spec.completionMode: Unsupported value: \"Sorted\": supported values: \"NonIndexed\", \"Indexed\""],
    );
    job.refuses(
        spec(json!({"maxFailedIndexes": 1})),
        &[
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
        ],
    );
    job.refuses(
        spec(json!({"managedBy": "me"})),
        &["spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
    );
    job.refuses(
        spec(json!({"managedBy": format!("a.io/{}", "x".repeat(60))})),
        &["spec.managedBy: Too long: may not be more than 63 bytes"],
    );
    let indexed = indexed();
    indexed.refuses(
        spec(json!({"completions": null})),
        &["spec.completions: Required value: when completion mode is Indexed"],
    );
    indexed.refuses(
        spec(json!({"parallelism": 100_001, "backoffLimitPerIndex": 1, "maxFailedIndexes": 6})),
        &[
            "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
            "spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions",
        ],
    );
    indexed.refuses(
        spec(json!({"completions": 100_001, "parallelism": 10_001, "backoffLimitPerIndex": 1})),
        &[
            "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are \
             above 100000 and used with backoff limit per index",
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
        ],
    );
    indexed.refuses(
        json!({"metadata": {"name": "j".repeat(62)}}),
        &[&format!(
            "metadata.name: Invalid value: \"{0}\": will not able to create pod with invalid DNS label: {0}-4",
            "j".repeat(62)
        )],
    );
}

#[test]
fn pods_of_jobs_end() {
    let job = job();
    let policy = |policy: &str| json!({"spec": {"template": {"spec": {"restartPolicy": policy}}}});
    let field = "spec.template.spec.restartPolicy";
    job.refuses(
        policy("Always"),
        &[&format!("{field}: Required value: valid values: \"OnFailure\", \"Never\"")],
    );
    job.refuses(policy("OnFailure"), &[]);
    job.refuses(
        json!({"spec": {"podFailurePolicy": {"rules": []}, "template": {"spec": {"restartPolicy": "OnFailure"}}}}),
        &[&format!(
            "{field}: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified"
        )],
    );
    job.refuses(
        json!({"spec": {"template": {"spec": {"containers": []}}}}),
        &["spec.template.spec.containers: Required value"],
    );
}

#[test]
fn failure_policies() {
    let job = job();
    let rules = |rules: Value| json!({"spec": {"podFailurePolicy": {"rules": rules}}});
    job.refuses(
        rules(json!([{"action": "Count", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0, 1]}}])),
        &[],
    );
    let path = "spec.podFailurePolicy.rules[0]";
    job.refuses(
        rules(json!([{"onExitCodes": {"containerName": "x", "operator": "In", "values": [0, 3, 2, 3]}}])),
        &[
            &format!("{path}.action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
            &format!(
                "{path}.onExitCodes.containerName: Invalid value: \"x\": must be one of the container or \
                 initContainer names in the pod template"
            ),
            &format!("{path}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"),
            &format!("{path}.onExitCodes.values[3]: Duplicate value: 3"),
            &format!("{path}.onExitCodes.values: Invalid value: [0,3,2,3]: must be ordered"),
        ],
    );
    job.refuses(
        rules(json!([{"action": "FailIndex"}])),
        &[
            &format!(
                "{path}.action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set"
            ),
            &format!("{path}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
        ],
    );
    job.refuses(
        rules(json!([{"action": "Stop", "onExitCodes": {"values": []},
            "onPodConditions": [{"type": "a b", "status": "Maybe"}]}])),
        &[
            &format!(
                "{path}.action: Unsupported value: \"Stop\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\""
            ),
            &format!("{path}.onExitCodes.operator: Required value: valid values: [\"In\" \"NotIn\"]"),
            &format!("{path}.onExitCodes.values: Invalid value: []: at least one value is required"),
            &format!(
                "{path}.onPodConditions[0].type: Invalid value: \"a b\": name part must consist of alphanumeric \
                 characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
                 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                 '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ),
            &format!(
                "{path}.onPodConditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\""
            ),
            &format!("{path}: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"),
        ],
    );
    let many: Vec<Value> =
        (0..21).map(|_| json!({"action": "Ignore", "onPodConditions": [{"type": "a"}]})).collect();
    job.refuses(
        rules(many.into()),
        &["spec.podFailurePolicy.rules: Too many: 21: must have at most 20 items"],
    );
    job.refuses(
        json!({"spec": {"podReplacementPolicy": "TerminatingOrFailed",
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "a"}]}]}}}),
        &["spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\""],
    );
}

#[test]
fn success_policies() {
    let rules = |rules: Value| json!({"spec": {"successPolicy": {"rules": rules}}});
    job().refuses(
        rules(json!([{"succeededCount": 1}])),
        &[
            "spec.successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion mode",
        ],
    );
    let indexed = indexed();
    indexed.refuses(rules(json!([{"succeededCount": 5}, {"succeededIndexes": "0-4"}])), &[]);
    indexed.refuses(
        rules(json!([])),
        &[
            "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified",
        ],
    );
    let path = "spec.successPolicy.rules[0]";
    indexed.refuses(
        rules(json!([{}])),
        &[&format!(
            "{path}: Required value: at least one of succeededCount or succeededIndexes must be specified"
        )],
    );
    indexed.refuses(
        rules(json!([{"succeededIndexes": "5"}])),
        &[&format!(
            "{path}.succeededIndexes: Invalid value: \"5\": error parsing succeededIndexes: too large index: \"5\""
        )],
    );
    indexed.refuses(
        rules(json!([{"succeededIndexes": "0,2", "succeededCount": 6}])),
        &[
            &format!(
                "{path}.succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)"
            ),
            &format!(
                "{path}.succeededCount: Invalid value: 6: must be less than or equal to 2 (the number of indexes \
                 in the specified succeededIndexes field)"
            ),
        ],
    );
}

#[test]
fn what_may_change() {
    let job = job();
    job.refuses_update(spec(json!({"parallelism": 3, "suspend": true, "backoffLimit": 1})), &[]);
    job.refuses_update(
        spec(json!({"completions": 2, "completionMode": "Indexed", "managedBy": "a.io/b"})),
        &[
            "spec.completionMode: Invalid value: \"Indexed\": field is immutable",
            "spec.managedBy: Invalid value: \"a.io/b\": field is immutable",
            "spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism",
        ],
    );
    job.refuses_update(
        spec(json!({"completions": 2})),
        &["spec.completions: Invalid value: 2: field is immutable"],
    );
    indexed().refuses_update(spec(json!({"completions": 2, "parallelism": 2})), &[]);
    let node = json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"},
        "affinity": {"nodeAffinity": {}}, "tolerations": [{"operator": "Exists"}]}}}});
    let suspended = json!({"spec": {"suspend": true}});
    job.refuses_change(suspended.clone(), node.clone(), "", &[]);
    let begun =
        json!({"spec": {"suspend": true}, "status": {"startTime": "2026-01-01T00:00:00Z", "active": 1}});
    let old = job.created(node.clone());
    let shown = format!("spec.template: Invalid value: {}: field is immutable", old["spec"]["template"]);
    job.refuses_change(begun, node.clone(), "", &[&shown]);
    job.refuses_change(json!({}), node, "", &[&shown]);
    let image = json!({"spec": {"template": {"spec": {"hostname": "x"}}}});
    let old = job.created(image.clone());
    let shown = format!("spec.template: Invalid value: {}: field is immutable", old["spec"]["template"]);
    job.refuses_change(suspended, image, "", &[&shown]);
}

#[test]
fn what_controllers_may_report() {
    let (job, start, end) = (job(), "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
    let conditions = |kinds: &[&str]| -> Value {
        kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
    };
    let done = json!({"startTime": start, "completionTime": end, "succeeded": 1,
        "conditions": conditions(&["SuccessCriteriaMet", "Complete"])});
    job.refuses_status(json!({}), done.clone(), &[]);
    job.refuses_status(
        json!({}),
        json!({"conditions": conditions(&["Complete"]), "active": 1, "terminating": 1}),
        &[
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
            "status.startTime: Required value: startTime is required for finished job",
        ],
    );
    job.refuses_status(
        done.clone(),
        json!({"conditions": [], "completionTime": null, "succeeded": 0}),
        &[
            "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
            "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
            "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
        ],
    );
    job.refuses_status(
        done,
        json!({"completionTime": "2025-01-01T00:00:00Z"}),
        &[
            "status.completionTime: Invalid value: \"2025-01-01T00:00:00Z\": must be equal to or after `startTime`",
            "status.completionTime: Invalid value: \"2025-01-01T00:00:00Z\": field is immutable",
        ],
    );
    job.refuses_status(
        json!({"startTime": start}),
        json!({"startTime": null, "ready": 2, "active": 1, "completedIndexes": "0", "failedIndexes": "0",
            "uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}),
        &[
            "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
            "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            "status.startTime: Required value: startTime cannot be removed for unsuspended job",
            "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
            "status.failedIndexes: Invalid value: \"0\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            "status.failedIndexes: Invalid value: \"0\": failedIndexes and completedIndexes overlap at index: 0",
            "status.ready: Invalid value: 2: cannot set more ready pods than active",
        ],
    );
    job.refuses_status(
        json!({}),
        json!({"conditions": conditions(&["Failed", "SuccessCriteriaMet"]), "startTime": start}),
        &[
            "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions",
        ],
    );
}
