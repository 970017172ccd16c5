//! The runtime against this machine's kernel: real shims, namespaces, cgroups and processes. Needs root, cgroups
//! and `/bin/busybox` (statically linked); elsewhere the tests do nothing. Every test has a watchdog and
//! leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io::{BufRead as _, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::clock::RealClock;
use futures::FutureExt as _;
use node_agent::container_runtime::shim_client::ShimClient;
use node_agent::container_runtime::{
    ContainerConfig, ContainerExit, ContainerRuntime as _, ExecRequest, ExecSession, Mount, PodSandboxConfig,
    Resources, RuntimeEvent,
};
use tokio::sync::mpsc;

const UID: &str = "7d3d6b2e-0000-4000-8000-000000000001";
const WATCHDOG: Duration = Duration::from_secs(60);

/// One pod's world: a directory, a client, and a cgroup root of its own.
struct World {
    directory: tempfile::TempDir,
    client: Arc<ShimClient>,
    events: mpsc::Receiver<RuntimeEvent>,
    cgroup_root: String,
}

fn client(directory: &Path) -> Arc<ShimClient> {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_shim-under-test"));
    Arc::new(ShimClient::new(binary, directory.join("node"), RealClock::shared()).unwrap())
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layer = directory.path().join("layer");
        for part in ["bin", "etc", "tmp"] {
            fs::create_dir_all(layer.join(part)).unwrap();
        }
        fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
        for name in
            ["sh", "sleep", "cat", "echo", "nc", "yes", "head", "tty", "stty", "id", "kill", "hostname", "ps"]
        {
            symlink("busybox", layer.join("bin").join(name)).unwrap();
        }
        fs::write(layer.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/srv:/bin/sh\n")
            .unwrap();
        let name = directory.path().file_name().unwrap().to_str().unwrap().replace('.', "");
        let client = client(directory.path());
        let events = client.events();
        Self { client, events, cgroup_root: format!("/gantry-test-{name}"), directory }
    }

    fn pod(&self) -> PodSandboxConfig {
        PodSandboxConfig {
            uid: UID.to_owned(),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            hostname: "web-host".to_owned(),
            cgroup: format!("{}/burstable/pod{UID}", self.cgroup_root),
            sysctls: BTreeMap::from([("net.ipv4.tcp_syncookies".to_owned(), "0".to_owned())]),
            ..PodSandboxConfig::default()
        }
    }

    fn container(&self, id: &str, script: &str) -> ContainerConfig {
        ContainerConfig {
            id: id.to_owned(),
            name: id.split('-').next().unwrap().to_owned(),
            layers: vec![self.directory.path().join("layer")],
            args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/work/dir".to_owned(),
            capabilities: ["CHOWN", "SETUID", "SETGID", "KILL", "NET_BIND_SERVICE"]
                .map(str::to_owned)
                .to_vec(),
            seccomp_default: true,
            mask_paths: true,
            log_path: self.log_path(id),
            log_max_bytes: 10 << 20,
            log_max_files: 3,
            stop_signal: libc::SIGTERM,
            ..ContainerConfig::default()
        }
    }

    fn log_path(&self, id: &str) -> PathBuf {
        self.directory.path().join("logs").join(id).join("0.log")
    }

    /// The text a container wrote, without the log's own fields.
    fn log(&self, id: &str) -> String {
        let text = fs::read_to_string(self.log_path(id)).unwrap();
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned() + "\n").collect()
    }

    async fn exited(&mut self, id: &str) -> ContainerExit {
        loop {
            match self.events.recv().await.unwrap() {
                RuntimeEvent::Exited { container_id, exit, .. } if container_id == id => return exit,
                RuntimeEvent::ShimLost { .. } => panic!("the shim is lost"),
                RuntimeEvent::Exited { .. } => {}
            }
        }
    }

    /// Runs a script in a fresh container to its end.
    async fn run(&mut self, id: &str, script: &str) -> (ContainerExit, String) {
        self.run_config(&self.container(id, script)).await
    }

    async fn run_config(&mut self, config: &ContainerConfig) -> (ContainerExit, String) {
        self.client.start_container(UID, config).await.unwrap();
        let exit = self.exited(&config.id).await;
        (exit, self.log(&config.id))
    }

    async fn exec(&self, id: &str, script: &str, tty: bool) -> ExecSession {
        let request = ExecRequest {
            pod_uid: UID.to_owned(),
            container_id: id.to_owned(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            tty,
            stdin: true,
        };
        self.client.exec(request).await.unwrap()
    }

    fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        let root = self.cgroup_root.trim_start_matches('/');
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let path = hierarchy.path().join(root).join("burstable").join(format!("pod{UID}"));
            if path.exists() {
                found.push(path.display().to_string());
            }
        }
        let directory = self.directory.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        found.extend(mounts.lines().filter(|line| line.contains(directory)).map(str::to_owned));
        for part in ["run", "containers"] {
            for entry in fs::read_dir(self.directory.path().join("node").join(part)).unwrap().flatten() {
                found.push(entry.path().display().to_string());
            }
        }
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(line) = fs::read(process.path().join("cmdline")) else { continue };
            if String::from_utf8_lossy(&line).contains(directory) {
                found.push(process.path().display().to_string());
            }
        }
        found
    }
}

