//! The whole agent against a pretended runtime and an API server in memory, under a clock the test moves.

#![expect(clippy::expect_used, reason = "a failed step fails the test")]

#[path = "agent/api.rs"]
mod api;
#[path = "agent/surroundings.rs"]
mod surroundings;

use std::sync::Arc;
use std::time::Duration;

use client::informer::Informers;
use component_base::clock::FakeClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use node_agent::container_runtime::fake::FakeRuntime;
use node_agent::{Config, Dependencies, Running};
use serde_json::{Value, json};

use api::Api;
use surroundings::{FakeImages, FakeNetwork};

struct World {
    api: Api,
    clock: Arc<FakeClock>,
    runtime: Arc<FakeRuntime>,
    images: Arc<FakeImages>,
    dir: tempfile::TempDir,
    shutdown: Shutdown,
    agent: Running,
}

impl World {
    async fn start() -> Self {
        let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
        let runtime = Arc::new(FakeRuntime::new(clock.clone()));
        let (api, images) = (Api::new(), Arc::new(FakeImages::default()));
        let dir = tempfile::tempdir().expect("a directory");
        let shutdown = Shutdown::new();
        let agent = agent(&api, &clock, &runtime, &images, &dir, &shutdown).await;
        Self { api, clock, runtime, images, dir, shutdown, agent }
    }

    /// The agent goes without a word to its pods and a new one comes.
    async fn restart(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.shutdown.trigger();
        self.shutdown.drained().await;
        meanwhile(self);
        self.shutdown = Shutdown::new();
        self.agent =
            agent(&self.api, &self.clock, &self.runtime, &self.images, &self.dir, &self.shutdown).await;
    }

    fn pod(&self, name: &str, spec: &str) {
        let yaml = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: ns, generation: 1}},
               spec: {{nodeName: n1, {spec}}}}}"
        );
        self.api.apply("pods", &yaml);
    }

    /// Waits until a container's status satisfies `check`.
    async fn until_container(&self, pod: &str, what: &str, check: impl Fn(&Value) -> bool) {
        let holds =
            |api: &Api| api.get("pods", pod).is_some_and(|pod| check(&pod["status"]["containerStatuses"][0]));
        self.api.until(what, holds).await;
    }

    async fn until_ready(&self, pod: &str) {
        let what = format!("{pod} is ready");
        self.api.until(&what, |api| condition(api, pod, "Ready") == "True").await;
    }

    async fn until_event(&self, reason: &str, part: &str) {
        let said = |api: &Api| {
            api.list("events").iter().any(|event| {
                event["reason"] == reason && event["message"].as_str().is_some_and(|text| text.contains(part))
            })
        };
        self.api.until(&format!("event {reason} {part}"), said).await;
    }
}

fn condition(api: &Api, pod: &str, name: &str) -> String {
    let pod = api.get("pods", pod).unwrap_or_default();
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == name);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
}

async fn agent(
    api: &Api,
    clock: &Arc<FakeClock>,
    runtime: &Arc<FakeRuntime>,
    images: &Arc<FakeImages>,
    dir: &tempfile::TempDir,
    shutdown: &Shutdown,
) -> Running {
    let config = Config {
        node_name: "n1".to_owned(),
        data_dir: dir.path().to_owned(),
        node_ips: vec!["192.0.2.1".parse().expect("an address")],
        mount_tmpfs: false,
        ..Config::default()
    };
    let dependencies = Dependencies {
        clock: clock.clone(),
        rng: Rng::seeded(1),
        runtime: runtime.clone(),
        network: Arc::new(FakeNetwork),
        images: images.clone(),
        informers: Informers::new(api.client(), clock.clone(), Rng::seeded(2), shutdown.clone()),
    };
    let mut running =
        node_agent::run(config, api.client(), dependencies, shutdown.clone()).await.expect("an agent");
    running.until_ready().await;
    running
}

const ONE: &str = "containers: [{name: a, image: i}]";

