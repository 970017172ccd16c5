//! Rolling out, back, and failing to: old pods serve until new ones do.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::cluster::{Cluster, SOON, is_ready};
use e2e::eventually::{always, eventually};
use e2e::http;

const SELECTOR: &str = "app=guestbook";

fn set_image(cluster: &Cluster, image: &str) -> Result<()> {
    let change = format!("web=gantry.local/web:{image}");
    cluster.kubectl(&["set", "image", "deployment/guestbook", &change])?.success().map(drop)
}

fn images(cluster: &Cluster) -> Result<Vec<String>> {
    let pods = cluster.pods(SELECTOR)?;
    Ok(pods
        .iter()
        .map(|p| p["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned())
        .collect())
}

fn status(cluster: &Cluster) -> Result<String> {
    cluster.kubectl(&["rollout", "status", "deployment/guestbook", "--timeout=60s"])?.success()
}

/// maxUnavailable is 25 % of 3, rounded down: at every moment at least 3 pods must be ready.
fn enough_ready(cluster: &Cluster) -> Result<()> {
    let ready = cluster.pods(SELECTOR)?.iter().filter(|pod| is_ready(pod)).count();
    ensure!(ready >= 3, "only {ready} pods are ready");
    Ok(())
}

#[test]
fn a_rolling_update_keeps_pods_ready_and_undo_brings_the_old_template_back() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    cluster.ready_pods(SELECTOR, 3)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                enough_ready(&cluster)?;
                looks += 1;
            }
            Ok::<u32, anyhow::Error>(looks)
        });
        let rolled = set_image(&cluster, "v2").and_then(|()| status(&cluster));
        done.store(true, Ordering::Relaxed);
        let Ok(looks) = watcher.join() else { bail!("the watcher panicked") };
        ensure!(looks? > 2, "the update was looked at too rarely to say anything");
        ensure!(rolled?.contains("successfully rolled out"), "rollout status");
        Ok(())
    })?;
    let new = eventually("only new pods", SOON, || {
        let images = images(&cluster)?;
        ensure!(images.len() == 3 && images.iter().all(|i| i.ends_with(":v2")), "{images:?}");
        Ok(images)
    })?;
    ensure!(new.len() == 3, "{new:?}");
    cluster.kubectl(&["rollout", "undo", "deployment/guestbook"])?.success()?;
    status(&cluster)?;
    eventually("the previous template is back", SOON, || {
        let images = images(&cluster)?;
        ensure!(images.len() == 3 && images.iter().all(|i| i.ends_with(":v1")), "{images:?}");
        Ok(())
    })?;
    let history = cluster.kubectl(&["rollout", "history", "deployment/guestbook"])?.success()?;
    let revisions: Vec<&str> = history.lines().filter_map(|l| l.split_whitespace().next()).collect();
    ensure!(revisions.contains(&"2") && revisions.contains(&"3") && !revisions.contains(&"1"), "{history}");
    Ok(())
}

#[test]
fn pause_resume_restart() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    let before = cluster.ready_pods(SELECTOR, 3)?;
    cluster.kubectl(&["rollout", "pause", "deployment/guestbook"])?.success()?;
    set_image(&cluster, "v2")?;
    always("a paused Deployment rolls nothing out", std::time::Duration::from_secs(2), || {
        let images = images(&cluster)?;
        ensure!(images.iter().all(|i| i.ends_with(":v1")), "{images:?}");
        Ok(())
    })?;
    cluster.kubectl(&["rollout", "resume", "deployment/guestbook"])?.success()?;
    status(&cluster)?;
    cluster.kubectl(&["rollout", "restart", "deployment/guestbook"])?.success()?;
    status(&cluster)?;
    let after = cluster.ready_pods(SELECTOR, 3)?;
    let old: Vec<_> = before.iter().map(e2e::cluster::name).collect();
    ensure!(after.iter().all(|pod| !old.contains(&e2e::cluster::name(pod))), "restart replaced every pod");
    Ok(())
}

#[test]
fn a_broken_image_leaves_the_old_pods_serving_and_says_why() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    cluster.ready_pods(SELECTOR, 3)?;
    let service = cluster.get(&["service", "guestbook"])?;
    let address = format!("{}:80", service["spec"]["clusterIP"].as_str().context("a cluster IP")?);
    for (image, waiting, text) in [
        ("does-not-exist", "ImagePull", "gantry.local/web:does-not-exist"),
        ("broken", "CrashLoopBackOff", "no-such-program"),
    ] {
        set_image(&cluster, image)?;
        eventually("the new pod says why it does not start", SOON * 2, || {
            let shown = cluster.kubectl(&["get", "pods"])?.success()?;
            ensure!(
                shown.contains(waiting)
                    || shown.contains("RunContainerError")
                    || shown.contains("StartError"),
                "{shown}"
            );
            let events = cluster.kubectl(&["get", "events"])?.success()?;
            ensure!(events.contains(text), "{events}");
            Ok(())
        })?;
        enough_ready(&cluster)?;
        for _ in 0..20 {
            ensure!(http::get(&address, "/")?.contains("version=v1"), "an old pod answers");
        }
    }
    cluster.kubectl(&["rollout", "undo", "deployment/guestbook", "--to-revision=1"])?.success()?;
    status(&cluster)?;
    cluster.ready_pods(SELECTOR, 3).map(drop)
}