impl Drop for World {
    /// Also after a failed test: nothing may stay on the machine.
    fn drop(&mut self) {
        let root = self.cgroup_root.trim_start_matches('/');
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let mut below = vec![hierarchy.path().join(root)];
            let mut at = 0;
            while let Some(directory) = below.get(at).cloned() {
                at += 1;
                let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
                below.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
            }
            for directory in below.iter().rev() {
                let _absent = fs::remove_dir(directory);
            }
        }
    }
}

/// Runs a test with a pod, removes the pod whatever happened, and checks that nothing is left.
fn with_pod<F, T>(adjust: fn(&mut PodSandboxConfig), test: T)
where
    T: FnOnce(World) -> F,
    F: Future<Output = World>,
{
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 || !Path::new("/bin/busybox").exists() {
        eprintln!("skipped: needs root and /bin/busybox");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new();
        let (client, mut config) = (Arc::clone(&world.client), world.pod());
        adjust(&mut config);
        let record = client.start_pod(&config).await.unwrap();
        assert!(record.netns.exists());
        let clock = RealClock::shared();
        let outcome = tokio::select! {
            outcome = AssertUnwindSafe(test(world)).catch_unwind() => outcome,
            () = clock.sleep(WATCHDOG) => Err(Box::new("the watchdog barked") as Box<dyn std::any::Any + Send>),
        };
        let world = match outcome {
            Ok(world) => world,
            Err(panic) => {
                // The directories may be gone with the test; the shim and its cgroup are not.
                remove_by_hand(record.shim_pid, &config.cgroup);
                std::panic::resume_unwind(panic)
            }
        };
        world.client.remove_pod(UID).await.unwrap();
        assert_eq!(world.leftovers(), Vec::<String>::new());
        world.client.remove_pod(UID).await.unwrap();
    });
}

fn remove_by_hand(shim_pid: i32, cgroup: &str) {
    let _ended =
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim_pid), nix::sys::signal::Signal::SIGKILL);
    let cgroups = node_agent::os::cgroup::Cgroups::detect().unwrap();
    cgroups.kill(cgroup).unwrap();
    cgroups.remove(cgroup).unwrap();
}

fn default_pod(_: &mut PodSandboxConfig) {}

fn read_all(fd: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut file = fs::File::from(fd);
    let mut chunk = [0; 4096];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&chunk[..count]),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let _ready = nix::poll::poll(
                    &mut [nix::poll::PollFd::new(
                        std::os::fd::AsFd::as_fd(&file),
                        nix::poll::PollFlags::POLLIN,
                    )],
                    1000_u16,
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn exit_codes_logs_and_environment() {
    with_pod(default_pod, |mut world| async move {
        let (exit, log) = world.run("a-0", "echo out; echo err >&2; pwd; echo $HOME; hostname; exit 7").await;
        assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, 0, false));
        let raw = fs::read_to_string(world.log_path("a-0")).unwrap();
        assert!(raw.contains(" stdout F out\n") && raw.contains(" stderr F err\n"), "{raw}");
        for word in ["/work/dir\n", "/root\n", "web-host\n"] {
            assert!(log.contains(word), "{log}");
        }
        let (exit, _) = world.run("b-0", "kill -9 $$; true").await;
        // Number 1 of a namespace cannot kill itself.
        assert_eq!(exit.code, 0);
        let (exit, log) = world.run("a-1", "echo again; yes | head -1").await;
        assert_eq!(exit.code, 0);
        assert_eq!(log, "again\ny\n");
        world.client.remove_container(UID, "a-0").await.unwrap();
        world.client.remove_container(UID, "a-0").await.unwrap();
        world
    });
}

