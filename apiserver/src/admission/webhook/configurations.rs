//! The webhooks there are, kept in memory and compiled.
//!
//! Entry points: [`Hooks::mutating`] and [`Hooks::validating`], in the order they are asked: by the name of their
//! configuration, then as they stand in it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use api::cel::admission::{Composer, Conditions};
use serde_json::Value;

use super::matching::Criteria;
use crate::followed::Index;
use crate::storage::Entry;
use crate::webhook_client::Target;

const GROUP: &str = "admissionregistration.k8s.io";
const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";
/// What [`Hooks`] is made of, for `Followed`.
pub(crate) const KINDS: [(&str, &str); 2] = [(GROUP, MUTATING), (GROUP, VALIDATING)];
/// The API's default.
const TIMEOUT_SECONDS: u64 = 10;

/// Match conditions of webhooks know no parameters and no variables, so that one serves all.
pub(super) static COMPOSER: LazyLock<Composer> = LazyLock::new(Composer::default);

/// A webhook.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(super) name: String,
    pub(super) configuration: String,
    /// Unlike any other's, as long as it is the same.
    pub(super) id: String,
    pub(super) criteria: Criteria,
    pub(super) conditions: Conditions,
    pub(super) target: Target,
    pub(super) review_versions: Vec<String>,
    pub(super) timeout: Duration,
    /// `failurePolicy: Fail`.
    pub(super) fails: bool,
    /// Whether it may be asked about what is not going to happen.
    pub(super) dry_runs: bool,
    /// `reinvocationPolicy: IfNeeded`.
    pub(super) reinvocable: bool,
}

impl Hook {
    fn read(configuration: &str, at: usize, hook: &Value) -> Self {
        let fails = hook["failurePolicy"] != "Ignore";
        let versions = hook["admissionReviewVersions"].as_array();
        let name = hook["name"].as_str().unwrap_or_default().to_owned();
        Self {
            id: format!("{configuration}/{name}/{at}"),
            configuration: configuration.to_owned(),
            criteria: Criteria::of_webhook(hook),
            conditions: Conditions::compile(&COMPOSER, &hook["matchConditions"], false, fails),
            target: Target::of(&hook["clientConfig"]),
            review_versions: versions
                .into_iter()
                .flatten()
                .filter_map(|version| version.as_str().map(str::to_owned))
                .collect(),
            timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_SECONDS)),
            dry_runs: matches!(hook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")),
            reinvocable: hook["reinvocationPolicy"] == "IfNeeded",
            fails,
            name,
        }
    }
}

/// All webhooks of one phase.
#[derive(Default)]
struct Phase {
    /// By key.
    configurations: BTreeMap<String, Vec<Arc<Hook>>>,
    all: Arc<[Arc<Hook>]>,
}

impl Phase {
    fn set(&mut self, key: &str, hooks: Option<Vec<Arc<Hook>>>) {
        match hooks {
            Some(hooks) => drop(self.configurations.insert(key.to_owned(), hooks)),
            None => drop(self.configurations.remove(key)),
        }
        self.all = self.configurations.values().flatten().cloned().collect();
    }
}

/// Both phases.
#[derive(Default)]
pub(crate) struct Hooks {
    mutating: Phase,
    validating: Phase,
}

impl Hooks {
    pub(crate) fn mutating(&self) -> Arc<[Arc<Hook>]> {
        Arc::clone(&self.mutating.all)
    }

    pub(crate) fn validating(&self) -> Arc<[Arc<Hook>]> {
        Arc::clone(&self.validating.all)
    }

    fn phase(&mut self, key: &str) -> &mut Phase {
        if key.contains(MUTATING) { &mut self.mutating } else { &mut self.validating }
    }
}

impl Index for Hooks {
    fn put(&mut self, entry: &Entry) {
        let configuration: Value = match serde_json::from_slice(&entry.bytes) {
            Ok(configuration) => configuration,
            Err(error) => return tracing::error!(key = &*entry.key, %error, "webhooks cannot be read"),
        };
        let name = api::object::name(&configuration);
        let hooks = configuration["webhooks"].as_array().into_iter().flatten().enumerate();
        let hooks = hooks.map(|(at, hook)| Arc::new(Hook::read(name, at, hook))).collect();
        self.phase(&entry.key).set(&entry.key, Some(hooks));
    }

    fn remove(&mut self, key: &str) {
        self.phase(key).set(key, None);
    }
}
