//! What every engine holds in memory: current entries, recent events, watchers.
//!
//! Entry points: [`Hub::get`] and [`Hub::list`] (readers), [`Hub::apply`] (the one writer, after its
//! commit is durable), [`Hub::subscribe`] (watchers). Invariants: entries, the revision, the ring and the
//! mailboxes move together under one lock, so a watcher that finds nothing waiting has seen everything
//! up to the revision read before; the ring holds every event after `ring_floor`.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use parking_lot::RwLock;

use super::mailbox::{Mailbox, weight};
use super::{Entry, Event, Page, Revision, StoreError};

/// How much of the recent past stays in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingLimits {
    /// Events.
    pub(super) events: usize,
    /// Bytes the events keep alive.
    pub(super) bytes: usize,
}

struct State {
    current: BTreeMap<Arc<str>, Arc<Entry>>,
    current_bytes: u64,
    revision: Revision,
    /// Revisions below it cannot be read.
    floor: Revision,
    ring: VecDeque<Event>,
    ring_bytes: usize,
    /// The ring holds every event with a greater revision.
    ring_floor: Revision,
    watchers: Watchers,
    closed: bool,
}

/// The state both engines share; see the module's text.
pub(super) struct Hub {
    state: RwLock<State>,
    limits: RingLimits,
}

/// Watchers by the prefix they asked for.
///
/// An event looks up its key's prefixes of the lengths in use, so dispatch costs what the interested
/// watchers cost, however many others there are.
#[derive(Default)]
struct Watchers {
    by_prefix: BTreeMap<String, Vec<Arc<Mailbox>>>,
    /// Prefix length → how many prefixes have it.
    lengths: BTreeMap<usize, usize>,
}

impl Watchers {
    fn add(&mut self, prefix: &str, mailbox: Arc<Mailbox>) {
        let boxes = self.by_prefix.entry(prefix.to_owned()).or_default();
        if boxes.is_empty() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        boxes.push(mailbox);
    }

    fn remove(&mut self, prefix: &str, mailbox: &Arc<Mailbox>) {
        let Some(boxes) = self.by_prefix.get_mut(prefix) else { return };
        boxes.retain(|other| !Arc::ptr_eq(other, mailbox));
        if !boxes.is_empty() {
            return;
        }
        self.by_prefix.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    fn interested<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Arc<Mailbox>> {
        self.lengths
            .keys()
            .filter_map(|&length| key.get(..length))
            .filter_map(|prefix| self.by_prefix.get(prefix))
            .flatten()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.by_prefix.values().flatten()
    }
}

/// A place in the stream of events: what follows `from` arrives through `live`.
pub(super) struct Subscription {
    /// Events from the ring, if it reaches back to where the watch begins.
    pub(super) recent: Option<Vec<Event>>,
    /// The revision at which `live` takes over.
    pub(super) from: Revision,
    /// Events from now on.
    pub(super) live: Live,
}

/// The live end of a watch; leaves the hub when dropped.
pub(super) struct Live {
    hub: Arc<Hub>,
    prefix: String,
    mailbox: Arc<Mailbox>,
}

impl Stream for Live {
    type Item = Result<Event, StoreError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.mailbox.poll(context)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.hub.state.write().watchers.remove(&self.prefix, &self.mailbox);
    }
}

/// The key an event is about.
pub(super) fn key_of(event: &Event) -> &str {
    event.entry.as_ref().or(event.previous.as_ref()).map_or("", |entry| &entry.key)
}

impl Hub {
    /// A hub that shows `current` at `revision`, of which revisions below `floor` cannot be read.
    pub(super) fn new(
        current: BTreeMap<Arc<str>, Arc<Entry>>,
        revision: Revision,
        floor: Revision,
        limits: RingLimits,
    ) -> Arc<Self> {
        let state = State {
            current_bytes: current.values().map(|entry| entry.bytes.len() as u64).sum(),
            current,
            revision,
            floor,
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_floor: revision,
            watchers: Watchers::default(),
            closed: false,
        };
        Arc::new(Self { state: RwLock::new(state), limits })
    }

