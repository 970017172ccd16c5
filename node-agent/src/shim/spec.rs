//! The OCI runtime specification of a container. [`build`] is pure; [`Privileges`] and [`host_devices`] look at
//! what this machine can give.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::users::User;
use crate::container_runtime::ContainerConfig;
use crate::seccomp;

/// Linux' capabilities in the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the shim itself may do, which bounds what it can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privileges {
    /// Bit set of capabilities.
    pub bounding: u64,
    /// Its own OOM score; lower ones need `SYS_RESOURCE`.
    pub oom_score_adj: i32,
}

impl Privileges {
    /// Of this process.
    pub fn ours() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bounding = status
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0);
        let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        Self { bounding, oom_score_adj: score.trim().parse().unwrap_or(0) }
    }

    fn has(&self, capability: &str) -> bool {
        number(capability).is_some_and(|bit| self.bounding & (1 << bit) != 0)
    }

    /// The nearest score that can be set.
    pub fn oom_score(&self, wanted: i32) -> i32 {
        if self.has("SYS_RESOURCE") { wanted } else { wanted.max(self.oom_score_adj) }
    }
}

/// The number of a capability.
pub fn number(capability: &str) -> Option<usize> {
    CAPABILITIES.iter().position(|name| *name == capability)
}

/// The capabilities a container really gets: what it asks for, as far as we have it ourselves.
pub fn capabilities(config: &ContainerConfig, privileges: &Privileges) -> Vec<String> {
    let wanted: BTreeSet<String> = if config.privileged {
        CAPABILITIES.iter().map(|name| (*name).to_owned()).collect()
    } else {
        config.capabilities.iter().map(|name| name.trim_start_matches("CAP_").to_uppercase()).collect()
    };
    wanted.into_iter().filter(|name| privileges.has(name)).collect()
}

/// The environment a container's programs see: HOME is added when missing.
pub fn environment(config: &ContainerConfig, user: &User, tty: bool) -> Vec<String> {
    let mut env = config.env.clone();
    let has = |env: &[String], key: &str| env.iter().any(|pair| pair.starts_with(key));
    if !has(&env, "HOME=") {
        env.push(format!("HOME={}", user.home));
    }
    if !has(&env, "PATH=") {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    if tty && !has(&env, "TERM=") {
        env.push("TERM=xterm".to_owned());
    }
    env
}

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    path: PathBuf,
    kind: char,
    major: u64,
    minor: u64,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// The device nodes below `/dev`, for privileged containers.
pub fn host_devices() -> Vec<Device> {
    let mut found = Vec::new();
    collect_devices(Path::new("/dev"), &mut found);
    found
}

fn collect_devices(directory: &Path, found: &mut Vec<Device>) {
    // Made per container, by the runtime.
    const OWN: [&str; 13] = [
        "pts", "shm", "mqueue", "fd", "console", "ptmx", "tty", "null", "zero", "full", "random", "urandom",
        "core",
    ];
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if directory == Path::new("/dev") && OWN.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        let kind = meta.file_type();
        if kind.is_dir() {
            collect_devices(&path, found);
        } else if kind.is_char_device() || kind.is_block_device() {
            found.push(Device {
                path,
                kind: if kind.is_block_device() { 'b' } else { 'c' },
                major: libc::major(meta.rdev()).into(),
                minor: libc::minor(meta.rdev()).into(),
                mode: meta.mode() & 0o777,
                uid: meta.uid(),
                gid: meta.gid(),
            });
        }
    }
}

/// What was found out or made for a container before its specification is written.
#[derive(Debug)]
pub struct Facts {
    /// The mounted root file system.
    pub root: PathBuf,
    /// The pod's `/dev/shm`.
    pub shm: PathBuf,
    /// The pod's `/etc/hostname`.
    pub hostname_file: PathBuf,
    /// Sources of `config.mounts` in order, then of the termination message when it has a path.
    pub volumes: Vec<PathBuf>,
    /// The container's cgroup.
    pub cgroup: String,
    /// Its directories, with their places below `/sys/fs/cgroup`.
    pub cgroup_mounts: Vec<(PathBuf, String)>,
    /// Whom the program runs as.
    pub user: User,
    /// No process namespace is made.
    pub host_pid: bool,
    /// Number 1 of a shared process namespace.
    pub holder: Option<i32>,
    /// What we can give.
    pub privileges: Privileges,
    /// Only for privileged containers.
    pub host_devices: Vec<Device>,
}

