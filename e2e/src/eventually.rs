//! Waiting for a state, with the reason in the failure: never a bare sleep.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long a look is apart from the next.
const INTERVAL: Duration = Duration::from_millis(50);

/// Repeats `look` until it succeeds.
///
/// # Errors
/// After `limit`, with `what` and the last look's error.
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                return Err(anyhow!("{what}: not within {limit:?}; last seen: {error:#}"));
            }
            Err(_) => pause(INTERVAL),
        }
    }
}

/// Watches that something stays true for `span`.
///
/// # Errors
/// As soon as `look` fails.
pub fn always(what: &str, span: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < span {
        look().map_err(|error| anyhow!("{what}: {error:#}"))?;
        pause(INTERVAL);
    }
    Ok(())
}

/// Acts again and again for `span`, with pauses in between.
pub fn repeatedly(span: Duration, interval: Duration, mut act: impl FnMut()) {
    let start = Instant::now();
    while start.elapsed() < span {
        act();
        pause(interval);
    }
}

#[expect(clippy::disallowed_methods, reason = "the interval between two looks at another process")]
fn pause(interval: Duration) {
    std::thread::sleep(interval);
}