    /// The newest revision.
    pub(super) fn revision(&self) -> Revision {
        self.state.read().revision
    }

    /// The oldest readable revision.
    pub(super) fn floor(&self) -> Revision {
        self.state.read().floor
    }

    /// A key's entry now.
    pub(super) fn current(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().current.get(key).cloned()
    }

    /// Bytes of all current entries.
    pub(super) fn current_bytes(&self) -> u64 {
        self.state.read().current_bytes
    }

    /// A key's entry at a revision; the outer `None` says that memory does not reach back that far.
    pub(super) fn get(
        &self,
        key: &str,
        at: Option<Revision>,
    ) -> Result<Option<Option<Arc<Entry>>>, StoreError> {
        let state = self.state.read();
        let at = state.readable(at)?;
        if at < state.ring_floor {
            return Ok(None);
        }
        let undone = state.since(at).find(|event| key_of(event) == key);
        Ok(Some(match undone {
            Some(event) => event.previous.clone(),
            None => state.current.get(key).cloned(),
        }))
    }

    /// Events of one key since `floor` that memory still has, and the entry that stood before them.
    pub(super) fn told_of(&self, key: &str) -> (Option<Arc<Entry>>, Vec<Event>) {
        let state = self.state.read();
        let events: Vec<Event> = state.ring.iter().filter(|event| key_of(event) == key).cloned().collect();
        let stood = match events.first() {
            Some(first) => first.previous.clone(),
            None => state.current.get(key).cloned(),
        };
        (stood, events)
    }

    /// Removals after a revision that memory still has, of keys with a prefix that do not exist now.
    pub(super) fn removed(&self, prefix: &str, since: Revision) -> Vec<Event> {
        let state = self.state.read();
        let gone = |event: &&Event| {
            let key = key_of(event);
            event.entry.is_none() && key.starts_with(prefix) && !state.current.contains_key(key)
        };
        state.since(since).filter(gone).cloned().collect()
    }

