//! The real runtime: a shim process per pod, reached over the socket in its run directory.
//!
//! Entry point: [`ShimClient::new`], then [`ContainerRuntime::recover`]. What is needed to find or remove a pod is
//! on disk before its shim starts, so nothing is lost when the agent is killed at any instant.

mod channel;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use component_base::clock::SharedClock;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot};

use self::channel::Channel;
use super::{
    AttachSession, CgroupUsage, ContainerConfig, ContainerExit, ContainerRecord, ContainerRuntime,
    ExecRequest, ExecSession, PodRecord, PodSandboxConfig, RuntimeError, RuntimeEvent,
};
use crate::os::cgroup::Cgroups;
use crate::os::{mount, process};
use crate::shim::protocol::{MAX_FDS, Reply, Request};
use crate::shim::records::{self, PodDir, ShimIdentity};

/// Events that wait for the agent. A shim whose events find no room waits; nothing is lost.
const EVENT_ROOM: usize = 1024;

/// How long a shim may take to answer what it answers at once, before it counts as dead.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Exit code of a container whose end nobody saw: its shim died with it.
const LOST_CODE: i32 = 137;

struct Pod {
    dir: PodDir,
    /// Its shim's end is wanted: no event.
    removing: AtomicBool,
}

struct Inner {
    binary: PathBuf,
    node: PathBuf,
    clock: SharedClock,
    cgroups: Cgroups,
    pods: Mutex<BTreeMap<String, Arc<Pod>>>,
    events: mpsc::Sender<RuntimeEvent>,
}

/// Talks to the pods' shims.
pub struct ShimClient {
    inner: Arc<Inner>,
    receiver: Mutex<Option<mpsc::Receiver<RuntimeEvent>>>,
}

impl ShimClient {
    /// `binary` is started as `<binary> shim <run directory>` and must call [`crate::shim::intercept`] first;
    /// normally it is the running program. Everything is kept below `node`, such as `DIR/node`.
    ///
    /// # Errors
    /// When the machine has no cgroups or the directories cannot be made.
    pub fn new(binary: PathBuf, node: PathBuf, clock: SharedClock) -> Result<Self, RuntimeError> {
        let cgroups = Cgroups::detect().map_err(|error| failed("find cgroups", error))?;
        for part in ["run", "containers"] {
            fs::create_dir_all(node.join(part))
                .map_err(|error| failed(&format!("make {}", node.join(part).display()), error))?;
        }
        // Shims run in another directory.
        let node = node.canonicalize().map_err(|error| failed("resolve node directory", error))?;
        let (events, receiver) = mpsc::channel(EVENT_ROOM);
        let inner = Inner { binary, node, clock, cgroups, pods: Mutex::new(BTreeMap::new()), events };
        Ok(Self { inner: Arc::new(inner), receiver: Mutex::new(Some(receiver)) })
    }

    fn pod(&self, uid: &str) -> Result<Arc<Pod>, RuntimeError> {
        if let Some(pod) = self.inner.pods.lock().get(uid) {
            return Ok(Arc::clone(pod));
        }
        if PodDir::of(&self.inner.node, uid).run().exists() {
            return Err(RuntimeError::ShimLost(uid.to_owned()));
        }
        Err(RuntimeError::NotFound(format!("pod {uid}")))
    }

    async fn ask(
        &self,
        uid: &str,
        act: &str,
        request: &Request,
        fds: &[OwnedFd],
    ) -> Result<(Channel, Reply), RuntimeError> {
        let pod = self.pod(uid)?;
        let lost = |_: io::Error| RuntimeError::ShimLost(uid.to_owned());
        let mut channel = Channel::open(&pod.dir).map_err(lost)?;
        channel.send(request, fds).await.map_err(|error| failed(act, error))?;
        let reply = channel.receive().await.map_err(|error| failed(act, error))?;
        match reply {
            None => Err(RuntimeError::ShimLost(uid.to_owned())),
            Some(Reply::Error { not_found: true, reason }) => Err(RuntimeError::NotFound(reason)),
            Some(Reply::Error { not_found: false, reason }) => {
                Err(RuntimeError::Failed { act: act.to_owned(), reason })
            }
            Some(reply) => Ok((channel, reply)),
        }
    }
}