#[tokio::test]
async fn a_pod_lives_and_dies() {
    let world = World::start().await;
    world.pod("web", "containers: [{name: a, image: i, lifecycle: {preStop: {exec: {command: ['true']}}}}]");
    world.until_ready("web").await;
    let status = world.api.get("pods", "web").expect("the pod")["status"].clone();
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["podIP"], "127.0.0.1");
    assert_eq!(status["hostIP"], "192.0.2.1");
    assert_eq!(status["qosClass"], "BestEffort");
    assert_eq!(status["observedGeneration"], 1);
    world.until_event("Started", "Container started").await;

    world.api.delete("pods", "web", 5);
    world.api.until("the pod is gone", |api| api.get("pods", "web").is_none()).await;
    assert_eq!(
        world.runtime.calls(),
        [
            "recover",
            "start_pod uid-web",
            "start_container a-0",
            "exec a-0 true",
            "stop_container a-0 5",
            "remove_pod uid-web"
        ]
    );
    world.until_event("Killing", "Stopping container a").await;
    assert!(!world.dir.path().join("node/pods/uid-web").exists());
}

#[tokio::test]
async fn the_node_is_there() {
    let world = World::start().await;
    let node = world.api.get("nodes", "n1").expect("the node");
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/os"], "linux");
    let conditions = node["status"]["conditions"].as_array().expect("conditions").clone();
    assert!(conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
    world.api.until("a lease", |api| api.get("leases", "n1").is_some()).await;
    let renewed = |api: &Api| api.get("leases", "n1").map(|lease| lease["spec"]["renewTime"].clone());
    let first = renewed(&world.api);
    world.clock.advance(Duration::from_secs(10));
    world.api.until("a renewed lease", |api| renewed(api) != first).await;
}

#[tokio::test]
async fn crashes_back_off() {
    let world = World::start().await;
    world.pod("web", ONE);
    world.until_ready("web").await;
    world.runtime.exit("uid-web", "a-0", 1);
    world.until_container("web", "one restart", |a| a["restartCount"] == 1 && a["ready"] == true).await;
    world.runtime.exit("uid-web", "a-1", 1);
    world.until_container("web", "back-off", |a| a["state"]["waiting"]["reason"] == "CrashLoopBackOff").await;
    let pod = world.api.get("pods", "web").expect("the pod");
    let a = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        a["state"]["waiting"]["message"],
        "back-off 10s restarting failed container=a pod=web_ns(uid-web)"
    );
    assert_eq!(a["lastState"]["terminated"]["exitCode"], 1);
    world.until_event("BackOff", "Back-off restarting failed container a in pod web_ns(uid-web)").await;
    world.clock.advance(Duration::from_secs(10));
    world.until_container("web", "second restart", |a| a["restartCount"] == 2 && a["ready"] == true).await;
}

#[tokio::test]
async fn a_program_that_cannot_start() {
    let world = World::start().await;
    world.runtime.fail_next("start_container", "exec \"/missing\": no such file");
    world.pod("web", "restartPolicy: Never, containers: [{name: a, image: i, command: [/missing]}]");
    world
        .api
        .until("failure", |api| api.get("pods", "web").is_some_and(|p| p["status"]["phase"] == "Failed"))
        .await;
    let pod = world.api.get("pods", "web").expect("the pod");
    let end = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((end["exitCode"].clone(), end["reason"].clone()), (json!(128), json!("StartError")));
}

#[tokio::test]
async fn finished_pods_stay_as_objects() {
    let mut world = World::start().await;
    world.pod("job", &format!("restartPolicy: Never, {ONE}"));
    world.until_ready("job").await;
    world.runtime.exit("uid-job", "a-0", 0);
    let over = |api: &Api| api.get("pods", "job").is_some_and(|p| p["status"]["phase"] == "Succeeded");
    world.api.until("success", over).await;
    // The next pod starts after the sandbox of the first is gone only if nothing is stuck.
    while !world.runtime.calls().contains(&"remove_pod uid-job".to_owned()) {
        tokio::task::yield_now().await;
    }
    world.restart(|_| {}).await;
    assert!(over(&world.api));
    world.api.delete("pods", "job", 30);
    world.api.until("gone", |api| api.get("pods", "job").is_none()).await;
    assert_eq!(world.runtime.calls().iter().filter(|call| call.starts_with("start_container")).count(), 1);
}

