//! Which images to remove when the disk fills: pure, as kubelet decides it. Above the high watermark, the images
//! not used for longest go until the low one is reached.

use std::time::Duration;

use jiff::Timestamp;

/// When to begin and when to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Percent of the disk in use at which removal begins (kubelet: 85).
    pub high_percent: u64,
    /// Percent at which it ends (kubelet: 80).
    pub low_percent: u64,
    /// Younger images stay (kubelet: 2 minutes): a pod may be about to use them.
    pub min_age: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, min_age: Duration::from_secs(120) }
    }
}

/// The disk that holds the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes in all.
    pub capacity: u64,
    /// Bytes still free.
    pub available: u64,
}

/// An image as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: String,
    /// Bytes its removal frees, about.
    pub size: u64,
    /// A container uses it.
    pub in_use: bool,
    /// Last seen in use; when it was loaded if never.
    pub last_used: Timestamp,
    /// When it came.
    pub loaded: Timestamp,
}

/// The ids to remove, in that order.
pub fn decide(policy: &Policy, disk: Disk, images: &[Candidate], now: Timestamp) -> Vec<String> {
    let used = disk.capacity.saturating_sub(disk.available);
    if disk.capacity == 0 || used.saturating_mul(100) < disk.capacity.saturating_mul(policy.high_percent) {
        return Vec::new();
    }
    let goal = disk.capacity / 100 * policy.low_percent;
    let mut to_free = used.saturating_sub(goal);
    let old = |image: &&Candidate| {
        Duration::try_from(now.duration_since(image.loaded)).is_ok_and(|age| age >= policy.min_age)
    };
    let mut candidates: Vec<&Candidate> = images.iter().filter(|image| !image.in_use).filter(old).collect();
    candidates.sort_by_key(|image| (image.last_used, image.loaded, &image.id));
    let mut chosen = Vec::new();
    for image in candidates {
        if to_free == 0 {
            break;
        }
        to_free = to_free.saturating_sub(image.size);
        chosen.push(image.id.clone());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, size: u64, used_at: i64) -> Candidate {
        Candidate {
            id: id.to_owned(),
            size,
            in_use: false,
            last_used: Timestamp::from_second(used_at).unwrap(),
            loaded: Timestamp::UNIX_EPOCH,
        }
    }

    fn check(available: u64, images: &[Candidate], expect: &[&str]) {
        let disk = Disk { capacity: 1000, available };
        let now = Timestamp::from_second(1000).unwrap();
        assert_eq!(decide(&Policy::default(), disk, images, now), expect);
    }

    #[test]
    fn least_recently_used_first_until_low() {
        let images = [image("new", 30, 900), image("old", 30, 100), image("older", 30, 50)];
        check(151, &images, &[]);
        check(150, &images, &["older", "old"]);
        check(100, &images, &["older", "old", "new"]);
    }

    #[test]
    fn used_and_young_ones_stay() {
        let mut used = image("used", 500, 1);
        used.in_use = true;
        let mut young = image("young", 500, 1);
        young.loaded = Timestamp::from_second(990).unwrap();
        check(0, &[used, young], &[]);
    }
}
