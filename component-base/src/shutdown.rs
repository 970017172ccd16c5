//! Signals and drain order: everything that runs holds a [`Shutdown`] and stops when it is triggered.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells tasks to stop and waits for them.
#[derive(Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    panicked: Arc<AtomicBool>,
}

/// Notes that the task that holds it panics.
struct Witness(Arc<AtomicBool>);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Shutdown {
    /// Not triggered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same shutdown for one part of the process, which knows of its own tasks whether they panicked.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { panicked: Arc::default(), ..self.clone() }
    }

    /// Whether a task that was spawned through this, or a clone of it, panicked: nobody does its work any more.
    pub fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }

    /// Asks everything to stop.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether it has been triggered.
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Completes once triggered.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// The token, for code that wants its own child.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a task that [`Shutdown::drained`] waits for; the task must watch [`Shutdown::triggered`].
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(self.witnessed(task))
    }

    /// Runs a task until it ends or shutdown is triggered, whichever is first.
    pub fn spawn_until<F>(&self, task: F) -> tokio::task::JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let token = self.token.clone();
        self.tasks.spawn(self.witnessed(async move { token.run_until_cancelled(task).await }))
    }

    /// No async block: it would hold the task twice, and each connection is one.
    fn witnessed<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        let witness = Witness(Arc::clone(&self.panicked));
        task.map(move |outcome| {
            drop(witness);
            outcome
        })
    }

    /// Waits until every spawned task has ended. Trigger first.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Triggers on SIGINT or SIGTERM.
    ///
    /// # Errors
    /// When the process cannot install signal handlers.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let token = self.token.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = token.cancelled() => {}
            }
            token.cancel();
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_knows_that_one_of_its_tasks_panicked() {
        let whole = Shutdown::new();
        let (good, bad) = (whole.part(), whole.part());
        let ended = good.spawn_until(async { 1 }).await;
        assert_eq!(ended.expect("no panic"), Some(1));
        assert!(bad.clone().spawn_until(async { panic!("on purpose") }).await.is_err());
        whole.trigger();
        whole.drained().await;
        let all = [&whole, &good, &bad].map(Shutdown::has_panicked);
        assert_eq!(all, [false, false, true]);
        assert!(bad.is_triggered());
    }
}