    /// A page of entries at a revision; `None` says that memory does not reach back that far.
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Option<Page>, StoreError> {
        let state = self.state.read();
        let revision = state.readable(at)?;
        if revision < state.ring_floor {
            return Ok(None);
        }
        let start = start_of(prefix, after);
        let mut changed: BTreeMap<&str, Option<&Arc<Entry>>> = BTreeMap::new();
        for event in state.since(revision) {
            let key = key_of(event);
            if key.starts_with(prefix) && after.is_none_or(|after| key > after) {
                // The first change after the revision knows what stood there at the revision.
                changed.entry(key).or_insert(event.previous.as_ref());
            }
        }
        let now = state
            .current
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| !changed.contains_key(&***key))
            .map(|(_, entry)| entry);
        if changed.is_empty() {
            return Ok(Some(page(now, limit, revision)));
        }
        let mut then: Vec<&Arc<Entry>> = now.chain(changed.values().copied().flatten()).collect();
        then.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Some(page(then.into_iter(), limit, revision)))
    }

    /// Makes durable events visible, in order, and hands them to watchers.
    pub(super) fn apply(&self, events: Vec<Event>) {
        let mut wakers: Vec<Waker> = Vec::new();
        {
            let mut state = self.state.write();
            for event in events {
                wakers.extend(state.watchers.interested(key_of(&event)).filter_map(|w| w.push(&event)));
                state.remember(event);
            }
            state.trim(self.limits);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Raises the revision past transactions that concern no key kept here.
    pub(super) fn advance(&self, revision: Revision) {
        let mut state = self.state.write();
        state.revision = state.revision.max(revision);
    }

    /// Shows another state, to which no events lead: every watcher gets [`StoreError::Compacted`].
    pub(super) fn reset(&self, current: BTreeMap<Arc<str>, Arc<Entry>>, revision: Revision) {
        let wakers: Vec<Waker> = {
            let mut state = self.state.write();
            state.current_bytes = current.values().map(|entry| entry.bytes.len() as u64).sum();
            state.current = current;
            state.revision = revision;
            (state.ring, state.ring_bytes, state.ring_floor) = (VecDeque::new(), 0, revision);
            state.watchers.all().filter_map(|mailbox| mailbox.cut_off(revision)).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A watch of `prefix` from just after a revision.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        prefix: &str,
        after: Revision,
    ) -> Result<Subscription, StoreError> {
        let mut state = self.state.write();
        if state.closed {
            return Err(StoreError::Closed);
        }
        let after = state.readable(Some(after))?;
        let recent = (after >= state.ring_floor)
            .then(|| state.since(after).filter(|event| key_of(event).starts_with(prefix)).cloned().collect());
        let mailbox = Arc::new(Mailbox::new(state.revision));
        state.watchers.add(prefix, Arc::clone(&mailbox));
        let live = Live { hub: Arc::clone(self), prefix: prefix.to_owned(), mailbox };
        Ok(Subscription { recent, from: state.revision, live })
    }

    /// Makes revisions below `floor` unreadable; returns the floor that holds now.
    pub(super) fn raise_floor(&self, floor: Revision) -> Revision {
        let mut state = self.state.write();
        state.floor = state.floor.max(floor.min(state.revision));
        let floor = state.floor;
        while state.ring.front().is_some_and(|event| event.revision <= floor) {
            state.forget_oldest();
        }
        floor
    }

    /// Ends all watches and refuses new ones.
    pub(super) fn close(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.state.write();
            state.closed = true;
            state.watchers.all().filter_map(|mailbox| mailbox.close()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    /// The revision to read, if it exists and is kept.
    fn readable(&self, at: Option<Revision>) -> Result<Revision, StoreError> {
        let asked = at.unwrap_or(self.revision);
        if asked > self.revision {
            return Err(StoreError::Future { asked, current: self.revision });
        }
        if asked < self.floor {
            return Err(StoreError::Compacted { asked, floor: self.floor });
        }
        Ok(asked)
    }

    /// Events of the ring after a revision, oldest first.
    fn since(&self, after: Revision) -> impl Iterator<Item = &Event> {
        let first = self.ring.partition_point(|event| event.revision <= after);
        self.ring.range(first..)
    }

    fn remember(&mut self, event: Event) {
        let size = |entry: &Option<Arc<Entry>>| entry.as_ref().map_or(0, |entry| entry.bytes.len() as u64);
        self.current_bytes += size(&event.entry);
        self.current_bytes = self.current_bytes.saturating_sub(size(&event.previous));
        match (&event.entry, &event.previous) {
            (Some(entry), _) => {
                self.current.insert(Arc::clone(&entry.key), Arc::clone(entry));
            }
            (None, Some(previous)) => {
                self.current.remove(&previous.key);
            }
            (None, None) => {}
        }
        self.revision = event.revision;
        self.ring_bytes += weight(&event);
        self.ring.push_back(event);
    }

    /// Drops whole revisions from the old end until the ring is within its limits.
    fn trim(&mut self, limits: RingLimits) {
        while self.ring.len() > limits.events || self.ring_bytes > limits.bytes {
            let Some(oldest) = self.ring.front().map(|event| event.revision) else { return };
            while self.ring.front().is_some_and(|event| event.revision == oldest) {
                self.forget_oldest();
            }
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.ring.pop_front() {
            self.ring_bytes = self.ring_bytes.saturating_sub(weight(&event));
            self.ring_floor = event.revision;
        }
    }
}

fn start_of<'a>(prefix: &'a str, after: Option<&'a str>) -> Bound<&'a str> {
    match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    }
}

fn page<'a>(mut entries: impl Iterator<Item = &'a Arc<Entry>>, limit: usize, revision: Revision) -> Page {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let shown = entries.by_ref().take(limit).cloned().collect();
    Page { entries: shown, revision, remaining: entries.count() as u64 }
}