#[test]
fn two_containers_share_localhost_and_a_directory() {
    with_pod(default_pod, |mut world| async move {
        let shared = world.directory.path().join("shared");
        fs::create_dir(&shared).unwrap();
        let mount = Mount { source: shared, destination: "/shared".into(), read_only: false };
        let mut server = world.container("server-0", "nc -l -p 80 -e /bin/cat; echo served");
        server.mounts = vec![mount.clone()];
        world.client.start_container(UID, &server).await.unwrap();
        let mut talker = world.container(
            "talker-0",
            "until echo hello | nc 127.0.0.1 80 > /shared/reply && [ -s /shared/reply ]; do :; done; cat /shared/reply",
        );
        talker.mounts = vec![Mount { read_only: false, ..mount.clone() }];
        let (exit, log) = world.run_config(&talker).await;
        assert_eq!((exit.code, log.as_str()), (0, "hello\n"));
        let mut reader = world.container("reader-0", "cat /shared/reply; echo x > /shared/y || echo refused");
        reader.mounts = vec![Mount { read_only: true, ..mount }];
        let (_, log) = world.run_config(&reader).await;
        assert!(log.contains("hello\n") && log.contains("refused\n"), "{log}");
        world
    });
}

#[test]
fn failures_name_the_cause() {
    with_pod(default_pod, |world| async move {
        let fail = async |config: ContainerConfig| {
            world.client.start_container(UID, &config).await.unwrap_err().to_string()
        };
        let mut missing = world.container("x-0", "");
        missing.args = vec!["nope".to_owned()];
        let text = fail(missing).await;
        assert_eq!(text, "create container x-0: exec: \"nope\": executable file not found in $PATH");
        let mut user = world.container("x-0", "");
        user.user = "stranger".to_owned();
        assert!(fail(user).await.contains("unable to find user stranger"));
        let mut mount = world.container("x-0", "");
        let source = PathBuf::from("/no/such/dir");
        mount.mounts = vec![Mount { source, destination: "/m".into(), read_only: true }];
        assert!(fail(mount).await.contains("mount source /no/such/dir: No such file or directory"));
        let mut script = world.container("x-0", "");
        script.args = vec!["/etc/passwd".to_owned()];
        assert!(fail(script).await.contains("exec: \"/etc/passwd\": "));
        world
    });
}

#[test]
fn stop_waits_for_grace_then_kills() {
    with_pod(default_pod, |world| async move {
        let polite = world
            .container("p-0", "trap 'echo bye; exit 3' TERM; echo set; while :; do sleep 1 & wait $!; done");
        world.client.start_container(UID, &polite).await.unwrap();
        let attached = world.client.attach(UID, "p-0").await.unwrap();
        // Only once the trap is set does the signal reach it.
        if world.log("p-0").is_empty() {
            fs::File::from(attached.stdout.unwrap()).read_exact(&mut [0; 4]).unwrap();
        }
        let stubborn = world.container("s-0", "trap '' TERM; sleep 1000 & sleep 1000");
        world.client.start_container(UID, &stubborn).await.unwrap();
        let exit = world.client.stop_container(UID, "s-0", Duration::from_millis(200)).await.unwrap();
        assert_eq!((exit.code, exit.signal), (137, 9));
        let exit = world.client.stop_container(UID, "p-0", Duration::from_secs(30)).await.unwrap();
        assert_eq!((exit.code, exit.signal), (3, 0));
        assert_eq!(world.log("p-0"), "set\nbye\n");
        let again = world.client.stop_container(UID, "p-0", Duration::ZERO).await.unwrap();
        assert_eq!(again, exit);
        world
    });
}

