//! Facts about this machine, read once from `/proc` and `/sys`. Entry point: [`Machine::read`].

use std::path::Path;

/// Memory kept back from pods, as upstream's default hard eviction threshold does.
const RESERVED_MEMORY_BYTES: u64 = 100 << 20;

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Online processors.
    pub cpus: u64,
    /// All memory.
    pub memory_bytes: u64,
    /// Size of the file system that holds the data directory.
    pub storage_bytes: u64,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// SMBIOS uuid, or the machine id.
    pub system_uuid: String,
    /// Changes at each boot.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// `PRETTY_NAME` of `/etc/os-release`.
    pub os_image: String,
    /// As Go names it.
    pub architecture: &'static str,
}

impl Machine {
    /// Reads what there is; what cannot be read stays empty or zero.
    pub fn read(data_dir: &Path) -> Self {
        let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let machine_id = line("/etc/machine-id").replace('-', "");
        let system_uuid = line("/sys/class/dmi/id/product_uuid");
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory_bytes: memory("MemTotal"),
            storage_bytes: storage(data_dir).0,
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
            machine_id,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel_version: line("/proc/sys/kernel/osrelease"),
            os_image: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }

    /// What pods may use.
    pub fn allocatable_memory_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(RESERVED_MEMORY_BYTES)
    }
}

/// A field of `/proc/meminfo`, in bytes.
pub fn memory(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// Size and free bytes of the file system that holds `path`.
pub fn storage(path: &Path) -> (u64, u64) {
    nix::sys::statvfs::statvfs(path).map_or((0, 0), |stat| {
        let unit = stat.fragment_size();
        (stat.blocks() * unit, stat.blocks_available() * unit)
    })
}

/// CPU time used by everything since boot, nanoseconds.
pub fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(line) = text.lines().next() else { return 0 };
    // user nice system idle iowait irq softirq steal: all but idle and iowait. USER_HZ is 100 everywhere.
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let busy = ticks.iter().enumerate().filter(|(index, _)| matches!(index, 0..=2 | 5..=7));
    busy.map(|(_, ticks)| ticks * 10_000_000).sum()
}

/// Whether most process ids are taken.
pub fn pids_exhausted() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let most: Option<u64> = read("/proc/sys/kernel/pid_max").trim().parse().ok();
    // "0.10 0.05 0.01 2/345 6789": running/all tasks.
    let loads = read("/proc/loadavg");
    let tasks = loads.split_whitespace().nth(3).and_then(|pair| pair.split_once('/'));
    let tasks: Option<u64> = tasks.and_then(|(_, all)| all.parse().ok());
    matches!((tasks, most), (Some(tasks), Some(most)) if tasks > most / 10 * 9)
}
