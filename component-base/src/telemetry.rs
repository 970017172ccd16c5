//! Logs to standard error, one line per record, filtered by `GANTRY_LOG` (default `info`).

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Installs the process's subscriber. A second call in one process does nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("GANTRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .finish();
    // Only the first subscriber of a process counts; tests call this many times.
    let _already_set = tracing::subscriber::set_global_default(subscriber).is_err();
}