#[test]
fn exec_with_and_without_terminal() {
    with_pod(default_pod, |world| async move {
        let mut config = world.container("m-0", "sleep 1000");
        config.user = "web".to_owned();
        config.no_new_privileges = true;
        world.client.start_container(UID, &config).await.unwrap();
        let session = world.exec("m-0", "cat; echo $$ $HOME; id -u; pwd; echo no >&2; exit 5", false).await;
        fs::File::from(session.stdin.unwrap()).write_all(b"typed\n").unwrap();
        let out = read_all(session.stdout.unwrap());
        assert!(out.starts_with("typed\n") && out.ends_with("/srv\n1000\n/work/dir\n"), "{out}");
        assert_eq!(read_all(session.stderr.unwrap()), "no\n");
        assert_eq!(session.exit.await.unwrap(), 5);
        let status = world.exec("m-0", "cat /proc/self/status", false).await;
        drop(status.stdin);
        let text = read_all(status.stdout.unwrap());
        assert!(text.contains("Seccomp:\t2\n") && text.contains("NoNewPrivs:\t1\n"), "{text}");
        assert!(text.contains("CapEff:\t0000000000000000\n"), "{text}");
        let session = world.exec("m-0", "tty; stty size; exit 4", true).await;
        assert!(session.stdout.is_none());
        let text = read_all(session.terminal.unwrap());
        assert!(text.starts_with("/dev/pts/"), "{text}");
        assert_eq!(session.exit.await.unwrap(), 4);
        let mut request = ExecRequest {
            pod_uid: UID.to_owned(),
            container_id: "m-0".to_owned(),
            command: vec!["nope".to_owned()],
            tty: false,
            stdin: false,
        };
        let text = world.client.exec(request.clone()).await.unwrap_err().to_string();
        assert!(text.ends_with("exec: \"nope\": executable file not found in $PATH"), "{text}");
        request.container_id = "other-0".to_owned();
        assert!(world.client.exec(request).await.unwrap_err().to_string().contains("not known"));
        world
    });
}

#[test]
fn terminals_and_attach() {
    with_pod(default_pod, |mut world| async move {
        let mut config = world.container("t-0", "tty; read line; echo got $line");
        config.tty = true;
        config.stdin = true;
        world.client.start_container(UID, &config).await.unwrap();
        let attached = world.client.attach(UID, "t-0").await.unwrap();
        fs::File::from(attached.terminal.unwrap()).write_all(b"word\n").unwrap();
        assert_eq!(world.exited("t-0").await.code, 0);
        assert!(read_all(attached.stdout.unwrap()).contains("got word"));
        assert!(world.log("t-0").contains("got word"));
        let mut config = world.container("u-0", "read line; echo got $line");
        config.stdin = true;
        world.client.start_container(UID, &config).await.unwrap();
        let attached = world.client.attach(UID, "u-0").await.unwrap();
        fs::File::from(attached.stdin.unwrap()).write_all(b"word\n").unwrap();
        assert_eq!(read_all(attached.stdout.unwrap()), "got word\n");
        assert_eq!(world.exited("u-0").await.code, 0);
        world
    });
}

#[test]
fn limits_hold_and_oom_is_told() {
    with_pod(default_pod, |mut world| async move {
        let mut config = world.container(
            "l-0",
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max",
        );
        config.resources =
            Resources { memory_limit_bytes: Some(32 << 20), pids_limit: Some(50), ..Resources::default() };
        let (_, log) = world.run_config(&config).await;
        assert_eq!(log, "33554432\n");
        let mut hungry = world.container("h-0", "x=a; while :; do x=$x$x; done");
        hungry.resources = config.resources.clone();
        let (exit, _) = world.run_config(&hungry).await;
        assert_eq!((exit.code, exit.oom_killed), (137, true));
        let idle = world.container("i-0", "sleep 1000");
        world.client.start_container(UID, &idle).await.unwrap();
        let usage = world.client.usage(UID, Some("i-0")).await.unwrap();
        assert!(usage.memory_usage_bytes > 0 && usage.pids == 1, "{usage:?}");
        assert!(world.client.usage(UID, None).await.unwrap().cpu_ns >= usage.cpu_ns);
        world
    });
}

#[test]
fn rights_are_taken_away() {
    with_pod(default_pod, |mut world| async move {
        let script = "cat /proc/self/status; echo 1 > /proc/sys/kernel/domainname || echo ro-sys; \
                      cat /proc/kcore | head -c1; cat /proc/sys/net/ipv4/tcp_syncookies; \
                      busybox mount -t tmpfs x /tmp || echo no-mount; echo x > /sys/fs/cgroup/memory/tasks || echo ro-cgroup";
        let mut config = world.container("r-0", script);
        config.read_only_root = true;
        let (_, log) = world.run_config(&config).await;
        assert!(log.contains("Seccomp:\t2\n"), "{log}");
        assert!(log.contains("CapBnd:\t00000000000004e1\n"), "{log}");
        for word in ["ro-sys", "no-mount", "ro-cgroup", "\n0\n"] {
            assert!(log.contains(word), "{word}: {log}");
        }
        let mut all =
            world.container("r-1", "cat /proc/self/status; busybox mount -t tmpfs x /tmp && echo mounted");
        all.privileged = true;
        let (_, log) = world.run_config(&all).await;
        assert!(log.contains("Seccomp:\t0\n") && log.ends_with("mounted\n"), "{log}");
        world
    });
}

