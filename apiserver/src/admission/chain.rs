//! Which plugins run, and how each phase asks them.

use std::collections::{BTreeMap, BTreeSet};

use api::Status;
use serde_json::{Map, Value, json};

use super::{Attributes, EventLimit, ObjectKind, PLUGINS, Plugin, Standards, event_rate_limit};
use crate::call::Call;

/// Plugins to switch on and off, by name (upstream's `--enable-admission-plugins` and
/// `--disable-admission-plugins`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switches {
    /// Run these although they are off by default.
    pub enable: Vec<String>,
    /// Do not run these.
    pub disable: Vec<String>,
    /// What PodSecurity holds pods to.
    pub pod_security: Standards,
    /// PodNodeSelector's node selectors by namespace; `clusterDefaultNodeSelector` is for those without an annotation.
    pub node_selectors: BTreeMap<String, String>,
    /// EventRateLimit's limits.
    pub event_limits: Vec<EventLimit>,
}

impl Switches {
    /// The names of all plugins in the order they are asked, and whether each runs unless switched off.
    pub fn plugins() -> impl Iterator<Item = (&'static str, bool)> {
        PLUGINS.iter().map(|plugin| (plugin.name, plugin.on))
    }
}

/// The plugins that run, in order, and what they keep between requests.
pub(crate) struct Chain {
    plugins: Vec<&'static Plugin>,
    pub(super) event_limits: event_rate_limit::Limits,
}

impl Chain {
    /// The chain these switches make.
    ///
    /// # Errors
    /// A name that is no plugin's, or one that is to be on and off.
    pub(crate) fn new(switches: &Switches) -> Result<Self, String> {
        let names = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
        let (enable, disable) = (names(&switches.enable), names(&switches.disable));
        for name in enable.union(&disable) {
            if PLUGINS.iter().all(|plugin| plugin.name != name) {
                return Err(format!("admission plugin {name:?} is unknown"));
            }
        }
        if let Some(both) = enable.intersection(&disable).next() {
            return Err(format!("admission plugin {both:?} is both enabled and disabled"));
        }
        let runs =
            |plugin: &&Plugin| (plugin.on || enable.contains(plugin.name)) && !disable.contains(plugin.name);
        Ok(Self {
            plugins: PLUGINS.iter().filter(runs).collect(),
            event_limits: event_rate_limit::Limits::new(&switches.event_limits),
        })
    }
}

/// The first phase: every plugin may change the object. It comes before the kind's strategy.
pub(crate) async fn mutate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    mutate_once(attributes, object).await?;
    let again = {
        let mut reinvocation = attributes.reinvocation.lock();
        reinvocation.again = reinvocation.asked;
        reinvocation.again
    };
    if again {
        // What the first round made conditions of, the second does again.
        drop(attributes.conditions());
        mutate_once(attributes, object).await?;
    }
    Ok(())
}

async fn mutate_once(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    for plugin in &attributes.call.server.admission.plugins {
        if let Some(mutate) = plugin.mutate.filter(|_| plugin.handles(attributes)) {
            mutate(attributes, object).await.inspect_err(|status| refused(plugin, status))?;
        }
    }
    Ok(())
}

/// The second phase: the object is as it will be stored.
pub(crate) async fn validate(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    for plugin in &attributes.call.server.admission.plugins {
        if let Some(validate) = plugin.validate.filter(|_| plugin.handles(attributes)) {
            validate(attributes, object).await.inspect_err(|status| refused(plugin, status))?;
        }
    }
    Ok(())
}

fn refused(plugin: &Plugin, status: &Status) {
    tracing::debug!(plugin = plugin.name, message = status.message, "admission refused");
}

/// Both phases, for what has no strategy of its own.
pub(crate) async fn admit(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    mutate(attributes, object).await?;
    validate(attributes, object).await
}

/// Admits a stream or a proxied request; its object is made of the query, as upstream's options of a connection are.
pub(crate) async fn admit_connection(call: &Call, pairs: &[(String, String)]) -> Result<(), Status> {
    let (verb, flags, texts): (&str, &[&'static str], &[&'static str]) = match call.info.subresource.as_str()
    {
        "exec" => ("Exec", &["stdin", "stdout", "stderr", "tty"], &["container"]),
        "attach" => ("Attach", &["stdin", "stdout", "stderr", "tty"], &["container"]),
        "portforward" => ("PortForward", &[], &[]),
        _ => ("Proxy", &[], &[]),
    };
    let kind = format!("{}{verb}Options", call.kind.kind);
    let mut options = Map::new();
    options.insert("kind".to_owned(), kind.as_str().into());
    options.insert("apiVersion".to_owned(), "v1".into());
    let all = |key: &'static str| pairs.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.clone());
    for flag in flags {
        if all(flag).next().is_some_and(|value| !matches!(value.as_str(), "false" | "0")) {
            options.insert((*flag).to_owned(), true.into());
        }
    }
    for text in texts {
        if let Some(value) = all(text).next() {
            options.insert((*text).to_owned(), value.into());
        }
    }
    match verb {
        "Exec" => drop(options.insert("command".to_owned(), json!(all("command").collect::<Vec<_>>()))),
        "PortForward" => {
            let ports: Vec<u16> = all("ports").filter_map(|port| port.parse().ok()).collect();
            options.insert("ports".to_owned(), json!(ports));
        }
        "Proxy" => drop(options.insert("path".to_owned(), format!("/{}", call.info.rest).into())),
        _ => {}
    }
    let attributes = Attributes::connect(call).with_kind(ObjectKind::new(("", "v1", &kind)));
    admit(&attributes, &mut Value::Object(options)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(enable: &[&str], disable: &[&str]) -> Result<Vec<&'static str>, String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let switches = Switches { enable: owned(enable), disable: owned(disable), ..Switches::default() };
        Chain::new(&switches).map(|chain| chain.plugins.iter().map(|plugin| plugin.name).collect())
    }

    #[test]
    fn switches() {
        let usual = chain(&[], &[]).expect("a chain");
        assert_eq!(usual.first(), Some(&"NamespaceLifecycle"));
        assert!(!chain(&[], &["Priority"]).expect("a chain").contains(&"Priority"));
        assert_eq!(chain(&["Nope"], &[]).expect_err("unknown"), "admission plugin \"Nope\" is unknown");
        let both = chain(&["Priority"], &["Priority"]).expect_err("both");
        assert_eq!(both, "admission plugin \"Priority\" is both enabled and disabled");
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = PLUGINS.iter().map(|plugin| plugin.name).collect();
        assert_eq!(names.len(), PLUGINS.len());
    }
}
