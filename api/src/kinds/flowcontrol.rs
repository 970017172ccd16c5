//! Rows of `flowcontrol.apiserver.k8s.io`.

use super::{Kind, Scope, columns, plain};
use crate::strategies::flowcontrol::{FlowSchema, PriorityLevelConfiguration};

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural| plain("flowcontrol.apiserver.k8s.io", "v1", kind, plural, Scope::Cluster);
    vec![
        row("FlowSchema", "flowschemas").rules(FlowSchema).status().printed(columns::flow_schema()),
        row("PriorityLevelConfiguration", "prioritylevelconfigurations")
            .rules(PriorityLevelConfiguration)
            .status()
            .printed(columns::priority_level()),
    ]
}
