//! Control groups, version 1 (any number of hierarchies) and version 2, named by one path that is the same
//! below every mount. Entry point: [`Cgroups::detect`].
//!
//! Removal and killing work from the path alone, so a new agent can clean up after an old one.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::container_runtime::{CgroupUsage, Resources};
use crate::os::process;

/// How long a killed process may take to disappear. A process in uninterruptible sleep can take longer:
/// the caller then gets an error and tries again later.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// How often the processes of a cgroup are listed and killed: a fork bomb must not hold the agent for ever.
const KILL_ROUNDS: u32 = 100;

/// How often a cgroup that the kernel still calls busy is tried again after its last process ended.
const REMOVE_TRIES: u32 = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    controllers: Vec<String>,
    mount: PathBuf,
}

/// The cgroup mounts of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    v1: Vec<Hierarchy>,
    v2: Option<PathBuf>,
}

impl Cgroups {
    /// Finds the mounts.
    ///
    /// # Errors
    /// When mountinfo cannot be read or no cgroup file system is mounted.
    pub fn detect() -> io::Result<Self> {
        let found = Self::parse(&fs::read_to_string("/proc/self/mountinfo")?);
        if found.v1.is_empty() && found.v2.is_none() {
            return Err(io::Error::other("no cgroup file system is mounted"));
        }
        Ok(found)
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self { v1: Vec::new(), v2: None };
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) if found.v2.is_none() => found.v2 = Some(mount),
                (Some("cgroup"), Some(options)) => {
                    let controllers: Vec<String> =
                        options.split(',').filter(|option| !is_flag(option)).map(str::to_owned).collect();
                    if !found.v1.iter().any(|known| known.controllers == controllers) {
                        found.v1.push(Hierarchy { controllers, mount });
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Whether limits go to version 2 (in a hybrid set-up version 1 has the controllers).
    pub fn unified(&self) -> bool {
        !self.v1.iter().any(|hierarchy| hierarchy.has("memory") || hierarchy.has("cpu"))
    }

    /// Directories of a cgroup that a container may see, with where they belong below `/sys/fs/cgroup`.
    pub fn visible(&self, cgroup: &str) -> Vec<(PathBuf, String)> {
        if self.unified() {
            return self.v2.iter().map(|mount| (join(mount, cgroup), String::new())).collect();
        }
        const SHOWN: [&str; 5] = ["cpu", "cpuacct", "cpuset", "memory", "pids"];
        let shown =
            |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|c| SHOWN.contains(&c.as_str()));
        self.v1
            .iter()
            .filter(shown)
            .map(|hierarchy| (join(&hierarchy.mount, cgroup), hierarchy.controllers.join(",")))
            .collect()
    }

    /// Makes the cgroup and its parents in every hierarchy and sets limits. Idempotent.
    ///
    /// # Errors
    /// When a directory cannot be made or a limit is refused; the text names the file.
    pub fn create(&self, cgroup: &str, resources: &Resources) -> io::Result<()> {
        for hierarchy in &self.v1 {
            make_v1(hierarchy, cgroup)?;
        }
        if let Some(mount) = &self.v2 {
            make_v2(mount, cgroup)?;
        }
        self.update(cgroup, resources)
    }

    /// Sets limits of an existing cgroup.
    ///
    /// # Errors
    /// When a limit is refused; the text names the file.
    pub fn update(&self, cgroup: &str, resources: &Resources) -> io::Result<()> {
        let settings = if self.unified() { v2_settings(resources) } else { v1_settings(resources) };
        for Setting { controller, file, value, required } in settings {
            let Some(mount) = self.controller(controller) else {
                if required {
                    return Err(io::Error::other(format!("no {controller} cgroup controller for {file}")));
                }
                continue;
            };
            let path = join(mount, cgroup).join(file);
            if !required && !path.exists() {
                continue;
            }
            fs::write(&path, &value).map_err(|error| named(&path, &format!("write {value}"), &error))?;
        }
        Ok(())
    }

    /// Open files into which a process writes `0` to enter the cgroup.
    ///
    /// # Errors
    /// When the cgroup does not exist.
    pub fn entrances(&self, cgroup: &str) -> io::Result<Vec<OwnedFd>> {
        self.directories(cgroup)
            .map(|directory| {
                let path = directory.join("cgroup.procs");
                fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .map(OwnedFd::from)
                    .map_err(|error| named(&path, "open", &error))
            })
            .collect()
    }

    /// Every process in the cgroup and below.
    pub fn processes(&self, cgroup: &str) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for directory in self.directories(cgroup) {
            each_below(&directory, &mut |below| {
                let text = fs::read_to_string(below.join("cgroup.procs")).unwrap_or_default();
                pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            });
        }
        pids
    }

