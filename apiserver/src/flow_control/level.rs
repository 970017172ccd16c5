//! One priority level: seats for requests that run, and fair queues for those that wait (KEP-1040).
//!
//! Entry points: [`Level::configure`], [`Level::enter`], and [`Seats`], which gives its seats back when it goes.
//! Flows are dealt a hand of queues by their hash, so one that floods its hand leaves most others a free queue.
//! Queues take turns by start-time fair queuing: the one that was given the least work goes first. Upstream
//! corrects the work by the time a request really took; that is left out here. What levels lend each other: [`super::pool`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use component_base::metrics::{Histogram, IntCounter, IntGauge};
use http::HeaderValue;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

use super::pool::{Limits, Pool};
use crate::request::RequestInfo;

/// Upstream's share of a level that one request may take.
const MOST_OF_A_LEVEL: f64 = 0.15;
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
    /// Percent of its seats that others may use, and of its seats that it may have from others; `None` is as many as
    /// there are.
    pub(super) lendable: u64,
    pub(super) borrowing: Option<u64>,
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
            lendable: limited["lendablePercent"].as_u64().unwrap_or_default(),
            borrowing: limited["borrowingLimitPercent"].as_u64(),
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

/// What is counted of the requests of a schema on its level, under upstream's names.
pub(super) struct Counted {
    pub(super) dispatched: IntCounter,
    pub(super) in_queue: IntGauge,
    pub(super) seats_in_queue: IntGauge,
    pub(super) executing: IntGauge,
    pub(super) executing_seats: IntGauge,
    pub(super) queue_length: Histogram,
    pub(super) no_room: IntCounter,
}

/// A request, as dumps show it.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) schema: Arc<str>,
    /// What tells its flow from others of the schema.
    pub(super) flow: String,
    pub(super) user: String,
    pub(super) info: Arc<RequestInfo>,
    pub(super) arrived: Timestamp,
    pub(super) seats: usize,
    pub(super) counted: Arc<Counted>,
}

struct Waiter {
    number: u64,
    asker: Asker,
    grant: oneshot::Sender<Seats>,
}

/// A request that was given seats.
pub(super) struct Running {
    pub(super) asker: Asker,
    /// The queue it waited in, if it had to.
    pub(super) queue: Option<usize>,
    /// When it was given seats; nothing as long as it has not found out.
    pub(super) started: Option<Timestamp>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    /// The work it was given, on the level's virtual clock.
    served: u64,
}

/// What became of requests since the level is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) dispatched: u64,
    pub(super) rejected: u64,
    pub(super) timed_out: u64,
    pub(super) cancelled: u64,
}

struct State {
    configuration: Configuration,
    limits: Limits,
    in_use: usize,
    waiting: usize,
    queues: Vec<Queue>,
    /// The virtual clock: what the queue that went last had been given.
    turn: u64,
    /// Numbers requests.
    next: u64,
    running: BTreeMap<u64, Running>,
    told: Told,
}

/// Gauges of a level under upstream's names.
pub(super) struct Gauges {
    pub(super) nominal: IntGauge,
    pub(super) lower: IntGauge,
    pub(super) upper: IntGauge,
    pub(super) current: IntGauge,
}

/// A level.
pub(super) struct Level {
    state: Mutex<State>,
    gauges: Gauges,
    pool: Arc<Pool>,
}

/// A request's seats while it runs.
pub(crate) struct Seats {
    /// `None` when they were given back already.
    level: Option<Arc<Level>>,
    number: u64,
}

impl Seats {
    /// Notes when the request found out that it may run.
    pub(super) fn begin(&self, now: Timestamp) {
        if let Some(level) = &self.level
            && let Some(running) = level.state.lock().running.get_mut(&self.number)
        {
            running.started = Some(now);
        }
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        if let Some(level) = self.level.take() {
            level.leave(self.number);
        }
    }
}

/// A place in a queue, given up when this goes.
pub(super) struct Place {
    level: Arc<Level>,
    queue: usize,
    number: u64,
    granted: oneshot::Receiver<Seats>,
    timed_out: bool,
}

impl Place {
    /// Waits for seats. Nothing when the level gave up, which it does not.
    pub(super) async fn granted(&mut self) -> Option<Seats> {
        (&mut self.granted).await.ok()
    }

    /// It took too long.
    pub(super) fn time_out(mut self) {
        self.timed_out = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let level = Arc::clone(&self.level);
        let mut state = level.state.lock();
        let waiting = &mut state.queues[self.queue].waiting;
        let Some(at) = waiting.iter().position(|waiter| waiter.number == self.number) else { return };
        let Some(waiter) = waiting.remove(at) else { return };
        level.waited(&mut state, &waiter.asker);
        let told = &mut state.told;
        *(if self.timed_out { &mut told.timed_out } else { &mut told.cancelled }) += 1;
        // The next one may be narrower.
        level.dispatch(&mut state);
    }
}

