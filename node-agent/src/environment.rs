//! A container's environment: literal values, `$(VAR)` expansion, references, service links. Pure.
//!
//! Entry points: [`compose`] for variables, [`expand`] for `$(VAR)` in commands and arguments,
//! [`service_variables`] for the links of `enableServiceLinks`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvFromSource, EnvVarSource, Pod, ResourceFieldSelector, Secret, Service,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::resources;

/// What references may resolve to. Absent objects are `None`; objects nobody asked for are not listed.
#[derive(Debug, Clone, Default)]
pub struct Lookups {
    /// ConfigMaps of the pod's namespace by name.
    pub config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    /// Secrets of the pod's namespace by name.
    pub secrets: BTreeMap<String, Option<Arc<Secret>>>,
    /// All of them, if the pod refers to any.
    pub trust_bundles: Vec<Arc<ClusterTrustBundle>>,
    /// Services the pod should get variables for, already filtered by [`linked_services`].
    pub services: Vec<Arc<Service>>,
    /// Facts about the running pod.
    pub facts: PodFacts,
}

/// What the downward API can say beyond the object itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// `status.podIPs`.
    pub pod_ips: Vec<String>,
    /// `status.hostIPs`.
    pub host_ips: Vec<String>,
    /// Stands in for a missing cpu limit, thousandths.
    pub node_allocatable_milli_cpu: i128,
    /// Stands in for a missing memory limit, bytes.
    pub node_allocatable_memory_bytes: i128,
}

/// Why an environment cannot be made; the text is what users see with `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// A ConfigMap or Secret that is not optional is missing.
    #[error("{kind} \"{name}\" not found")]
    ObjectNotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object lacks a key that is not optional.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyNotFound {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Where.
        namespace: String,
        /// Which object.
        name: String,
        /// The missing key.
        key: String,
    },
    /// A fieldRef names something the downward API does not offer.
    #[error("unsupported fieldPath: {0}")]
    FieldPath(String),
    /// A resourceFieldRef names an unknown container or resource.
    #[error("unsupported container resource: {0}")]
    Resource(String),
}

/// Replaces `$(NAME)` by its value; `$$(NAME)` stays `$(NAME)`; unknown names stay as written.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some(close) = after.strip_prefix('(').and_then(|inner| inner.find(')')) {
            let name = &after[1..=close];
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[at..at + close + 3]),
            }
            rest = &after[close + 2..];
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// The variables of one container, in the order they are defined; later ones win over `envFrom` and links.
///
/// # Errors
/// When a reference that is not optional cannot be resolved.
pub fn compose(
    pod: &Pod,
    container: &Container,
    lookups: &Lookups,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let links: BTreeMap<String, String> = service_variables(&lookups.services).into_iter().collect();
    let mut result: indexmap::IndexMap<String, String> = indexmap::IndexMap::new();
    for source in container.env_from.iter().flatten() {
        for (key, value) in bulk(source, lookups)? {
            result.insert(key, value);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value_from, &variable.value) {
            (Some(source), _) => match resolve(pod, container, source, lookups)? {
                Some(value) => value,
                None => continue,
            },
            (None, Some(text)) => expand(text, |name| result.get(name).or_else(|| links.get(name)).cloned()),
            (None, None) => String::new(),
        };
        result.insert(variable.name.clone(), value);
    }
    let mut all: Vec<(String, String)> =
        links.into_iter().filter(|(name, _)| !result.contains_key(name)).collect();
    all.extend(result);
    Ok(all)
}

fn bulk(source: &EnvFromSource, lookups: &Lookups) -> Result<Vec<(String, String)>, EnvironmentError> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let named = |(key, value): (&String, String)| (format!("{prefix}{key}"), value);
    if let Some(reference) = &source.config_map_ref {
        let optional = reference.optional.unwrap_or(false);
        let object = find(&lookups.config_maps, &reference.name, "configmap", optional)?;
        let data = object.and_then(|map| map.data.as_ref());
        return Ok(data.into_iter().flatten().map(|(key, value)| named((key, value.clone()))).collect());
    }
    if let Some(reference) = &source.secret_ref {
        let optional = reference.optional.unwrap_or(false);
        let object = find(&lookups.secrets, &reference.name, "secret", optional)?;
        let data = object.and_then(|secret| secret.data.as_ref());
        return Ok(data
            .into_iter()
            .flatten()
            .map(|(key, value)| named((key, String::from_utf8_lossy(&value.0).into_owned())))
            .collect());
    }
    Ok(Vec::new())
}

