//! Which objects a list or watch is about.

use std::sync::Arc;

use api::object::Index;
use api::selector::{FieldSelector, LabelSelector};
use api::{Kind, Status};

use crate::call::{Call, index};
use crate::storage::Entry;

/// Selectors of one request, ready to match.
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    stored: Arc<Kind>,
}

impl Selection {
    /// The selectors of a call; a name in the path (legacy `/watch/` paths) counts as one.
    ///
    /// # Errors
    /// 400 in upstream's words.
    pub(crate) fn of(call: &Call) -> Result<Self, Status> {
        let labels = LabelSelector::parse(&call.options.label_selector)?;
        let mut text = call.options.field_selector.clone();
        if !call.info.name.is_empty() {
            text =
                format!("{text}{}metadata.name={}", if text.is_empty() { "" } else { "," }, call.info.name);
        }
        let fields = FieldSelector::parse(&text)?.resolve(&call.kind)?;
        Ok(Self { labels, fields, stored: Arc::clone(&call.stored) })
    }

    /// Whether nothing is filtered.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The one name that can match, if there is one.
    pub(crate) fn only_name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }

    /// Whether an object is wanted.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        if self.is_everything() {
            return true;
        }
        if self.stored.is_custom() && !self.fields.is_everything() {
            // Versions differ in what can be selected, and definitions change: no index is kept of it.
            let index = Index::parse(&entry.bytes, &self.stored.selectable_fields);
            return self.labels.matches(&index.labels) && self.fields.matches(&index);
        }
        let index = index(entry, &self.stored);
        self.labels.matches(&index.labels) && self.fields.matches(index)
    }
}
