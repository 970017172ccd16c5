//! Pods and what makes pods.

use serde_json::Value;

use super::Row::{self, Annotations, Events, If, Labels, Or, Owner, Part, Text, Time};
use super::containers::{Containers, resources};
use super::related::Related;
use super::sheet::{self, Sheet, format_selector, items, number, pairs, text, time};
use super::volumes;

const NAME: Row = Text("Name", "/metadata/name");
const NAMESPACE: Row = Text("Namespace", "/metadata/namespace");
const LABELS: Row = Labels("Labels", "/metadata/labels");
const CREATED: Row = Time("CreationTimestamp", "/metadata/creationTimestamp");
const SELECTOR: Row = Part(|s, o, _| s.field(0, "Selector", format_selector(&o["spec"]["selector"])));
const TEMPLATE: Row = Part(|s, o, _| template(s, &o["spec"]["template"]));
const PODS: Row = Part(|s, _, related| s.field(0, "Pods Status", pod_counts(&related.pods)));
const CONDITIONS: Row = Part(|s, o, _| conditions(s, o, &["Type", "Status", "Reason"]));

/// `Pod`.
pub const POD: &[Row] = &[
    NAME,
    NAMESPACE,
    If("Priority", "/spec/priority"),
    If("Priority Class Name", "/spec/priorityClassName"),
    If("Runtime Class Name", "/spec/runtimeClassName"),
    If("Service Account", "/spec/serviceAccountName"),
    Part(node),
    Time("Start Time", "/status/startTime"),
    LABELS,
    Annotations,
    Part(status),
    If("Reason", "/status/reason"),
    If("Message", "/status/message"),
    If("SeccompProfile", "/spec/securityContext/seccompProfile/type"),
    If("LocalhostProfile", "/spec/securityContext/seccompProfile/localhostProfile"),
    Text("IP", "/status/podIP"),
    Part(addresses),
    Owner,
    If("NominatedNodeName", "/status/nominatedNodeName"),
    Part(pod_containers),
    Part(gates),
    Part(|s, o, _| conditions(s, o, &["Type", "Status"])),
    Part(|s, o, _| volumes::of_pod(s, "", &o["spec"]["volumes"])),
    Part(|s, o, _| s.field(0, "QoS Class", text(&o["status"]["qosClass"]))),
    Labels("Node-Selectors", "/spec/nodeSelector"),
    Part(|s, o, _| tolerations(s, "", &o["spec"]["tolerations"])),
    Part(|s, o, _| spread(s, "", &o["spec"]["topologySpreadConstraints"])),
    Events,
];

/// `Deployment`.
pub const DEPLOYMENT: &[Row] = &[
    NAME,
    NAMESPACE,
    CREATED,
    LABELS,
    Annotations,
    SELECTOR,
    Part(|s, o, _| {
        let status = |field: &str| number(&o["status"][field]);
        let wanted = number(&o["spec"]["replicas"]);
        let (updated, all) = (status("updatedReplicas"), status("replicas"));
        let (available, missing) = (status("availableReplicas"), status("unavailableReplicas"));
        s.field(0, "Replicas", format!("{wanted} desired | {updated} updated | {all} total | {available} available | {missing} unavailable"));
    }),
    Text("StrategyType", "/spec/strategy/type"),
    Or("MinReadySeconds", "/spec/minReadySeconds", "0"),
    Part(|s, o, _| {
        let rolling = &o["spec"]["strategy"]["rollingUpdate"];
        if rolling.is_object() {
            let (down, up) = (text(&rolling["maxUnavailable"]), text(&rolling["maxSurge"]));
            s.field(0, "RollingUpdateStrategy", format!("{down} max unavailable, {up} max surge"));
        }
    }),
    TEMPLATE,
    CONDITIONS,
    Part(replica_sets),
    Events,
];

/// `ReplicaSet`.
pub const REPLICA_SET: &[Row] = &[
    NAME,
    NAMESPACE,
    SELECTOR,
    LABELS,
    Annotations,
    Owner,
    Part(replicas),
    PODS,
    TEMPLATE,
    CONDITIONS,
    Events,
];

