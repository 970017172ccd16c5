//! The process that holds one pod: small, single-threaded, and alive when the agent is not.
//!
//! Entry point: [`intercept`], first thing in `main` of the binary, before any thread exists. The agent starts
//! `gantry shim <run directory>`; the shim starts `gantry shim-helper …` for what must not run in itself.
//!
//! Invariants: a container's first process is a child of the shim; its end is on disk before the agent hears of
//! it; every mount the pod needs is in the shim's own mount namespace, so none outlives the pod.

mod connections;
mod containers;
mod create;
mod exec;
mod helper;
pub mod protocol;
pub mod records;
mod report;
mod sandbox;
mod spec;
mod stdio;
mod supervise;
mod users;
mod workload;

use std::ffi::OsString;
use std::path::Path;

pub use stdio::rotated as rotated_logs;
pub use supervise::READY;

/// Does not return when this process was started as a shim or as its helper.
pub fn intercept() {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.as_slice() {
        [name, run] if name == "shim" => main(Path::new(run)),
        [name, verb, directory, id] if name == "shim-helper" && verb == "create" => {
            let status = helper::main(Path::new(directory), &id.to_string_lossy());
            std::process::exit(status)
        }
        _ => {}
    }
}

/// Runs the shim of the pod whose run directory this is, to its end.
pub fn main(run: &Path) -> ! {
    std::process::exit(supervise::run(run))
}

/// Undoes what Rust's runtime and the shim change and programs would inherit: SIGPIPE is ignored, others blocked.
fn default_signals() {
    // SAFETY: restores default dispositions and an empty mask; the set is initialised before use.
    unsafe {
        for signal in [libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut empty: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut empty);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut());
    }
}
