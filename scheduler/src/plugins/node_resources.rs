//! Room on nodes: enough of everything the pod asks for, then the emptiest and the best balanced node.

use std::borrow::Cow;

use crate::framework::{Filter, MAX_SCORE, NodeFilter, Reason, Rejection, Score};
use crate::pod::Pod;
use crate::snapshot::{Row, Snapshot};

/// `NodeResourcesFit`, with upstream's default strategy `LeastAllocated` over CPU and memory.
pub struct Fit;

/// `NodeResourcesBalancedAllocation` over CPU and memory.
pub struct BalancedAllocation;

impl Filter for Fit {
    fn prepare<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<NodeFilter<'a>> {
        Some(Box::new(|slot| judge(pod, &snapshot.rows[slot], snapshot.nodes[slot].pods.len())))
    }
}

fn judge(pod: &Pod, row: &Row, pods: usize) -> Result<(), Rejection> {
    let mut rejection = Rejection { reasons: Vec::new(), resolvable: true };
    if pods as i64 >= row.allowed_pods {
        let short_by = Some(pods as i64 + 1 - row.allowed_pods);
        rejection.reasons.push(Reason { text: "Too many pods".into(), short_by });
    }
    for (name, asked) in pod.needs.requests.iter() {
        let (offered, used) = (row.allocatable.get(name), row.used.get(name));
        if asked > 0 && asked > offered - used {
            let text = insufficient(name);
            rejection.reasons.push(Reason { text, short_by: Some(asked - (offered - used)) });
            rejection.resolvable &= asked <= offered;
        }
    }
    if rejection.reasons.is_empty() { Ok(()) } else { Err(rejection) }
}

fn insufficient(name: &str) -> Cow<'static, str> {
    match name {
        "cpu" => "Insufficient cpu".into(),
        "memory" => "Insufficient memory".into(),
        other => format!("Insufficient {other}").into(),
    }
}

impl Score for Fit {
    /// The mean, over CPU and memory, of the share that would stay free.
    fn scores(&self, pod: &Pod, snapshot: &Snapshot, nodes: &[usize]) -> Option<Vec<i64>> {
        let free = |asked: i64, offered: i64| {
            if asked > offered { 0 } else { (offered - asked) * MAX_SCORE / offered }
        };
        let score = |slot: &usize| {
            let row = &snapshot.rows[*slot];
            let resources = [
                (row.scored.0 + pod.needs.scored.0, row.allocatable.milli_cpu),
                (row.scored.1 + pod.needs.scored.1, row.allocatable.memory),
            ];
            let offered = resources.iter().filter(|(_, offered)| *offered > 0);
            let (sum, count) =
                offered.fold((0, 0), |(s, n), (asked, offered)| (s + free(*asked, *offered), n + 1));
            if count == 0 { 0 } else { sum / count }
        };
        Some(nodes.iter().map(score).collect())
    }
}

impl Score for BalancedAllocation {
    /// The closer the used shares of CPU and memory, the better. Pods that ask for nothing have no say,
    /// or all of them would go to one node.
    fn scores(&self, pod: &Pod, snapshot: &Snapshot, nodes: &[usize]) -> Option<Vec<i64>> {
        let asked = &pod.needs.requests;
        if asked.milli_cpu == 0 && asked.memory == 0 {
            return None;
        }
        let score = |slot: &usize| {
            let row = &snapshot.rows[*slot];
            let share =
                |used: i64, offered: i64| (offered > 0).then(|| (used as f64 / offered as f64).min(1.0));
            let cpu = share(row.used.milli_cpu + asked.milli_cpu, row.allocatable.milli_cpu);
            let memory = share(row.used.memory + asked.memory, row.allocatable.memory);
            // The standard deviation of two values is half their distance; of one it is nothing.
            let deviation = match (cpu, memory) {
                (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
                _ => 0.0,
            };
            ((1.0 - deviation) * MAX_SCORE as f64) as i64
        };
        Some(nodes.iter().map(score).collect())
    }
}
