//! Decides which node a pod runs on, as kube-scheduler does, and why none fits.
//!
//! Reading order: [`pod`] and [`snapshot`] (what is known), [`framework`] and [`plugins`] (the rules),
//! [`cycle`] (one decision, pure), [`queue`] (which pod is next), `bind` (the writes), `scheduler` (the
//! task that ties them together), [`explain`] (why a pod waits). Entry points: [`run`] and
//! [`run_sharing`]. Nothing polls: pods and nodes that change wake the pods they may help.

use client::informer::Informers;
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;

pub mod cycle;
pub mod explain;
pub mod framework;
pub mod plugins;
pub mod pod;
pub mod queue;
pub mod resources;
pub mod snapshot;
pub mod terms;

mod bind;
mod counts;
mod scheduler;

pub use explain::Explanations;

/// Schedules pods until shutdown, with informers of its own.
pub async fn run(client: kube::Client, clock: SharedClock, rng: Rng, shutdown: Shutdown) {
    let informers = Informers::new(client.clone(), clock.clone(), rng.clone(), shutdown.clone());
    run_sharing(client, informers, clock, rng, shutdown, Explanations::default()).await;
}

/// Schedules pods until shutdown. Views are shared with whoever else uses `informers`; writes go through
/// `client`; `explanations` tells others why pods wait.
pub async fn run_sharing(
    client: kube::Client,
    informers: Informers,
    clock: SharedClock,
    rng: Rng,
    shutdown: Shutdown,
    explanations: Explanations,
) {
    let start = scheduler::Scheduler::new(client, &informers, clock, rng, &shutdown, explanations);
    tokio::select! {
        () = shutdown.triggered() => {}
        scheduler = start => scheduler.run(&shutdown).await,
    }
}
