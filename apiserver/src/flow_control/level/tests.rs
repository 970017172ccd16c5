//! Seats are shared fairly and never given twice.

use proptest::prelude::*;
use serde_json::json;

use super::super::{counted, gauges};
use super::*;

fn limited(response: &Value) -> Configuration {
    Configuration::of(
        &json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": response}}}),
    )
}

fn level(nominal: usize, response: &Value) -> Arc<Level> {
    sharing(&Arc::default(), Limits { nominal, lendable: 0, most: nominal }, response)
}

fn sharing(pool: &Arc<Pool>, limits: Limits, response: &Value) -> Arc<Level> {
    let level = Level::new(limited(response), gauges("test"), pool);
    level.configure(limited(response), limits);
    level
}

fn wants(seats: usize) -> Asker {
    Asker {
        schema: "test".into(),
        flow: String::new(),
        user: String::new(),
        info: Arc::default(),
        arrived: Timestamp::UNIX_EPOCH,
        seats,
        counted: counted("test", "test"),
    }
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

fn waits(entry: Entry) -> Place {
    match entry {
        Entry::Waits(place) => place,
        _ => panic!("it does not wait"),
    }
}

#[test]
fn what_does_not_fit_is_rejected_where_nothing_queues() {
    let level = level(2, &json!({"type": "Reject"}));
    let (one, _two) = (runs(level.enter(|| 1, wants(1))), runs(level.enter(|| 1, wants(1))));
    assert!(matches!(level.enter(|| 1, wants(1)), Entry::Rejected(Rejection::ConcurrencyLimit)));
    drop(one);
    let _three = runs(level.enter(|| 1, wants(1)));
}

#[test]
fn queues_fill_and_whoever_went_away_makes_room() {
    let level = level(1, &queuing(1, 1, 2));
    let running = runs(level.enter(|| 1, wants(1)));
    let (first, mut second) = (waits(level.enter(|| 1, wants(1))), waits(level.enter(|| 1, wants(1))));
    assert!(matches!(level.enter(|| 1, wants(1)), Entry::Rejected(Rejection::QueueFull)));
    drop(first);
    let mut third = waits(level.enter(|| 1, wants(1)));
    drop(running);
    let granted = second.granted.try_recv().expect("its turn");
    assert!(third.granted.try_recv().is_err());
    drop(granted);
    assert!(third.granted.try_recv().is_ok());
    drop(third);
    let _next = runs(level.enter(|| 1, wants(1)));
}

#[test]
fn a_flood_leaves_other_flows_their_turn() {
    let level = level(1, &queuing(8, 1, 1_000));
    let running = runs(level.enter(|| 0, wants(1)));
    let mut flood: Vec<_> = (0..500).map(|_| waits(level.enter(|| 1, wants(1)))).collect();
    let mut lease = waits(level.enter(|| 2, wants(1)));
    let mut seats = Some(running);
    let mut turns = 0;
    while let Some(held) = seats.take() {
        drop(held);
        turns += 1;
        if lease.granted.try_recv().is_ok() {
            break;
        }
        seats = flood.iter_mut().find_map(|waiter| waiter.granted.try_recv().ok());
    }
    assert!(turns <= 3, "{turns} requests of the flood went first");
}

#[test]
fn wide_requests_take_their_seats_and_the_widest_runs_alone() {
    let level = level(4, &queuing(4, 1, 10));
    let wide = runs(level.enter(|| 1, wants(3)));
    let narrow = runs(level.enter(|| 2, wants(1)));
    let mut wider = waits(level.enter(|| 3, wants(9)));
    drop(wide);
    assert!(wider.granted.try_recv().is_err());
    drop(narrow);
    let alone = wider.granted.try_recv().expect("nothing else runs");
    let mut next = waits(level.enter(|| 2, wants(1)));
    drop(alone);
    assert!(next.granted.try_recv().is_ok());
}

#[test]
fn exempt_requests_always_run() {
    let configuration = Configuration::of(&json!({"spec": {"type": "Exempt", "exempt": {}}}));
    let level = Level::new(configuration, gauges("test"), &Arc::default());
    let _all: Vec<Seats> = (0..1_000).map(|_| runs(level.enter(|| 0, wants(10)))).collect();
}

#[test]
fn what_others_do_not_use_is_lent_and_their_own_is_never_denied() {
    let pool = Arc::default();
    let queue = queuing(1, 1, 10);
    let lender = sharing(&pool, Limits { nominal: 4, lendable: 3, most: 4 }, &queue);
    let borrower = sharing(&pool, Limits { nominal: 1, lendable: 0, most: 3 }, &queue);
    let poor = sharing(&pool, Limits { nominal: 1, lendable: 0, most: 9 }, &queue);
    let mut borrowed: Vec<_> = (0..3).map(|_| runs(borrower.enter(|| 1, wants(1)))).collect();
    // No more than it may, although one is left.
    let mut fourth = waits(borrower.enter(|| 1, wants(1)));
    let own = runs(poor.enter(|| 1, wants(1)));
    let third = runs(poor.enter(|| 1, wants(1)));
    let mut late = waits(poor.enter(|| 1, wants(1)));
    assert_eq!(pool.free(), 0);
    // The lender has all its seats, lent or not.
    let mut lenders: Vec<_> = (0..4).map(|_| runs(lender.enter(|| 1, wants(1)))).collect();
    let _fifth = waits(lender.enter(|| 1, wants(1)));
    // What borrowers give back goes to who lent it, and to nobody else.
    borrowed.pop();
    assert!(fourth.granted.try_recv().is_err() && late.granted.try_recv().is_err());
    drop((borrowed, third));
    assert!(late.granted.try_recv().is_err(), "the lender uses all it has");
    // The borrower has its own seat again.
    let fourth = fourth.granted.try_recv().expect("its own");
    lenders.truncate(1);
    let late = late.granted.try_recv().expect("something is lent again");
    drop((fourth, late, own, lenders));
    assert_eq!(pool.free(), 3);
}

#[test]
fn seats_are_dealt_by_shares() {
    for (server, shares, all, lendable, borrowing, expect) in [
        (600, 30, 245, 33, None, (74, 24, 674)),
        (600, 40, 245, 25, Some(50), (98, 25, 147)),
        (600, 10, 245, 0, Some(0), (25, 0, 25)),
        (600, 0, 245, 0, None, (0, 0, 600)),
        (1, 100, 245, 90, None, (1, 1, 2)),
        (600, 0, 0, 50, None, (0, 0, 600)),
    ] {
        let Limits { nominal, lendable, most } = Limits::of(server, shares, all, lendable, borrowing);
        assert_eq!((nominal, lendable, most), expect, "{shares} of {all}");
    }
}

#[test]
fn what_became_of_requests_is_told() {
    let level = level(1, &queuing(2, 1, 2));
    let running = runs(level.enter(|| 1, wants(1)));
    let (first, second) = (waits(level.enter(|| 1, wants(1))), waits(level.enter(|| 1, wants(1))));
    assert!(matches!(level.enter(|| 1, wants(1)), Entry::Rejected(Rejection::QueueFull)));
    first.time_out();
    drop(second);
    let _third = waits(level.enter(|| 1, wants(1)));
    let told = Told { dispatched: 1, rejected: 1, timed_out: 1, cancelled: 1 };
    level.shown(|view| {
        assert_eq!((view.told, view.running.len(), view.queues.len()), (told, 1, 2));
        assert_eq!(view.queues.iter().map(|(waiting, _)| waiting.len()).sum::<usize>(), 1);
    });
    drop(running);
    assert_eq!(level.shown(|view| view.told.dispatched), 2);
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
        let (mut running, mut waiting): (Vec<Seats>, Vec<Place>) = Default::default();
        for (flow, seats, leave) in steps {
            if leave {
                running.pop();
                waiting.truncate(waiting.len().saturating_sub(1));
            } else {
                match level.enter(|| flow, wants(seats)) {
                    Entry::Runs(seats) => running.push(seats),
                    Entry::Waits(granted) => waiting.push(granted),
                    Entry::Rejected(_) => {}
                }
            }
            waiting.retain_mut(|granted| match granted.granted.try_recv() {
                Ok(seats) => {
                    running.push(seats);
                    false
                }
                Err(error) => error == oneshot::error::TryRecvError::Empty,
            });
            let state = level.state.lock();
            let held: usize = running.iter().map(|seats| state.running[&seats.number].asker.seats).sum();
            prop_assert_eq!(state.in_use, held);
            prop_assert!(held <= 5);
        }
        drop((running, waiting));
        prop_assert_eq!(level.state.lock().in_use, 0);
    }
}
