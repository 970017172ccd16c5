//! Certificates are replaced while the process runs, long before they end, and followed when others replace them.
//!
//! Entry point: [`Pki::keep`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::authority::{self, Role, Step};
use super::{Pki, State, TlsError, TokenKeys, leaf};
use crate::clock::SharedClock;

/// How often the wall clock is compared with what it should be. It may be set, and a certificate that
/// was to be renewed in months is then due now.
const LOOK: Duration = Duration::from_secs(60);
/// Shorter waits would be a loop when a certificate cannot be renewed.
const SHORTEST: Duration = Duration::from_secs(1);
/// A clock that is set by more than this is worth a word.
const JUMP: SignedDuration = SignedDuration::from_mins(5);

impl Pki {
    /// Renews what is due, for ever. What goes wrong is logged and tried again.
    pub async fn keep(self: Arc<Self>, clock: SharedClock) {
        let mut last = (clock.now(), clock.monotonic());
        loop {
            let wait = until(clock.now(), self.next_renewal()).clamp(SHORTEST, LOOK);
            tokio::select! {
                () = clock.sleep(wait) => {}
                () = self.reload.notified() => {}
            }
            let now = (clock.now(), clock.monotonic());
            name_jump(last, now);
            last = now;
            if let Err(error) = self.refresh(now.0) {
                tracing::error!(%error, "certificates could not be renewed; those in use go on");
            }
        }
    }

    /// Has [`Self::keep`] look at the files at once: somebody changed them.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Reads everything anew and issues what is missing or due; whether anything is different now.
    ///
    /// # Errors
    /// As [`Pki::open`]; everything is then as it was.
    pub fn refresh(&self, now: Timestamp) -> Result<bool, TlsError> {
        let plans = self.plans.lock().clone();
        let state = State::load(&self.dir, &plans, self.lifetimes, now)?;
        let differs = state.print() != self.current.read().print();
        if differs {
            warn_of_ends(&state, now);
            *self.current.0.write() = state;
            self.changed.send_modify(|generation| *generation += 1);
        }
        Ok(differs)
    }

    fn next_renewal(&self) -> Timestamp {
        let state = self.current.read();
        state.leaves.values().map(|leaf| leaf.renewed_at).min().unwrap_or(Timestamp::MAX)
    }
}

/// Goes one step further in replacing an authority of a directory.
///
/// # Errors
/// When files cannot be read or written.
pub fn rotate_authority(dir: &Path, role: Role, now: Timestamp) -> Result<Step, TlsError> {
    authority::rotate(dir, role, now, super::Lifetimes::default().authority)
}

/// Has a new key sign service-account tokens; the former ones go on verifying.
///
/// # Errors
/// When files cannot be read or written.
pub fn rotate_token_key(dir: &Path) -> Result<(), TlsError> {
    TokenKeys::rotate(dir)
}

/// Removes certificates of a directory, so that whoever opens it or keeps it issues them anew; their names, or those
/// asked for that do not exist.
///
/// # Errors
/// When files cannot be removed.
pub fn expire(dir: &Path, names: &[String]) -> Result<Vec<String>, TlsError> {
    let leaves: Vec<String> = super::list(dir)?
        .into_iter()
        .filter(|listed| !listed.is_authority)
        .map(|listed| listed.name)
        .filter(|name| names.is_empty() || names.contains(name))
        .collect();
    for name in &leaves {
        super::files::remove(&dir.join(format!("{name}.crt")))?;
    }
    Ok(leaves)
}

impl State {
    /// What can be seen of it from outside: equal when nothing changed.
    fn print(&self) -> Vec<String> {
        let authorities = Role::ALL.map(|role| self.authority(role).bundle());
        let leaves = self.leaves.values().map(|leaf| leaf.identity.certificate_pem.clone());
        authorities.into_iter().chain(leaves).chain(self.token_keys.ids()).collect()
    }
}

/// An authority is never replaced unasked, so people must hear of it in time.
fn warn_of_ends(state: &State, now: Timestamp) {
    for role in Role::ALL {
        let authority = state.authority(role);
        let Some(facts) = authority.facts() else { continue };
        if now >= leaf::renewed_at(&facts, authority.certificate_pem.as_bytes()) || !facts.is_current(now) {
            tracing::warn!(authority = role.file(), from = %facts.from, until = %facts.until,
                "replace this authority with `gantry certs rotate-ca`, or check the clock");
        }
    }
}

fn until(now: Timestamp, at: Timestamp) -> Duration {
    at.duration_since(now).try_into().unwrap_or_default()
}

fn name_jump(before: (Timestamp, Duration), after: (Timestamp, Duration)) {
    let passed = SignedDuration::try_from(after.1.saturating_sub(before.1)).unwrap_or_default();
    let jump = after.0.duration_since(before.0) - passed;
    if jump.abs() > JUMP {
        tracing::warn!(by = %jump, now = %after.0, "the clock was set; certificates that are not good now are issued anew");
    }
}
