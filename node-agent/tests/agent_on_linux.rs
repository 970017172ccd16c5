//! The agent with real containers: shims, volumes, logs, probes, adoption. The API server is in memory and pods
//! have no network of their own (hostNetwork). Needs root, cgroups and a static `/bin/busybox`; elsewhere the
//! tests do nothing. Leaves nothing behind.

#![expect(clippy::expect_used, reason = "a failed step fails the test")]

#[path = "agent/api.rs"]
mod api;
#[path = "agent/surroundings.rs"]
#[allow(dead_code, reason = "only the pretended network is used here")]
mod surroundings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use client::informer::Informers;
use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use node_agent::container_runtime::shim_client::ShimClient;
use node_agent::lookup::PodTable;
use node_agent::os::cgroup::Cgroups;
use node_agent::server::PodLookup as _;
use node_agent::stages::{Image, ImageError, ImageService};
use node_agent::{Config, Dependencies};
use serde_json::Value;

use api::Api;
use surroundings::FakeNetwork;

/// One image, of busybox.
struct Busybox(PathBuf);

#[async_trait]
impl ImageService for Busybox {
    async fn get(&self, _reference: &str) -> Result<Option<Image>, ImageError> {
        let env = vec!["PATH=/bin".to_owned()];
        Ok(Some(Image { id: "sha256:b".to_owned(), layers: vec![self.0.clone()], env, ..Image::default() }))
    }

    async fn pull(&self, reference: &str) -> Result<Image, ImageError> {
        Err(ImageError::Unavailable(reference.to_owned()))
    }
}

struct World {
    api: Api,
    dir: tempfile::TempDir,
    cgroup_root: String,
    shutdown: Shutdown,
    pods: Arc<PodTable>,
}

fn possible() -> bool {
    nix::unistd::geteuid().is_root() && Path::new("/bin/busybox").exists()
}

async fn agent(api: &Api, dir: &Path, cgroup_root: &str, shutdown: &Shutdown) -> Arc<PodTable> {
    let layer = dir.join("layer");
    if !layer.exists() {
        for part in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(layer.join(part)).expect("a layer");
        }
        std::fs::copy("/bin/busybox", layer.join("bin/busybox")).expect("busybox");
        for name in ["sh", "sleep", "cat", "echo", "true", "test"] {
            std::os::unix::fs::symlink("busybox", layer.join("bin").join(name)).expect("a link");
        }
        std::fs::write(layer.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("passwd");
    }
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_shim-under-test"));
    let clock = RealClock::shared();
    let config = Config {
        node_name: "n1".to_owned(),
        data_dir: dir.to_owned(),
        cgroup_root: cgroup_root.to_owned(),
        node_ips: vec!["127.0.0.1".parse().expect("an address")],
        ..Config::default()
    };
    let runtime = Arc::new(ShimClient::new(binary, dir.join("node"), clock.clone()).expect("a runtime"));
    let dependencies = Dependencies {
        clock: clock.clone(),
        rng: Rng::seeded(1),
        runtime,
        network: Arc::new(FakeNetwork),
        images: Arc::new(Busybox(layer)),
        informers: Informers::new(api.client(), clock, Rng::seeded(2), shutdown.clone()),
    };
    let mut running =
        node_agent::run(config, api.client(), dependencies, shutdown.clone()).await.expect("an agent");
    running.until_ready().await;
    running.pods.clone()
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let name = dir.path().file_name().and_then(|name| name.to_str()).unwrap_or_default().replace('.', "");
        let (api, cgroup_root, shutdown) = (Api::new(), format!("/gantry-test-{name}"), Shutdown::new());
        let pods = agent(&api, dir.path(), &cgroup_root, &shutdown).await;
        Self { api, dir, cgroup_root, shutdown, pods }
    }

    fn pod(&self, name: &str, spec: &str) {
        let yaml = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: ns}},
               spec: {{nodeName: n1, hostNetwork: true, terminationGracePeriodSeconds: 1, {spec}}}}}"
        );
        self.api.apply("pods", &yaml);
    }

    async fn until(&self, pod: &str, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        self.api.until(what, |api| api.get("pods", pod).is_some_and(|pod| check(&pod["status"]))).await;
        self.api.get("pods", pod).unwrap_or_default()["status"].clone()
    }

    async fn until_ready(&self, pod: &str) -> Value {
        let ready = |status: &Value| {
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        self.until(pod, &format!("{pod} ready"), ready).await
    }

    fn log(&self, pod: &str, container: &str) -> String {
        let place = self.pods.container("ns", pod, container).expect("a container");
        let text = std::fs::read_to_string(place.log_path).unwrap_or_default();
        text.lines().filter_map(|line| line.splitn(4, ' ').nth(3).map(|text| format!("{text}\n"))).collect()
    }

    /// Removes what is left, as `gantry down` does, and checks that nothing is.
    async fn end(self) {
        self.shutdown.trigger();
        self.shutdown.drained().await;
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_shim-under-test"));
        let node = self.dir.path().join("node");
        let runtime = ShimClient::new(binary, node, RealClock::shared()).expect("a runtime");
        node_agent::teardown(self.dir.path(), &runtime).await.expect("everything removed");
        Cgroups::detect().and_then(|cgroups| cgroups.remove(&self.cgroup_root)).expect("no process is left");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let dir = self.dir.path().to_string_lossy().into_owned();
        assert!(!mounts.contains(&dir), "a mount is left");
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for base in hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
            assert!(!base.join(self.cgroup_root.trim_start_matches('/')).exists(), "a cgroup is left");
        }
    }
}

