//! What happens when several managers write one object.

use super::*;

#[test]
fn a_first_apply_owns_what_it_says() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1, "paused": true})), false).unwrap();
    assert_eq!(story.live["spec"], json!({"replicas": 1, "paused": true}));
    assert_eq!(story.owners(), [r#"one Apply 01 {"f:spec":{"f:paused":{},"f:replicas":{}}}"#]);
}

#[test]
fn what_is_no_longer_applied_goes() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1, "paused": true})), false).unwrap();
    story.apply("one", config(json!({"replicas": 1})), false).unwrap();
    assert_eq!(story.live["spec"], json!({"replicas": 1}));
    assert_eq!(story.owners(), [r#"one Apply 02 {"f:spec":{"f:replicas":{}}}"#]);
}

#[test]
fn what_others_own_stays() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1, "paused": true})), false).unwrap();
    // The same value: both own it, and nothing changed, so nobody has a time for it.
    story.apply("two", config(json!({"paused": true})), false).unwrap();
    story.apply("one", config(json!({"replicas": 1})), false).unwrap();
    assert_eq!(story.live["spec"], json!({"replicas": 1, "paused": true}));
    assert_eq!(
        story.owners(),
        [r#"two Apply - {"f:spec":{"f:paused":{}}}"#, r#"one Apply 01 {"f:spec":{"f:replicas":{}}}"#]
    );
    story.apply("two", config(json!({})), false).unwrap();
    assert_eq!(story.live["spec"], json!({"replicas": 1}));
}

#[test]
fn an_apply_that_changes_nothing_keeps_the_time() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1})), false).unwrap();
    let before = story.live.clone();
    story.apply("one", config(json!({"replicas": 1})), false).unwrap();
    assert_eq!(story.live, before);
}

#[test]
fn conflicts_name_managers_and_fields() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1, "paused": true})), false).unwrap();
    story.update("edit", |object| object["spec"]["minReadySeconds"] = 5.into());
    let error = story.apply("two", config(json!({"replicas": 2})), false).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    let wanted = config(json!({"replicas": 2, "paused": false, "minReadySeconds": 6}));
    let error = story.apply("two", wanted.clone(), false).unwrap_err();
    let status = Status::from(error);
    assert_eq!(
        status.message,
        "Apply failed with 3 conflicts: conflicts with \"edit\" using apps/v1:\n- .spec.minReadySeconds\nconflicts with \"one\":\n- .spec.paused\n- .spec.replicas"
    );
    assert_eq!((status.code(), status.causes.len()), (409, 3));
    let cause = &status.causes[0];
    assert_eq!(
        (cause.reason, cause.field.as_str(), cause.message.as_str()),
        ("FieldManagerConflict", ".spec.minReadySeconds", "conflict with \"edit\" using apps/v1")
    );
    // Force moves ownership; who is left with nothing goes.
    story.apply("two", wanted, true).unwrap();
    assert_eq!(
        story.owners(),
        [r#"two Apply 05 {"f:spec":{"f:minReadySeconds":{},"f:paused":{},"f:replicas":{}}}"#]
    );
}

