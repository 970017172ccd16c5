//! What every Gantry process shares: time, chance, shutdown, telemetry. Knows nothing of any kind.

pub mod clock;
pub mod rng;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod user;