#[tokio::test]
async fn two_containers_share_a_pod() {
    if !possible() {
        return;
    }
    let world = World::start().await;
    world.api.apply(
        "configmaps",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: ns}, data: {k: value}}",
    );
    world.pod(
        "web",
        "volumes: [{name: e, emptyDir: {medium: Memory, sizeLimit: 1Mi}}, {name: c, configMap: {name: m}}],
         containers: [
           {name: a, image: b, command: [sh, -c, 'cat /c/k > /e/said; echo $GREETING; sleep 1000 & wait'],
            env: [{name: GREETING, value: hello}], volumeMounts: [{name: e, mountPath: /e}, {name: c, mountPath: /c}],
            readinessProbe: {exec: {command: [test, -s, /e/said]}, periodSeconds: 1}},
           {name: b, image: b, command: [sh, -c, 'while ! test -s /e/said; do :; done; cat /e/said; echo; sleep 1000 & wait'],
            volumeMounts: [{name: e, mountPath: /e}]}]",
    );
    world.until_ready("web").await;
    while world.log("web", "b") != "value\n" || world.log("web", "a") != "hello\n" {
        tokio::task::yield_now().await;
    }
    let usage = |name: &str| world.pods.running().iter().any(|running| running.container == name);
    assert!(usage("a") && usage("b"));
    world.api.delete("pods", "web", 1);
    world.api.until("the pod is gone", |api| api.get("pods", "web").is_none()).await;
    assert!(!world.dir.path().join("node/pods/uid-web").exists());
    assert!(std::fs::read_dir(world.dir.path().join("node/logs")).expect("logs").next().is_none());
    world.end().await;
}

#[tokio::test]
async fn ends_and_messages() {
    if !possible() {
        return;
    }
    let world = World::start().await;
    world.pod("job", "restartPolicy: Never, containers: [{name: a, image: b, command: [sh, -c, 'echo -n bye > /dev/termination-log; exit 3']}]");
    let status = world.until("job", "failure", |status| status["phase"] == "Failed").await;
    let end = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((end["exitCode"].as_i64(), end["reason"].as_str()), (Some(3), Some("Error")));
    assert_eq!(end["message"], "bye");
    world.pod("none", "restartPolicy: Never, containers: [{name: a, image: b, command: [/none]}]");
    let status = world.until("none", "failure", |status| status["phase"] == "Failed").await;
    let end = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((end["exitCode"].as_i64(), end["reason"].as_str()), (Some(128), Some("StartError")));
    world.end().await;
}

#[tokio::test]
async fn containers_outlive_the_agent() {
    if !possible() {
        return;
    }
    let mut world = World::start().await;
    world.pod("web", "containers: [{name: a, image: b, command: [sh, -c, 'sleep 1000 & wait']}]");
    world.pod("old", "containers: [{name: a, image: b, command: [sh, -c, 'sleep 1000 & wait']}]");
    let before = world.until_ready("web").await;
    world.until_ready("old").await;
    world.shutdown.trigger();
    world.shutdown.drained().await;
    world.api.delete("pods", "old", 0);
    world.shutdown = Shutdown::new();
    world.pods = agent(&world.api, world.dir.path(), &world.cgroup_root, &world.shutdown).await;
    while world.dir.path().join("node/pods/uid-old").exists() {
        tokio::task::yield_now().await;
    }
    let after = world.until_ready("web").await;
    let a = |status: &Value| status["containerStatuses"][0].clone();
    assert_eq!(a(&after)["containerID"], a(&before)["containerID"]);
    assert_eq!(a(&after)["restartCount"], 0);
    assert_eq!(a(&after)["state"], a(&before)["state"]);
    world.end().await;
}