fn find<'a, T>(
    objects: &'a BTreeMap<String, Option<Arc<T>>>,
    name: &str,
    kind: &'static str,
    optional: bool,
) -> Result<Option<&'a T>, EnvironmentError> {
    match objects.get(name) {
        Some(Some(object)) => Ok(Some(object)),
        _ if optional => Ok(None),
        _ => Err(EnvironmentError::ObjectNotFound { kind, name: name.to_owned() }),
    }
}

fn resolve(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    lookups: &Lookups,
) -> Result<Option<String>, EnvironmentError> {
    let missing_key = |kind: &'static str, name: &str, key: &str| EnvironmentError::KeyNotFound {
        kind,
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
        key: key.to_owned(),
    };
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional.unwrap_or(false);
        let Some(object) = find(&lookups.config_maps, &reference.name, "configmap", optional)? else {
            return Ok(None);
        };
        return match object.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(missing_key("ConfigMap", &reference.name, &reference.key)),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional.unwrap_or(false);
        let Some(object) = find(&lookups.secrets, &reference.name, "secret", optional)? else {
            return Ok(None);
        };
        return match object.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(missing_key("Secret", &reference.name, &reference.key)),
        };
    }
    if let Some(reference) = &source.field_ref {
        return field(pod, &reference.field_path, &lookups.facts).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return resource_field(pod, Some(container), reference, &lookups.facts).map(Some);
    }
    Ok(Some(String::new()))
}

/// One field of the downward API, as text.
///
/// # Errors
/// When the path is not offered.
pub fn field(pod: &Pod, path: &str, facts: &PodFacts) -> Result<String, EnvironmentError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.annotations" => meta.annotations.as_ref(),
            "metadata.labels" => meta.labels.as_ref(),
            _ => return Err(EnvironmentError::FieldPath(path.to_owned())),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.annotations" => format_map(meta.annotations.as_ref()),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.podIP" => text(facts.pod_ips.first()),
        "status.podIPs" => facts.pod_ips.join(","),
        "status.hostIP" => text(facts.host_ips.first()),
        "status.hostIPs" => facts.host_ips.join(","),
        _ => return Err(EnvironmentError::FieldPath(path.to_owned())),
    })
}

/// `metadata.labels['key']` → (`metadata.labels`, `key`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// `key="value"` lines, values quoted, as upstream's downward API writes maps.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

fn quote(value: &str) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A container's request or limit divided by the divisor, rounded up. A missing limit is the node's allocatable.
///
/// # Errors
/// When the container or the resource is unknown.
pub fn resource_field(
    pod: &Pod,
    own: Option<&Container>,
    reference: &ResourceFieldSelector,
    facts: &PodFacts,
) -> Result<String, EnvironmentError> {
    let unknown = || EnvironmentError::Resource(reference.resource.clone());
    let container = match reference.container_name.as_deref().filter(|name| !name.is_empty()) {
        None => own.ok_or_else(unknown)?,
        Some(name) => pod
            .spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
            .find(|container| container.name == name)
            .ok_or_else(unknown)?,
    };
    let (list, resource) = reference.resource.split_once('.').ok_or_else(unknown)?;
    let declared = container.resources.as_ref();
    let requests = declared.and_then(|resources| resources.requests.as_ref());
    let limits = declared.and_then(|resources| resources.limits.as_ref());
    let get = |map: Option<&BTreeMap<String, Quantity>>| {
        map.and_then(|map| map.get(resource)).and_then(resources::milli_value)
    };
    let milli = match list {
        "limits" => get(limits).unwrap_or_else(|| allocatable(resource, facts)),
        "requests" => get(requests).or_else(|| get(limits)).unwrap_or(0),
        _ => return Err(unknown()),
    };
    let divisor = reference.divisor.as_ref().and_then(resources::milli_value).filter(|d| *d > 0);
    let divisor = divisor.unwrap_or(1_000);
    Ok((milli / divisor + i128::from(milli % divisor > 0)).to_string())
}