/// What becomes of a request that asks for seats.
pub(super) enum Entry {
    Runs(Seats),
    Waits(Place),
    Rejected(Rejection),
}

impl Level {
    pub(super) fn new(configuration: Configuration, gauges: Gauges, pool: &Arc<Pool>) -> Arc<Self> {
        let state = State {
            configuration,
            limits: Limits { nominal: 0, lendable: 0, most: 0 },
            in_use: 0,
            waiting: 0,
            queues: Vec::new(),
            turn: 0,
            next: 0,
            running: BTreeMap::new(),
            told: Told::default(),
        };
        let level = Arc::new(Self { state: Mutex::new(state), gauges, pool: Arc::clone(pool) });
        pool.join(&level);
        level
    }

    /// Takes a changed configuration; what waits goes on waiting.
    pub(super) fn configure(self: &Arc<Self>, configuration: Configuration, limits: Limits) {
        let mut state = self.state.lock();
        let (before, after) = (state.limits.gives(state.in_use), limits.gives(state.in_use));
        self.pool.change(before, after, false);
        (state.configuration, state.limits) = (configuration, limits);
        let gauge = |gauge: &IntGauge, seats: usize| gauge.set(i64::try_from(seats).unwrap_or(i64::MAX));
        gauge(&self.gauges.nominal, limits.nominal);
        gauge(&self.gauges.lower, limits.nominal.saturating_sub(limits.lendable));
        gauge(&self.gauges.upper, limits.most);
        self.dispatch(&mut state);
    }

    /// The level is no more: it lends nothing, and what runs or waits in it comes to its end.
    pub(super) fn retire(self: &Arc<Self>) {
        let (configuration, Limits { nominal, .. }) = {
            let state = self.state.lock();
            (state.configuration.clone(), state.limits)
        };
        self.configure(configuration, Limits { nominal, lendable: 0, most: nominal });
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
        let share = (state.limits.nominal as f64 * MOST_OF_A_LEVEL).ceil() as usize;
        share.min(state.limits.nominal / hand).max(1)
    }

    /// How much of its own it uses, in thousandths.
    pub(super) fn fullness(&self) -> usize {
        let state = self.state.lock();
        state.in_use.saturating_mul(1_000) / state.limits.nominal.max(1)
    }

    /// Sets the gauge of the seats it may have as things are, for those who look.
    pub(super) fn look(&self) {
        let state = self.state.lock();
        let Limits { nominal, most, .. } = state.limits;
        let current = nominal.max(state.in_use).saturating_add(self.pool.free()).min(most);
        self.gauges.current.set(i64::try_from(current).unwrap_or(i64::MAX));
    }

    /// Asks for seats for a request of a flow, whose hash is only asked for when the request must wait.
    pub(super) fn enter(self: &Arc<Self>, flow: impl FnOnce() -> u64, asker: Asker) -> Entry {
        let mut state = self.state.lock();
        if (state.waiting == 0 || state.configuration.exempt) && self.fits(&state, asker.seats) {
            return Entry::Runs(self.seat(&mut state, asker, None));
        }
        asker.counted.no_room.inc();
        let Some(queuing) = state.configuration.queuing else {
            state.told.rejected += 1;
            return Entry::Rejected(Rejection::ConcurrencyLimit);
        };
        if state.queues.len() < queuing.queues {
            state.queues.resize_with(queuing.queues, Queue::default);
        }
        let hand = deal(flow(), queuing.queues, queuing.hand_size);
        let shortest = hand.into_iter().min_by_key(|card| state.queues[*card].load());
        let room = |card: &usize| state.queues[*card].waiting.len() < queuing.queue_length_limit;
        let Some(chosen) = shortest.filter(room) else {
            state.told.rejected += 1;
            return Entry::Rejected(Rejection::QueueFull);
        };
        let (turn, number) = (state.turn, state.number());
        let queue = &mut state.queues[chosen];
        if queue.waiting.is_empty() {
            // A queue that was idle has no claim to what it did not use.
            queue.served = queue.served.max(turn);
        }
        let (grant, granted) = oneshot::channel();
        let counted = Arc::clone(&asker.counted);
        counted.in_queue.inc();
        counted.seats_in_queue.add(i64::try_from(asker.seats).unwrap_or_default());
        queue.waiting.push_back(Waiter { number, asker, grant });
        counted.queue_length.observe(queue.waiting.len() as f64);
        state.waiting += 1;
        self.pool.waits(1);
        // Seats may be free for a narrower request than those that wait.
        self.dispatch(&mut state);
        Entry::Waits(Place { level: Arc::clone(self), queue: chosen, number, granted, timed_out: false })
    }

