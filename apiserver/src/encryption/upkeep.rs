//! Writing again what is sealed otherwise than it would be now, and telling how far that is.
//!
//! Entry points: [`run`], which works at start and whenever keys have changed; [`respond`] and [`rotate`] for
//! `gantry encryption`, on the path [`PATH`] that only administrators may use. Objects do not change by it:
//! the embedded store rewrites its rows in place, the past included.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::Status;
use component_base::clock::rfc3339_seconds;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Encryption, EncryptionError, Owner, Shared, key_file};
use crate::call::Server;
use crate::followed_file::{Look, What, follow};
use crate::storage::Resealed;

/// Where `gantry encryption` asks.
pub(crate) const PATH: &str = "/gantry.dev/encryption";

/// Pause before trying again after the store failed.
const RETRY: Duration = Duration::from_secs(30);

/// What the last round did.
#[derive(Default)]
pub(super) struct Progress {
    working: bool,
    finished: Option<String>,
    rewritten: u64,
    unreadable: u64,
    failure: Option<String>,
}

/// Works at start and whenever keys have changed, as long as the server lives.
pub(crate) async fn run(server: Arc<Server>) {
    let encryption = server.store.encryption();
    let Some(shared) = &encryption.0 else { return };
    if shared.owner == (Owner::User { follow: true }) {
        server.shutdown.spawn_until(follow_file(encryption.clone()));
    }
    loop {
        shared.progress.lock().working = true;
        let outcome = server.store.reseal().await;
        let again = outcome.is_err();
        settle(&encryption, shared, outcome.map_err(|error| error.to_string()));
        if again {
            server.clock.sleep(RETRY).await;
        } else {
            shared.changed.notified().await;
        }
    }
}

fn settle(encryption: &Encryption, shared: &Shared, outcome: Result<Resealed, String>) {
    let mut progress = shared.progress.lock();
    progress.working = false;
    progress.finished = Some(rfc3339_seconds(shared.clock.now()));
    match outcome {
        Err(failure) => {
            tracing::warn!(failure, "could not write again what is to be encrypted");
            progress.failure = Some(failure);
        }
        Ok(Resealed { rewritten, unreadable }) => {
            (progress.rewritten, progress.unreadable, progress.failure) = (rewritten, unreadable, None);
            if rewritten > 0 {
                tracing::info!(rewritten, "what is stored was encrypted with the present key");
            }
            if unreadable > 0 {
                tracing::error!(unreadable, file = %shared.file.display(), "stored objects cannot be decrypted: their key is not in the file");
            } else if shared.owner == Owner::Server {
                drop_old_keys(encryption, shared);
            }
        }
    }
}

/// Nothing uses them any more.
fn drop_old_keys(encryption: &Encryption, shared: &Shared) {
    let dropped = match key_file::keep_first_key(&shared.file) {
        Ok(false) => return,
        Ok(true) => super::rules(&shared.file, &shared.clock, &shared.rng),
        Err(error) => Err(error),
    };
    match dropped {
        Ok(rules) => *shared.rules.write() = Arc::new(rules),
        Err(error) => tracing::warn!(%error, ?encryption, "old keys stay"),
    }
}

/// Takes changes of a user's file, as long as the server lives.
async fn follow_file(encryption: Encryption) {
    let Some(shared) = encryption.0.clone() else { return };
    let read = |file: &Path| std::fs::read(file).ok();
    let seen = Mutex::new(read(&shared.file));
    let (file, clock) = (shared.file.clone(), Arc::clone(&shared.clock));
    let look = move || {
        let now = read(&shared.file);
        if now.is_none() || now == *seen.lock() {
            return Look::Same;
        }
        *seen.lock() = now;
        encryption.reload().map_or_else(|error| Look::Refused(error.to_string()), |()| Look::Taken)
    };
    follow(What::Encryption, clock, move || vec![file.clone()], look).await;
}

/// What is sealed with what, and how far rewriting is.
pub(crate) fn respond(server: &Server) -> Value {
    let encryption = server.store.encryption();
    let Some(shared) = &encryption.0 else { return json!({"enabled": false}) };
    let rules: Vec<Value> = shared.rules().0.iter().map(|rule| {
        let resources: Vec<String> = rule.resources.iter().map(|(group, resource)| match group.as_str() {
            "" if resource != "*" => resource.clone(),
            group => format!("{resource}.{group}"),
        }).collect();
        json!({"resources": resources, "providers": rule.chain.names(), "writable": rule.chain.writable().is_ok()})
    }).collect();
    let progress = shared.progress.lock();
    json!({
        "enabled": true, "file": shared.file.display().to_string(), "rules": rules,
        "rewriting": progress.working, "finished": progress.finished, "rewritten": progress.rewritten,
        "unreadable": progress.unreadable, "failure": progress.failure,
    })
}

/// Makes a new key that writes from now on; what is stored follows.
///
/// # Errors
/// When the keys are not the server's own, or their file cannot be written.
pub(crate) fn rotate(server: &Server) -> Result<Value, Status> {
    let encryption = server.store.encryption();
    let none = || Status::bad_request("nothing is encrypted in this store");
    let shared = encryption.0.as_ref().ok_or_else(none)?;
    let file = shared.file.display();
    match shared.owner {
        Owner::Server => {}
        Owner::Shared => {
            return Err(Status::bad_request(format!(
                "other servers may use the same etcd and need the new key before it writes: add it as second key to {file} of each, restart them, make it the first key of each, restart them again"
            )));
        }
        Owner::User { .. } => {
            return Err(Status::bad_request(format!(
                "the keys are yours: add a key to {file} (first it writes, second it reads) and restart, or run with --encryption-provider-config-automatic-reload"
            )));
        }
    }
    if shared.progress.lock().working {
        return Err(Status::bad_request("a rotation is under way: see `gantry encryption status`"));
    }
    let refuse = |error: EncryptionError| Status::internal(error.to_string());
    key_file::add_key(&shared.file, &shared.clock, &shared.rng).map_err(refuse)?;
    shared.progress.lock().working = true;
    encryption.reload().map_err(refuse)?;
    Ok(respond(server))
}
