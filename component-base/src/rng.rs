//! The only source of chance: uids, name suffixes, jitter.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// Letters upstream uses in generated names: no vowels and nothing easily misread, so no words appear.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Shared, lockable randomness.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<StdRng>>);

impl Rng {
    /// Seeded by the operating system.
    pub fn from_system() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// The same sequence in every run.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// From here on the sequence of a seed, for all who share this: what came before makes no difference to it.
    pub fn reseed(&self, seed: u64) {
        *self.0.lock() = StdRng::seed_from_u64(seed);
    }

    /// A version 4 UUID.
    pub fn uid(&self) -> String {
        let mut bytes = [0_u8; 16];
        self.0.lock().fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// `length` characters for the end of a generated name; upstream uses 5.
    pub fn name_suffix(&self, length: usize) -> String {
        let mut rng = self.0.lock();
        (0..length).map(|_| char::from(NAME_ALPHABET[rng.random_range(0..NAME_ALPHABET.len())])).collect()
    }

    /// A number below `bound` (which must be positive; 0 gives 0).
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.lock().random_range(0..bound) }
    }

    /// `duration` lengthened by up to `fraction` of itself.
    pub fn jitter(&self, duration: Duration, fraction: f64) -> Duration {
        let factor = 1.0 + self.0.lock().random::<f64>() * fraction.max(0.0);
        duration.mul_f64(factor)
    }

    /// Random bytes, fit for keys and tokens.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0_u8; N];
        self.0.lock().fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_names() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        assert_eq!(a.uid(), b.uid());
        assert_eq!(a.name_suffix(5), b.name_suffix(5));
        assert_eq!(a.name_suffix(5).len(), 5);
    }

    #[test]
    fn uid_is_version_4() {
        let uid = uuid::Uuid::parse_str(&Rng::seeded(1).uid()).expect("a uuid");
        assert_eq!(uid.get_version_num(), 4);
    }
}
