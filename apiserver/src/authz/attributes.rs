//! What somebody wants to do, in the words authorizers use (upstream's `authorizer.Attributes`).
//!
//! Entry points: [`Attributes::of`] for a request, or the struct itself for a question somebody asks.

use api::selector::{FieldSelector, LabelSelector};

use crate::request::RequestInfo;

/// A wish; the user is told apart. Texts that do not apply are empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attributes<'a> {
    /// `get`, `list`, …, or any word of a rule (`bind`, `impersonate`); for a path the method in lower case.
    pub(crate) verb: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    /// Plural.
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
    /// Whether the wish is about a resource and not about a path.
    pub(crate) is_resource: bool,
    /// What a list, watch or deletion of a collection is narrowed to (KEP-4601).
    pub(crate) selectors: Option<&'a Selectors>,
}

impl<'a> Attributes<'a> {
    /// What a request asks for.
    pub(crate) fn of(info: &'a RequestInfo, selectors: Option<&'a Selectors>) -> Self {
        // A list of one name is a wish for that name, too.
        let pinned = || selectors.and_then(|selectors| selectors.field.exact("metadata.name"));
        let name = if info.name.is_empty() { pinned().unwrap_or_default() } else { &info.name };
        // A namespace is in itself: who may read namespaces in one may read that one.
        let is_namespace = info.group.is_empty() && info.resource == "namespaces";
        Self {
            verb: info.verb,
            namespace: if is_namespace { &info.name } else { &info.namespace },
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            name,
            path: &info.path,
            is_resource: info.is_resource(),
            selectors,
        }
    }

    /// `pods`, `pods/status`.
    pub(crate) fn qualified_resource(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

/// The selectors of a wish. One that cannot be read selects everything, which grants nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selectors {
    pub(crate) field: FieldSelector,
    pub(crate) label: LabelSelector,
}

impl Selectors {
    /// From a request's query, when the verb is one that selects.
    pub(crate) fn of_query(verb: &str, pairs: &[(String, String)]) -> Option<Self> {
        if !matches!(verb, "list" | "watch" | "deletecollection") {
            return None;
        }
        // Of several values the first counts, even an empty one: it is the one that is served.
        let first = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let text = |key: &str| first(key).filter(|value| !value.is_empty());
        let (field, label) = (text("fieldSelector"), text("labelSelector"));
        (field.is_some() || label.is_some())
            .then(|| Self::parse(field.unwrap_or_default(), label.unwrap_or_default()))
    }

    /// From texts.
    pub(crate) fn parse(field: &str, label: &str) -> Self {
        Self {
            field: FieldSelector::parse(field).unwrap_or_default(),
            label: LabelSelector::parse(label).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Options, query_pairs};

    /// A name that is allowed must not hide a list of all: what is judged is what is served.
    #[test]
    fn the_selector_that_is_judged_is_the_one_that_is_served() {
        for (query, pinned) in [
            ("fieldSelector=metadata.name=a", Some("a")),
            ("fieldSelector=&fieldSelector=metadata.name=a", None),
            ("fieldSelector=metadata.name=a&fieldSelector=", Some("a")),
            ("fieldSelector=metadata.name=a&fieldSelector=metadata.name=b", Some("a")),
            ("fieldSelector=metadata.name!=a", None),
            ("", None),
        ] {
            let pairs = query_pairs(&format!("/api?{query}").parse().expect("a uri")).expect("pairs");
            let judged = Selectors::of_query("list", &pairs).unwrap_or_default().field;
            let served = Options::parse("list", &pairs).expect("options").field_selector;
            assert_eq!(judged.exact("metadata.name"), pinned, "{query}");
            assert_eq!(judged, FieldSelector::parse(&served).expect("a selector"), "{query}");
        }
    }
}
