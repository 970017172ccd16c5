//! Leadership as a value that expires: who holds a `coordination.k8s.io/v1` Lease may act, until a time.
//!
//! Entry point: [`campaign`]. A holder that cannot renew stops being leader by its own clock before
//! anybody else may take over. Others judge by when they saw the lease change, not by its timestamps,
//! so clocks need not agree. Durations are upstream's: 15 s lease, 10 s to renew, every 2 s.

use std::time::Duration;

use component_base::clock::{SharedClock, rfc3339_micros};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{GetParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::request;

const LEASE: Duration = Duration::from_secs(15);
const RENEW_WITHIN: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

/// Whether this process leads, as of now.
#[derive(Clone)]
pub struct Leadership {
    until: watch::Receiver<Option<Duration>>,
    clock: SharedClock,
}

impl Leadership {
    /// True until the lease could belong to somebody else.
    pub fn held(&self) -> bool {
        self.until.borrow().is_some_and(|until| self.clock.monotonic() < until)
    }

    /// Completes when this process leads.
    pub async fn gained(&mut self) {
        let clock = self.clock.clone();
        let held = |until: &Option<Duration>| until.is_some_and(|until| clock.monotonic() < until);
        if self.until.wait_for(held).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Completes when this process no longer leads, at the latest when its last renewal expires.
    pub async fn lost(&mut self) {
        loop {
            let until = *self.until.borrow_and_update();
            let now = self.clock.monotonic();
            let Some(left) = until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero())
            else {
                return;
            };
            tokio::select! {
                () = self.clock.sleep(left) => {}
                changed = self.until.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// What to do about a lease.
#[derive(Debug, PartialEq)]
enum Move {
    /// Nobody else holds it: write it with these fields.
    Take { transitions: i64, acquired: Option<String> },
    /// Somebody else does, for at least this long.
    Wait(Duration),
}

/// When the lease was last seen to change, and its version then.
#[derive(Debug, Default)]
struct Sighting {
    version: String,
    at: Duration,
}

/// Decides from a lease as read, or none. `sighting` remembers between calls.
fn decide(lease: Option<&Value>, identity: &str, sighting: &mut Sighting, now: Duration) -> Move {
    let Some(lease) = lease else { return Move::Take { transitions: 0, acquired: None } };
    let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if sighting.version != version {
        *sighting = Sighting { version: version.to_owned(), at: now };
    }
    let spec = &lease["spec"];
    let transitions = spec["leaseTransitions"].as_i64().unwrap_or_default();
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    if holder == identity {
        return Move::Take { transitions, acquired: spec["acquireTime"].as_str().map(str::to_owned) };
    }
    let lasts = Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or_default());
    match (sighting.at + lasts).checked_sub(now) {
        Some(left) if !holder.is_empty() && !left.is_zero() => Move::Wait(left),
        _ => Move::Take { transitions: transitions + 1, acquired: None },
    }
}

/// Tries to hold the Lease `namespace/name` as `identity` until shutdown; gives it up then.
pub fn campaign(
    client: kube::Client,
    clock: SharedClock,
    rng: Rng,
    shutdown: &Shutdown,
    (namespace, name): (&str, &str),
    identity: &str,
) -> Leadership {
    let (sender, until) = watch::channel(None);
    let candidate = Candidate {
        client,
        clock: clock.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        identity: identity.to_owned(),
    };
    let (stop, own_clock) = (shutdown.clone(), clock.clone());
    shutdown.spawn(async move {
        let mut sighting = Sighting::default();
        loop {
            let started = clock.monotonic();
            match candidate.attempt(&mut sighting).await {
                Ok(true) => {
                    sender.send_replace(Some(started + RENEW_WITHIN));
                }
                Ok(false) => {
                    sender.send_replace(None);
                }
                Err(error) => tracing::debug!(%error, lease = candidate.name, "lease not renewed"),
            }
            tokio::select! {
                () = clock.sleep(rng.jitter(RETRY, 0.2)) => {}
                () = stop.triggered() => break,
            }
        }
        if sender.borrow().is_some() {
            sender.send_replace(None);
            candidate.release().await;
        }
    });
    Leadership { until, clock: own_clock }
}

struct Candidate {
    client: kube::Client,
    clock: SharedClock,
    namespace: String,
    name: String,
    identity: String,
}

impl Candidate {
    async fn read(&self) -> Result<Option<Value>, kube::Error> {
        let requests = request::requests(&request::resource::<Lease>(), Some(&self.namespace));
        let request = requests.get(&self.name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        match self.client.request(request).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if request::code(&error) == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, old: Option<Value>, spec: Value) -> Result<bool, kube::Error> {
        let requests = request::requests(&request::resource::<Lease>(), Some(&self.namespace));
        let params = PostParams::default();
        let request = match old {
            Some(mut lease) => {
                lease["spec"] = spec;
                requests.replace(&self.name, &params, lease.to_string().into_bytes())
            }
            None => {
                let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"namespace": self.namespace, "name": self.name}, "spec": spec});
                requests.create(&params, lease.to_string().into_bytes())
            }
        };
        match self.client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await {
            Ok(_) => Ok(true),
            Err(error) if request::code(&error) == Some(409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the lease is ours now.
    async fn attempt(&self, sighting: &mut Sighting) -> Result<bool, kube::Error> {
        let lease = self.read().await?;
        match decide(lease.as_ref(), &self.identity, sighting, self.clock.monotonic()) {
            Move::Wait(_) => Ok(false),
            Move::Take { transitions, acquired } => {
                let spec = held(&self.identity, transitions, acquired, self.clock.now());
                self.write(lease, spec).await
            }
        }
    }

    /// Lets the next one in without waiting for the lease to run out.
    async fn release(&self) {
        let Ok(Some(lease)) = self.read().await else { return };
        if lease["spec"]["holderIdentity"] == json!(self.identity) {
            let mut spec = lease["spec"].clone();
            spec["holderIdentity"] = json!("");
            spec["leaseDurationSeconds"] = json!(1);
            if let Err(error) = self.write(Some(lease), spec).await {
                tracing::debug!(%error, lease = self.name, "lease not released");
            }
        }
    }
}

fn held(identity: &str, transitions: i64, acquired: Option<String>, now: Timestamp) -> Value {
    let now = rfc3339_micros(now);
    json!({
        "holderIdentity": identity,
        "leaseDurationSeconds": LEASE.as_secs(),
        "acquireTime": acquired.unwrap_or_else(|| now.clone()),
        "renewTime": now,
        "leaseTransitions": transitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_when_free_ours_or_silent_too_long() {
        let lease = |holder: &str, version: &str| {
            json!({"metadata": {"resourceVersion": version}, "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3, "acquireTime": "t"}})
        };
        let seconds = Duration::from_secs;
        let mut sighting = Sighting::default();
        let take = |transitions, acquired: Option<&str>| Move::Take {
            transitions,
            acquired: acquired.map(str::to_owned),
        };
        assert_eq!(decide(None, "me", &mut sighting, seconds(0)), take(0, None));
        assert_eq!(decide(Some(&lease("me", "1")), "me", &mut sighting, seconds(1)), take(3, Some("t")));
        assert_eq!(decide(Some(&lease("", "2")), "me", &mut sighting, seconds(2)), take(4, None));
        assert_eq!(
            decide(Some(&lease("other", "3")), "me", &mut sighting, seconds(10)),
            Move::Wait(seconds(15))
        );
        assert_eq!(
            decide(Some(&lease("other", "4")), "me", &mut sighting, seconds(20)),
            Move::Wait(seconds(15))
        );
        assert_eq!(decide(Some(&lease("other", "4")), "me", &mut sighting, seconds(35)), take(4, None));
    }
}