/// `ReplicationController`.
pub const REPLICATION_CONTROLLER: &[Row] = &[
    NAME,
    NAMESPACE,
    Part(|s, o, _| s.field(0, "Selector", pairs(&o["spec"]["selector"]))),
    LABELS,
    Annotations,
    Part(replicas),
    PODS,
    TEMPLATE,
    CONDITIONS,
    Events,
];

/// `StatefulSet`.
pub const STATEFUL_SET: &[Row] = &[
    NAME,
    NAMESPACE,
    CREATED,
    SELECTOR,
    LABELS,
    Annotations,
    Part(|s, o, _| {
        let (wanted, all) = (number(&o["spec"]["replicas"]), number(&o["status"]["replicas"]));
        s.field(0, "Replicas", format!("{wanted} desired | {all} total"));
    }),
    Text("Update Strategy", "/spec/updateStrategy/type"),
    Part(|s, o, _| {
        let rolling = &o["spec"]["updateStrategy"]["rollingUpdate"];
        s.field_if(1, "Partition", &rolling["partition"]);
        s.field_if(1, "MaxUnavailable", &rolling["maxUnavailable"]);
    }),
    PODS,
    TEMPLATE,
    Part(claims),
    Events,
];

/// `DaemonSet`.
pub const DAEMON_SET: &[Row] = &[
    NAME,
    // Older and newer kubectl differ: 1.32 has no namespace here.
    SELECTOR,
    Part(|s, o, _| s.field(0, "Node-Selector", pairs(&o["spec"]["template"]["spec"]["nodeSelector"]))),
    LABELS,
    Annotations,
    Part(|s, o, _| {
        for (title, field) in [
            ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
            ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
            ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
            ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
            ("Number of Nodes Misscheduled", "numberMisscheduled"),
        ] {
            s.line(0, format!("{title}: {}", number(&o["status"][field])));
        }
    }),
    PODS,
    TEMPLATE,
    Events,
];

/// `Job`.
pub const JOB: &[Row] = &[
    NAME,
    NAMESPACE,
    SELECTOR,
    LABELS,
    Annotations,
    Owner,
    If("Parallelism", "/spec/parallelism"),
    Or("Completions", "/spec/completions", "<unset>"),
    If("Completion Mode", "/spec/completionMode"),
    If("Suspend", "/spec/suspend"),
    If("Backoff Limit", "/spec/backoffLimit"),
    If("TTL Seconds After Finished", "/spec/ttlSecondsAfterFinished"),
    Time("Start Time", "/status/startTime"),
    Time("Completed At", "/status/completionTime"),
    Part(job_status),
    TEMPLATE,
    Events,
];

/// `CronJob`.
pub const CRON_JOB: &[Row] = &[
    NAME,
    NAMESPACE,
    LABELS,
    Annotations,
    Text("Schedule", "/spec/schedule"),
    Text("Concurrency Policy", "/spec/concurrencyPolicy"),
    Part(|s, o, _| {
        let suspend = &o["spec"]["suspend"];
        s.field(0, "Suspend", if suspend.is_null() { "<unset>" } else { sheet::truth(suspend) });
    }),
    Or("Successful Job History Limit", "/spec/successfulJobsHistoryLimit", "<unset>"),
    Or("Failed Job History Limit", "/spec/failedJobsHistoryLimit", "<unset>"),
    Part(|s, o, _| {
        let seconds = &o["spec"]["startingDeadlineSeconds"];
        let shown = seconds.as_i64().map_or_else(|| "<unset>".to_owned(), |seconds| format!("{seconds}s"));
        s.field(0, "Starting Deadline Seconds", shown);
    }),
    Part(cron_template),
    Part(|s, o, _| {
        let last = &o["status"]["lastScheduleTime"];
        s.field(0, "Last Schedule Time", if last.is_null() { "<unset>".to_owned() } else { time(last) });
        let active: Vec<String> =
            items(&o["status"]["active"]).iter().map(|job| text(&job["name"])).collect();
        s.field(0, "Active Jobs", if active.is_empty() { "<none>".to_owned() } else { active.join(", ") });
    }),
    Events,
];

