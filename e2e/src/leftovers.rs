//! What a cluster may leave behind on the machine, as a list that can be compared before and after.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

/// Everything on this machine that belongs to the cluster whose data directory is `data_dir`, and
/// every link, route, nftables table and cgroup of the machine.
///
/// # Errors
/// When the kernel's files cannot be read.
pub fn on_machine(data_dir: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let marker = data_dir.to_string_lossy();
    for line in std::fs::read_to_string("/proc/self/mountinfo")?.lines() {
        if line.contains(&*marker) {
            found.insert(format!("mount {line}"));
        }
    }
    // Of this process's network namespace; /sys/class/net shows that of whoever mounted it.
    for line in std::fs::read_to_string("/proc/self/net/dev")?.lines().skip(2) {
        found.insert(format!("link {}", line.split(':').next().unwrap_or_default().trim()));
    }
    let tables = crate::command::run(std::process::Command::new("nft").args(["list", "tables"]), "")?;
    found.extend(tables.stdout.lines().map(str::to_owned));
    cgroups(Path::new("/sys/fs/cgroup"), 4, &mut found);
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if command.contains(&*marker) {
            found.insert(format!(
                "process {} {}",
                entry.file_name().to_string_lossy(),
                command.replace('\0', " ")
            ));
        }
    }
    Ok(found)
}

fn cgroups(dir: &Path, depth: u32, found: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()) {
        if path.to_string_lossy().contains("gantry") {
            found.insert(format!("cgroup {}", path.display()));
        }
        if depth > 0 {
            cgroups(&path, depth - 1, found);
        }
    }
}
