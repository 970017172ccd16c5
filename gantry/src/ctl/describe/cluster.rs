//! Nodes, namespaces, configuration, and who may do what.

use api::quantity::Quantity;
use serde_json::Value;

use super::Row::{self, Annotations, Events, If, Labels, Part, Text, Time};
use super::policies::{limit_rows, quota_rows};
use super::related::Related;
use super::sheet::{Sheet, go_list, items, text, time};

const NAME: Row = Text("Name", "/metadata/name");
const NAMESPACE_ROW: Row = Text("Namespace", "/metadata/namespace");
const LABELS: Row = Labels("Labels", "/metadata/labels");

/// `Node`.
pub const NODE: &[Row] = &[
    NAME,
    Part(roles),
    LABELS,
    Annotations,
    Time("CreationTimestamp", "/metadata/creationTimestamp"),
    Part(taints),
    Part(|s, o, _| s.field(0, "Unschedulable", o["spec"]["unschedulable"] == true)),
    Part(lease),
    Part(node_conditions),
    Part(node_status),
    If("PodCIDR", "/spec/podCIDR"),
    If("PodCIDRs", "/spec/podCIDRs"),
    If("ProviderID", "/spec/providerID"),
    Part(node_pods),
    Events,
];

fn roles(sheet: &mut Sheet, node: &Value, _: &Related) {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: Vec<String> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role.to_owned()),
            None if key == "kubernetes.io/role" => Some(text(value)),
            _ => None,
        })
        .collect();
    sheet.field(0, "Roles", if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") });
}

fn taints(sheet: &mut Sheet, node: &Value, _: &Related) {
    let shown = |taint: &Value| match text(&taint["value"]) {
        value if value.is_empty() => format!("{}:{}", text(&taint["key"]), text(&taint["effect"])),
        value => format!("{}={value}:{}", text(&taint["key"]), text(&taint["effect"])),
    };
    let mut taints: Vec<&Value> = items(&node["spec"]["taints"]).iter().collect();
    taints.sort_by_key(|taint| (text(&taint["effect"]), text(&taint["key"])));
    let all: Vec<String> = taints.into_iter().map(shown).collect();
    sheet.lines("", "Taints", &all);
}

fn lease(sheet: &mut Sheet, node: &Value, related: &Related) {
    let Some(lease) = related.others.first() else {
        let name = api::object::name(node);
        sheet.field(
            0,
            "Lease",
            format!("Failed to get lease: leases.coordination.k8s.io {name:?} not found"),
        );
        return;
    };
    sheet.line(0, "Lease:");
    let spec = &lease["spec"];
    let or_unset = |value: &Value, shown: String| if value.is_null() { "<unset>".to_owned() } else { shown };
    sheet.field(1, "HolderIdentity", or_unset(&spec["holderIdentity"], text(&spec["holderIdentity"])));
    for (title, field) in [("AcquireTime", "acquireTime"), ("RenewTime", "renewTime")] {
        sheet.field(1, title, or_unset(&spec[field], time(&spec[field])));
    }
}

fn node_conditions(sheet: &mut Sheet, node: &Value, _: &Related) {
    let rows: Vec<Vec<String>> = items(&node["status"]["conditions"])
        .iter()
        .map(|c| {
            let mark = |text: String| format!("{text} ");
            vec![
                mark(text(&c["type"])),
                mark(text(&c["status"])),
                mark(time(&c["lastHeartbeatTime"])),
                mark(time(&c["lastTransitionTime"])),
                mark(text(&c["reason"])),
                text(&c["message"]),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let names = ["Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"];
        sheet.table(1, "Conditions", &names, &rows);
    }
}

fn node_status(sheet: &mut Sheet, node: &Value, _: &Related) {
    let status = &node["status"];
    sheet.line(0, "Addresses:");
    for address in items(&status["addresses"]) {
        sheet.field(1, &text(&address["type"]), text(&address["address"]));
    }
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        let Some(amounts) = status[field].as_object().filter(|amounts| !amounts.is_empty()) else { continue };
        sheet.line(0, format!("{title}:"));
        amounts.iter().for_each(|(name, amount)| sheet.field(1, name, text(amount)));
    }
    sheet.line(0, "System Info:");
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ] {
        sheet.field(1, title, text(&status["nodeInfo"][field]));
    }
}