#[test]
fn shared_processes_are_seen_and_end_together() {
    with_pod(
        |pod| pod.share_process_namespace = true,
        |mut world| async move {
            let one = world.container("one-0", "sleep 1001 & sleep 1002");
            world.client.start_container(UID, &one).await.unwrap();
            let (_, log) = world
                .run(
                    "two-0",
                    "until ps | head -20 | busybox grep -q 'sleep 1002'; do :; done; ps; cat /proc/1/cmdline",
                )
                .await;
            assert!(log.contains("sleep 1002") && log.contains("pause"), "{log}");
            // Not number 1 of its namespace, so the stop signal may win over the kill.
            let exit = world.client.stop_container(UID, "one-0", Duration::ZERO).await.unwrap();
            assert!([143, 137].contains(&exit.code), "{exit:?}");
            let (_, log) = world.run("two-1", "ps").await;
            assert!(!log.contains("1001"), "{log}");
            world
        },
    );
}

#[test]
fn a_killed_agent_finds_its_pods_again() {
    with_pod(default_pod, |mut world| async move {
        let record = world.client.start_container(UID, &world.container("k-0", "sleep 1000")).await.unwrap();
        let short = world.container("e-0", "read x < /work/dir/go; exit 9");
        let gate = world.directory.path().join("gate");
        fs::create_dir(&gate).unwrap();
        nix::unistd::mkfifo(&gate.join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut short = short;
        short.mounts =
            vec![Mount { source: gate.clone(), destination: "/work/dir".into(), read_only: false }];
        world.client.start_container(UID, &short).await.unwrap();
        // An agent that died has closed its connections and forgotten everything; so does a dropped client.
        let before = world.client.start_pod(&world.pod()).await.unwrap();
        fs::write(gate.join("go"), "x\n").unwrap();
        world.exited("e-0").await;
        world.client = client(world.directory.path());
        world.events = world.client.events();
        let found = world.client.recover().await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].shim_pid, before.shim_pid);
        assert_eq!(found[0].containers["k-0"].pid, record.pid);
        assert_eq!(found[0].containers["e-0"].exit.as_ref().unwrap().code, 9);
        let exit = world.client.stop_container(UID, "k-0", Duration::ZERO).await.unwrap();
        assert_eq!(exit.code, 137);
        assert_eq!(world.exited("k-0").await, exit);
        world
    });
}

#[test]
fn pods_outlive_a_killed_agent() {
    with_pod(default_pod, |mut world| async move {
        world.client.remove_pod(UID).await.unwrap();
        let gate = world.directory.path().join("gate");
        nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut container = world.container("k-0", "echo begin; read x < /gate; echo $x; exit 9");
        container.mounts = vec![Mount { source: gate.clone(), destination: "/gate".into(), read_only: true }];
        let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_shim-under-test"))
            .arg("agent")
            .arg(world.directory.path().join("node"))
            .args([serde_json::to_string(&world.pod()).unwrap(), serde_json::to_string(&container).unwrap()])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
        let pids: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        // Nobody watches while it ends.
        fs::write(&gate, "end\n").unwrap();
        let pidfd = node_agent::os::process::pidfd_open(pids[1]);
        if let Ok(pidfd) = pidfd {
            let ended = std::os::fd::AsFd::as_fd(&pidfd);
            assert!(node_agent::os::process::wait_ended(ended, WATCHDOG));
        }
        let found = world.client.recover().await.unwrap();
        assert_eq!((found[0].shim_pid, found[0].containers["k-0"].pid), (pids[0], pids[1]));
        let exit = match found[0].containers["k-0"].exit.clone() {
            Some(exit) => exit,
            None => world.exited("k-0").await,
        };
        assert_eq!(exit.code, 9);
        assert_eq!(world.log("k-0"), "begin\nend\n");
        world
    });
}

