//! One priority level: seats for requests that run, and fair queues for those that wait (KEP-1040).
//!
//! Entry points: [`Level::configure`], [`Level::enter`], and [`Seats`], which gives its seats back when it goes.
//! Flows are dealt a hand of queues by their hash, so one that floods its hand leaves most others a free queue.
//! Queues take turns by start-time fair queuing: the one that was given the least work goes first. Upstream
//! corrects the work by the time a request really took and lends seats between levels; both are left out here, so
//! each level has what its shares give it.

use std::collections::VecDeque;
use std::sync::Arc;

use component_base::metrics::IntGauge;
use http::HeaderValue;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

/// Upstream's share of a level that one request may take.
const MOST_OF_A_LEVEL: f64 = 0.15;
/// Upstream's limit for the width of a list.
const MOST_SEATS: usize = 10;

/// How a level queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queuing {
    queues: usize,
    hand_size: usize,
    queue_length_limit: usize,
}

/// What a PriorityLevelConfiguration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configuration {
    /// What answers name it by.
    uid: Option<HeaderValue>,
    /// Requests run at once, whatever else runs.
    exempt: bool,
    pub(super) shares: u64,
    /// `None` rejects what cannot run at once.
    queuing: Option<Queuing>,
}

impl Configuration {
    /// Reads an object that was validated and defaulted.
    pub(super) fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let exempt = spec["type"] == "Exempt";
        let limited = if exempt { &spec["exempt"] } else { &spec["limited"] };
        let response = &limited["limitResponse"];
        let number = |field: &str, usual: u64| {
            let given = response["queuing"][field].as_u64().unwrap_or(usual);
            usize::try_from(given.max(1)).unwrap_or(usize::MAX)
        };
        let queuing = (response["type"] == "Queue").then(|| Queuing {
            queues: number("queues", 64),
            hand_size: number("handSize", 8),
            queue_length_limit: number("queueLengthLimit", 50),
        });
        Self {
            uid: HeaderValue::from_str(api::object::uid(object)).ok(),
            exempt,
            shares: limited["nominalConcurrencyShares"].as_u64().unwrap_or(if exempt { 0 } else { 30 }),
            queuing,
        }
    }
}

/// Why a request does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The level does not queue.
    ConcurrencyLimit,
    /// Its queue is full.
    QueueFull,
    /// It waited too long.
    TimeOut,
}

impl Rejection {
    /// The label of upstream's metric.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::QueueFull => "queue-full",
            Self::TimeOut => "time-out",
        }
    }
}

struct Waiter {
    seats: usize,
    grant: oneshot::Sender<Seats>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    /// The work it was given, on the level's virtual clock.
    served: u64,
}

struct State {
    configuration: Configuration,
    /// Seats.
    limit: usize,
    in_use: usize,
    waiting: usize,
    queues: Vec<Queue>,
    /// The virtual clock: what the queue that went last had been given.
    turn: u64,
}

/// Gauges of a level under upstream's names.
pub(super) struct Gauges {
    pub(super) in_queue: IntGauge,
    pub(super) executing: IntGauge,
    pub(super) seats: IntGauge,
    pub(super) limit: IntGauge,
}

/// A level.
pub(super) struct Level {
    state: Mutex<State>,
    gauges: Gauges,
}

/// A request's seats while it runs.
pub(crate) struct Seats {
    level: Arc<Level>,
    seats: usize,
}

impl Drop for Seats {
    fn drop(&mut self) {
        if self.seats > 0 {
            self.level.leave(self.seats);
        }
    }
}

/// What becomes of a request that asks for seats.
pub(super) enum Entry {
    Runs(Seats),
    Waits(oneshot::Receiver<Seats>),
    Rejected(Rejection),
}

impl Level {
    pub(super) fn new(configuration: Configuration, gauges: Gauges) -> Arc<Self> {
        let state = State { configuration, limit: 1, in_use: 0, waiting: 0, queues: Vec::new(), turn: 0 };
        Arc::new(Self { state: Mutex::new(state), gauges })
    }

    /// Takes a changed configuration; what waits goes on waiting.
    pub(super) fn configure(self: &Arc<Self>, configuration: Configuration, limit: usize) {
        let mut state = self.state.lock();
        (state.configuration, state.limit) = (configuration, limit.max(1));
        self.gauges.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        self.dispatch(&mut state);
    }

    pub(super) fn configuration(&self) -> Configuration {
        self.state.lock().configuration.clone()
    }

    pub(super) fn uid(&self) -> Option<HeaderValue> {
        self.state.lock().configuration.uid.clone()
    }

    /// The most seats one request may take (upstream's `MaxSeatsTracker`).
    pub(super) fn max_seats(&self) -> usize {
        let state = self.state.lock();
        let hand = state.configuration.queuing.map_or(1, |queuing| queuing.hand_size);
        let share = (state.limit as f64 * MOST_OF_A_LEVEL).ceil() as usize;
        share.min(state.limit / hand).clamp(1, MOST_SEATS)
    }

