//! Volumes of pods, persistent ones, claims and classes.

use serde_json::Value;

use super::Row::{self, Annotations, Events, If, Labels, Part, Text};
use super::related::Related;
use super::sheet::{Sheet, go_list, items, number, pairs, text, truth};

/// How a source is shown: its field, its explanation, and lines of labels and fields.
type Source = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const SOURCES: &[Source] = &[
    ("hostPath", "HostPath (bare host directory volume)", &[("Path", "path"), ("HostPathType", "type")]),
    (
        "emptyDir",
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[("Medium", "medium"), ("SizeLimit", "sizeLimit?unset")],
    ),
    (
        "secret",
        "Secret (a volume populated by a Secret)",
        &[("SecretName", "secretName"), ("Optional", "optional?false")],
    ),
    (
        "configMap",
        "ConfigMap (a volume populated by a ConfigMap)",
        &[("Name", "name"), ("Optional", "optional?false")],
    ),
    (
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[("Server", "server"), ("Path", "path"), ("ReadOnly", "readOnly?false")],
    ),
    (
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[("ClaimName", "claimName"), ("ReadOnly", "readOnly?false")],
    ),
    ("local", "LocalVolume (a persistent volume backed by local storage on a node)", &[("Path", "path")]),
    (
        "csi",
        "CSI (a Container Storage Interface (CSI) volume source)",
        &[("Driver", "driver"), ("FSType", "fsType"), ("ReadOnly", "readOnly?false")],
    ),
    (
        "image",
        "Image (a container image or OCI artifact)",
        &[("Reference", "reference"), ("PullPolicy", "pullPolicy")],
    ),
];

/// A volume's source, two levels in.
fn source(sheet: &mut Sheet, volume: &Value) {
    for (field, kind, lines) in SOURCES {
        let source = &volume[*field];
        if source.is_null() {
            continue;
        }
        sheet.field(2, "Type", kind);
        for (label, name) in *lines {
            let (name, other) = name.split_once('?').unwrap_or((name, ""));
            let value = match text(&source[name]) {
                value if !value.is_empty() => value,
                _ if other == "unset" => "<unset>".to_owned(),
                _ if *label == "HostPathType" => String::new(),
                _ => other.to_owned(),
            };
            sheet.field(2, label, value);
        }
        return;
    }
    if volume["projected"].is_object() {
        return projected(sheet, &volume["projected"]);
    }
    if volume["downwardAPI"].is_object() {
        sheet.field(2, "Type", "DownwardAPI (a volume populated by information about the pod)");
        sheet.line(2, "Items:");
        for item in items(&volume["downwardAPI"]["items"]) {
            let from = if item["fieldRef"].is_object() {
                &item["fieldRef"]["fieldPath"]
            } else {
                &item["resourceFieldRef"]["resource"]
            };
            sheet.line(3, format!("{} -> {}", text(from), text(&item["path"])));
        }
        return;
    }
    if volume["ephemeral"].is_object() {
        sheet.field(2, "Type", "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)");
        return;
    }
    sheet.line(1, "<unknown>");
}

fn projected(sheet: &mut Sheet, projected: &Value) {
    sheet.field(2, "Type", "Projected (a volume that contains injected data from multiple sources)");
    for source in items(&projected["sources"]) {
        for (field, label, optional) in [
            ("secret", "SecretName", "SecretOptionalName"),
            ("configMap", "ConfigMapName", "ConfigMapOptional"),
        ] {
            if source[field].is_object() {
                sheet.field(2, label, text(&source[field]["name"]));
                let value = &source[field]["optional"];
                sheet.field(2, optional, if value.is_null() { "<nil>".to_owned() } else { text(value) });
            }
        }
        if source["downwardAPI"].is_object() {
            sheet.field(2, "DownwardAPI", "true");
        }
        if source["serviceAccountToken"].is_object() {
            sheet.field(
                2,
                "TokenExpirationSeconds",
                number(&source["serviceAccountToken"]["expirationSeconds"]),
            );
        }
    }
}

/// The volumes of a pod or, indented, of a template.
pub fn of_pod(sheet: &mut Sheet, space: &str, volumes: &Value) {
    if items(volumes).is_empty() {
        sheet.line(0, format!("{space}Volumes:\t<none>"));
        return;
    }
    sheet.line(0, format!("{space}Volumes:"));
    for volume in items(volumes) {
        let indent = if space.is_empty() { "" } else { " " };
        sheet.line(1, format!("{indent}{}:", text(&volume["name"])));
        source(sheet, volume);
    }
}

/// The class of a volume or claim: the annotation of old, then the field.
pub fn class_of(object: &Value) -> String {
    let old = text(&object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"]);
    if old.is_empty() { text(&object["spec"]["storageClassName"]) } else { old }
}

/// `RWO,ROX` for the access modes.
fn modes(modes: &Value) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    items(modes).iter().map(short).collect::<Vec<_>>().join(",")
}

const STATUS: Row = Part(|s, o, related| match api::time::read(&o["metadata"]["deletionTimestamp"]) {
    Some(at) => {
        s.field(0, "Status", format!("Terminating (lasts {})", api::time::age(Some(at), related.now)))
    }
    None => s.field(0, "Status", text(&o["status"]["phase"])),
});
const FINALIZERS: Row = Part(|s, o, _| s.field(0, "Finalizers", go_list(&o["metadata"]["finalizers"])));
const CLASS: Row = Part(|s, o, _| s.field(0, "StorageClass", class_of(o)));

