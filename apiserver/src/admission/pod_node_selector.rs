//! PodNodeSelector: a namespace's annotation, or the configuration, says on which nodes its pods run.

use std::collections::BTreeMap;

use api::{Reason, Status};
use serde_json::{Map, Value};

use super::Attributes;

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// The configuration's selector for namespaces without an annotation.
const CLUSTER_DEFAULT: &str = "clusterDefaultNodeSelector";

type Selector = BTreeMap<String, String>;

/// From `key=value,key=value`.
fn parse(text: &str) -> Result<Selector, Status> {
    if text.is_empty() {
        return Ok(Selector::new());
    }
    let pairs = text.split(',').map(|pair| {
        let parts: Vec<&str> = pair.split('=').collect();
        match parts.as_slice() {
            [key, value] => Ok((key.trim().to_owned(), value.trim().to_owned())),
            // The parts as Go prints a list of them.
            parts => {
                let words = format!("invalid selector: [{}]", parts.join(" "));
                Err(Status::new(Reason::InternalError, words))
            }
        }
    });
    pairs.collect()
}

fn configured(attributes: &Attributes<'_>, name: &str) -> Result<Selector, Status> {
    let selectors = &attributes.call.server.config.admission.node_selectors;
    selectors.get(name).map_or_else(|| Ok(Selector::new()), |text| parse(text))
}

/// What the pod's namespace asks for.
async fn of_namespace(attributes: &Attributes<'_>) -> Result<Selector, Status> {
    let name = attributes.namespace();
    let namespace = attributes.stored(("", "namespaces"), None, name).await?;
    let namespace = namespace.ok_or_else(|| Status::not_found("", "namespaces", name))?;
    match namespace["metadata"]["annotations"][ANNOTATION].as_str() {
        Some(text) => parse(text),
        None => configured(attributes, CLUSTER_DEFAULT),
    }
}

fn of_pod(pod: &Value) -> Selector {
    let pairs = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

pub(super) async fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let wanted = of_namespace(attributes).await?;
    check(attributes, pod, &wanted)?;
    let merged: Map<String, Value> =
        wanted.into_iter().chain(of_pod(pod)).map(|(key, value)| (key, value.into())).collect();
    if !merged.is_empty() {
        pod["spec"]["nodeSelector"] = merged.into();
    }
    Ok(())
}

pub(super) async fn validate(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    check(attributes, pod, &of_namespace(attributes).await?)
}

/// That the pod does not want other nodes than its namespace, nor more than the configuration allows it.
fn check(attributes: &Attributes<'_>, pod: &Value, wanted: &Selector) -> Result<(), Status> {
    let selector = of_pod(pod);
    if selector.iter().any(|(key, value)| wanted.get(key).is_some_and(|other| other != value)) {
        let detail = "pod node label selector conflicts with its namespace node label selector";
        return Err(attributes.forbidden(pod, detail));
    }
    let allowed = configured(attributes, attributes.namespace())?;
    if !allowed.is_empty() && selector.iter().any(|(key, value)| allowed.get(key) != Some(value)) {
        let detail = "pod node label selector labels conflict with its namespace whitelist";
        return Err(attributes.forbidden(pod, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_pairs() {
        for (text, expect) in [
            ("", Ok(&[][..])),
            ("a=b", Ok(&[("a", "b")])),
            ("a=b, c/d = e", Ok(&[("a", "b"), ("c/d", "e")])),
            ("a=", Ok(&[("a", "")])),
            ("a", Err("invalid selector: [a]")),
            ("a=b=c", Err("invalid selector: [a b c]")),
            ("a=b,", Err("invalid selector: []")),
            ("a!=b,c", Err("invalid selector: [c]")),
        ] {
            let expect = expect.map_err(str::to_owned).map(|pairs| {
                pairs
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect::<Selector>()
            });
            assert_eq!(parse(text).map_err(|status| status.message), expect, "{text:?}");
        }
    }
}