#[test]
fn updates_take_what_they_change() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1, "paused": true})), false).unwrap();
    story.update("edit", |object| object["spec"]["replicas"] = 3.into());
    story.update("edit", |object| object["spec"]["minReadySeconds"] = 5.into());
    assert_eq!(
        story.owners(),
        [
            r#"one Apply 01 {"f:spec":{"f:paused":{}}}"#,
            r#"edit Update 03 {"f:spec":{"f:minReadySeconds":{},"f:replicas":{}}}"#,
        ]
    );
    // An update that changes nothing is nobody's.
    let before = story.live.clone();
    story.update("other", |_| {});
    assert_eq!(story.live, before);
    // What an update removes nobody owns.
    story.update("other", |object| {
        object["spec"].as_object_mut().unwrap().remove("minReadySeconds");
    });
    assert_eq!(story.owners().last().unwrap(), r#"edit Update 03 {"f:spec":{"f:replicas":{}}}"#);
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner() {
    let mut story = Story::new(DEPLOYMENT);
    story.store(config(json!({"replicas": 1, "paused": true})));
    // Updates do not begin to track.
    story.update("edit", |object| object["spec"]["replicas"] = 2.into());
    assert!(story.owners().is_empty());
    let error = story.apply("one", config(json!({"replicas": 3})), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
    story.apply("one", config(json!({"replicas": 2})), false).unwrap();
    assert_eq!(story.owners().len(), 2);
}

#[test]
fn owners_can_be_edited_and_dropped() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1})), false).unwrap();
    let kept = story.live["metadata"]["managedFields"].clone();
    // A client that does not know the field changes nothing by leaving it out, nor by sending nonsense.
    for sent in [Value::Null, json!([{"operation": "Nonsense"}])] {
        story.update("edit", |object| object["metadata"]["managedFields"] = sent);
        assert_eq!(story.live["metadata"]["managedFields"], kept);
    }
    story.update("edit", |object| object["metadata"]["managedFields"][0]["manager"] = "renamed".into());
    assert_eq!(story.owners(), [r#"renamed Apply 01 {"f:spec":{"f:replicas":{}}}"#]);
    for reset in [json!([{}]), json!([])] {
        let mut story = Story { kind: DEPLOYMENT, live: story.live.clone(), hour: 0 };
        story.update("edit", |object| object["metadata"]["managedFields"] = reset);
        assert!(story.live["metadata"].get("managedFields").is_none());
    }
}

#[test]
fn configurations_that_cannot_be_applied() {
    let mut story = Story::new(DEPLOYMENT);
    let mut bad = config(json!({}));
    bad["metadata"]["managedFields"] = json!([]);
    let error = story.apply("one", bad, false).unwrap_err();
    assert_eq!(error, ApplyError::Malformed("metadata.managedFields must be nil".to_owned()));
    let error = story.apply("one", config(json!({"replicaz": 1})), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.replicaz: field not declared in schema"
    );
    let status = Status::from(error);
    assert_eq!((status.code(), status.to_json().get("reason")), (500, None));
}

#[test]
fn list_items_belong_to_who_applied_them() {
    let containers = |list: Value| config(json!({"template": {"spec": {"containers": list}}}));
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", containers(json!([{"name": "a", "image": "1"}])), false).unwrap();
    story.apply("two", containers(json!([{"name": "b", "image": "1"}])), false).unwrap();
    story.apply("one", containers(json!([])), false).unwrap();
    let left = &story.live["spec"]["template"]["spec"]["containers"];
    assert_eq!(*left, json!([{"name": "b", "image": "1"}]));
}

#[test]
fn an_item_somebody_added_a_field_to_stays() {
    let containers = |list: Value| config(json!({"template": {"spec": {"containers": list}}}));
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", containers(json!([{"name": "a", "image": "1"}])), false).unwrap();
    story.apply("two", containers(json!([{"name": "a", "tty": true}])), false).unwrap();
    story.apply("one", containers(json!([])), false).unwrap();
    let left = &story.live["spec"]["template"]["spec"]["containers"];
    assert_eq!(*left, json!([{"name": "a", "tty": true}]));
}

#[test]
fn versions_are_converted_and_forgotten() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1, "paused": true})), false).unwrap();
    for entry in story.live["metadata"]["managedFields"].as_array_mut().unwrap() {
        entry["apiVersion"] = "apps/v2".into();
    }
    let mut gone = story.live["metadata"]["managedFields"][0].clone();
    gone["manager"] = "old".into();
    gone["apiVersion"] = "apps/v0".into();
    story.live["metadata"]["managedFields"].as_array_mut().unwrap().push(gone);
    let error = story.apply("two", config(json!({"replicas": 2})), false).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    // An applier may change its version: what it no longer applies goes all the same.
    story.apply("one", config(json!({"replicas": 1})), false).unwrap();
    assert_eq!(story.live["spec"], json!({"replicas": 1}));
    assert_eq!(story.owners().len(), 1);
    assert_eq!(story.live["metadata"]["managedFields"][0]["apiVersion"], "apps/v1");
}

