//! The only source of time. Real processes pass [`RealClock`]; tests pass [`FakeClock`].

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Tells and waits for time.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary fixed point; never goes backwards.
    fn monotonic(&self) -> Duration;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// Whole seconds in RFC 3339, as `metav1.Time` is written.
pub fn rfc3339_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Microseconds in RFC 3339, as `metav1.MicroTime` is written.
pub fn rfc3339_micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// The machine's clock.
pub struct RealClock {
    start: std::time::Instant,
}

impl RealClock {
    /// A shared real clock.
    pub fn shared() -> SharedClock {
        Arc::new(Self { start: std::time::Instant::now() })
    }
}

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that sleeps")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that moves only when told to.
pub struct FakeClock {
    origin: Timestamp,
    elapsed: Mutex<Duration>,
    ticked: watch::Sender<Duration>,
}

impl FakeClock {
    /// A clock that shows `origin`.
    pub fn at(origin: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            origin,
            elapsed: Mutex::new(Duration::ZERO),
            ticked: watch::Sender::new(Duration::ZERO),
        })
    }

    /// Moves time forward and wakes sleepers that are due.
    pub fn advance(&self, by: Duration) {
        let mut elapsed = self.elapsed.lock();
        *elapsed += by;
        self.ticked.send_replace(*elapsed);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        self.origin + *self.elapsed.lock()
    }

    fn monotonic(&self) -> Duration {
        *self.elapsed.lock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut ticks = self.ticked.subscribe();
        let due = *self.elapsed.lock() + duration;
        Box::pin(async move {
            // The sender lives as long as the clock; a dropped clock ends the wait.
            let _ended = ticks.wait_for(|now| *now >= due).await.is_err();
        })
    }
}