    /// Asks for seats for a request of a flow, whose hash is only asked for when the request must wait.
    pub(super) fn enter(self: &Arc<Self>, flow: impl FnOnce() -> u64, seats: usize) -> Entry {
        let mut state = self.state.lock();
        if state.configuration.exempt || (state.waiting == 0 && state.fits(seats)) {
            return Entry::Runs(self.seat(&mut state, seats));
        }
        let Some(queuing) = state.configuration.queuing else {
            return Entry::Rejected(Rejection::ConcurrencyLimit);
        };
        if state.queues.len() < queuing.queues {
            state.queues.resize_with(queuing.queues, Queue::default);
        }
        let hand = deal(flow(), queuing.queues, queuing.hand_size);
        let shortest = hand.into_iter().min_by_key(|card| state.queues[*card].load());
        let Some(number) = shortest else { return Entry::Rejected(Rejection::QueueFull) };
        let turn = state.turn;
        let queue = &mut state.queues[number];
        if queue.waiting.len() >= queuing.queue_length_limit {
            let before = queue.waiting.len();
            // Those whose client went away wait for nothing.
            queue.waiting.retain(|waiter| !waiter.grant.is_closed());
            let gone = before - queue.waiting.len();
            let full = queue.waiting.len() >= queuing.queue_length_limit;
            self.waited(&mut state, gone);
            if full {
                return Entry::Rejected(Rejection::QueueFull);
            }
        }
        let queue = &mut state.queues[number];
        if queue.waiting.is_empty() {
            // A queue that was idle has no claim to what it did not use.
            queue.served = queue.served.max(turn);
        }
        let (grant, granted) = oneshot::channel();
        queue.waiting.push_back(Waiter { seats, grant });
        state.waiting += 1;
        self.gauges.in_queue.inc();
        // Seats may be free for a narrower request than those that wait.
        self.dispatch(&mut state);
        Entry::Waits(granted)
    }

    fn seat(self: &Arc<Self>, state: &mut State, seats: usize) -> Seats {
        state.in_use += seats;
        self.gauges.executing.inc();
        self.gauges.seats.add(i64::try_from(seats).unwrap_or_default());
        Seats { level: Arc::clone(self), seats }
    }

    fn unseat(&self, state: &mut State, seats: usize) {
        state.in_use = state.in_use.saturating_sub(seats);
        self.gauges.executing.dec();
        self.gauges.seats.sub(i64::try_from(seats).unwrap_or_default());
    }

    fn waited(&self, state: &mut State, count: usize) {
        state.waiting = state.waiting.saturating_sub(count);
        self.gauges.in_queue.sub(i64::try_from(count).unwrap_or_default());
    }

    fn leave(self: &Arc<Self>, seats: usize) {
        let mut state = self.state.lock();
        self.unseat(&mut state, seats);
        self.dispatch(&mut state);
    }

    /// Gives free seats to those whose turn it is.
    fn dispatch(self: &Arc<Self>, state: &mut State) {
        while state.waiting > 0 {
            let waiting = state.queues.iter().enumerate().filter(|(_, queue)| !queue.waiting.is_empty());
            let Some((number, _)) = waiting.min_by_key(|(_, queue)| queue.served) else { return };
            let Some(seats) = state.queues[number].waiting.front().map(|waiter| waiter.seats) else { return };
            if !state.fits(seats) {
                return;
            }
            let Some(waiter) = state.queues[number].waiting.pop_front() else { return };
            self.waited(state, 1);
            let granted = self.seat(state, seats);
            if let Err(mut unwanted) = waiter.grant.send(granted) {
                // Its client went away. Not given back by dropping: the level is locked.
                unwanted.seats = 0;
                self.unseat(state, seats);
                continue;
            }
            let queue = &mut state.queues[number];
            state.turn = queue.served;
            queue.served += seats as u64;
        }
    }
}

impl State {
    /// Whether seats are free. One that wants more than there are runs alone.
    fn fits(&self, seats: usize) -> bool {
        self.in_use + seats <= self.limit || self.in_use == 0
    }
}

impl Queue {
    fn load(&self) -> usize {
        self.waiting.iter().map(|waiter| waiter.seats).sum()
    }
}

/// A hand of different queues for a hash: shuffle sharding, as upstream deals.
fn deal(hash: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut rest = hash;
    let mut cards: Vec<usize> = Vec::with_capacity(hand);
    for dealt in 0..hand.min(deck) {
        let left = (deck - dealt) as u64;
        let mut card = usize::try_from(rest % left).unwrap_or_default();
        rest /= left;
        // The card is counted among those that are left.
        let mut before = cards.clone();
        before.sort_unstable();
        for taken in before {
            if card >= taken {
                card += 1;
            }
        }
        cards.push(card);
    }
    cards
}

#[cfg(test)]
mod tests;
