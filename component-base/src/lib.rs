//! What every Gantry process shares: time, chance, shutdown, telemetry, metrics. Knows nothing of any kind.

pub mod clock;
pub mod file_watch;
pub mod jws;
pub mod metrics;
pub mod rng;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod user;
