//! A cluster of one deployment: plans are applied as an API server would.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::plan::{Action, Plan, Target};
use client::request;
use controller_manager::{deployment, pods, replica_set};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// An object as the server keeps it and as a controller sees it.
struct Entry {
    json: Value,
    typed: Arc<dyn Any>,
}

impl Entry {
    fn new(plural: &str, json: Value) -> Self {
        fn decode<K: DeserializeOwned + 'static>(json: &Value) -> Arc<dyn Any> {
            Arc::new(Arc::new(K::deserialize(json).expect("decodes")))
        }
        let typed = match plural {
            "deployments" => decode::<Deployment>(&json),
            "replicasets" => decode::<ReplicaSet>(&json),
            _ => decode::<Pod>(&json),
        };
        Self { json, typed }
    }
}

/// Objects by plural and name.
pub struct World {
    objects: BTreeMap<(String, String), Entry>,
    revision: u64,
    now: Timestamp,
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn number_or_text(text: &str) -> Value {
    text.parse::<i32>().map_or_else(|_| json!(text), |number| json!(number))
}

impl World {
    pub fn new(wanted: i32, surge: &str, missing: &str, min_ready: i32) -> Self {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut world = Self { objects: BTreeMap::new(), revision: 1, now };
        world.create(
            "deployments",
            json!({
                "metadata": {"name": "web", "namespace": "ns"},
                "spec": {
                    "replicas": wanted,
                    "minReadySeconds": min_ready,
                    "selector": {"matchLabels": {"app": "web"}},
                    "revisionHistoryLimit": 2,
                    "progressDeadlineSeconds": 600,
                    "strategy": {"type": "RollingUpdate", "rollingUpdate": {
                        "maxSurge": number_or_text(surge), "maxUnavailable": number_or_text(missing)}},
                    "template": {"metadata": {"labels": {"app": "web", "version": "0"}},
                        "spec": {"containers": [{"name": "c", "image": "i"}]}},
                },
            }),
        );
        world
    }

    fn create(&mut self, plural: &str, mut object: Value) {
        self.revision += 1;
        let meta = &mut object["metadata"];
        if meta["name"].is_null() {
            meta["name"] =
                json!(format!("{}{}", meta["generateName"].as_str().expect("a prefix"), self.revision));
        }
        meta["uid"] = json!(format!("uid-{}", self.revision));
        meta["resourceVersion"] = json!(self.revision.to_string());
        meta["generation"] = json!(1);
        meta["creationTimestamp"] = json!(self.now.to_string());
        let name = meta["name"].as_str().expect("a name").to_owned();
        let before = self.objects.insert((plural.to_owned(), name), Entry::new(plural, object));
        assert!(before.is_none(), "created twice");
    }

