//! A runtime, a network and images that only pretend; containers end when a test says so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use component_base::clock::SharedClock;
use node_agent::container_runtime::{
    AttachSession, CgroupUsage, ContainerConfig, ContainerExit, ContainerRecord, ContainerRuntime,
    ExecRequest, ExecSession, PodRecord, PodSandboxConfig, RuntimeError, RuntimeEvent,
};
use node_agent::network::host_ports::HostPort;
use node_agent::network::{NetworkError, PodNetwork};
use node_agent::stages::{Image, ImageError, ImageService};
use parking_lot::Mutex;
use tokio::sync::mpsc;

#[derive(Default)]
struct State {
    pods: BTreeMap<String, PodRecord>,
    events: Option<mpsc::Sender<RuntimeEvent>>,
    calls: Vec<String>,
}

pub struct FakeRuntime {
    clock: SharedClock,
    state: Mutex<State>,
}

impl FakeRuntime {
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// What was asked, in order.
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    pub fn record(&self, uid: &str, id: &str) -> Option<ContainerRecord> {
        self.state.lock().pods.get(uid)?.containers.get(id).cloned()
    }

    /// A container ends by itself.
    pub fn exit(&self, uid: &str, id: &str, code: i32) {
        let exit = ContainerExit { code, signal: 0, oom_killed: false, finished_at: self.clock.now() };
        let mut state = self.state.lock();
        let pod = state.pods.get_mut(uid).expect("the pod");
        pod.containers.get_mut(id).expect("the container").exit = Some(exit.clone());
        let event = RuntimeEvent::Exited { pod_uid: uid.to_owned(), container_id: id.to_owned(), exit };
        if let Some(events) = &state.events {
            // While no agent runs nobody hears it; the record tells the next one.
            let _nobody = events.try_send(event).is_err();
        }
    }

    fn call(&self, text: String) {
        self.state.lock().calls.push(text);
    }
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    async fn recover(&self) -> Result<Vec<PodRecord>, RuntimeError> {
        Ok(self.state.lock().pods.values().cloned().collect())
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::channel(64);
        self.state.lock().events = Some(sender);
        receiver
    }

    async fn start_pod(&self, config: &PodSandboxConfig) -> Result<PodRecord, RuntimeError> {
        self.call(format!("start pod {}", config.name));
        let record = PodRecord {
            config: config.clone(),
            shim_pid: 1,
            netns: PathBuf::from("/proc/1/ns/net"),
            containers: BTreeMap::new(),
        };
        Ok(self.state.lock().pods.entry(config.uid.clone()).or_insert(record).clone())
    }

    async fn remove_pod(&self, uid: &str) -> Result<(), RuntimeError> {
        self.call(format!("remove pod {uid}"));
        self.state.lock().pods.remove(uid);
        Ok(())
    }

    async fn start_container(
        &self,
        uid: &str,
        config: &ContainerConfig,
    ) -> Result<ContainerRecord, RuntimeError> {
        self.call(format!("start {}", config.id));
        if config.args.first().is_some_and(|program| program == "/missing") {
            let act = format!("start container {}", config.id);
            return Err(RuntimeError::Failed { act, reason: "exec \"/missing\": no such file".to_owned() });
        }
        std::fs::write(&config.log_path, "").expect("a log");
        let now = self.clock.now();
        let record = ContainerRecord {
            config: config.clone(),
            pid: 7,
            created_at: now,
            started_at: Some(now),
            exit: None,
        };
        let mut state = self.state.lock();
        let pod = state.pods.get_mut(uid).ok_or_else(|| RuntimeError::NotFound(uid.to_owned()))?;
        pod.containers.insert(config.id.clone(), record.clone());
        Ok(record)
    }

    async fn stop_container(
        &self,
        uid: &str,
        id: &str,
        grace: Duration,
    ) -> Result<ContainerExit, RuntimeError> {
        self.call(format!("stop {id} {}", grace.as_secs()));
        if self.record(uid, id).is_some_and(|record| record.exit.is_none()) {
            self.exit(uid, id, 143);
        }
        let record = self.record(uid, id).ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
        record.exit.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))
    }

    async fn remove_container(&self, uid: &str, id: &str) -> Result<(), RuntimeError> {
        if let Some(pod) = self.state.lock().pods.get_mut(uid) {
            pod.containers.remove(id);
        }
        Ok(())
    }

    async fn exec(&self, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        self.call(format!("exec {} {}", request.container_id, request.command.join(" ")));
        let (sender, exit) = tokio::sync::oneshot::channel();
        sender.send(i32::from(request.command[0] == "false")).expect("a listener");
        Ok(ExecSession { stdin: None, stdout: None, stderr: None, terminal: None, exit })
    }

    async fn attach(&self, _uid: &str, id: &str) -> Result<AttachSession, RuntimeError> {
        Err(RuntimeError::NotFound(id.to_owned()))
    }

    async fn usage(&self, _uid: &str, _id: Option<&str>) -> Result<CgroupUsage, RuntimeError> {
        Ok(CgroupUsage::default())
    }
}

/// Every pod is the local host, so that probes reach what a test listens on.
pub struct FakeNetwork;

#[async_trait]
impl PodNetwork for FakeNetwork {
    async fn attach(&self, _uid: &str, _netns: &Path) -> Result<Vec<IpAddr>, NetworkError> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }

    async fn detach(&self, _uid: &str) -> Result<(), NetworkError> {
        Ok(())
    }

    fn addresses(&self, _uid: &str) -> Vec<IpAddr> {
        vec![IpAddr::from([127, 0, 0, 1])]
    }

    async fn recover(&self, _live: &[(String, PathBuf)]) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn publish(&self, _uid: &str, _ports: &[HostPort]) -> Result<(), NetworkError> {
        Ok(())
    }
}

/// Has every image but those it was told to lack.
#[derive(Default)]
pub struct FakeImages {
    pub missing: Mutex<Vec<String>>,
}

#[async_trait]
impl ImageService for FakeImages {
    async fn get(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        if reference.contains(' ') {
            return Err(ImageError::InvalidName(reference.to_owned()));
        }
        let image =
            Image { id: format!("sha256:{reference}"), command: vec!["/run".to_owned()], ..Image::default() };
        Ok((!self.missing.lock().iter().any(|name| name == reference)).then_some(image))
    }

    async fn pull(&self, reference: &str) -> Result<Image, ImageError> {
        Err(ImageError::Unavailable(format!("image \"{reference}\" is not on this node")))
    }
}
