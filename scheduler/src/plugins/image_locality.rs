//! Nodes that have the pod's images, weighed by size and by how widespread an image is.

use crate::framework::{MAX_SCORE, Score};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

const MEGABYTE: i64 = 1024 * 1024;
/// Images that are smaller together than this make no difference.
const LEAST: i64 = 23 * MEGABYTE;
/// Per container, more than this makes no further difference.
const MOST: i64 = 1000 * MEGABYTE;

/// The plugin.
pub struct ImageLocality;

impl Score for ImageLocality {
    fn scores(&self, pod: &Pod, snapshot: &Snapshot, nodes: &[usize]) -> Option<Vec<i64>> {
        let total = snapshot.known_nodes() as f64;
        let most = MOST * pod.needs.images.len() as i64;
        if most <= LEAST {
            return None;
        }
        let score = |slot: &usize| {
            let there = &snapshot.nodes[*slot].images;
            let weighed = |image: &String| {
                let size = there.get(image)?;
                // An image that few nodes have would draw all its pods to them.
                Some((*size as f64 * (snapshot.nodes_with_image(image) as f64 / total)) as i64)
            };
            let sum: i64 = pod.needs.images.iter().filter_map(weighed).sum();
            MAX_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
        };
        Some(nodes.iter().map(score).collect())
    }
}
