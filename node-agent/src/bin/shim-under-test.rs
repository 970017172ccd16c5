//! The smallest binary that can be a shim, for the tests of the runtime. As `agent <node> <pod> <container>` (the
//! last two as JSON) it is an agent that starts one container, says so, and then waits to be killed.

use std::path::Path;

use component_base::clock::RealClock;
use node_agent::container_runtime::ContainerRuntime as _;
use node_agent::container_runtime::shim_client::ShimClient;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    node_agent::shim::intercept();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [verb, node, pod, container] = args.as_slice() else {
        return Err("this program only serves tests".into());
    };
    if verb != "agent" {
        return Err(format!("{verb}: no such verb").into());
    }
    tokio::runtime::Runtime::new()?.block_on(agent(Path::new(node), pod, container))
}

async fn agent(node: &Path, pod: &str, container: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = ShimClient::new(std::env::current_exe()?, node.to_path_buf(), RealClock::shared())?;
    let pod = client.start_pod(&serde_json::from_str(pod)?).await?;
    let record = client.start_container(&pod.config.uid, &serde_json::from_str(container)?).await?;
    println!("{} {}", pod.shim_pid, record.pid);
    std::future::pending::<()>().await;
    Ok(())
}
