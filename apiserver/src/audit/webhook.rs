//! The audit webhook: events sent in batches to another server (upstream's `--audit-webhook-config-file`).
//!
//! Entry points: [`Webhook::open`] reads the kubeconfig that names the server, [`run`] sends. A batch goes when it is
//! full or has waited long enough; one that cannot be sent is tried again a few times and then dropped and counted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use component_base::clock::SharedClock;
use component_base::shutdown::Shutdown;
use serde_json::json;
use tokio::sync::mpsc;

use super::event::Event;
use super::{AuditError, count_error};
use crate::transport::Remote;

/// Tries of a batch before it is dropped (upstream's `DefaultRetryBackoffWithInitialDelay`).
const TRIES: u32 = 5;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take when the server is about to end.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// Where events are sent, and how many together.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// A kubeconfig whose current context names the server.
    pub config_file: PathBuf,
    /// Events that may wait; further ones are dropped.
    pub buffer_size: usize,
    /// Events sent together at most.
    pub max_size: usize,
    /// How long the first event of a batch waits for others.
    pub max_wait: Duration,
    /// Pause after a failure; each further one is half as long again.
    pub initial_backoff: Duration,
}

impl WebhookOptions {
    /// Upstream's sizes and times.
    pub fn new(config_file: PathBuf) -> Self {
        Self {
            config_file,
            buffer_size: 10_000,
            max_size: 400,
            max_wait: Duration::from_secs(30),
            initial_backoff: Duration::from_secs(10),
        }
    }
}

/// A server that takes events.
pub(super) struct Webhook(Remote);

impl Webhook {
    /// Reads a kubeconfig.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        Remote::read(path).map(Self).map_err(|why| AuditError::Webhook { path: path.to_owned(), why })
    }

    async fn send(&self, clock: &SharedClock, events: &[Event]) -> Result<(), String> {
        let list =
            json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events});
        let (code, _) = self.0.post(clock, &list, ANSWER).await?;
        if code.is_success() { Ok(()) } else { Err(format!("it answered {code}")) }
    }
}

/// Sends what comes until the server ends; what waits then is sent once more without waiting.
pub(super) async fn run(
    webhook: Webhook,
    options: WebhookOptions,
    mut events: mpsc::Receiver<Event>,
    (clock, shutdown): (SharedClock, Shutdown),
) {
    loop {
        let mut batch = Vec::new();
        let ended = collect(&mut events, &mut batch, &options, &clock, &shutdown).await;
        if !batch.is_empty() {
            deliver(&webhook, &batch, options.initial_backoff, &clock, &shutdown).await;
        }
        if ended {
            return;
        }
    }
}

/// Fills a batch; whether the server ends.
async fn collect(
    events: &mut mpsc::Receiver<Event>,
    batch: &mut Vec<Event>,
    options: &WebhookOptions,
    clock: &SharedClock,
    shutdown: &Shutdown,
) -> bool {
    tokio::select! {
        first = events.recv() => match first {
            Some(first) => batch.push(first),
            None => return true,
        },
        () = shutdown.triggered() => {}
    }
    let full = clock.sleep(options.max_wait);
    tokio::pin!(full);
    while batch.len() < options.max_size {
        tokio::select! {
            biased;
            next = events.recv() => match next {
                Some(next) => batch.push(next),
                None => return true,
            },
            () = shutdown.triggered() => return true,
            () = &mut full => return false,
        }
    }
    false
}

/// Sends a batch, again and again if need be; the server's end waits for one short try.
async fn deliver(
    webhook: &Webhook,
    batch: &[Event],
    mut pause: Duration,
    clock: &SharedClock,
    shutdown: &Shutdown,
) {
    for number in 1..=TRIES {
        let last = number == TRIES || shutdown.is_triggered();
        let hurry = async {
            shutdown.triggered().await;
            clock.sleep(LAST_ANSWER).await;
        };
        let outcome = tokio::select! {
            outcome = webhook.send(clock, batch) => outcome,
            () = hurry => Err("it did not answer before the end".to_owned()),
        };
        let Err(why) = outcome else { return };
        if last {
            let events = batch.len();
            tracing::error!(why, events, "the audit webhook did not take events; they are dropped");
            batch.iter().for_each(|_| count_error("webhook"));
            return;
        }
        tokio::select! {
            () = clock.sleep(pause) => {}
            () = shutdown.triggered() => {}
        }
        pause = pause.mul_f64(1.5);
    }
}
