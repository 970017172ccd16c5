//! Which admission plugins run, and what PodSecurity holds pods to.
//!
//! Entry point: [`switches`]. The words are upstream's: its flags, and its `PodSecurityConfiguration`.

use anyhow::{Result, bail};
use api::pod_security::Policy;
use apiserver::{Standards, Switches};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Pod Security Standards where namespaces do not name theirs, and whom they spare.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSecurity {
    /// `enforce`, `audit`, `warn`: a level; with `-version`: a release such as `v1.36`, or `latest`.
    #[serde(default)]
    pub defaults: std::collections::BTreeMap<String, String>,
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

/// From lists of names and the standards of the file.
///
/// # Errors
/// A level or version that is none; names of plugins are checked by the API server.
pub(super) fn switches(enable: &[String], disable: &[String], standards: PodSecurity) -> Result<Switches> {
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
    Ok(Switches { enable: names(enable), disable: names(disable), pod_security })
}
