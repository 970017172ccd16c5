//! Answers of a webhook, each for a while, and not too many.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

/// Answers kept (upstream's LRU cache has as many).
const MOST: usize = 8192;

/// Answers by question.
#[derive(Default)]
pub(super) struct Cache {
    /// With the time of the monotonic clock until which each holds.
    answers: BTreeMap<String, (Duration, Value)>,
    /// Questions, the one kept for longest first.
    order: VecDeque<String>,
}

impl Cache {
    /// The answer to a question, if it still holds.
    pub(super) fn get(&self, question: &str, now: Duration) -> Option<Value> {
        let (until, answer) = self.answers.get(question)?;
        (*until > now).then(|| answer.clone())
    }

    /// Keeps an answer; the oldest makes room.
    pub(super) fn keep(&mut self, question: String, answer: Value, now: Duration, span: Duration) {
        if self.answers.insert(question.clone(), (now + span, answer)).is_none() {
            self.order.push_back(question);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_and_are_not_too_many() {
        let second = Duration::from_secs;
        let mut cache = Cache::default();
        cache.keep("q".to_owned(), Value::Bool(true), second(1), second(5));
        assert_eq!(cache.get("q", second(5)), Some(Value::Bool(true)));
        assert_eq!(cache.get("q", second(6)), None);
        for number in 0..MOST {
            cache.keep(number.to_string(), Value::Null, second(1), second(5));
        }
        assert_eq!((cache.get("q", second(2)), cache.answers.len(), cache.order.len()), (None, MOST, MOST));
    }
}