/// What pods ask for and may use: of one pod, or of many.
fn total(pods: &[Value], part: &str, name: &str) -> Quantity {
    let of_pod = |pod: &Value| -> i64 {
        let amount = |container: &Value| {
            Quantity::from_json(&container["resources"][part][name])
                .map_or(0, |q| if name == "cpu" { q.milli_value() } else { q.value() })
        };
        let sum: i64 = items(&pod["spec"]["containers"]).iter().map(amount).sum();
        let most = items(&pod["spec"]["initContainers"]).iter().map(amount).max().unwrap_or_default();
        sum.max(most)
    };
    let sum: i64 = pods.iter().map(of_pod).sum();
    if name == "cpu" { Quantity::from_milli(sum) } else { Quantity::from_bytes(sum) }
}

/// An amount and its share of what the node has.
fn share(pods: &[Value], part: &str, name: &str, node: &Value) -> String {
    let amount = total(pods, part, name);
    let (allocatable, capacity) = (&node["status"]["allocatable"], &node["status"]["capacity"]);
    let all = if allocatable.as_object().is_some_and(|all| !all.is_empty()) { allocatable } else { capacity };
    let have = Quantity::from_json(&all[name]).map_or(0.0, Quantity::as_f64);
    let percent = if have > 0.0 { amount.as_f64() / have * 100.0 } else { 0.0 };
    format!("{amount} ({percent:.0}%)", percent = percent.floor())
}