    /// Whether seats are free, which are then taken from what others lend if need be. One that wants more than there
    /// are runs alone. Only the narrow borrow: what makes a list wide is work of processor and memory, and more of that
    /// at once serves nobody.
    fn fits(&self, state: &State, seats: usize) -> bool {
        let (limits, after) = (state.limits, state.in_use + seats);
        let own = state.configuration.exempt || after <= limits.nominal || state.in_use == 0;
        let (gave, gives) = (limits.gives(state.in_use), limits.gives(after));
        (own || (seats == 1 && after <= limits.most)) && self.pool.change(gave, gives, !own)
    }

    /// Gives seats that fit.
    fn seat(self: &Arc<Self>, state: &mut State, asker: Asker, queue: Option<usize>) -> Seats {
        state.in_use += asker.seats;
        asker.counted.dispatched.inc();
        asker.counted.executing.inc();
        asker.counted.executing_seats.add(i64::try_from(asker.seats).unwrap_or_default());
        state.told.dispatched += 1;
        let number = state.number();
        // Who waited finds out a little later.
        let started = queue.is_none().then_some(asker.arrived);
        state.running.insert(number, Running { asker, queue, started });
        Seats { level: Some(Arc::clone(self)), number }
    }

    fn unseat(&self, state: &mut State, number: u64) {
        let Some(Running { asker, .. }) = state.running.remove(&number) else { return };
        let after = state.in_use.saturating_sub(asker.seats);
        self.pool.change(state.limits.gives(state.in_use), state.limits.gives(after), false);
        state.in_use = after;
        asker.counted.executing.dec();
        asker.counted.executing_seats.sub(i64::try_from(asker.seats).unwrap_or_default());
    }

    fn waited(&self, state: &mut State, asker: &Asker) {
        state.waiting = state.waiting.saturating_sub(1);
        self.pool.waited(1);
        asker.counted.in_queue.dec();
        asker.counted.seats_in_queue.sub(i64::try_from(asker.seats).unwrap_or_default());
    }

    fn leave(&self, number: u64) {
        self.unseat(&mut self.state.lock(), number);
        self.pool.wake();
    }

    /// Gives free seats to those whose turn it is.
    pub(super) fn serve(self: &Arc<Self>) {
        self.dispatch(&mut self.state.lock());
    }

    fn dispatch(self: &Arc<Self>, state: &mut State) {
        while state.waiting > 0 {
            let waiting = state.queues.iter().enumerate().filter(|(_, queue)| !queue.waiting.is_empty());
            let Some((queue, _)) = waiting.min_by_key(|(_, queue)| queue.served) else { return };
            let Some(seats) = state.queues[queue].waiting.front().map(|waiter| waiter.asker.seats) else {
                return;
            };
            if !self.fits(state, seats) {
                return;
            }
            let Some(Waiter { asker, grant, .. }) = state.queues[queue].waiting.pop_front() else { return };
            self.waited(state, &asker);
            let granted = self.seat(state, asker, Some(queue));
            if let Err(mut unwanted) = grant.send(granted) {
                // Its client is just going away. Not given back by dropping: the level is locked.
                unwanted.level = None;
                self.unseat(state, unwanted.number);
                continue;
            }
            let queue = &mut state.queues[queue];
            state.turn = queue.served;
            queue.served += seats as u64;
        }
    }

    /// Shows what dumps tell of it.
    pub(super) fn shown<T>(&self, show: impl FnOnce(&View<'_>) -> T) -> T {
        let state = self.state.lock();
        let most = state.configuration.queuing.map_or(0, |queuing| queuing.queues);
        let queues = (0..most.max(state.queues.len())).map(|number| {
            let Some(queue) = state.queues.get(number) else { return (Vec::new(), 0) };
            (queue.waiting.iter().map(|waiter| &waiter.asker).collect(), queue.served)
        });
        let queues = queues.collect();
        show(&View { queues, running: state.running.values().collect(), told: state.told })
    }
}

/// A level at one moment.
pub(super) struct View<'a> {
    /// Who waits in each queue, and the work it was given.
    pub(super) queues: Vec<(Vec<&'a Asker>, u64)>,
    pub(super) running: Vec<&'a Running>,
    pub(super) told: Told,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Queue {
    fn load(&self) -> usize {
        self.waiting.iter().map(|waiter| waiter.asker.seats).sum()
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