fn node(sheet: &mut Sheet, pod: &Value, _: &Related) {
    match text(&pod["spec"]["nodeName"]) {
        node if node.is_empty() => sheet.field(0, "Node", "<none>"),
        node => sheet.field(0, "Node", format!("{node}/{}", text(&pod["status"]["hostIP"]))),
    }
}

fn status(sheet: &mut Sheet, pod: &Value, related: &Related) {
    match api::time::read(&pod["metadata"]["deletionTimestamp"]) {
        None => sheet.field(0, "Status", text(&pod["status"]["phase"])),
        Some(at) => {
            sheet.field(
                0,
                "Status",
                format!("Terminating (lasts {})", api::time::age(Some(at), related.now)),
            );
            let seconds = number(&pod["metadata"]["deletionGracePeriodSeconds"]);
            sheet.field(0, "Termination Grace Period", format!("{seconds}s"));
        }
    }
}

fn addresses(sheet: &mut Sheet, pod: &Value, _: &Related) {
    match items(&pod["status"]["podIPs"]) {
        [] => sheet.field(0, "IPs", "<none>"),
        all => {
            sheet.line(0, "IPs:");
            all.iter().for_each(|address| sheet.field(1, "IP", text(&address["ip"])));
        }
    }
}

fn pod_containers(sheet: &mut Sheet, pod: &Value, _: &Related) {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    if spec["resources"].is_object() {
        sheet.line(0, "Resources:");
        resources(sheet, 1, &spec["resources"]);
    }
    for (title, field, statuses, always) in [
        ("Init Containers", "initContainers", "initContainerStatuses", false),
        ("Containers", "containers", "containerStatuses", true),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses", false),
    ] {
        if always || !items(&spec[field]).is_empty() {
            Containers { title, specs: &spec[field], statuses: &status[statuses], pod: Some(pod) }
                .write(sheet);
        }
    }
}

fn gates(sheet: &mut Sheet, pod: &Value, _: &Related) {
    if items(&pod["spec"]["readinessGates"]).is_empty() {
        return;
    }
    sheet.line(0, "Readiness Gates:\n  Type\tStatus");
    for gate in items(&pod["spec"]["readinessGates"]) {
        let kind = text(&gate["conditionType"]);
        let found = items(&pod["status"]["conditions"]).iter().find(|c| c["type"] == kind.as_str());
        let status = found.map_or_else(|| "<none>".to_owned(), |c| text(&c["status"]));
        sheet.line(1, format!("{kind} \t{status} "));
    }
}

/// Conditions with some of their fields; pods show no dashes.
fn conditions(sheet: &mut Sheet, object: &Value, columns: &[&str]) {
    let conditions = items(&object["status"]["conditions"]);
    if conditions.is_empty() {
        return;
    }
    sheet.line(0, format!("Conditions:\n  {}", columns.join("\t")));
    if columns.len() > 2 {
        sheet.line(1, columns.iter().map(|c| "-".repeat(c.len())).collect::<Vec<_>>().join("\t"));
    }
    for condition in conditions {
        let cells = columns.iter().map(|column| text(&condition[column.to_lowercase()]));
        let line = cells.collect::<Vec<_>>();
        match line.as_slice() {
            [kind, status] => sheet.line(1, format!("{kind} \t{status} ")),
            [kind, rest @ ..] => sheet.line(1, format!("{kind} \t{}", rest.join("\t"))),
            [] => {}
        }
    }
}

fn replicas(sheet: &mut Sheet, object: &Value, _: &Related) {
    let (now, wanted) = (number(&object["status"]["replicas"]), number(&object["spec"]["replicas"]));
    sheet.field(0, "Replicas", format!("{now} current / {wanted} desired"));
}

