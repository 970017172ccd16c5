//! A runtime that only remembers: for tests of everything above the runtime. Containers start at once and run
//! until [`FakeRuntime::exit`] or a stop ends them; [`FakeRuntime::fail_next`] makes a call fail.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use component_base::clock::SharedClock;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    AttachSession, CgroupUsage, ContainerConfig, ContainerExit, ContainerRecord, ContainerRuntime,
    ExecRequest, ExecSession, PodRecord, PodSandboxConfig, RuntimeError, RuntimeEvent,
};

#[derive(Default)]
struct State {
    pods: BTreeMap<String, PodRecord>,
    calls: Vec<String>,
    failures: BTreeMap<String, VecDeque<String>>,
    /// By program: what its runs exit with.
    programs: BTreeMap<String, i32>,
    next_pid: i32,
}

/// The scripted double.
pub struct FakeRuntime {
    clock: SharedClock,
    state: Mutex<State>,
    /// Where the agent of the day listens.
    listener: Mutex<Option<mpsc::UnboundedSender<RuntimeEvent>>>,
}

impl FakeRuntime {
    /// An empty machine.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, state: Mutex::default(), listener: Mutex::default() }
    }

    /// Every call so far, such as `start_container web-0`.
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    /// The pods there are.
    pub fn pods(&self) -> BTreeMap<String, PodRecord> {
        self.state.lock().pods.clone()
    }

    /// A container as the runtime knows it.
    pub fn record(&self, uid: &str, id: &str) -> Option<ContainerRecord> {
        self.state.lock().pods.get(uid)?.containers.get(id).cloned()
    }

    /// Puts a pod there, as if an earlier agent had started it.
    pub fn plant(&self, record: PodRecord) {
        self.state.lock().pods.insert(record.config.uid.clone(), record);
    }

    /// The next call of this name (`start_pod`, `start_container`, …) fails with this reason.
    pub fn fail_next(&self, call: &str, reason: &str) {
        self.state.lock().failures.entry(call.to_owned()).or_default().push_back(reason.to_owned());
    }

    /// Every run of this program exits with this code from now on.
    pub fn program_exits(&self, program: &str, code: i32) {
        self.state.lock().programs.insert(program.to_owned(), code);
    }

    /// A container's main process ends now.
    pub fn exit(&self, uid: &str, id: &str, code: i32) {
        let signal = if code > 128 { code - 128 } else { 0 };
        let exit = ContainerExit { code, signal, oom_killed: false, finished_at: self.clock.now() };
        let mut state = self.state.lock();
        let Some(record) = state.pods.get_mut(uid).and_then(|pod| pod.containers.get_mut(id)) else { return };
        if record.exit.is_some() {
            return;
        }
        record.exit = Some(exit.clone());
        let event = RuntimeEvent::Exited { pod_uid: uid.to_owned(), container_id: id.to_owned(), exit };
        if let Some(listener) = &*self.listener.lock() {
            // Between two agents nobody hears it; the record tells the next one.
            let _unheard = listener.send(event);
        }
    }

    fn called(&self, call: &str, what: &str) -> Result<(), RuntimeError> {
        let mut state = self.state.lock();
        let text = format!("{call} {what}");
        state.calls.push(text.trim_end().to_owned());
        match state.failures.get_mut(call).and_then(VecDeque::pop_front) {
            Some(reason) => Err(RuntimeError::Failed { act: text, reason }),
            None => Ok(()),
        }
    }

    fn with_pod<T>(
        &self,
        uid: &str,
        act: impl FnOnce(&mut PodRecord) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let mut state = self.state.lock();
        let pod = state.pods.get_mut(uid).ok_or_else(|| RuntimeError::NotFound(format!("pod {uid}")))?;
        act(pod)
    }
}

fn unknown(id: &str) -> RuntimeError {
    RuntimeError::NotFound(format!("container {id}"))
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    async fn recover(&self) -> Result<Vec<PodRecord>, RuntimeError> {
        self.called("recover", "")?;
        Ok(self.pods().into_values().collect())
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::channel(64);
        let (listener, mut source) = mpsc::unbounded_channel();
        *self.listener.lock() = Some(listener);
        tokio::spawn(async move {
            while let Some(event) = source.recv().await {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }

    async fn start_pod(&self, config: &PodSandboxConfig) -> Result<PodRecord, RuntimeError> {
        self.called("start_pod", &config.uid)?;
        let mut state = self.state.lock();
        state.next_pid += 1;
        let fresh = PodRecord {
            config: config.clone(),
            shim_pid: state.next_pid,
            netns: PathBuf::from("/proc/self/ns/net"),
            containers: BTreeMap::new(),
        };
        Ok(state.pods.entry(config.uid.clone()).or_insert(fresh).clone())
    }

    async fn remove_pod(&self, uid: &str) -> Result<(), RuntimeError> {
        self.called("remove_pod", uid)?;
        self.state.lock().pods.remove(uid);
        Ok(())
    }

    async fn start_container(
        &self,
        uid: &str,
        config: &ContainerConfig,
    ) -> Result<ContainerRecord, RuntimeError> {
        self.called("start_container", &config.id)?;
        let now = self.clock.now();
        self.state.lock().next_pid += 1;
        let pid = self.state.lock().next_pid;
        self.with_pod(uid, |pod| {
            let record = ContainerRecord {
                config: config.clone(),
                pid,
                created_at: now,
                started_at: Some(now),
                exit: None,
            };
            pod.containers.insert(config.id.clone(), record.clone());
            Ok(record)
        })
    }

    async fn stop_container(
        &self,
        uid: &str,
        id: &str,
        grace: Duration,
    ) -> Result<ContainerExit, RuntimeError> {
        self.called("stop_container", &format!("{id} {}", grace.as_secs()))?;
        self.with_pod(uid, |pod| pod.containers.get(id).map(drop).ok_or_else(|| unknown(id)))?;
        self.exit(uid, id, if grace.is_zero() { 137 } else { 143 });
        self.with_pod(uid, |pod| {
            pod.containers.get(id).and_then(|record| record.exit.clone()).ok_or_else(|| unknown(id))
        })
    }

    async fn remove_container(&self, uid: &str, id: &str) -> Result<(), RuntimeError> {
        self.called("remove_container", id)?;
        self.with_pod(uid, |pod| {
            pod.containers.remove(id);
            Ok(())
        })
    }

    async fn exec(&self, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        self.called("exec", &format!("{} {}", request.container_id, request.command.join(" ")))?;
        let (over, exit) = oneshot::channel();
        let state = self.state.lock();
        let program = request.command.first();
        let code = program.and_then(|program| state.programs.get(program).copied()).unwrap_or(0);
        drop(state);
        // The receiver is still in our hands.
        let _sent = over.send(code);
        Ok(ExecSession { stdin: None, stdout: None, stderr: None, terminal: None, exit })
    }

    async fn attach(&self, uid: &str, id: &str) -> Result<AttachSession, RuntimeError> {
        self.called("attach", id)?;
        self.with_pod(uid, |pod| pod.containers.get(id).map(drop).ok_or_else(|| unknown(id)))?;
        Ok(AttachSession { stdin: None, stdout: None, stderr: None, terminal: None })
    }

    async fn usage(&self, uid: &str, _id: Option<&str>) -> Result<CgroupUsage, RuntimeError> {
        self.with_pod(uid, |_| Ok(CgroupUsage::default()))
    }
}