fn node_pods(sheet: &mut Sheet, node: &Value, related: &Related) {
    let pods = related.pods.as_slice();
    sheet.field(0, "Non-terminated Pods", format!("({} in total)", pods.len()));
    let names =
        ["Namespace", "Name", "", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age"];
    let rows: Vec<Vec<String>> = pods
        .iter()
        .map(|pod| {
            let one = std::slice::from_ref(pod);
            let age = api::time::age(api::time::read(&pod["metadata"]["creationTimestamp"]), related.now);
            vec![
                api::object::namespace(pod).to_owned(),
                api::object::name(pod).to_owned(),
                String::new(),
                share(one, "requests", "cpu", node),
                share(one, "limits", "cpu", node),
                share(one, "requests", "memory", node),
                share(one, "limits", "memory", node),
                age,
            ]
        })
        .collect();
    sheet.table(1, "", &names, &rows);
    sheet.line(0, "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)");
    let rows: Vec<Vec<String>> = ["cpu", "memory", "ephemeral-storage"]
        .iter()
        .map(|name| {
            vec![(*name).to_owned(), share(pods, "requests", name, node), share(pods, "limits", name, node)]
        })
        .collect();
    sheet.table(1, "", &["Resource", "Requests", "Limits"], &rows);
}

/// `Namespace`.
pub const NAMESPACE: &[Row] = &[
    NAME,
    LABELS,
    Annotations,
    Text("Status", "/status/phase"),
    Part(|s, o, _| {
        let rows: Vec<Vec<String>> = items(&o["status"]["conditions"])
            .iter()
            .map(|c| {
                vec![
                    text(&c["type"]),
                    text(&c["status"]),
                    time(&c["lastTransitionTime"]),
                    text(&c["reason"]),
                    text(&c["message"]),
                ]
            })
            .collect();
        if !rows.is_empty() {
            let names = ["Type", "Status", "LastTransitionTime", "Reason", "Message"];
            s.table(1, "Conditions", &names, &rows);
        }
    }),
    Part(|s, _, related| {
        let (Some(quotas), Some(limits)) = (&related.quotas, &related.limits) else { return };
        s.line(0, "");
        if quotas.is_empty() {
            s.line(0, "No resource quota.");
        } else {
            s.line(0, "Resource Quotas");
            for quota in quotas {
                s.field(1, "Name", text(&quota["metadata"]["name"]));
                s.line(1, "Resource\tUsed\tHard");
                s.line(1, "--------\t---\t---");
                quota_rows(quota).iter().for_each(|row| s.line(1, row.join("\t")));
            }
        }
        s.line(0, "");
        if limits.is_empty() {
            s.line(0, "No LimitRange resource.");
        } else {
            let names = "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio";
            s.line(0, format!("Resource Limits\n {names}"));
            s.line(0, " ----\t--------\t---\t---\t---------------\t-------------\t-----------------------");
            for range in limits {
                limit_rows(range).iter().for_each(|row| s.line(0, format!(" {}", row.join("\t"))));
            }
        }
    }),
];

/// `ConfigMap`.
pub const CONFIG_MAP: &[Row] = &[
    NAME,
    NAMESPACE_ROW,
    LABELS,
    Annotations,
    Part(|s, o, _| {
        s.line(0, "\nData\n====");
        for (key, value) in o["data"].as_object().into_iter().flatten() {
            s.line(0, format!("{key}:\n----\n{}\n", text(value)));
        }
        s.line(0, "\nBinaryData\n====");
        for (key, value) in o["binaryData"].as_object().into_iter().flatten() {
            s.line(0, format!("{key}: {} bytes", decoded_length(&text(value))));
        }
        s.line(0, "");
    }),
    Events,
];

/// The length of base64 text's bytes.
fn decoded_length(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

/// `Secret`.
pub const SECRET: &[Row] = &[
    NAME,
    NAMESPACE_ROW,
    LABELS,
    Annotations,
    Part(|s, o, _| {
        s.line(0, format!("\nType:\t{}", text(&o["type"])));
        s.line(0, "\nData\n====");
        for (key, value) in o["data"].as_object().into_iter().flatten() {
            s.field(0, key, format!("{} bytes", decoded_length(&text(value))));
        }
    }),
];

/// `ServiceAccount`.
pub const SERVICE_ACCOUNT: &[Row] = &[
    NAME,
    NAMESPACE_ROW,
    LABELS,
    Annotations,
    Part(|s, o, _| {
        for (title, field) in [("Image pull secrets:", "imagePullSecrets"), ("Mountable secrets:", "secrets")]
        {
            let names: Vec<String> = items(&o[field]).iter().map(|secret| text(&secret["name"])).collect();
            let title = format!("{title:<19}");
            let first = names.first().map_or("<none>", String::as_str);
            s.line(0, format!("{}\t{first}", title.trim_end()));
            names.iter().skip(1).for_each(|name| s.line(0, format!("{}\t{name}", " ".repeat(19))));
        }
        // Secrets of tokens are no longer made; kubectl still shows the heading.
        s.line(0, "Tokens:\t<none>");
    }),
    Events,
];

/// `Role` and `ClusterRole`.
pub const ROLE: &[Row] = &[
    NAME,
    LABELS,
    Annotations,
    Part(|s, o, _| {
        let names = ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"];
        s.table(1, "PolicyRule", &names, &rule_rows(items(&o["rules"])));
    }),
];

/// Rules taken apart: one line a resource, those of the same lines together, sorted.
pub fn rule_rows(rules: &[Value]) -> Vec<Vec<String>> {
    let (mut rows, one): (Vec<Vec<String>>, Value) = (Vec::new(), Value::from(vec![""]));
    for rule in rules {
        let (names, verbs) = (go_list(&rule["resourceNames"]), go_list(&rule["verbs"]));
        let groups = if rule["apiGroups"].is_array() { &rule["apiGroups"] } else { &one };
        for group in items(groups) {
            for resource in items(&rule["resources"]) {
                let resource = text(resource);
                let (base, sub) =
                    resource.split_once('/').map_or((resource.as_str(), None), |(b, s)| (b, Some(s)));
                let mut shown = base.to_owned();
                if group != "" {
                    shown = format!("{shown}.{}", text(group));
                }
                if let Some(sub) = sub {
                    shown = format!("{shown}/{sub}");
                }
                rows.push(vec![shown, "[]".to_owned(), names.clone(), verbs.clone()]);
            }
        }
        for path in items(&rule["nonResourceURLs"]) {
            rows.push(vec![String::new(), format!("[{}]", text(path)), "[]".to_owned(), verbs.clone()]);
        }
    }
    rows
}

/// `RoleBinding` and `ClusterRoleBinding`.
pub const BINDING: &[Row] = &[
    NAME,
    LABELS,
    Annotations,
    Part(|s, o, _| {
        s.line(0, "Role:");
        s.field(1, "Kind", text(&o["roleRef"]["kind"]));
        s.field(1, "Name", text(&o["roleRef"]["name"]));
        let rows: Vec<Vec<String>> = items(&o["subjects"])
            .iter()
            .map(|subject| vec![text(&subject["kind"]), text(&subject["name"]), text(&subject["namespace"])])
            .collect();
        s.table(1, "Subjects", &["Kind", "Name", "Namespace"], &rows);
    }),
];