fn allocatable(resource: &str, facts: &PodFacts) -> i128 {
    match resource {
        "cpu" => facts.node_allocatable_milli_cpu,
        "memory" => facts.node_allocatable_memory_bytes * 1_000,
        _ => 0,
    }
}

/// The services whose variables a pod of `namespace` sees: its own namespace's when links are on, and
/// always the API server's. Headless services have none.
pub fn linked_services(
    services: impl IntoIterator<Item = Arc<Service>>,
    namespace: &str,
    links: bool,
) -> Vec<Arc<Service>> {
    let has_address = |service: &Service| {
        let ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
        !ip.is_empty() && ip != "None"
    };
    let mut chosen: BTreeMap<String, Arc<Service>> = BTreeMap::new();
    for service in services.into_iter().filter(|service| has_address(service)) {
        let own = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.clone().unwrap_or_default();
        let master = own == "default" && name == "kubernetes";
        if own == namespace && (links || master) {
            chosen.insert(name, service);
        } else if master {
            chosen.entry(name).or_insert(service);
        }
    }
    chosen.into_values().collect()
}

/// Docker-link style variables of services (`REDIS_SERVICE_HOST`, `REDIS_PORT_6379_TCP_ADDR`, …).
pub fn service_variables(services: &[Arc<Service>]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let name = variable_name(service.metadata.name.as_deref().unwrap_or_default());
        let ip = spec.cluster_ip.clone().unwrap_or_default();
        let Some(first) = spec.ports.iter().flatten().next() else { continue };
        out.push((format!("{name}_SERVICE_HOST"), ip.clone()));
        out.push((format!("{name}_SERVICE_PORT"), first.port.to_string()));
        for port in spec.ports.iter().flatten() {
            if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                let variable = format!("{name}_SERVICE_PORT_{}", variable_name(port_name));
                out.push((variable, port.port.to_string()));
            }
        }
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
            if index == 0 {
                out.push((format!("{name}_PORT"), url.clone()));
            }
            let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
            out.push((prefix.clone(), url));
            out.push((format!("{prefix}_PROTO"), protocol.to_lowercase()));
            out.push((format!("{prefix}_PORT"), port.port.to_string()));
            out.push((format!("{prefix}_ADDR"), ip.clone()));
        }
    }
    out
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, expect) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(B)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("a$", "a$"),
            ("$()", "$()"),
        ] {
            assert_eq!(expand(text, lookup), expect, "{text}");
        }
    }

    fn pod() -> Pod {
        serde_yaml::from_str(
            "metadata: {name: web, namespace: ns, uid: u, labels: {app: web, b: 'x\"y'}}
spec: {nodeName: n1, containers: [{name: c, resources: {limits: {memory: 64Mi}, requests: {cpu: 250m}}}]}",
        )
        .expect("a pod")
    }

    fn lookups() -> Lookups {
        let map: ConfigMap =
            serde_yaml::from_str("{metadata: {name: m}, data: {K: v, L: w}}").expect("a map");
        let secret: Secret =
            serde_yaml::from_str("{metadata: {name: s}, data: {P: cGFzcw==}}").expect("a secret");
        Lookups {
            config_maps: BTreeMap::from([("m".to_owned(), Some(Arc::new(map))), ("gone".to_owned(), None)]),
            secrets: BTreeMap::from([("s".to_owned(), Some(Arc::new(secret)))]),
            trust_bundles: Vec::new(),
            services: Vec::new(),
            facts: PodFacts {
                pod_ips: vec!["10.42.0.2".to_owned()],
                host_ips: vec!["192.0.2.1".to_owned()],
                node_allocatable_milli_cpu: 2_000,
                node_allocatable_memory_bytes: 1 << 30,
            },
        }
    }

    fn check(container: &str, expect: &[(&str, &str)]) {
        let container: Container = serde_yaml::from_str(container).expect("a container");
        let mut pod = pod();
        if let Some(spec) = &mut pod.spec {
            spec.containers[0].env = container.env.clone();
            spec.containers[0].env_from = container.env_from.clone();
        }
        let own = pod.spec.as_ref().expect("spec").containers[0].clone();
        let got = compose(&pod, &own, &lookups()).expect("an environment");
        let got: Vec<(&str, &str)> = got.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn values_and_references() {
        check(
            "{name: c, env: [{name: A, value: x}, {name: B, value: '$(A)-$(C)'}]}",
            &[("A", "x"), ("B", "x-$(C)")],
        );
        check(
            "{name: c, envFrom: [{configMapRef: {name: m}, prefix: p_}, {secretRef: {name: s}}],
              env: [{name: p_K, value: mine}]}",
            &[("p_K", "mine"), ("p_L", "w"), ("P", "pass")],
        );
        check(
            "{name: c, env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: K}}},
              {name: B, valueFrom: {configMapKeyRef: {name: gone, key: K, optional: true}}},
              {name: C, valueFrom: {secretKeyRef: {name: s, key: P}}}]}",
            &[("A", "v"), ("C", "pass")],
        );
        check(
            "{name: c, env: [{name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
              {name: L, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}},
              {name: I, valueFrom: {fieldRef: {fieldPath: status.podIP}}},
              {name: M, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}},
              {name: U, valueFrom: {resourceFieldRef: {resource: limits.cpu}}},
              {name: R, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}]}",
            &[("N", "web"), ("L", "web"), ("I", "10.42.0.2"), ("M", "64"), ("U", "2"), ("R", "250")],
        );
    }

    #[test]
    fn errors_name_what_is_missing() {
        for (env, text) in [
            ("{configMapKeyRef: {name: gone, key: K}}", "configmap \"gone\" not found"),
            ("{configMapKeyRef: {name: m, key: Z}}", "couldn't find key Z in ConfigMap ns/m"),
            ("{secretKeyRef: {name: none, key: K}}", "secret \"none\" not found"),
            ("{fieldRef: {fieldPath: spec.x}}", "unsupported fieldPath: spec.x"),
        ] {
            let container: Container =
                serde_yaml::from_str(&format!("{{name: c, env: [{{name: A, valueFrom: {env}}}]}}"))
                    .expect("a container");
            let error = compose(&pod(), &container, &lookups()).expect_err("an error");
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn service_links() {
        let service = |yaml: &str| Arc::new(serde_yaml::from_str::<Service>(yaml).expect("a service"));
        let all = [
            service(
                "{metadata: {name: kubernetes, namespace: default}, spec: {clusterIP: 10.43.0.1, ports: [{port: 443}]}}",
            ),
            service(
                "{metadata: {name: my-db, namespace: ns}, spec: {clusterIP: 10.43.0.9, ports: [{name: sql, port: 5432}]}}",
            ),
            service(
                "{metadata: {name: headless, namespace: ns}, spec: {clusterIP: None, ports: [{port: 1}]}}",
            ),
            service(
                "{metadata: {name: other, namespace: x}, spec: {clusterIP: 10.43.0.7, ports: [{port: 1}]}}",
            ),
        ];
        let names = |links| {
            linked_services(all.iter().cloned(), "ns", links)
                .iter()
                .filter_map(|service| service.metadata.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(true), ["kubernetes", "my-db"]);
        assert_eq!(names(false), ["kubernetes"]);
        let variables: BTreeMap<String, String> = service_variables(&all[1..2]).into_iter().collect();
        assert_eq!(variables["MY_DB_SERVICE_HOST"], "10.43.0.9");
        assert_eq!(variables["MY_DB_SERVICE_PORT_SQL"], "5432");
        assert_eq!(variables["MY_DB_PORT_5432_TCP"], "tcp://10.43.0.9:5432");
        assert_eq!(variables.len(), 8);
    }
}