    /// Kills every process in the cgroup and below and waits until none is left.
    ///
    /// # Errors
    /// When one survives for ten seconds.
    pub fn kill(&self, cgroup: &str) -> io::Result<()> {
        self.signal_all(cgroup);
        // A process can fork between being listed and being killed; each round catches what the last one bore.
        for _ in 0..KILL_ROUNDS {
            let pids: Vec<i32> = self.processes(cgroup).into_iter().filter(|pid| !zombie(*pid)).collect();
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                self.kill_one(cgroup, pid)?;
            }
        }
        Err(io::Error::other(format!("processes of {cgroup} are born faster than they can be killed")))
    }

    fn kill_one(&self, cgroup: &str, pid: i32) -> io::Result<()> {
        let Ok(pidfd) = process::pidfd_open(pid) else { return Ok(()) };
        // Looked up again now that the pidfd is held: the pid may have been reused in between.
        if self.processes(cgroup).contains(&pid)
            && process::pidfd_signal(pidfd.as_fd(), libc::SIGKILL).is_ok()
            && !process::wait_ended(pidfd.as_fd(), DEATH_LIMIT)
        {
            return Err(io::Error::other(format!("process {pid} of {cgroup} does not end when killed")));
        }
        Ok(())
    }

    /// Kills without waiting: for a parent that must itself reap what dies.
    pub fn signal_all(&self, cgroup: &str) {
        if self.unified()
            && let Some(mount) = &self.v2
            && fs::write(join(mount, cgroup).join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for pid in self.processes(cgroup) {
            if let Ok(pidfd) = process::pidfd_open(pid)
                && self.processes(cgroup).contains(&pid)
            {
                // Already ended is as good as killed.
                let _ended = process::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
    }

    /// Removes the cgroup and everything below it in every hierarchy. Absent is fine.
    ///
    /// # Errors
    /// When the kernel keeps calling it busy; the text names the directory.
    pub fn remove(&self, cgroup: &str) -> io::Result<()> {
        if cgroup.trim_matches('/').is_empty() {
            return Err(io::Error::other("refusing to remove the root cgroup"));
        }
        for directory in self.directories(cgroup) {
            let mut below = Vec::new();
            each_below(&directory, &mut |path| below.push(path.to_path_buf()));
            for path in below.iter().rev() {
                remove_one(path)?;
            }
        }
        Ok(())
    }

    /// How many processes of the cgroup the OOM killer took, so far.
    pub fn oom_kills(&self, cgroup: &str) -> u64 {
        let file = if self.unified() { "memory.events" } else { "memory.oom_control" };
        let Some(mount) = self.controller("memory") else { return 0 };
        keyed(&join(mount, cgroup).join(file), "oom_kill").unwrap_or(0)
    }

    /// What the cgroup uses now.
    ///
    /// # Errors
    /// When its CPU or memory counters cannot be read, as when it is gone.
    pub fn usage(&self, cgroup: &str) -> io::Result<CgroupUsage> {
        if self.unified() { self.usage_v2(cgroup) } else { self.usage_v1(cgroup) }
    }

    fn usage_v1(&self, cgroup: &str) -> io::Result<CgroupUsage> {
        let memory = self.required("memory", cgroup)?;
        let used = number(&memory.join("memory.usage_in_bytes"))?;
        let inactive = keyed(&memory.join("memory.stat"), "total_inactive_file").unwrap_or(0);
        Ok(CgroupUsage {
            cpu_ns: number(&self.required("cpuacct", cgroup)?.join("cpuacct.usage"))?,
            memory_working_set_bytes: used.saturating_sub(inactive),
            memory_usage_bytes: used,
            pids: self.pids(cgroup),
        })
    }

    fn usage_v2(&self, cgroup: &str) -> io::Result<CgroupUsage> {
        let directory = self.required("memory", cgroup)?;
        let used = number(&directory.join("memory.current"))?;
        let inactive = keyed(&directory.join("memory.stat"), "inactive_file").unwrap_or(0);
        let cpu_us = keyed(&directory.join("cpu.stat"), "usage_usec")
            .ok_or_else(|| io::Error::other(format!("no usage_usec in cpu.stat of {cgroup}")))?;
        Ok(CgroupUsage {
            cpu_ns: cpu_us.saturating_mul(1000),
            memory_working_set_bytes: used.saturating_sub(inactive),
            memory_usage_bytes: used,
            pids: self.pids(cgroup),
        })
    }

    fn pids(&self, cgroup: &str) -> u64 {
        self.controller("pids")
            .and_then(|mount| number(&join(mount, cgroup).join("pids.current")).ok())
            .unwrap_or(0)
    }

    fn required(&self, controller: &str, cgroup: &str) -> io::Result<PathBuf> {
        self.controller(controller)
            .map(|mount| join(mount, cgroup))
            .ok_or_else(|| io::Error::other(format!("no {controller} cgroup controller")))
    }

    fn controller(&self, name: &str) -> Option<&Path> {
        if self.unified() {
            return self.v2.as_deref();
        }
        self.v1.iter().find(|hierarchy| hierarchy.has(name)).map(|hierarchy| hierarchy.mount.as_path())
    }

    fn directories(&self, cgroup: &str) -> impl Iterator<Item = PathBuf> {
        self.v1.iter().map(|hierarchy| &hierarchy.mount).chain(&self.v2).map(move |mount| join(mount, cgroup))
    }
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }
}

struct Setting {
    controller: &'static str,
    file: &'static str,
    value: String,
    /// Without it the limit would silently not hold.
    required: bool,
}

fn setting(controller: &'static str, file: &'static str, value: impl ToString) -> Setting {
    Setting { controller, file, value: value.to_string(), required: true }
}

fn v1_settings(resources: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        settings.push(setting("cpu", "cpu.shares", shares.max(2)));
    }
    if let Some(period) = resources.cpu_period_us {
        settings.push(setting("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = resources.cpu_quota_us {
        settings.push(setting("cpu", "cpu.cfs_quota_us", quota));
    }
    if let Some(bytes) = resources.memory_limit_bytes {
        settings.push(setting("memory", "memory.limit_in_bytes", bytes));
    }
    if let Some(pids) = resources.pids_limit {
        settings.push(setting("pids", "pids.max", pids_max(pids)));
    }
    settings
}

fn v2_settings(resources: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        settings.push(setting("cpu", "cpu.weight", weight_of_shares(shares)));
    }
    if let Some(quota) = resources.cpu_quota_us {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let period = resources.cpu_period_us.unwrap_or(100_000);
        settings.push(setting("cpu", "cpu.max", format!("{quota} {period}")));
    }
    if let Some(bytes) = resources.memory_limit_bytes {
        let limit = if bytes > 0 { bytes.to_string() } else { "max".to_owned() };
        settings.push(setting("memory", "memory.max", limit));
        // Pods do not swap, and the kernel takes a container as a whole (KEP-2400, KEP-2570's oom.group note).
        settings.push(Setting { required: false, ..setting("memory", "memory.swap.max", 0) });
        settings.push(Setting { required: false, ..setting("memory", "memory.oom.group", 1) });
    }
    if let Some(pids) = resources.pids_limit {
        settings.push(setting("pids", "pids.max", pids_max(pids)));
    }
    settings
}

fn pids_max(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}

/// v1 shares (2..=262144) to v2 weight (1..=10000): 1024 shares become 39.
fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

fn make_v1(hierarchy: &Hierarchy, cgroup: &str) -> io::Result<()> {
    let mut here = hierarchy.mount.clone();
    for name in names(cgroup) {
        let parent = here.clone();
        here.push(name);
        make_dir(&here)?;
        if hierarchy.has("cpuset") {
            // A new cpuset is empty and refuses processes until both are set.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let own = fs::read_to_string(here.join(file)).unwrap_or_default();
                if own.trim().is_empty() {
                    let value = fs::read_to_string(parent.join(file))
                        .map_err(|error| named(&parent.join(file), "read", &error))?;
                    fs::write(here.join(file), value.trim())
                        .map_err(|error| named(&here.join(file), "write", &error))?;
                }
            }
        }
    }
    Ok(())
}

