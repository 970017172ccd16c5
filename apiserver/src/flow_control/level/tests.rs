//! Seats are shared fairly and never given twice.

use proptest::prelude::*;
use serde_json::json;

use super::super::gauges;
use super::*;

fn level(limit: usize, response: &Value) -> Arc<Level> {
    let object = json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": response}}});
    let configuration = Configuration::of(&object);
    let level = Level::new(configuration.clone(), gauges("test"));
    level.configure(configuration, limit);
    level
}

fn queuing(queues: usize, hand: usize, length: usize) -> Value {
    json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}})
}

fn runs(entry: Entry) -> Seats {
    match entry {
        Entry::Runs(seats) => seats,
        Entry::Waits(_) => panic!("it waits"),
        Entry::Rejected(why) => panic!("{why:?}"),
    }
}

fn waits(entry: Entry) -> oneshot::Receiver<Seats> {
    match entry {
        Entry::Waits(granted) => granted,
        _ => panic!("it does not wait"),
    }
}

#[test]
fn what_does_not_fit_is_rejected_where_nothing_queues() {
    let level = level(2, &json!({"type": "Reject"}));
    let (one, _two) = (runs(level.enter(|| 1, 1)), runs(level.enter(|| 1, 1)));
    assert!(matches!(level.enter(|| 1, 1), Entry::Rejected(Rejection::ConcurrencyLimit)));
    drop(one);
    let _three = runs(level.enter(|| 1, 1));
}

#[test]
fn queues_fill_and_whoever_went_away_makes_room() {
    let level = level(1, &queuing(1, 1, 2));
    let running = runs(level.enter(|| 1, 1));
    let (first, mut second) = (waits(level.enter(|| 1, 1)), waits(level.enter(|| 1, 1)));
    assert!(matches!(level.enter(|| 1, 1), Entry::Rejected(Rejection::QueueFull)));
    drop(first);
    let mut third = waits(level.enter(|| 1, 1));
    drop(running);
    let granted = second.try_recv().expect("its turn");
    assert!(third.try_recv().is_err());
    drop(granted);
    assert!(third.try_recv().is_ok());
    drop(third);
    let _next = runs(level.enter(|| 1, 1));
}

#[test]
fn a_flood_leaves_other_flows_their_turn() {
    let level = level(1, &queuing(8, 1, 1_000));
    let running = runs(level.enter(|| 0, 1));
    let mut flood: Vec<_> = (0..500).map(|_| waits(level.enter(|| 1, 1))).collect();
    let mut lease = waits(level.enter(|| 2, 1));
    let mut seats = Some(running);
    let mut turns = 0;
    while let Some(held) = seats.take() {
        drop(held);
        turns += 1;
        if lease.try_recv().is_ok() {
            break;
        }
        seats = flood.iter_mut().find_map(|waiter| waiter.try_recv().ok());
    }
    assert!(turns <= 3, "{turns} requests of the flood went first");
}

#[test]
fn wide_requests_take_their_seats_and_the_widest_runs_alone() {
    let level = level(4, &queuing(4, 1, 10));
    let wide = runs(level.enter(|| 1, 3));
    let narrow = runs(level.enter(|| 2, 1));
    let mut wider = waits(level.enter(|| 3, 9));
    drop(wide);
    assert!(wider.try_recv().is_err());
    drop(narrow);
    let alone = wider.try_recv().expect("nothing else runs");
    let mut next = waits(level.enter(|| 2, 1));
    drop(alone);
    assert!(next.try_recv().is_ok());
}

#[test]
fn exempt_requests_always_run() {
    let configuration = Configuration::of(&json!({"spec": {"type": "Exempt", "exempt": {}}}));
    let level = Level::new(configuration, gauges("test"));
    let _all: Vec<Seats> = (0..1_000).map(|_| runs(level.enter(|| 0, 10))).collect();
}

proptest! {
    /// A hand is of different queues of the deck, and the same for the same flow.
    #[test]
    fn hands_are_fair(hash in any::<u64>(), deck in 1_usize..200, hand in 1_usize..8) {
        let cards = deal(hash, deck, hand);
        let mut different = cards.clone();
        different.sort_unstable();
        different.dedup();
        prop_assert_eq!(different.len(), hand.min(deck));
        prop_assert!(cards.iter().all(|card| *card < deck));
        prop_assert_eq!(deal(hash, deck, hand), cards);
    }

    /// Whatever comes and goes, seats are neither lost nor made.
    #[test]
    fn seats_are_kept(steps in proptest::collection::vec((0_u64..5, 1_usize..4, any::<bool>()), 1..80)) {
        let level = level(5, &queuing(4, 2, 3));
        let (mut running, mut waiting): (Vec<Seats>, Vec<oneshot::Receiver<Seats>>) = Default::default();
        for (flow, seats, leave) in steps {
            if leave {
                running.pop();
                waiting.truncate(waiting.len().saturating_sub(1));
            } else {
                match level.enter(|| flow, seats) {
                    Entry::Runs(seats) => running.push(seats),
                    Entry::Waits(granted) => waiting.push(granted),
                    Entry::Rejected(_) => {}
                }
            }
            waiting.retain_mut(|granted| match granted.try_recv() {
                Ok(seats) => {
                    running.push(seats);
                    false
                }
                Err(error) => error == oneshot::error::TryRecvError::Empty,
            });
            let held: usize = running.iter().map(|seats| seats.seats).sum();
            let state = level.state.lock();
            prop_assert_eq!(state.in_use, held);
            prop_assert!(held <= 5);
        }
        drop((running, waiting));
        prop_assert_eq!(level.state.lock().in_use, 0);
    }
}