/// `PersistentVolume`.
pub const VOLUME: &[Row] = &[
    Text("Name", "/metadata/name"),
    Labels("Labels", "/metadata/labels"),
    Annotations,
    FINALIZERS,
    CLASS,
    STATUS,
    Part(|s, o, _| {
        let claim = &o["spec"]["claimRef"];
        let text = if claim.is_object() {
            format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
        } else {
            String::new()
        };
        s.field(0, "Claim", text);
    }),
    Text("Reclaim Policy", "/spec/persistentVolumeReclaimPolicy"),
    Part(|s, o, _| s.field(0, "Access Modes", modes(&o["spec"]["accessModes"]))),
    If("VolumeMode", "/spec/volumeMode"),
    Text("Capacity", "/spec/capacity/storage"),
    Part(|s, o, _| node_affinity(s, &o["spec"]["nodeAffinity"])),
    Text("Message", "/status/message"),
    Part(|s, o, _| {
        s.line(0, "Source:");
        source(s, &o["spec"]);
    }),
    Events,
];

fn node_affinity(sheet: &mut Sheet, affinity: &Value) {
    let terms = items(&affinity["required"]["nodeSelectorTerms"]);
    if affinity.is_null() {
        sheet.field(0, "Node Affinity", "<none>");
        return;
    }
    sheet.line(0, "Node Affinity:\t");
    if terms.is_empty() {
        sheet.field(1, "Required Terms", "<none>");
        return;
    }
    sheet.line(1, "Required Terms:\t");
    for (at, term) in terms.iter().enumerate() {
        let lines: Vec<String> = items(&term["matchExpressions"])
            .iter()
            .map(|e| {
                let values: Vec<String> = items(&e["values"]).iter().map(text).collect();
                let operator = text(&e["operator"]).to_lowercase();
                match values.is_empty() {
                    true => format!("{} {operator}", text(&e["key"])),
                    false => format!("{} {operator} [{}]", text(&e["key"]), values.join(", ")),
                }
            })
            .collect();
        sheet.lines("    ", &format!("Term {at}"), &lines);
    }
}

/// `PersistentVolumeClaim`.
pub const CLAIM: &[Row] = &[
    Text("Name", "/metadata/name"),
    Text("Namespace", "/metadata/namespace"),
    CLASS,
    STATUS,
    Text("Volume", "/spec/volumeName"),
    Labels("Labels", "/metadata/labels"),
    Annotations,
    FINALIZERS,
    Part(|s, o, _| {
        let bound = !text(&o["spec"]["volumeName"]).is_empty();
        let shown = |value: String| if bound { value } else { String::new() };
        s.field(0, "Capacity", shown(text(&o["status"]["capacity"]["storage"])));
        s.field(0, "Access Modes", shown(modes(&o["status"]["accessModes"])));
    }),
    If("VolumeMode", "/spec/volumeMode"),
    Part(|s, o, _| {
        let source = &o["spec"]["dataSource"];
        if source.is_object() {
            s.line(0, "DataSource:");
            s.field_if(1, "APIGroup", &source["apiGroup"]);
            s.field(1, "Kind", text(&source["kind"]));
            s.field(1, "Name", text(&source["name"]));
        }
    }),
    Part(|s, _, related: &Related| {
        let names: Vec<String> = related.pods.iter().map(|pod| api::object::name(pod).to_owned()).collect();
        s.lines("", "Used By", &names);
    }),
    Events,
];

/// `StorageClass`.
pub const STORAGE_CLASS: &[Row] = &[
    Text("Name", "/metadata/name"),
    Part(|s, o, _| {
        let annotations = &o["metadata"]["annotations"];
        let is_default = annotations["storageclass.kubernetes.io/is-default-class"] == "true";
        s.field(0, "IsDefaultClass", if is_default { "Yes" } else { "No" });
        s.field(0, "Annotations", pairs(annotations));
    }),
    Text("Provisioner", "/provisioner"),
    Part(|s, o, _| {
        s.field(0, "Parameters", pairs(&o["parameters"]));
        let expansion = &o["allowVolumeExpansion"];
        s.field(0, "AllowVolumeExpansion", if expansion.is_null() { "<unset>" } else { truth(expansion) });
        match items(&o["mountOptions"]) {
            [] => s.field(0, "MountOptions", "<none>"),
            options => {
                s.line(0, "MountOptions:");
                options.iter().for_each(|option| s.line(1, text(option)));
            }
        }
    }),
    If("ReclaimPolicy", "/reclaimPolicy"),
    If("VolumeBindingMode", "/volumeBindingMode"),
    Part(|s, o, _| {
        if items(&o["allowedTopologies"]).is_empty() {
            return;
        }
        s.line(0, "AllowedTopologies:\t");
        for (at, term) in items(&o["allowedTopologies"]).iter().enumerate() {
            let lines: Vec<String> = items(&term["matchLabelExpressions"])
                .iter()
                .map(|e| {
                    format!(
                        "{} in [{}]",
                        text(&e["key"]),
                        items(&e["values"]).iter().map(text).collect::<Vec<_>>().join(", ")
                    )
                })
                .collect();
            s.lines("  ", &format!("Term {at}"), &lines);
        }
    }),
    Events,
];
