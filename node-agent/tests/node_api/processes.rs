//! A runtime whose containers are this machine: exec runs the command as a plain process.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use node_agent::container_runtime::{
    AttachSession, CgroupUsage, ContainerConfig, ContainerExit, ContainerRecord, ContainerRuntime,
    ExecRequest, ExecSession, PodRecord, PodSandboxConfig, RuntimeError, RuntimeEvent,
};
use node_agent::server::{ContainerPlace, PodLookup, PodPlace, RunningContainer};
use parking_lot::Mutex;
use std::os::unix::process::ExitStatusExt as _;
use tokio::sync::{mpsc, oneshot, watch};

/// Runs processes; those that a client attached to end with it.
#[derive(Default)]
pub struct Processes {
    attached: Mutex<Vec<Child>>,
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.attached.get_mut() {
            // It may have ended by itself.
            let _ended = child.kill().is_err();
            let _reaped = child.wait().is_err();
        }
    }
}

fn unsupported<T>() -> Result<T, RuntimeError> {
    Err(RuntimeError::NotFound("only exec and attach".to_owned()))
}

fn exit_of(mut child: Child) -> oneshot::Receiver<i32> {
    let (sender, exit) = oneshot::channel();
    std::thread::spawn(move || {
        let status = child.wait().expect("wait");
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        // The test may have ended.
        let _ended = sender.send(code).is_err();
    });
    exit
}

fn spawn(command: &mut Command) -> Result<Child, RuntimeError> {
    command
        .spawn()
        .map_err(|error| RuntimeError::Failed { act: "exec".to_owned(), reason: error.to_string() })
}

#[async_trait]
impl ContainerRuntime for Processes {
    async fn recover(&self) -> Result<Vec<PodRecord>, RuntimeError> {
        unsupported()
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        mpsc::channel(1).1
    }

    async fn start_pod(&self, _: &PodSandboxConfig) -> Result<PodRecord, RuntimeError> {
        unsupported()
    }

    async fn remove_pod(&self, _: &str) -> Result<(), RuntimeError> {
        unsupported()
    }

    async fn start_container(&self, _: &str, _: &ContainerConfig) -> Result<ContainerRecord, RuntimeError> {
        unsupported()
    }

    async fn stop_container(&self, _: &str, _: &str, _: Duration) -> Result<ContainerExit, RuntimeError> {
        unsupported()
    }

    async fn remove_container(&self, _: &str, _: &str) -> Result<(), RuntimeError> {
        unsupported()
    }

    async fn exec(&self, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        let program = &request.command[0];
        let arguments = &request.command[1..];
        if request.tty {
            let pty = nix::pty::openpty(None, None).expect("pty");
            let side = || Stdio::from(pty.slave.try_clone().expect("clone"));
            let mut command = Command::new("setsid");
            command.args(["-c", "-w", program]).args(arguments);
            let child = spawn(command.stdin(side()).stdout(side()).stderr(side()))?;
            let terminal = Some(pty.master);
            return Ok(ExecSession {
                stdin: None,
                stdout: None,
                stderr: None,
                terminal,
                exit: exit_of(child),
            });
        }
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command.stdin(if request.stdin { Stdio::piped() } else { Stdio::null() }))?;
        Ok(ExecSession {
            stdin: child.stdin.take().map(OwnedFd::from),
            stdout: child.stdout.take().map(OwnedFd::from),
            stderr: child.stderr.take().map(OwnedFd::from),
            terminal: None,
            exit: exit_of(child),
        })
    }

    async fn attach(&self, _: &str, id: &str) -> Result<AttachSession, RuntimeError> {
        let mut command = Command::new("sh");
        // The second container goes on when its input ends, as one does whose input other clients may share.
        let script = if id == "main-0" { "echo attached; exec cat" } else { "echo attached; exec sleep 60" };
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let session = AttachSession {
            stdin: child.stdin.take().map(OwnedFd::from),
            stdout: child.stdout.take().map(OwnedFd::from),
            stderr: None,
            terminal: None,
        };
        self.attached.lock().push(child);
        Ok(session)
    }

    async fn usage(&self, _: &str, _: Option<&str>) -> Result<CgroupUsage, RuntimeError> {
        Ok(CgroupUsage { cpu_ns: 7, memory_working_set_bytes: 4096, memory_usage_bytes: 8192, pids: 1 })
    }
}

/// One pod `default/web` with the containers `main` and `shared` (its input outlives a client), in this process's own network namespace.
pub struct OnePod {
    /// Its log.
    pub log_path: PathBuf,
    /// Set when it has ended.
    pub ended: watch::Sender<bool>,
}

#[async_trait]
impl PodLookup for OnePod {
    fn pod(&self, namespace: &str, pod: &str) -> Option<PodPlace> {
        let netns = PathBuf::from("/proc/self/ns/net");
        ((namespace, pod) == ("default", "web")).then(|| PodPlace { uid: "uid".to_owned(), netns })
    }

    fn container(&self, namespace: &str, pod: &str, container: &str) -> Option<ContainerPlace> {
        let known = (namespace, pod) == ("default", "web") && matches!(container, "main" | "shared");
        known.then(|| ContainerPlace {
            uid: "uid".to_owned(),
            container_id: format!("{container}-0"),
            tty: false,
            stdin_once: container == "main",
            log_path: self.log_path.clone(),
            previous_log_path: None,
        })
    }

    fn running(&self) -> Vec<RunningContainer> {
        vec![RunningContainer {
            namespace: "default".to_owned(),
            pod: "web".to_owned(),
            uid: "uid".to_owned(),
            container: "main".to_owned(),
            container_id: "main-0".to_owned(),
        }]
    }

    async fn ended(&self, _: &str, _: &str) {
        let mut ended = self.ended.subscribe();
        drop(ended.wait_for(|ended| *ended).await.map(|_| ()));
    }
}

/// A file that records go to.
pub fn append(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    let mut file = File::options().append(true).create(true).open(path).expect("open");
    writeln!(file, "2026-11-21T10:00:00.000000000Z stdout F {text}").expect("write");
}