fn pod_counts(pods: &[Value]) -> String {
    let count = |phase: &str| pods.iter().filter(|pod| pod["status"]["phase"] == phase).count();
    let (running, waiting) = (count("Running"), count("Pending"));
    format!(
        "{running} Running / {waiting} Waiting / {} Succeeded / {} Failed",
        count("Succeeded"),
        count("Failed")
    )
}

fn replica_sets(sheet: &mut Sheet, deployment: &Value, related: &Related) {
    let wanted = &deployment["spec"]["template"];
    let is_new = |set: &&Value| {
        let mut template = set["spec"]["template"].clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove("pod-template-hash");
        }
        template == *wanted
    };
    let shown = |sets: Vec<&Value>| {
        let texts = sets.iter().map(|set| {
            let (now, wanted) = (number(&set["status"]["replicas"]), number(&set["spec"]["replicas"]));
            format!("{} ({now}/{wanted} replicas created)", api::object::name(set))
        });
        let text = texts.collect::<Vec<_>>().join(", ");
        if text.is_empty() { "<none>".to_owned() } else { text }
    };
    let new = related.replica_sets.iter().find(is_new);
    let mut old: Vec<&Value> =
        related.replica_sets.iter().filter(|set| new.is_none_or(|new| new != *set)).collect();
    old.sort_by_key(|set| text(&set["metadata"]["creationTimestamp"]));
    sheet.field(0, "OldReplicaSets", shown(old));
    sheet.field(0, "NewReplicaSet", shown(new.into_iter().collect()));
}

fn job_status(sheet: &mut Sheet, job: &Value, _: &Related) {
    let status = &job["status"];
    let at = |field: &str| api::time::read(&status[field]);
    if let (Some(start), Some(end)) = (at("startTime"), at("completionTime")) {
        sheet.field(0, "Duration", api::time::human(api::time::seconds_between(start, end)));
    }
    if let Some(seconds) = job["spec"]["activeDeadlineSeconds"].as_i64() {
        sheet.field(0, "Active Deadline Seconds", format!("{seconds}s"));
    }
    let ready = status["ready"].as_i64().map(|ready| format!(" ({ready} Ready)")).unwrap_or_default();
    let (active, succeeded) = (number(&status["active"]), number(&status["succeeded"]));
    let text =
        format!("{active} Active{ready} / {succeeded} Succeeded / {} Failed", number(&status["failed"]));
    sheet.field(0, "Pods Statuses", text);
    if job["spec"]["completionMode"] == "Indexed" {
        let done = sheet::text(&status["completedIndexes"]);
        sheet.field(0, "Completed Indexes", if done.is_empty() { "<none>".to_owned() } else { done });
    }
}