#[test]
fn old_updaters_become_one() {
    let mut story = Story::new(DEPLOYMENT);
    story.update("u00", |object| *object = config(json!({"replicas": 1})));
    for n in 1..13 {
        let label = format!("l{n}");
        story.update(&format!("u{n:02}"), |object| object["metadata"]["labels"][&label] = "x".into());
    }
    let owners = story.owners();
    assert_eq!(owners.len(), 10);
    assert_eq!(
        owners[0],
        r#"ancient-changes Update 04 {"f:metadata":{"f:labels":{".":{},"f:l1":{},"f:l2":{},"f:l3":{}}},"f:spec":{"f:replicas":{}}}"#
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_from_the_client() {
    let last = "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":1,\"paused\":true}}";
    let key = crate::three_way::LAST_APPLIED;
    let mut story = Story::new(DEPLOYMENT);
    story.update("kubectl-client-side-apply", |object| {
        *object = config(json!({"replicas": 1, "paused": true}));
        object["metadata"]["annotations"] = json!({key: last});
    });
    story.update("edit", |object| object["spec"]["paused"] = false.into());
    // `paused` was changed by somebody else since.
    let error = story.apply("kubectl", config(json!({"replicas": 2, "paused": true})), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"edit\" using apps/v1: .spec.paused"
    );
    let error = story.apply("other", config(json!({"replicas": 2})), false).unwrap_err();
    assert!(error.to_string().contains("kubectl-client-side-apply"), "{error}");
    story.apply("kubectl", config(json!({"replicas": 2})), false).unwrap();
    assert_eq!(story.live["spec"]["replicas"], 2);
    assert_eq!(
        story.live["metadata"]["annotations"][key],
        "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":2}}\n"
    );
}

#[test]
fn the_scale_owns_one_path() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1, "paused": true})), false).unwrap();
    let parent = story.live["metadata"]["managedFields"].clone();
    let scale = |manager| scale::Scale {
        parent: &parent,
        api_version: "apps/v1",
        replicas: "spec.replicas",
        manager,
        now: "2026-01-01T09:00:00Z",
    };
    assert_eq!(scale("hpa").track(&json!(1), &json!(1)), parent);
    let owners = scale("hpa").track(&json!(1), &json!(4));
    let shown: Vec<(Value, Value, Value)> = owners
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["manager"].clone(), e["subresource"].clone(), e["fieldsV1"].clone()))
        .collect();
    assert_eq!(
        shown,
        [
            (json!("one"), Value::Null, json!({"f:spec": {"f:paused": {}}})),
            (json!("hpa"), json!("scale"), json!({"f:spec": {"f:replicas": {}}})),
        ]
    );
    assert_eq!(owners[1]["apiVersion"], "apps/v1");
    let config = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 4}});
    let error = scale("two").apply(&json!(1), &config, false).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    let (replicas, owners) = scale("two").apply(&json!(1), &config, true).unwrap();
    assert_eq!((replicas, owners.as_array().unwrap().len()), (json!(4), 2));
}

#[test]
fn times_alone_are_no_change() {
    let mut story = Story::new(DEPLOYMENT);
    story.apply("one", config(json!({"replicas": 1})), false).unwrap();
    let mut later = story.live.clone();
    later["metadata"]["managedFields"][0]["time"] = "2027-01-01T00:00:00Z".into();
    assert!(same_but_times(&story.live, &later));
    later["spec"]["replicas"] = 2.into();
    assert!(!same_but_times(&story.live, &later));
}