/// The specification. Namespaces that it does not name are those of the shim: the pod's.
pub fn build(config: &ContainerConfig, facts: &Facts) -> Value {
    let capabilities = capabilities(config, &facts.privileges);
    let named: Vec<String> = capabilities.iter().map(|name| format!("CAP_{name}")).collect();
    let mut process = json!({
        "terminal": config.tty,
        "user": {"uid": facts.user.uid, "gid": facts.user.gid, "additionalGids": facts.user.groups},
        "args": config.args,
        "env": environment(config, &facts.user, config.tty),
        "cwd": if config.cwd.is_empty() { "/" } else { config.cwd.as_str() },
        "capabilities": {"bounding": named, "effective": named, "permitted": named},
        "oomScoreAdj": facts.privileges.oom_score(config.oom_score_adj),
    });
    // Left out rather than `false`: libcontainer loads the filter at the right moment only then.
    if config.no_new_privileges {
        process["noNewPrivileges"] = true.into();
    }
    let mut linux = json!({
        "cgroupsPath": facts.cgroup,
        "namespaces": namespaces(facts),
        "resources": {"devices": [{"allow": config.privileged, "access": "rwm"}]},
        "rootfsPropagation": "private",
        "devices": facts.host_devices.iter().map(device).collect::<Vec<_>>(),
    });
    if config.mask_paths && !config.privileged {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    if config.seccomp_default && !config.privileged {
        linux["seccomp"] = seccomp::oci(&capabilities);
    }
    json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": facts.root, "readonly": config.read_only_root},
        "mounts": mounts(config, facts),
        "linux": linux,
    })
}

fn namespaces(facts: &Facts) -> Vec<Value> {
    let mut made = vec![json!({"type": "mount"}), json!({"type": "cgroup"})];
    match facts.holder {
        Some(pid) => made.push(json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")})),
        None if facts.host_pid => {}
        None => made.push(json!({"type": "pid"})),
    }
    made
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path, "type": device.kind, "major": device.major, "minor": device.minor,
        "fileMode": device.mode, "uid": device.uid, "gid": device.gid,
    })
}

fn mounts(config: &ContainerConfig, facts: &Facts) -> Vec<Value> {
    let own = own_mounts(config, facts);
    let given = given_mounts(config, facts);
    let replaced = |destination: &Path| given.iter().any(|(path, _)| path == destination);
    let mut all: Vec<(PathBuf, Value)> = own.into_iter().filter(|(path, _)| !replaced(path)).collect();
    // Outer before inner, otherwise an outer one hides what was mounted in it.
    let mut given = given;
    given.sort_by_key(|(path, _)| path.components().count());
    all.extend(given);
    all.into_iter().map(|(_, mount)| mount).collect()
}

