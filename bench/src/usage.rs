//! What the kernel says processes use.

use anyhow::{Context as _, Result};

/// Memory and CPU of some processes.
#[derive(Default, Clone, Copy)]
pub struct Use {
    /// Pages in memory, shared ones counted for each process.
    pub resident_kib: u64,
    /// Pages in memory, shared ones divided.
    pub proportional_kib: u64,
    /// User and system time; a tick is a hundredth of a second on every Linux Rust runs on.
    pub cpu_ticks: u64,
}

/// What these processes use together; those that are gone use nothing.
pub fn total(pids: &[u32]) -> Result<Use> {
    let mut sum = Use::default();
    for pid in pids {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.resident_kib += field(&rollup, "Rss:");
        sum.proportional_kib += field(&rollup, "Pss:");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let numbers: Vec<u64> = rest.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        let (user, system) = numbers.get(11).zip(numbers.get(12)).context("a stat line of 52 fields")?;
        sum.cpu_ticks += user + system;
    }
    Ok(sum)
}

/// The most memory a process had resident since [`forget_peak`], in KiB.
pub fn peak_kib(pid: u32) -> Result<u64> {
    Ok(field(&std::fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:"))
}

/// Lets the peak begin at what is resident now.
pub fn forget_peak(pid: u32) -> Result<()> {
    // proc_pid_clear_refs(5): 5 resets the peak resident set size.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the peak of memory")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
