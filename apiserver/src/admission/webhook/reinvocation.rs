//! Who wants a second look after the object changed.
//!
//! A mutating webhook or policy that says `IfNeeded` is asked once more when a later one, or a plugin of the
//! second round, changed the object after it. Source: upstream's `reinvocationcontext.go`.

use std::collections::BTreeSet;

use serde_json::Value;

/// What one kind of mutation remembers between the two rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Asked since the object last changed, and willing to be asked again.
    asked: BTreeSet<String>,
    /// To be asked again.
    again: BTreeSet<String>,
    /// The object as the last of them left it.
    left: Option<Value>,
}

impl Rounds {
    /// The second round begins: what in-tree plugins changed since counts, too.
    pub(crate) fn begin_again(&mut self, object: &Value) {
        if self.left.as_ref() != Some(object) {
            self.changed();
        }
    }

    /// The object was changed: all who saw it before want another look.
    pub(crate) fn changed(&mut self) {
        self.again.append(&mut self.asked);
    }

    /// Somebody who may be asked again was asked.
    pub(crate) fn asked(&mut self, id: &str) {
        self.asked.insert(id.to_owned());
    }

    /// Whether this one is to be asked in the second round; nobody is asked there for the first time.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.again.contains(id)
    }

    /// The round is over.
    pub(crate) fn end(&mut self, object: &Value) {
        self.left = Some(object.clone());
    }
}