impl Inner {
    /// Connects to a shim's events and forwards them from then on. Answers what it knows at that instant.
    async fn subscribe(self: &Arc<Self>, dir: PodDir) -> Result<PodRecord, RuntimeError> {
        let clock = Arc::clone(&self.clock);
        let asked = async {
            let mut channel = Channel::open(&dir).map_err(|error| failed("connect to shim", error))?;
            channel.send(&Request::Subscribe, &[]).await.map_err(|error| failed("ask shim", error))?;
            match channel.receive().await.map_err(|error| failed("ask shim", error))? {
                Some(Reply::Pod(record)) => Ok((channel, *record)),
                other => Err(failed("ask shim", format!("unexpected answer {other:?}"))),
            }
        };
        let (channel, record) = tokio::select! {
            answer = asked => answer?,
            () = clock.sleep(ANSWER_LIMIT) => return Err(failed("ask shim", "no answer")),
        };
        let pod = Arc::new(Pod { dir, removing: AtomicBool::new(false) });
        let uid = record.config.uid.clone();
        self.pods.lock().insert(uid.clone(), Arc::clone(&pod));
        tokio::spawn(Arc::clone(self).forward(uid, pod, channel));
        Ok(record)
    }

    async fn forward(self: Arc<Self>, uid: String, pod: Arc<Pod>, mut channel: Channel) {
        while let Ok(Some(reply)) = channel.receive().await {
            if let Reply::Exited { container_id, exit } = reply {
                let event = RuntimeEvent::Exited { pod_uid: uid.clone(), container_id, exit };
                if self.events.send(event).await.is_err() {
                    return;
                }
            }
        }
        if pod.removing.load(Ordering::SeqCst) {
            return;
        }
        self.pods.lock().remove(&uid);
        let inner = Arc::clone(&self);
        let dir = pod.dir.clone();
        let buried = tokio::task::spawn_blocking(move || inner.bury(&dir)).await;
        if let Ok(Err(error)) = buried {
            tracing::warn!(pod = %uid, %error, "what a dead shim left could not be killed");
        }
        // Without a listener there is nobody to tell.
        let _unheard = self.events.send(RuntimeEvent::ShimLost { pod_uid: uid }).await;
    }

    /// Kills what is left of a pod without a shim and completes its records.
    fn bury(&self, dir: &PodDir) -> Result<PodRecord, RuntimeError> {
        let config: PodSandboxConfig =
            records::read_json(&dir.config()).map_err(|error| failed("read pod", error))?;
        self.kill(dir, &config)?;
        let mut containers = BTreeMap::new();
        for id in dir.container_ids() {
            // Half-made: its directory goes with the pod.
            let Ok(mut record) = records::read_json::<ContainerRecord>(&dir.record(&id)) else { continue };
            if record.exit.is_none() {
                let oom_killed = self.cgroups.oom_kills(&format!("{}/{id}", config.cgroup)) > 0;
                let finished_at = self.clock.now();
                record.exit =
                    Some(ContainerExit { code: LOST_CODE, signal: libc::SIGKILL, oom_killed, finished_at });
                records::write_json(&dir.record(&id), &record)
                    .map_err(|error| failed("record the end of a lost container", error))?;
            }
            containers.insert(id, record);
        }
        Ok(PodRecord { config, shim_pid: 0, netns: PathBuf::new(), containers })
    }

    fn kill(&self, dir: &PodDir, config: &PodSandboxConfig) -> Result<(), RuntimeError> {
        if let Ok(shim) = records::read_json::<ShimIdentity>(&dir.pod()) {
            process::kill_same(shim.pid, shim.start_time, ANSWER_LIMIT);
        }
        self.cgroups.kill(&config.cgroup).map_err(|error| failed(&format!("kill pod {}", config.uid), error))
    }

    /// Removes everything of a pod whose shim is gone or may be killed. Absent is fine.
    fn purge(&self, dir: &PodDir) -> Result<(), RuntimeError> {
        if let Ok(config) = records::read_json::<PodSandboxConfig>(&dir.config()) {
            self.kill(dir, &config)?;
            self.cgroups
                .remove(&config.cgroup)
                .map_err(|error| failed(&format!("remove cgroup of pod {}", config.uid), error))?;
        }
        dir.remove().map_err(|error| failed("remove files of a pod", error))
    }

    fn prepare(&self, dir: &PodDir, config: &PodSandboxConfig) -> Result<fs::File, RuntimeError> {
        self.purge(dir)?;
        let act = format!("start pod {}", config.uid);
        fs::create_dir_all(dir.run()).map_err(|error| failed(&act, error))?;
        // Before the cgroup: whoever finds the directory knows what else there may be.
        records::write_json(&dir.config(), config).map_err(|error| failed(&act, error))?;
        self.cgroups.create(&config.cgroup, &config.resources).map_err(|error| failed(&act, error))?;
        fs::File::create(dir.run().join("shim.log")).map_err(|error| failed(&act, error))
    }

