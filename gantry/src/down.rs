//! `gantry down`: stop the process of a data directory, then remove what its node agent made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use component_base::clock::RealClock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use node_agent::container_runtime::shim_client::ShimClient;
use node_agent::os::cgroup::Cgroups;
use node_agent::proxy::{self, ProxyConfig};

use crate::config::DEFAULT_DATA_DIR;
use crate::names::{Names, node_dir};
use crate::process::Process;

/// How long a running cluster may take to stop before it is ended.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Flags of `gantry down`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The cluster's data directory.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
}

/// Takes a cluster down; its objects and images stay.
///
/// # Errors
/// When there is no such cluster, or something of it cannot be removed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let dir = std::path::absolute(&arguments.data_dir)?;
    if !dir.join("format").exists() {
        bail!("{} holds no cluster", dir.display());
    }
    if let Some(pid) = crate::up::running(&dir)? {
        stop(pid).with_context(|| format!("cannot stop gantry up (process {pid})"))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(remove(&dir)).context("cannot remove what the node agent made")?;
    println!("{} is down; its objects and images are kept", dir.display());
    Ok(())
}

/// Removes pods, then what connected them, all from what is on disk and in the kernel.
async fn remove(dir: &Path) -> Result<()> {
    let names = Names::of(dir);
    let shims = ShimClient::new(std::env::current_exe()?, node_dir(dir), RealClock::shared())?;
    node_agent::teardown(dir, &shims).await?;
    // The ranges do not matter here: links and rules are found by name.
    let network = names.network(dir, "10.42.0.0/24", "10.42.0.0/16")?;
    let (table, cluster_range) = (names.service_table.clone(), network.cluster_range);
    proxy::teardown(&ProxyConfig { table, node: String::new(), cluster_range })?;
    node_agent::network::teardown(&network).await?;
    Cgroups::detect()?.remove(&names.cgroup)?;
    Ok(())
}

/// Asks a process to stop and waits for its end; ends it when it does not.
fn stop(pid: i32) -> Result<()> {
    let Some(process) = Process::find(pid) else { return Ok(()) };
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        kill(Pid::from_raw(pid), signal)?;
        if process.ends_within(STOP_LIMIT)? {
            return Ok(());
        }
    }
    bail!("it does not end")
}
