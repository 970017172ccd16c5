//! Seats that priority levels lend each other (`lendablePercent`, `borrowingLimitPercent`).
//!
//! Entry points: [`Limits`], [`Pool::change`], [`Pool::wake`]. Upstream moves limits between levels every ten seconds, by
//! smoothed statistics of what each could have used. Here a level that has no seats left takes, at that moment, one that
//! another may lend and does not use. A level is never denied its own: while some of them are lent, more runs at once
//! than the server's limit, by no more than what may be lent, and nothing more is lent until it is back.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::level::Level;

/// Seats of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Its own.
    pub(super) nominal: usize,
    /// How many of them others may have while it does not use them.
    pub(super) lendable: usize,
    /// The most it may have with what it borrows.
    pub(super) most: usize,
}

impl Limits {
    /// A level's part of the server's seats (`finishQueueSetReconfigsLocked`).
    pub(super) fn of(
        server: u64,
        shares: u64,
        all_shares: u64,
        lendable: u64,
        borrowing: Option<u64>,
    ) -> Self {
        let nominal = (server.saturating_mul(shares)).div_ceil(all_shares.max(1));
        let percent = |percent: u64| (nominal.saturating_mul(percent).saturating_add(50)) / 100;
        let seats = |seats: u64| usize::try_from(seats).unwrap_or(usize::MAX);
        let most = nominal.saturating_add(borrowing.map_or(server, percent));
        Self { nominal: seats(nominal), lendable: seats(percent(lendable.min(100))), most: seats(most) }
    }

    /// What a level with so many seats in use gives others, or takes from them when it is below zero.
    pub(super) fn gives(&self, in_use: usize) -> i64 {
        let number = |seats: usize| i64::try_from(seats).unwrap_or(i64::MAX);
        number(self.lendable).min(number(self.nominal).saturating_sub(number(in_use)))
    }
}

/// What all levels of a server share.
#[derive(Default)]
pub(super) struct Pool {
    /// The sum of what levels give.
    free: AtomicI64,
    /// Requests that wait in any level.
    waiting: AtomicUsize,
    levels: Mutex<Vec<Weak<Level>>>,
}

impl Pool {
    pub(super) fn join(&self, level: &Arc<Level>) {
        self.levels.lock().push(Arc::downgrade(level));
    }

    /// Notes that a level gives something else now. One that takes from others is refused when they have nothing left.
    pub(super) fn change(&self, before: i64, after: i64, takes: bool) -> bool {
        let changed = |free: i64| {
            let left = free + after - before;
            (!takes || left >= 0).then_some(left)
        };
        self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, changed).is_ok()
    }

    /// What could be lent now.
    pub(super) fn free(&self) -> usize {
        usize::try_from(self.free.load(Ordering::SeqCst)).unwrap_or_default()
    }

    pub(super) fn waits(&self, more: usize) {
        self.waiting.fetch_add(more, Ordering::SeqCst);
    }

    pub(super) fn waited(&self, less: usize) {
        self.waiting.fetch_sub(less, Ordering::SeqCst);
    }

    /// Seats came free: those who wait get them, the level first that has the smallest part of its own.
    pub(super) fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut levels: Vec<Arc<Level>> = {
            let mut levels = self.levels.lock();
            levels.retain(|level| level.strong_count() > 0);
            levels.iter().filter_map(Weak::upgrade).collect()
        };
        levels.sort_by_cached_key(|level| level.fullness());
        levels.iter().for_each(|level| level.serve());
    }
}
