//! The one task that brings etcd's events into memory and finds etcd again when it was away.
//!
//! Entry points: [`first`] and [`Follower::run`]. etcd sends whole revisions, so the newest revision in
//! memory says exactly where to go on. If others compacted that revision away while we were
//! cut off, no events lead to the present: everything is read anew and all watchers are told to.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::WatchStream;

use super::connection::{Connection, Position, failed};
use super::{Link, Shared, history};
use crate::storage::{Revision, StoreError};

/// First wait after all endpoints failed; doubled each time …
const BACK_OFF: Duration = Duration::from_millis(100);
/// … up to this, which is how long etcd may be back before we notice.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);

/// The task.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    pub(super) endpoints: Vec<String>,
    /// The one in use.
    pub(super) endpoint: usize,
    /// etcd's own number of the cluster, lest another one be taken for it.
    pub(super) cluster: u64,
    pub(super) history: Option<Duration>,
}

/// The first endpoint that answers.
pub(super) async fn first(endpoints: &[String]) -> Result<(usize, Connection, Position), StoreError> {
    let mut refusals = Vec::new();
    for (number, endpoint) in endpoints.iter().enumerate() {
        let act = format!("reach etcd at {endpoint}");
        let answer = async {
            let connection = Connection::open(endpoint).await?;
            let position = connection.position().await?;
            Ok((number, connection, position))
        };
        match answer.await.map_err(failed(&act)) {
            Ok(found) => return Ok(found),
            Err(error) => refusals.push(plain(&error)),
        }
    }
    Err(StoreError::Unavailable(if refusals.is_empty() {
        "no etcd is named".to_owned()
    } else {
        refusals.join("; ")
    }))
}

/// An error's text without what [`StoreError::Unavailable`] puts before it.
fn plain(error: &StoreError) -> String {
    match error {
        StoreError::Unavailable(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Follower {
    /// Follows until the store is closed.
    pub(super) async fn run(mut self, mut stream: WatchStream) {
        loop {
            let why = tokio::select! {
                why = self.follow(&mut stream) => why,
                () = closed(&self.shared) => return,
                never = self.forget() => match never {},
            };
            let why = format!("etcd at {} went away: {why}", self.endpoints[self.endpoint]);
            tracing::warn!(why, "requests fail until etcd is back");
            if !self.say(Link::Down(why)) {
                return;
            }
            let shared = Arc::clone(&self.shared);
            stream = tokio::select! {
                stream = attach_again(&mut self) => stream,
                () = closed(&shared) => return,
            };
            tracing::info!(endpoint = self.endpoints[self.endpoint], "etcd is back");
        }
    }

    /// Tells requests how etcd is, unless the store is closed.
    fn say(&self, news: Link) -> bool {
        self.shared.link.send_if_modified(|link| {
            let open = !matches!(link, Link::Closed);
            if open {
                *link = news;
            }
            open
        })
    }

    /// Takes in events until the watch ends; says why it did.
    async fn follow(&self, stream: &mut WatchStream) -> String {
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return "it ended the watch".to_owned(),
                Err(error) => return plain(&failed("watch etcd")(error)),
            };
            if message.canceled() {
                return format!("it cancelled the watch {}", message.cancel_reason());
            }
            let Shared { hub, root, reached, .. } = &*self.shared;
            let (ours, newest) =
                history::events(root, message.events(), hub.revision(), |key| hub.current(key));
            if newest > hub.revision() {
                hub.apply(ours);
                hub.advance(newest);
                reached.send_replace(newest);
            }
        }
    }

    /// Compacts, from time to time, what was there the time before.
    async fn forget(&self) -> std::convert::Infallible {
        let Some(history) = self.history else { return std::future::pending().await };
        let mut mark = self.shared.hub.revision();
        loop {
            self.shared.clock.sleep(history).await;
            let next = self.shared.hub.revision();
            let Ok(connection) = self.shared.connection() else { continue };
            match connection.compact(mark).await {
                Ok(()) => {
                    self.shared.hub.raise_floor(mark);
                    mark = next;
                }
                Err(error) => tracing::warn!(%error, "could not compact etcd; trying again later"),
            }
        }
    }

    /// Goes on where the last watch ended, at one endpoint.
    async fn attach(&self, endpoint: usize) -> Result<WatchStream, StoreError> {
        let name = &self.endpoints[endpoint];
        let act = || failed(&format!("reach etcd at {name}"));
        let connection = Arc::new(Connection::open(name).await.map_err(act())?);
        let position = connection.position().await.map_err(act())?;
        let seen = self.shared.hub.revision();
        check(name, self.cluster, seen, position)?;
        // Requests may go on: what they read of "now" waits for the watch. A watcher that is told to start
        // over finds etcd there.
        self.say(Link::Up(Arc::clone(&connection)));
        if !connection.is_readable(seen).await.map_err(act())? {
            self.start_over(&connection, position.revision).await.map_err(act())?;
        }
        let stream = connection.watch(self.shared.hub.revision(), false).await.map_err(act())?;
        Ok(stream)
    }

    async fn start_over(&self, connection: &Connection, at: Revision) -> Result<(), etcd_client::Error> {
        let current = connection.load(&self.shared.root, at).await?;
        let floor = connection.floor().await?;
        tracing::warn!(at, "etcd forgot what happened meanwhile; watchers have to list again");
        self.shared.hub.reset(current, at);
        self.shared.hub.raise_floor(floor);
        self.shared.reached.send_replace(at);
        Ok(())
    }
}

/// Refuses an etcd that is not the one we know: what clients have seen would never have happened.
fn check(name: &str, cluster: u64, seen: Revision, position: Position) -> Result<(), StoreError> {
    if position.cluster == cluster && position.revision >= seen {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "etcd at {name} is another one or was restored (cluster {:x} at revision {}, expected {cluster:x} at {seen} or later): restart gantry if that is intended",
        position.cluster, position.revision
    )))
}

/// Tries all endpoints in turn, with back-off, until one can be followed.
async fn attach_again(follower: &mut Follower) -> WatchStream {
    let (mut wait, count) = (BACK_OFF, follower.endpoints.len());
    loop {
        let mut refusals = Vec::new();
        for number in (0..count).map(|step| (follower.endpoint + step) % count) {
            match follower.attach(number).await {
                Ok(stream) => {
                    follower.endpoint = number;
                    return stream;
                }
                Err(error) => refusals.push(plain(&error)),
            }
        }
        follower.say(Link::Down(refusals.join("; ")));
        follower.shared.clock.sleep(wait).await;
        wait = (wait * 2).min(LONGEST_BACK_OFF);
    }
}

/// Ends when the store is closed.
async fn closed(shared: &Shared) {
    // The sender lives in `shared`, so this ends for no other reason.
    let mut link = shared.link.subscribe();
    let _link = link.wait_for(|link| matches!(link, Link::Closed)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_etcd_is_followed_again() {
        for (cluster, revision, expected) in [(1, 5, true), (1, 6, true), (1, 4, false), (2, 9, false)] {
            let outcome = check("there", 1, 5, Position { cluster, revision });
            assert_eq!(outcome.is_ok(), expected, "{cluster} {revision}");
        }
    }
}
