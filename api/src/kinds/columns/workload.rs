//! What runs pods of a template.

use serde_json::Value;

use super::{Column, NONE, age, int, items, label_text, name, number, or, str, text};
use crate::selector::LabelSelector;
use crate::{object, time};

pub(in crate::kinds) fn deployment() -> Vec<Column> {
    let ready = text("Ready", "Number of the pod with ready state", |object| {
        format!("{}/{}", int(object, "/status/readyReplicas"), int(object, "/spec/replicas"))
    });
    let counted = |mut column: Column| {
        column.data_type = "string";
        column
    };
    let mut columns = vec![
        name(),
        ready,
        counted(number("Up-to-date", "Pods of the current template.", "/status/updatedReplicas")),
        counted(number("Available", "Pods ready for long enough.", "/status/availableReplicas")),
        age(),
    ];
    columns.extend(template("/spec/template", "/spec/selector"));
    columns
}

pub(in crate::kinds) fn replica_set() -> Vec<Column> {
    replicas(selector_column("/spec/selector"))
}

pub(in crate::kinds) fn replication_controller() -> Vec<Column> {
    let selector = text("Selector", "Which pods belong to it.", |rc| label_text(&rc["spec"]["selector"]));
    replicas(selector.wide())
}

fn replicas(selector: Column) -> Vec<Column> {
    let mut columns = vec![
        name(),
        number("Desired", "Pods wanted.", "/spec/replicas"),
        number("Current", "Pods that exist.", "/status/replicas"),
        number("Ready", "Pods that are ready.", "/status/readyReplicas"),
        age(),
    ];
    columns.extend(containers("/spec/template").map(Column::wide));
    columns.push(selector);
    columns
}

pub(in crate::kinds) fn stateful_set() -> Vec<Column> {
    let ready = text("Ready", "Number of the pod with ready state", |object| {
        format!("{}/{}", int(object, "/status/readyReplicas"), int(object, "/spec/replicas"))
    });
    let mut columns = vec![name(), ready, age()];
    columns.extend(containers("/spec/template").map(Column::wide));
    columns
}

pub(in crate::kinds) fn daemon_set() -> Vec<Column> {
    let mut columns = vec![
        name(),
        number("Desired", "Nodes that should run it.", "/status/desiredNumberScheduled"),
        number("Current", "Nodes that run it, rightly.", "/status/currentNumberScheduled"),
        number("Ready", "Nodes where its pod is ready.", "/status/numberReady"),
        number("Up-to-date", "Nodes with the current template.", "/status/updatedNumberScheduled"),
        number("Available", "Nodes where its pod is ready for long enough.", "/status/numberAvailable"),
        text("Node Selector", "Labels of the nodes it wants.", |object| {
            label_text(&object["spec"]["template"]["spec"]["nodeSelector"])
        }),
        age(),
    ];
    columns.extend(template("/spec/template", "/spec/selector"));
    columns
}

pub(in crate::kinds) fn job() -> Vec<Column> {
    let mut columns = vec![
        name(),
        text("Status", "Status of the job.", |job| job_status(job).to_owned()),
        text("Completions", "Pods that succeeded, of those wanted.", completions),
        Column::new("Duration", "string", "Time required to complete the job.", |job, now| {
            let start = time::read(&job["status"]["startTime"]);
            let end = time::read(&job["status"]["completionTime"]).unwrap_or(now);
            start.map_or_else(String::new, |start| time::human(time::seconds_between(start, end))).into()
        }),
        age(),
    ];
    columns.extend(template("/spec/template", "/spec/selector"));
    columns
}

fn completions(job: &Value) -> String {
    let succeeded = int(job, "/status/succeeded");
    match (job["spec"]["completions"].as_i64(), int(job, "/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

/// The first of these that holds.
fn job_status(job: &Value) -> &'static str {
    if is_true(job, "Complete") {
        "Complete"
    } else if is_true(job, "Failed") {
        "Failed"
    } else if object::is_deleting(job) {
        "Terminating"
    } else if is_true(job, "Suspended") {
        "Suspended"
    } else if is_true(job, "FailureTarget") {
        "FailureTarget"
    } else if is_true(job, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

pub(in crate::kinds) fn cron_job() -> Vec<Column> {
    let suspended = text("Suspend", "Whether it starts nothing for now.", |cron| {
        cron["spec"]["suspend"].as_bool().map_or_else(|| "<unset>".to_owned(), title_case)
    });
    let mut columns = vec![
        name(),
        text("Schedule", "When jobs start, in Cron's form.", |cron| str(cron, "/spec/schedule").to_owned()),
        text("Timezone", "Where the schedule's clock stands.", |cron| {
            cron["spec"]["timeZone"].as_str().unwrap_or(NONE).to_owned()
        }),
        Column { data_type: "boolean", ..suspended },
        Column::new("Active", "integer", "Jobs that run now.", |cron, _| {
            items(cron, "/status/active").len().into()
        }),
        Column::new("Last Schedule", "string", "When a job was started last.", |cron, now| {
            let last = time::read(&cron["status"]["lastScheduleTime"]);
            last.map_or_else(|| NONE.to_owned(), |last| time::age(Some(last), now)).into()
        }),
        age(),
    ];
    columns.extend(template("/spec/jobTemplate/spec/template", "/spec/jobTemplate/spec/selector"));
    columns
}

fn title_case(flag: bool) -> String {
    if flag { "True" } else { "False" }.to_owned()
}

pub(in crate::kinds) fn pod_template() -> Vec<Column> {
    let mut columns = vec![name()];
    columns.extend(containers("/template"));
    columns.push(text("Pod Labels", "The labels for the pod template.", |object| {
        label_text(&object["template"]["metadata"]["labels"])
    }));
    columns
}

/// Containers, images and selector.
fn template(pods: &'static str, selector: &'static str) -> [Column; 3] {
    let [names, images] = containers(pods);
    [names.wide(), images.wide(), selector_column(selector)]
}

fn containers(pods: &'static str) -> [Column; 2] {
    let each = |field: &'static str| {
        move |object: &Value| {
            let spec = object.pointer(pods).map_or(&Value::Null, |template| &template["spec"]);
            let containers = items(spec, "/containers");
            containers.iter().map(|c| c[field].as_str().unwrap_or_default()).collect::<Vec<_>>().join(",")
        }
    };
    [
        text("Containers", "Names of each container in the template.", each("name")),
        text("Images", "Images referenced by each container in the template.", each("image")),
    ]
}

fn selector_column(path: &'static str) -> Column {
    text("Selector", "Which pods belong to it.", move |object| {
        match LabelSelector::from_object(object.pointer(path).unwrap_or(&Value::Null)) {
            Ok(selector) => or(&selector.to_string(), NONE),
            Err(_) => "<error>".to_owned(),
        }
    })
    .wide()
}

/// Whether a condition of this type is true.
pub(super) fn is_true(object: &Value, kind: &str) -> bool {
    let condition = items(object, "/status/conditions").iter().find(|c| c["type"] == kind);
    condition.is_some_and(|c| str(c, "/status") == "True")
}
