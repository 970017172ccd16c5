//! Files of configuration that count while the server runs. One that is wrong is told of and changes nothing.
//!
//! Entry point: [`follow`].

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use component_base::clock::SharedClock;
use component_base::file_watch::FileWatch;
use component_base::metrics::{self, IntCounterVec};

/// Pause after the kernel refused a watch, as it does for a directory that is not there.
const RETRY: Duration = Duration::from_secs(10);

static AUTHENTICATION: LazyLock<IntCounterVec> = LazyLock::new(|| reloads("authentication"));
static AUTHORIZATION: LazyLock<IntCounterVec> = LazyLock::new(|| reloads("authorization"));
static ENCRYPTION: LazyLock<IntCounterVec> = LazyLock::new(|| reloads("encryption"));

fn reloads(what: &str) -> IntCounterVec {
    let name = format!("apiserver_{what}_config_controller_automatic_reloads_total");
    metrics::counter(&name, "Readings of a changed file, by their outcome.", &["status"])
}

/// Which configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    Authentication,
    Authorization,
    Encryption,
}

/// What came of looking at it.
pub(crate) enum Look {
    /// It says what it said.
    Same,
    /// It says something else, which counts from now on.
    Taken,
    /// What is wrong with it.
    Refused(String),
}

/// Looks at files now, and whenever one of them may be another, as long as the server lives.
pub(crate) async fn follow(
    what: What,
    clock: SharedClock,
    paths: impl Fn() -> Vec<PathBuf>,
    look: impl Fn() -> Look + Send + Sync + 'static,
) {
    let look = Arc::new(look);
    loop {
        // Watched first, looked at then: no change is between the two.
        let watch = FileWatch::new(paths());
        let looking = Arc::clone(&look);
        // Keys may stand with somebody who takes his time.
        let looked = tokio::task::spawn_blocking(move || looking()).await;
        told(what, looked.unwrap_or_else(|error| Look::Refused(error.to_string())));
        let outcome = match watch {
            Ok(watch) => watch.changed().await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!(?what, %error, "its files cannot be followed");
            clock.sleep(RETRY).await;
        }
    }
}

fn told(what: What, look: Look) {
    let counter = match what {
        What::Authentication => &AUTHENTICATION,
        What::Authorization => &AUTHORIZATION,
        What::Encryption => &ENCRYPTION,
    };
    match look {
        Look::Same => {}
        Look::Taken => {
            counter.with_label_values(&["success"]).inc();
            tracing::info!(?what, "the changed configuration counts from now on");
        }
        Look::Refused(problem) => {
            counter.with_label_values(&["failure"]).inc();
            tracing::error!(?what, problem, "the changed configuration is wrong; the former one stays");
        }
    }
}