    async fn spawn(&self, dir: &PodDir, log: fs::File) -> io::Result<()> {
        let mut child = tokio::process::Command::new(&self.binary)
            .arg("shim")
            .arg(dir.run())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .spawn()?;
        let stdout = child.stdout.take();
        // Collects the shim's exit status; its end shows on the socket.
        tokio::spawn(async move { child.wait().await });
        let mut text = String::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_string(&mut text).await?;
        }
        if text == crate::shim::READY {
            return Ok(());
        }
        if text.is_empty() {
            let log = fs::read_to_string(dir.run().join("shim.log")).unwrap_or_default();
            text = format!("the shim died: {}", log.trim());
        }
        Err(io::Error::other(text))
    }
}

#[async_trait]
impl ContainerRuntime for ShimClient {
    async fn recover(&self) -> Result<Vec<PodRecord>, RuntimeError> {
        let mut found = Vec::new();
        for dir in PodDir::all(&self.inner.node) {
            if let Ok(record) = self.inner.subscribe(dir.clone()).await {
                found.push(record);
                continue;
            }
            let inner = Arc::clone(&self.inner);
            let record = blocking(move || {
                if dir.config().exists() {
                    inner.bury(&dir).map(Some)
                } else {
                    // Cut off before anything but the directory was made.
                    inner.purge(&dir).map(|()| None)
                }
            });
            match record.await {
                Ok(record) => found.extend(record),
                Err(error) => tracing::warn!(%error, "a pod on disk could not be recovered"),
            }
        }
        Ok(found)
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        // Asked a second time, the answer is a receiver that has already ended.
        self.receiver.lock().take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    async fn start_pod(&self, config: &PodSandboxConfig) -> Result<PodRecord, RuntimeError> {
        let uid = config.uid.clone();
        if self.pod(&uid).is_ok() {
            return match self.ask(&uid, "ask shim", &Request::Subscribe, &[]).await? {
                (_, Reply::Pod(record)) => Ok(*record),
                (_, other) => Err(failed("ask shim", format!("unexpected answer {other:?}"))),
            };
        }
        let dir = PodDir::of(&self.inner.node, &uid);
        let (inner, at, wanted) = (Arc::clone(&self.inner), dir.clone(), config.clone());
        let log = blocking(move || inner.prepare(&at, &wanted)).await?;
        if let Err(error) = self.inner.spawn(&dir, log).await {
            let inner = Arc::clone(&self.inner);
            // The first error explains; what stays on disk is removed by the next attempt.
            let _left = blocking(move || inner.purge(&dir)).await;
            return Err(failed(&format!("start pod {uid}"), error));
        }
        self.inner.subscribe(dir).await
    }

    async fn remove_pod(&self, uid: &str) -> Result<(), RuntimeError> {
        let known = self.inner.pods.lock().get(uid).cloned();
        let dir = PodDir::of(&self.inner.node, uid);
        if let Some(pod) = known {
            pod.removing.store(true, Ordering::SeqCst);
            let asked = async {
                if let Ok(mut channel) = Channel::open(&dir)
                    && channel.send(&Request::Shutdown, &[]).await.is_ok()
                {
                    // Whatever comes is followed by the end.
                    while let Ok(Some(_)) = channel.receive().await {}
                }
            };
            tokio::select! {
                () = asked => {}
                () = self.inner.clock.sleep(ANSWER_LIMIT) => {}
            }
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.purge(&dir)).await?;
        self.inner.pods.lock().remove(uid);
        Ok(())
    }

    async fn start_container(
        &self,
        uid: &str,
        config: &ContainerConfig,
    ) -> Result<ContainerRecord, RuntimeError> {
        let act = format!("create container {}", config.id);
        self.pod(uid)?;
        let wanted = config.clone();
        let volumes = blocking(move || clone_volumes(&wanted)).await?;
        let request = Request::Start(Box::new(config.clone()));
        match self.ask(uid, &act, &request, &volumes).await? {
            (_, Reply::Started(record)) => Ok(*record),
            (_, other) => Err(failed(&act, format!("unexpected answer {other:?}"))),
        }
    }

    async fn stop_container(
        &self,
        uid: &str,
        id: &str,
        grace: Duration,
    ) -> Result<ContainerExit, RuntimeError> {
        let act = format!("stop container {id}");
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        match self.ask(uid, &act, &Request::Stop { id: id.to_owned(), grace_ms }, &[]).await? {
            (_, Reply::Stopped(exit)) => Ok(exit),
            (_, other) => Err(failed(&act, format!("unexpected answer {other:?}"))),
        }
    }

    async fn remove_container(&self, uid: &str, id: &str) -> Result<(), RuntimeError> {
        let act = format!("remove container {id}");
        let dir = PodDir::of(&self.inner.node, uid);
        match self.ask(uid, &act, &Request::Remove { id: id.to_owned() }, &[]).await {
            // A lost shim's containers were killed when that was noticed; their records are all that is left.
            Ok(_) | Err(RuntimeError::NotFound(_) | RuntimeError::ShimLost(_)) => {}
            Err(error) => return Err(error),
        }
        let id = id.to_owned();
        blocking(move || {
            records::remove_tree(&dir.layer(&id))
                .and_then(|()| records::remove_tree(&dir.container(&id)))
                .map_err(|error| failed(&act, error))
        })
        .await
    }

    async fn exec(&self, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        let ExecRequest { pod_uid, container_id, command, tty, stdin } = request;
        let act = format!("exec in container {container_id}");
        let wanted = Request::Exec { id: container_id, command, tty, stdin };
        let (mut channel, reply) = self.ask(&pod_uid, &act, &wanted, &[]).await?;
        let [stdin, stdout, stderr, terminal] = streams(&act, &mut channel, &reply)?;
        let (over, exit) = oneshot::channel();
        tokio::spawn(async move {
            if let Ok(Some(Reply::ExecExited { code })) = channel.receive().await {
                // Nobody waits any more.
                let _unheard = over.send(code);
            }
        });
        Ok(ExecSession { stdin, stdout, stderr, terminal, exit })
    }

    async fn attach(&self, uid: &str, id: &str) -> Result<AttachSession, RuntimeError> {
        let act = format!("attach to container {id}");
        let (mut channel, reply) = self.ask(uid, &act, &Request::Attach { id: id.to_owned() }, &[]).await?;
        let [stdin, stdout, stderr, terminal] = streams(&act, &mut channel, &reply)?;
        Ok(AttachSession { stdin, stdout, stderr, terminal })
    }

    async fn usage(&self, uid: &str, id: Option<&str>) -> Result<CgroupUsage, RuntimeError> {
        let pod = self.pod(uid)?;
        let inner = Arc::clone(&self.inner);
        let id = id.map(str::to_owned);
        blocking(move || {
            let act = "read cgroup usage";
            let config: PodSandboxConfig =
                records::read_json(&pod.dir.config()).map_err(|error| failed(act, error))?;
            let cgroup = id.map_or_else(|| config.cgroup.clone(), |id| format!("{}/{id}", config.cgroup));
            inner.cgroups.usage(&cgroup).map_err(|error| failed(act, error))
        })
        .await
    }
}

/// Detached copies of a container's mounts, for the shim, whose mount namespace need not know the paths.
fn clone_volumes(config: &ContainerConfig) -> Result<Vec<OwnedFd>, RuntimeError> {
    let act = format!("create container {}", config.id);
    let mut sources: Vec<&Path> = config.mounts.iter().map(|mount| mount.source.as_path()).collect();
    let message = &config.termination_message_host_path;
    if !config.termination_message_path.is_empty() && !message.as_os_str().is_empty() {
        prepare_message_file(message)
            .map_err(|error| failed(&act, format!("make {}: {error}", message.display())))?;
        sources.push(message);
    }
    if sources.len() > MAX_FDS {
        return Err(failed(&act, format!("{} mounts are more than {MAX_FDS}", sources.len())));
    }
    sources
        .into_iter()
        .map(|source| {
            mount::clone_tree(source)
                .map_err(|error| failed(&act, format!("mount source {}: {error}", source.display())))
        })
        .collect()
}

/// Any user of the container may write its termination message.
fn prepare_message_file(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o666))
}

fn streams(act: &str, channel: &mut Channel, reply: &Reply) -> Result<[Option<OwnedFd>; 4], RuntimeError> {
    let Reply::Streams { stdin, stdout, stderr, terminal } = *reply else {
        return Err(failed(act, format!("unexpected answer {reply:?}")));
    };
    let mut near = [const { None }; 4];
    for (slot, given) in near.iter_mut().zip([stdin, stdout, stderr, terminal]) {
        if given {
            *slot = Some(channel.take_fd().ok_or_else(|| failed(act, "a descriptor is missing"))?);
        }
    }
    Ok(near)
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|error| Err(failed("run in the background", error)))
}

fn failed(act: &str, reason: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed { act: act.to_owned(), reason: reason.to_string() }
}