#[tokio::test]
async fn configuration_arrives_late_and_changes() {
    let world = World::start().await;
    world.pod(
        "web",
        "volumes: [{name: v, configMap: {name: m, optional: true}}],
         containers: [{name: a, image: i, volumeMounts: [{name: v, mountPath: /v}],
           env: [{name: K, valueFrom: {configMapKeyRef: {name: m, key: k}}}]}]",
    );
    let waits = |a: &Value| {
        a["state"]["waiting"]["reason"] == "CreateContainerConfigError"
            && a["state"]["waiting"]["message"] == "configmap \"m\" not found"
    };
    world.until_container("web", "a configuration error", waits).await;
    let map = |value: &str| {
        let yaml = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m, namespace: ns}}, data: {{k: {value}}}}}"
        );
        world.api.apply("configmaps", &yaml);
    };
    map("one");
    world.until_ready("web").await;
    let record = world.runtime.record("uid-web", "a-0").expect("a container");
    assert!(record.config.env.contains(&"K=one".to_owned()));
    let volume =
        record.config.mounts.iter().find(|mount| mount.destination.ends_with("v")).expect("the volume");
    let read = || std::fs::read_to_string(volume.source.join("k")).unwrap_or_default();
    let shows = async |text: &str| {
        while read() != text {
            tokio::task::yield_now().await;
        }
    };
    shows("one").await;
    map("two");
    shows("two").await;
}

#[tokio::test]
async fn images_that_come_later() {
    let world = World::start().await;
    world.images.missing.lock().push("i".to_owned());
    world.pod("web", ONE);
    world.until_container("web", "no image", |a| a["state"]["waiting"]["reason"] == "ErrImagePull").await;
    world.clock.advance(Duration::from_secs(3));
    world.until_container("web", "back-off", |a| a["state"]["waiting"]["reason"] == "ImagePullBackOff").await;
    world.until_event("Failed", "Failed to pull image \"i\"").await;
    world.images.missing.lock().clear();
    world.agent.images_changed();
    world.until_ready("web").await;
    world.pod("bad", "containers: [{name: a, image: 'not a name'}]");
    world.until_container("bad", "bad name", |a| a["state"]["waiting"]["reason"] == "InvalidImageName").await;
}

#[tokio::test]
async fn a_new_agent_adopts() {
    let mut world = World::start().await;
    world.pod("web", ONE);
    world.pod("old", ONE);
    world.pod("crash", ONE);
    for pod in ["web", "old", "crash"] {
        world.until_ready(pod).await;
    }
    world
        .restart(|world| {
            world.api.delete("pods", "old", 0);
            world.runtime.exit("uid-crash", "a-0", 3);
        })
        .await;
    world.until_container("crash", "a restart", |a| a["restartCount"] == 1 && a["ready"] == true).await;
    while !world.runtime.calls().contains(&"remove_pod uid-old".to_owned()) {
        tokio::task::yield_now().await;
    }
    let web = world.api.get("pods", "web").expect("the pod");
    assert_eq!(web["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(web["status"]["containerStatuses"][0]["ready"], true);
    assert_eq!(world.runtime.calls().iter().filter(|call| *call == "start_container a-0").count(), 3);
    assert!(world.runtime.calls().contains(&"stop_container a-0 30".to_owned()));
}

/// Answers every request with the status in `code`.
async fn serve(code: Arc<std::sync::atomic::AtomicU16>) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _gone = stream.read(&mut request).await.is_err();
            let code = code.load(std::sync::atomic::Ordering::SeqCst);
            let answer = format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\n");
            let _gone = stream.write_all(answer.as_bytes()).await.is_err();
        }
    });
    port
}

#[tokio::test]
async fn probes_decide() {
    let world = World::start().await;
    let code = Arc::new(std::sync::atomic::AtomicU16::new(200));
    let port = serve(code.clone()).await;
    world.pod(
        "web",
        &format!(
            "containers: [{{name: a, image: i, readinessProbe: {{httpGet: {{port: {port}}}, periodSeconds: 10, timeoutSeconds: 9000, failureThreshold: 1}}}}]"
        ),
    );
    world.until_ready("web").await;
    code.store(500, std::sync::atomic::Ordering::SeqCst);
    // The probe sleeps until its next period; move on until it has looked.
    while condition(&world.api, "web", "Ready") == "True" {
        world.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    world.until_event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500").await;

    world.runtime.program_exits("false", 1);
    world.pod(
        "sick",
        "containers: [{name: a, image: i, livenessProbe: {exec: {command: ['false']}, failureThreshold: 1, timeoutSeconds: 9000}}]",
    );
    world.until_event("Killing", "Container a failed liveness probe, will be restarted").await;
    world.until_container("sick", "a restart", |a| a["restartCount"].as_u64() >= Some(1)).await;
}