fn own_mounts(config: &ContainerConfig, facts: &Facts) -> Vec<(PathBuf, Value)> {
    let sys = if config.privileged { "rw" } else { "ro" };
    let mut own = vec![
        special("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        special("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        special(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        special("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        special("/sys", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        bind(Path::new("/dev/shm"), &facts.shm, false),
        bind(Path::new("/etc/hostname"), &facts.hostname_file, config.read_only_root),
    ];
    if facts.cgroup_mounts.iter().any(|(_, place)| !place.is_empty()) {
        own.push(special("/sys/fs/cgroup", "tmpfs", &["nosuid", "noexec", "nodev", "mode=755", "size=64k"]));
    }
    for (source, place) in &facts.cgroup_mounts {
        own.push(bind(&Path::new("/sys/fs/cgroup").join(place), source, !config.privileged));
    }
    own
}

fn given_mounts(config: &ContainerConfig, facts: &Facts) -> Vec<(PathBuf, Value)> {
    let mut sources = facts.volumes.iter();
    let mut given: Vec<(PathBuf, Value)> = config
        .mounts
        .iter()
        .zip(sources.by_ref())
        .map(|(mount, source)| bind(&mount.destination, source, mount.read_only))
        .collect();
    if let Some(source) = sources.next() {
        given.push(bind(Path::new(&config.termination_message_path), source, false));
    }
    given
}

fn special(destination: &str, kind: &str, options: &[&str]) -> (PathBuf, Value) {
    let mount = json!({"destination": destination, "type": kind, "source": kind, "options": options});
    (PathBuf::from(destination), mount)
}

fn bind(destination: &Path, source: &Path, read_only: bool) -> (PathBuf, Value) {
    let destination = Path::new("/").join(destination);
    let options = ["rbind", if read_only { "ro" } else { "rw" }];
    let mount = json!({"destination": destination, "type": "bind", "source": source, "options": options});
    (destination, mount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_runtime::Mount;

    fn facts() -> Facts {
        Facts {
            root: "/r".into(),
            shm: "/p/shm".into(),
            hostname_file: "/p/hostname".into(),
            volumes: vec!["/v/0".into(), "/v/1".into(), "/v/2".into()],
            cgroup: "/g/c".into(),
            cgroup_mounts: vec![("/cg/memory/g/c".into(), "memory".into())],
            user: User { uid: 5, gid: 6, groups: vec![6], home: "/h".into() },
            host_pid: false,
            holder: None,
            privileges: Privileges { bounding: !(1 << 24), oom_score_adj: 10 },
            host_devices: Vec::new(),
        }
    }

    fn config() -> ContainerConfig {
        let mount = |destination: &str| Mount {
            source: "/s".into(),
            destination: destination.into(),
            read_only: true,
        };
        ContainerConfig {
            mounts: vec![mount("/a/b"), mount("a")],
            capabilities: vec!["CHOWN".into(), "SYS_RESOURCE".into(), "NONSENSE".into()],
            termination_message_path: "/dev/termination-log".into(),
            seccomp_default: true,
            mask_paths: true,
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn outer_mounts_come_first_and_the_message_last_of_its_depth() {
        let spec = build(&config(), &facts());
        let destinations: Vec<&str> =
            spec["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap()).collect();
        assert_eq!(destinations[destinations.len() - 3..], ["/a", "/a/b", "/dev/termination-log"]);
        assert!(destinations.contains(&"/sys/fs/cgroup/memory"));
    }

    #[test]
    fn rights_are_bounded_by_ours() {
        let spec = build(&config(), &facts());
        assert_eq!(spec["process"]["capabilities"]["bounding"], json!(["CAP_CHOWN"]));
        assert_eq!(spec["process"]["oomScoreAdj"], 10);
        assert!(spec["process"].get("noNewPrivileges").is_none());
        assert!(spec["linux"]["seccomp"].is_object());
        assert_eq!(spec["linux"]["resources"]["devices"][0]["allow"], false);
    }

    #[test]
    fn privileged_has_everything() {
        let spec = build(&ContainerConfig { privileged: true, ..config() }, &facts());
        assert!(spec["linux"].get("seccomp").is_none());
        assert!(spec["linux"].get("maskedPaths").is_none());
        assert_eq!(spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 40);
    }

    #[test]
    fn environment_is_completed() {
        let env = environment(&config(), &facts().user, true);
        assert_eq!(env[0], "HOME=/h");
        assert_eq!(env[2], "TERM=xterm");
        let given = ContainerConfig { env: vec!["HOME=/x".into(), "PATH=/y".into()], ..config() };
        assert_eq!(environment(&given, &facts().user, false), ["HOME=/x", "PATH=/y"]);
    }

    #[test]
    fn process_namespaces() {
        let kinds = |facts: &Facts| namespaces(facts).last().unwrap().clone();
        assert_eq!(kinds(&facts()), json!({"type": "pid"}));
        assert_eq!(kinds(&Facts { host_pid: true, ..facts() }), json!({"type": "cgroup"}));
        let shared = Facts { holder: Some(7), ..facts() };
        assert_eq!(kinds(&shared), json!({"type": "pid", "path": "/proc/7/ns/pid"}));
    }
}