fn tar_of(entries: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content, mode) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

#[test]
fn a_loaded_image_runs() {
    with_pod(default_pod, |mut world| async move {
        let busybox = fs::read("/bin/busybox").unwrap();
        let base = tar_of(&[
            ("bin/", b"", 0o755),
            ("bin/sh", &busybox, 0o755),
            ("d/", b"", 0o755),
            ("d/old", b"1", 0o644),
            ("gone", b"2", 0o644),
        ]);
        let upper = tar_of(&[(".wh.gone", b"", 0), ("d/.wh..wh..opq", b"", 0), ("d/new", b"3", 0o644)]);
        let config = format!(
            r#"{{"config":{{"Cmd":["/bin/sh"]}},"rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}}"#,
            digest(&base),
            digest(&upper)
        );
        let manifest = br#"[{"Config":"c.json","RepoTags":["web:v1"],"Layers":["a.tar","b.tar"]}]"#;
        let archive = tar_of(&[
            ("manifest.json", manifest, 0o644),
            ("c.json", config.as_bytes(), 0o644),
            ("a.tar", &base, 0o644),
            ("b.tar", &upper, 0o644),
        ]);
        let images = world.directory.path().join("node/images");
        let store = node_agent::images::Store::open(&images, RealClock::shared()).unwrap();
        let image = store.load(archive.as_slice(), None).unwrap().remove(0).image;
        let mut container = world.container("i-0", "echo /* /d/*; read x");
        container.layers = image.layers;
        container.stdin = true;
        container.stdin_once = true;
        world.client.start_container(UID, &container).await.unwrap();
        assert!(store.remove("web:v1").unwrap_err().to_string().contains("in use by container i-0"));
        // Ending the only client's input ends the container's.
        drop(world.client.attach(UID, "i-0").await.unwrap());
        assert_eq!(world.exited("i-0").await.code, 1);
        assert_eq!(world.log("i-0"), "/bin /d /dev /etc /proc /sys /work /d/new\n");
        world.client.remove_container(UID, "i-0").await.unwrap();
        store.remove("web:v1").unwrap();
        world
    });
}

#[test]
fn devices_are_denied() {
    with_pod(default_pod, |mut world| async move {
        let script =
            "busybox mknod /tmp/d b 254 0; head -c1 /tmp/d || echo denied; head -c1 /dev/zero && echo ok";
        let mut config = world.container("d-0", script);
        config.capabilities.push("MKNOD".to_owned());
        let (_, log) = world.run_config(&config).await;
        assert!(log.contains("denied\n") && log.contains("ok\n"), "{log}");
        assert!(log.contains("Operation not permitted"), "{log}");
        world
    });
}

#[test]
fn a_killed_shim_takes_its_containers_along() {
    with_pod(default_pod, |mut world| async move {
        let record = world.client.start_container(UID, &world.container("k-0", "sleep 1000")).await.unwrap();
        let shim = world.client.start_pod(&world.pod()).await.unwrap().shim_pid;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(world.events.recv().await.unwrap(), RuntimeEvent::ShimLost { pod_uid: UID.to_owned() });
        let state = fs::read_to_string(format!("/proc/{}/stat", record.pid)).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z"), "{state}");
        let found = world.client.recover().await.unwrap();
        assert_eq!(found[0].shim_pid, 0);
        assert_eq!(found[0].containers["k-0"].exit.as_ref().unwrap().code, 137);
        world
    });
}

#[test]
fn start_latency_and_memory_are_told() {
    with_pod(default_pod, |world| async move {
        let mut times = Vec::new();
        for attempt in 0..20 {
            let config = world.container(&format!("n-{attempt}"), "sleep 1000");
            let begin = Instant::now();
            world.client.start_container(UID, &config).await.unwrap();
            times.push(begin.elapsed());
        }
        times.sort();
        let shim = world.client.start_pod(&world.pod()).await.unwrap().shim_pid;
        let status = fs::read_to_string(format!("/proc/{shim}/status")).unwrap();
        let rss = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        let rollup = fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
        let dirty = rollup.lines().find(|line| line.starts_with("Private_Dirty")).unwrap();
        // For people; speed is not asserted.
        println!("start: median {:?}, p90 {:?}; shim {rss}; {dirty}", times[10], times[18]);
        world
    });
}