fn make_v2(mount: &Path, cgroup: &str) -> io::Result<()> {
    let mut here = mount.to_path_buf();
    for name in names(cgroup) {
        let offered = fs::read_to_string(here.join("cgroup.controllers")).unwrap_or_default();
        let wanted: Vec<String> = offered
            .split_ascii_whitespace()
            .filter(|controller| ["cpu", "cpuset", "memory", "pids", "io"].contains(controller))
            .map(|controller| format!("+{controller}"))
            .collect();
        if !wanted.is_empty() {
            let path = here.join("cgroup.subtree_control");
            fs::write(&path, wanted.join(" ")).map_err(|error| named(&path, "write", &error))?;
        }
        here.push(name);
        make_dir(&here)?;
    }
    Ok(())
}

fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(named(path, "make", &error)),
        _ => Ok(()),
    }
}

fn remove_one(path: &Path) -> io::Result<()> {
    for attempt in 1.. {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The kernel detaches the last dead process a moment after its end becomes visible, and version 1
            // has no event for it.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && attempt < REMOVE_TRIES => {
                let _timed_out = nix::poll::poll(&mut [], 5_u8);
            }
            Err(error) => return Err(named(path, "remove", &error)),
        }
    }
    Ok(())
}

/// Calls `visit` for the directory and all below it, parents first. Absent: no call.
fn each_below(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    visit(directory);
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            each_below(&entry.path(), visit);
        }
    }
}

fn zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

fn number(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path).map_err(|error| named(path, "read", &error))?;
    text.trim().parse().map_err(|_| io::Error::other(format!("{}: not a number", path.display())))
}

/// The number after `key` in a file of `key value` lines.
fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn is_flag(option: &str) -> bool {
    const FLAGS: [&str; 6] = ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"];
    FLAGS.contains(&option) || option.starts_with("release_agent=")
}

fn names(cgroup: &str) -> impl Iterator<Item = &str> {
    cgroup.split('/').filter(|name| !name.is_empty())
}

fn join(mount: &Path, cgroup: &str) -> PathBuf {
    mount.join(cgroup.trim_start_matches('/'))
}

fn named(path: &Path, act: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{act} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