fn cron_template(sheet: &mut Sheet, object: &Value, _: &Related) {
    let spec = &object["spec"]["jobTemplate"]["spec"];
    let selector = &spec["selector"];
    sheet.field(
        0,
        "Selector",
        if selector.is_null() { "<unset>".to_owned() } else { format_selector(selector) },
    );
    for (title, field) in [("Parallelism", "parallelism"), ("Completions", "completions")] {
        let value = &spec[field];
        sheet.field(0, title, value.as_i64().map_or_else(|| "<unset>".to_owned(), |n| n.to_string()));
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64() {
        sheet.field(0, "Active Deadline Seconds", format!("{seconds}s"));
    }
    template(sheet, &spec["template"]);
}

fn claims(sheet: &mut Sheet, set: &Value, _: &Related) {
    let templates = items(&set["spec"]["volumeClaimTemplates"]);
    if templates.is_empty() {
        sheet.field(0, "Volume Claims", "<none>");
        return;
    }
    sheet.line(0, "Volume Claims:");
    for claim in templates {
        sheet.field(1, "Name", text(&claim["metadata"]["name"]));
        sheet.field(1, "StorageClass", volumes::class_of(claim));
        sheet.labels("  ", "Labels", &claim["metadata"]["labels"]);
        sheet.labels("  ", "Annotations", &claim["metadata"]["annotations"]);
        let size = text(&claim["spec"]["resources"]["requests"]["storage"]);
        sheet.field(1, "Capacity", if size.is_empty() { "<default>".to_owned() } else { size });
        sheet.field(1, "Access Modes", sheet::go_list(&claim["spec"]["accessModes"]));
    }
}

/// A pod template, one level in.
pub fn template(sheet: &mut Sheet, template: &Value) {
    sheet.line(0, "Pod Template:");
    let spec = &template["spec"];
    sheet.labels("  ", "Labels", &template["metadata"]["labels"]);
    if template["metadata"]["annotations"].as_object().is_some_and(|all| !all.is_empty()) {
        sheet.annotations("  ", &template["metadata"]["annotations"]);
    }
    sheet.field_if(1, "Service Account", &spec["serviceAccountName"]);
    for (title, field, always) in
        [("Init Containers", "initContainers", false), ("Containers", "containers", true)]
    {
        if always || !items(&spec[field]).is_empty() {
            Containers { title, specs: &spec[field], statuses: &Value::Null, pod: None }.write(sheet);
        }
    }
    volumes::of_pod(sheet, "  ", &spec["volumes"]);
    spread(sheet, "  ", &spec["topologySpreadConstraints"]);
    sheet.field_if(1, "Priority Class Name", &spec["priorityClassName"]);
    sheet.labels("  ", "Node-Selectors", &spec["nodeSelector"]);
    tolerations(sheet, "  ", &spec["tolerations"]);
}

fn tolerations(sheet: &mut Sheet, indent: &str, tolerations: &Value) {
    let mut all: Vec<&Value> = items(tolerations).iter().collect();
    all.sort_by_key(|toleration| text(&toleration["key"]));
    let lines: Vec<String> = all
        .iter()
        .map(|toleration| {
            let (key, value) = (text(&toleration["key"]), text(&toleration["value"]));
            let effect = text(&toleration["effect"]);
            let mut line = key.clone();
            if !value.is_empty() {
                line.push_str(&format!("={value}"));
            }
            if !effect.is_empty() {
                line.push_str(&format!(":{effect}"));
            }
            if toleration["operator"] == "Exists" && value.is_empty() {
                line.push_str(if key.is_empty() && effect.is_empty() { "op=Exists" } else { " op=Exists" });
            }
            if let Some(seconds) = toleration["tolerationSeconds"].as_i64() {
                line.push_str(&format!(" for {seconds}s"));
            }
            line
        })
        .collect();
    sheet.lines(indent, "Tolerations", &lines);
}

fn spread(sheet: &mut Sheet, indent: &str, constraints: &Value) {
    let mut all: Vec<&Value> = items(constraints).iter().collect();
    if all.is_empty() {
        return;
    }
    all.sort_by_key(|constraint| text(&constraint["topologyKey"]));
    let lines: Vec<String> = all
        .iter()
        .map(|c| {
            let (key, otherwise) = (text(&c["topologyKey"]), text(&c["whenUnsatisfiable"]));
            let selector = match &c["labelSelector"] {
                Value::Null => String::new(),
                selector => format!(" for selector {}", format_selector(selector)),
            };
            format!("{key}:{otherwise} when max skew {} is exceeded{selector}", number(&c["maxSkew"]))
        })
        .collect();
    sheet.lines(indent, "Topology Spread Constraints", &lines);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod() {
        let text = super::super::described(
            POD,
            &json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [
                {"name": "c", "image": "i", "env": [{"name": "A", "value": "b"}]}]},
                "status": {"phase": "Pending", "qosClass": "BestEffort"}}),
        );
        for part in [
            "Name:         p\n",
            "Node:         <none>\n",
            "Labels:       <none>\n",
            "Containers:\n  c:\n    Image:      i\n    Port:       <none>\n    Host Port:  <none>\n    Environment:\n      A:         b\n    Mounts:      <none>\n",
            "QoS Class:       BestEffort\nNode-Selectors:  <none>\nTolerations:     <none>\n",
        ] {
            assert!(text.contains(part), "lacks {part:?}:\n{text}");
        }
    }
}
