//! The HorizontalPodAutoscaler and the metrics it stands on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::cluster::{Cluster, SOON, name};
use e2e::eventually::eventually;
use e2e::http;

const SELECTOR: &str = "app=burner";

fn replicas(cluster: &Cluster) -> Result<u64> {
    cluster.get(&["deployment", "burner"])?["spec"]["replicas"].as_u64().context("spec.replicas")
}

#[test]
fn load_scales_one_to_four_and_back() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("autoscale.yaml")?;
    cluster.ready_pods(SELECTOR, 1)?;
    let service = cluster.get(&["service", "burner"])?;
    let address = format!("{}:80", service["spec"]["clusterIP"].as_str().context("a cluster IP")?);
    let done = AtomicBool::new(false);
    let scaled = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // A refused request while pods change is not what this test is about.
                    drop(http::get(&address, "/burn?millis=50"));
                }
            });
        }
        let outcome = eventually("load scales to 4", Duration::from_secs(120), || {
            let now = replicas(&cluster)?;
            ensure!(now == 4, "{now} replicas; {}", cluster.kubectl(&["get", "hpa"])?.stdout);
            Ok(())
        })
        .and_then(|()| agree(&cluster));
        done.store(true, Ordering::Relaxed);
        outcome
    });
    scaled?;
    eventually("it scales back to 1", Duration::from_secs(150), || {
        let now = replicas(&cluster)?;
        ensure!(now == 1, "{now} replicas; {}", cluster.kubectl(&["describe", "hpa", "burner"])?.stdout);
        Ok(())
    })?;
    let events = cluster.kubectl(&["get", "events"])?.success()?;
    ensure!(events.contains("SuccessfulRescale"), "{events}");
    Ok(())
}

/// What `kubectl top` prints is what the cgroup files say: the pod's limit of 200m bounds it.
fn agree(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods(SELECTOR, 4)?;
    eventually("kubectl top pod shows the load", SOON * 2, || {
        let top = cluster.kubectl(&["top", "pod", "--no-headers"])?.success()?;
        let mut busy = 0;
        for pod in &pods {
            let line = top.lines().find(|line| line.starts_with(name(pod))).context("a line for each pod")?;
            let cpu: u64 = line
                .split_whitespace()
                .nth(1)
                .and_then(|c| c.strip_suffix('m'))
                .context("milli-cores")?
                .parse()?;
            ensure!(cpu <= 240, "more than the limit allows: {line}");
            busy += u64::from(cpu >= 40);
        }
        if busy >= 3 { Ok(()) } else { bail!("{top}") }
    })?;
    let node = cluster.kubectl(&["top", "node", "--no-headers"])?.success()?;
    ensure!(node.starts_with("node-1"), "{node}");
    let hpa = cluster.kubectl(&["get", "hpa", "burner", "--no-headers"])?.success()?;
    ensure!(hpa.contains("Deployment/burner") && hpa.contains("/50%"), "{hpa}");
    Ok(())
}

#[test]
fn kubectl_autoscale_makes_an_autoscaler() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    for (kubectl, hpa) in [("new", "one"), ("old", "two")] {
        let arguments =
            ["autoscale", "deployment", "guestbook", "--min=2", "--max=5", "--cpu-percent=80", "--name", hpa];
        let output =
            if kubectl == "new" { cluster.kubectl(&arguments)? } else { cluster.old_kubectl(&arguments)? };
        output.success()?;
        let made = cluster.get(&["hpa", hpa])?;
        ensure!(made["spec"]["maxReplicas"] == 5 && made["spec"]["minReplicas"] == 2, "{made}");
        ensure!(made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 80, "{made}");
    }
    Ok(())
}
