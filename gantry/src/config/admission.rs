//! Which admission plugins run, and what PodSecurity, PodNodeSelector and EventRateLimit hold requests to.
//!
//! Entry point: [`switches`]. The words are upstream's: its flags, and its plugins' configurations.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use api::pod_security::Policy;
use apiserver::{EventLimit, EventLimitType, Standards, Switches};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Pod Security Standards where namespaces do not name theirs, and whom they spare.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSecurity {
    /// `enforce`, `audit`, `warn`: a level; with `-version`: a release such as `v1.36`, or `latest`.
    #[serde(default)]
    pub defaults: BTreeMap<String, String>,
    /// Whose pods are not looked at.
    #[serde(default)]
    pub exemptions: Exemptions,
}

/// Whose pods are not looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exemptions {
    /// Users.
    #[serde(default)]
    pub usernames: Vec<String>,
    /// Runtime classes.
    #[serde(default)]
    pub runtime_classes: Vec<String>,
    /// Namespaces.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

/// A limit of EventRateLimit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventRateLimit {
    /// `Server`, `Namespace`, `User` or `SourceAndObject`.
    pub r#type: String,
    /// Events a second, in the long run.
    pub qps: u32,
    /// Events at once.
    pub burst: u32,
    /// How many namespaces, users or sources are remembered.
    #[serde(default)]
    pub cache_size: u32,
}

impl EventRateLimit {
    fn read(&self) -> Result<EventLimit> {
        let Some(by) = EventLimitType::parse(&self.r#type) else {
            bail!("eventRateLimits: {:?} is none of Server, Namespace, User, SourceAndObject", self.r#type);
        };
        if self.qps == 0 || self.burst == 0 {
            bail!("eventRateLimits: qps and burst must be positive");
        }
        let Self { qps, burst, .. } = *self;
        Ok(EventLimit { by, qps, burst, cache_size: usize::try_from(self.cache_size)? })
    }
}

/// From lists of names and the plugins' settings of the file.
///
/// # Errors
/// A level, version or limit that is none; names of plugins are checked by the API server.
pub(super) fn switches(
    enable: &[String],
    disable: &[String],
    standards: PodSecurity,
    node_selectors: BTreeMap<String, String>,
    limits: &[EventRateLimit],
) -> Result<Switches> {
    let names = |list: &[String]| -> Vec<String> {
        let names = list.iter().flat_map(|text| text.split(',')).map(str::trim);
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let prefix = "pod-security.kubernetes.io/";
    let labels = standards.defaults.iter().map(|(mode, word)| (format!("{prefix}{mode}"), json!(word)));
    let (defaults, wrong) = Policy::of_labels(&Value::Object(labels.collect()), Policy::default());
    if let Some(wrong) = wrong.first() {
        bail!("podSecurity.defaults: {}: {}", wrong.field, wrong.message);
    }
    let Exemptions { usernames, runtime_classes, namespaces } = standards.exemptions;
    let pod_security = Standards { defaults, usernames, runtime_classes, namespaces };
    let event_limits = limits.iter().map(EventRateLimit::read).collect::<Result<_>>()?;
    let (enable, disable) = (names(enable), names(disable));
    Ok(Switches { enable, disable, pod_security, node_selectors, event_limits })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file says, as the API server is told.
    fn read(text: &str) -> Result<Switches> {
        let file: super::super::File = serde_yaml::from_str(text)?;
        switches(
            &[],
            &[],
            file.pod_security.unwrap_or_default(),
            file.pod_node_selectors.unwrap_or_default(),
            &file.event_rate_limits.unwrap_or_default(),
        )
    }

    #[test]
    fn a_file_limits_events_and_chooses_nodes() {
        let switches = read(
            "podNodeSelectors: {clusterDefaultNodeSelector: 'a=b,c=d', team: 'disk=ssd'}\n\
             eventRateLimits:\n\
             - {type: Server, qps: 50, burst: 100}\n\
             - {type: SourceAndObject, qps: 1, burst: 2, cacheSize: 3}\n",
        )
        .expect("good settings");
        let selectors = [("clusterDefaultNodeSelector", "a=b,c=d"), ("team", "disk=ssd")];
        let selectors = selectors.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(switches.node_selectors, BTreeMap::from(selectors));
        let limit = |by, qps, burst, cache_size| EventLimit { by, qps, burst, cache_size };
        let limits =
            [limit(EventLimitType::Server, 50, 100, 0), limit(EventLimitType::SourceAndObject, 1, 2, 3)];
        assert_eq!(switches.event_limits, limits);
    }

    #[test]
    fn mistakes_in_limits_name_themselves() {
        for (text, expected) in [
            (
                "eventRateLimits: [{type: Cluster, qps: 1, burst: 1}]",
                "\"Cluster\" is none of Server, Namespace",
            ),
            ("eventRateLimits: [{type: User, qps: 0, burst: 1}]", "qps and burst must be positive"),
            ("eventRateLimits: [{type: User, qps: 1, burst: 0}]", "qps and burst must be positive"),
            ("eventRateLimits: [{type: User, qps: -1, burst: 1}]", "qps"),
            ("eventRateLimits: [{type: User, qps: 1}]", "burst"),
            ("eventRateLimits: [{type: User, qps: 1, burst: 1, size: 1}]", "size"),
            ("eventRateLimits: {}", "eventRateLimits"),
            ("podNodeSelectors: {a: [b]}", "podNodeSelectors"),
            ("podSecurity: {defaults: {enforce: harsh}}", "podSecurity.defaults"),
        ] {
            let error = read(text).expect_err(text);
            assert!(format!("{error:#}").contains(expected), "{text}: {error:#}");
        }
    }
}