    fn edit(&mut self, plural: &str, name: &str, spec: bool, change: impl FnOnce(&mut Value)) {
        self.revision += 1;
        let entry = self.objects.get_mut(&(plural.to_owned(), name.to_owned())).expect("an object");
        let mut object = entry.json.take();
        let before = object["spec"].clone();
        change(&mut object);
        if spec && object["spec"] != before {
            object["metadata"]["generation"] =
                json!(object["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        *entry = Entry::new(plural, object);
    }

    fn of<K: 'static>(&self, plural: &str) -> Vec<Arc<K>> {
        let objects = self.objects.iter().filter(|((kind, _), _)| kind == plural);
        let typed = objects.filter_map(|(_, entry)| entry.typed.downcast_ref::<Arc<K>>());
        typed.cloned().collect()
    }

    fn deployment(&self) -> Arc<Deployment> {
        self.of("deployments").remove(0)
    }

    fn sets(&self) -> Vec<Arc<ReplicaSet>> {
        self.of("replicasets")
    }

    fn check_preconditions(&self, target: &Target) {
        let object = &self.objects[&(target.resource.plural.clone(), target.name.clone())];
        let meta = &object.json["metadata"];
        assert!(target.uid.is_none() || target.uid.as_deref() == meta["uid"].as_str());
        assert!(
            target.resource_version.is_none()
                || target.resource_version.as_deref() == meta["resourceVersion"].as_str()
        );
    }

    fn perform(&mut self, plan: Plan) {
        for action in plan.actions {
            match action {
                Action::Create { resource, object, .. } => self.create(&resource.plural, object),
                Action::Patch { target, subresource, patch } => {
                    self.check_preconditions(&target);
                    let spec = subresource.is_none();
                    self.edit(&target.resource.plural, &target.name, spec, |object| merge(object, &patch));
                }
                Action::Delete { target, .. } => {
                    self.check_preconditions(&target);
                    if target.resource.plural == "pods" {
                        let now = self.now.to_string();
                        self.edit("pods", &target.name, false, |pod| {
                            pod["metadata"]["deletionTimestamp"] = json!(now)
                        });
                    } else {
                        self.objects.remove(&(target.resource.plural, target.name));
                    }
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub fn reconcile_deployment(&mut self) {
        let observed = deployment::Observed {
            deployment: self.deployment(),
            sets: self.sets(),
            pods: self.of("pods"),
            last: None,
        };
        let plan = deployment::reconcile(&observed, self.now);
        self.perform(plan);
    }

    pub fn reconcile_set(&mut self, index: usize) {
        let Some(set) = self.sets().get(index).cloned() else { return };
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let (uid, name) = (set.metadata.uid.clone(), set.metadata.name.clone());
        let observed = replica_set::Observed {
            resource: request::resource::<ReplicaSet>(),
            set,
            pods: self.of("pods"),
            crowd: BTreeMap::new(),
            last: None,
        };
        let before = self.active_of(uid.as_deref());
        let plan = replica_set::reconcile(&observed, self.now);
        self.perform(plan);
        let after = self.active_of(uid.as_deref());
        assert!(after >= before.min(wanted), "{name:?} went from {before} to {after}, wanted {wanted}");
        assert_eq!(after, wanted, "{name:?}");
    }

    fn active_of(&self, uid: Option<&str>) -> i32 {
        let pods = self.of::<Pod>("pods");
        let mine = pods.iter().filter(|pod| {
            pods::is_active(pod)
                && pod.metadata.owner_references.iter().flatten().any(|o| Some(o.uid.as_str()) == uid)
        });
        i32::try_from(mine.count()).expect("few pods")
    }

    fn choose(&self, index: usize, rule: impl Fn(&Pod) -> bool) -> Option<String> {
        let pods: Vec<_> = self.of::<Pod>("pods").into_iter().filter(|pod| rule(pod)).collect();
        pods.get(index % pods.len().max(1)).and_then(|pod| pod.metadata.name.clone())
    }

    pub fn pod_becomes_ready(&mut self, index: usize) {
        let Some(name) = self.choose(index, |pod| pods::is_active(pod) && !pods::is_ready(pod)) else {
            return;
        };
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": self.now.to_string()}]);
        self.edit("pods", &name, false, |pod| {
            pod["status"] = json!({"phase": "Running", "conditions": ready})
        });
    }

    pub fn terminating_pod_goes(&mut self, index: usize) {
        if let Some(name) = self.choose(index, |pod| pod.metadata.deletion_timestamp.is_some()) {
            self.objects.remove(&("pods".to_owned(), name));
        }
    }

    pub fn set_template(&mut self, version: u8) {
        self.edit("deployments", "web", true, |deployment| {
            deployment["spec"]["template"]["metadata"]["labels"]["version"] = json!(version.to_string());
        });
    }

    pub fn set_replicas(&mut self, replicas: i32) {
        self.edit("deployments", "web", true, |deployment| deployment["spec"]["replicas"] = json!(replicas));
    }

    pub fn recreate(&mut self) {
        self.edit("deployments", "web", true, |deployment| {
            deployment["spec"]["strategy"] = json!({"type": "Recreate"});
        });
    }

    pub fn tick(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Everything works until nothing is left to do.
    pub fn converge(&mut self) {
        for _ in 0..60 {
            let before = self.revision;
            self.reconcile_deployment();
            (0..self.sets().len()).for_each(|index| self.reconcile_set(index));
            for _ in self.of::<Pod>("pods") {
                self.pod_becomes_ready(0);
                self.terminating_pod_goes(0);
            }
            self.tick(8);
            if self.revision == before && self.problem().is_none() {
                return;
            }
        }
    }

    /// Most pods the sets may want together, and fewest that may be available.
    pub fn bounds(&self) -> (i32, i32) {
        let spec = self.deployment().spec.clone().expect("a spec");
        let wanted = spec.replicas.unwrap_or(1);
        let rolling = spec.strategy.and_then(|strategy| strategy.rolling_update).expect("rolling");
        let resolve = |value, up: bool| match value {
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(number)) => f64::from(number),
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(text)) => {
                let part: f64 = text.trim_end_matches('%').parse().expect("a percentage");
                let value = part * f64::from(wanted) / 100.0;
                if up { value.ceil() } else { value.floor() }
            }
            None => panic!("no value"),
        };
        let (surge, missing) = (resolve(rolling.max_surge, true), resolve(rolling.max_unavailable, false));
        let missing = if surge == 0.0 && missing == 0.0 { 1.0 } else { missing };
        #[expect(clippy::cast_possible_truncation, reason = "small whole numbers")]
        let (surge, missing) = (surge as i32, missing as i32);
        (wanted + surge, (wanted - missing).max(0))
    }

    pub fn total_wanted(&self) -> i32 {
        self.sets().iter().filter_map(|set| set.spec.as_ref()?.replicas).sum()
    }

    /// Pods that serve now.
    pub fn available(&self) -> i32 {
        let pods = self.of::<Pod>("pods");
        let min_ready = self.deployment().spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let serving =
            pods.iter().filter(|pod| pods::is_active(pod) && pods::is_available(pod, min_ready, self.now));
        i32::try_from(serving.count()).expect("few pods")
    }

    pub fn templates_running(&self) -> usize {
        let pods = self.of::<Pod>("pods");
        let versions = pods.iter().filter_map(|pod| pod.metadata.labels.as_ref()?.get("version").cloned());
        versions.collect::<BTreeSet<_>>().len()
    }

    /// Why the rollout is not finished, if it is not.
    pub fn problem(&self) -> Option<String> {
        let deployment = self.deployment();
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        let count = |count: Option<i32>| count.unwrap_or(0);
        let counts = [
            count(status.replicas),
            count(status.updated_replicas),
            count(status.ready_replicas),
            count(status.available_replicas),
        ];
        if counts != [wanted; 4] || count(status.unavailable_replicas) != 0 {
            return Some(format!("counts {counts:?}, wanted {wanted}: {status:?}"));
        }
        let condition = |kind: &str| {
            let conditions = status.conditions.iter().flatten();
            conditions
                .clone()
                .find(|c| c.type_ == kind)
                .map(|c| format!("{} {}", c.status, c.reason.clone().unwrap_or_default()))
        };
        let got = (condition("Progressing"), condition("Available"));
        let expect = (
            Some("True NewReplicaSetAvailable".to_owned()),
            Some("True MinimumReplicasAvailable".to_owned()),
        );
        if got != expect {
            return Some(format!("conditions {got:?}"));
        }
        (self.sets().len() > 3).then(|| format!("{} sets kept", self.sets().len()))
    }
}
