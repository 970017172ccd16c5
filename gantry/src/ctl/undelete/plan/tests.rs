//! Deletions and what comes back of them.

use serde_json::json;

use super::*;

fn resource(kind: &str) -> Resource {
    Resource {
        group: String::new(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: kind != "Namespace",
        verbs: Vec::new(),
    }
}

fn removed(kind: &str, uid: &str, owner: &str, begun: u64) -> Removed {
    let mut object = json!({"kind": kind, "metadata": {"name": uid, "uid": uid, "resourceVersion": "3"}});
    if !owner.is_empty() {
        object["metadata"]["ownerReferences"] =
            json!([{"kind": "Owner", "name": owner, "uid": owner, "controller": true}]);
    }
    Removed { resource: resource(kind), object, begun }
}

fn shown(steps: &[Step]) -> Vec<String> {
    let told = |step: &Step| match &step.act {
        Act::Create(_) => step.shown(),
        Act::Leave(why) => format!("{}: {why}", step.shown()),
    };
    steps.iter().map(told).collect()
}

#[test]
fn dependents_follow_their_owners_and_nothing_else_comes() {
    let root = removed("Deployment", "d", "", 10);
    let others = vec![
        removed("Pod", "p", "r2", 12),
        removed("ReplicaSet", "r2", "d", 11),
        // Gone before: by the history limit, not by this deletion.
        removed("ReplicaSet", "r1", "d", 7),
        removed("ConfigMap", "c", "x", 11),
        removed("ControllerRevision", "cr", "r2", 12),
    ];
    let origin = root.origin();
    let steps = plan(Some(root), &origin, others, &BTreeMap::new(), false);
    let expected =
        ["deployment/d", "replicaset/r2", "controllerrevision/cr", "pod/p: owner/r2 makes it anew"];
    assert_eq!(shown(&steps), expected);
    let Act::Create(object) = &steps[1].act else { panic!("created") };
    assert_eq!(Origin::of(object), Some(Origin { uid: "r2".to_owned(), begun: 10 }));
    assert!(object["metadata"]["uid"].is_null() && object["metadata"]["resourceVersion"].is_null());
}

#[test]
fn a_namespace_comes_back_whole_and_in_order() {
    let root = removed("Namespace", "n", "", 10);
    let mut job = removed("Job", "j", "", 11);
    job.object["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    let others = vec![
        removed("Pod", "bare", "", 11),
        job,
        removed("Event", "e", "", 11),
        removed("Service", "s", "", 11),
        removed("EndpointSlice", "es", "s", 11),
        removed("ServiceAccount", "default", "", 11),
        removed("Secret", "old", "", 5),
    ];
    let origin = root.origin();
    let steps = plan(Some(root), &origin, others, &BTreeMap::new(), true);
    let expected = [
        "namespace/n",
        "serviceaccount/default",
        "service/s",
        "job/j: it had finished and would run again",
        "pod/bare",
        "endpointslice/es: owner/s makes it anew",
    ];
    assert_eq!(shown(&steps), expected);
}

#[test]
fn a_run_that_was_cut_short_goes_on() {
    let known = BTreeMap::from([("d".to_owned(), "d2".to_owned()), ("r".to_owned(), "r2".to_owned())]);
    let origin = Origin { uid: "d".to_owned(), begun: 10 };
    let others = vec![removed("ConfigMap", "c", "r", 12), removed("ConfigMap", "x", "", 12)];
    assert_eq!(shown(&plan(None, &origin, others, &known, false)), ["configmap/c"]);
}

#[test]
fn what_the_server_gives_is_left_to_it() {
    let job = json!({"kind": "Job", "metadata": {"name": "j", "finalizers": ["orphan", "mine"], "labels": {"controller-uid": "x", "a": "b"}},
        "spec": {"selector": {"matchLabels": {"controller-uid": "x"}}, "template": {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "x"}}}},
        "status": {"active": 1}});
    let expected = json!({"kind": "Job", "metadata": {"name": "j", "finalizers": ["mine"], "labels": {"a": "b"}},
        "spec": {"template": {"metadata": {"labels": {}}}}});
    assert_eq!(recreated(&job), expected);
    let mut service = json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 1, "nodePort": 30000}]}});
    forget_addresses(&mut service);
    assert_eq!(service, json!({"spec": {"ports": [{"port": 1}]}}));
}
