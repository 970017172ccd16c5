//! `gantry create service clusterip|nodeport|loadbalancer|externalname` and `create ingress`.

use serde_json::{Map, Value, json};

use super::{Common, with};
use crate::ctl::{Failure, Outcome};

/// Types of services.
#[derive(clap::Subcommand)]
pub enum Service {
    /// An address inside the cluster.
    #[command(name = "clusterip")]
    ClusterIp(Flags),
    /// A port on every node too.
    #[command(name = "nodeport")]
    NodePort(Flags),
    /// An address outside too.
    #[command(name = "loadbalancer")]
    LoadBalancer(Flags),
    /// Another name.
    #[command(name = "externalname")]
    ExternalName(Flags),
}

/// Flags of all of them.
#[derive(clap::Args)]
#[group(skip)]
pub struct Flags {
    name: String,
    #[command(flatten)]
    common: Common,
    /// PORT or PORT:TARGETPORT; may be repeated.
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    tcp: Vec<String>,
    /// The address, or `None`.
    #[arg(long, value_name = "IP", default_value = "")]
    clusterip: String,
    /// The port on every node.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    node_port: u16,
    /// The other name.
    #[arg(long, value_name = "NAME", default_value = "")]
    external_name: String,
}

impl Service {
    fn flags(&self) -> (&Flags, &'static str) {
        match self {
            Self::ClusterIp(flags) => (flags, "ClusterIP"),
            Self::NodePort(flags) => (flags, "NodePort"),
            Self::LoadBalancer(flags) => (flags, "LoadBalancer"),
            Self::ExternalName(flags) => (flags, "ExternalName"),
        }
    }

    pub(super) fn common(&self) -> &Common {
        &self.flags().0.common
    }

    pub(super) fn object(&self) -> Outcome<Value> {
        let (flags, kind) = self.flags();
        let ports = flags.tcp.iter().map(|text| flags.port(text)).collect::<Outcome<Vec<Value>>>()?;
        let headless = flags.clusterip == "None";
        if ports.is_empty() && !headless && kind != "ExternalName" {
            return Err(Failure::new("at least one tcp port specifier must be provided"));
        }
        if kind == "ExternalName" && flags.external_name.is_empty() {
            return Err(Failure::new("required flag(s) \"external-name\" not set"));
        }
        let mut spec = json!({"selector": {"app": flags.name}, "type": kind});
        for (field, value) in [("clusterIP", &flags.clusterip), ("externalName", &flags.external_name)] {
            if !value.is_empty() {
                spec[field] = json!(value);
            }
        }
        if !ports.is_empty() {
            spec["ports"] = Value::Array(ports);
        }
        Ok(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"labels": {"app": flags.name}, "name": flags.name},
            "spec": spec, "status": {"loadBalancer": {}}}))
    }
}

impl Flags {
    fn port(&self, text: &str) -> Outcome<Value> {
        let number = |text: &str| -> Outcome<u16> {
            text.parse()
                .map_err(|_| Failure::new(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
        };
        let (port, target) = text.split_once(':').unwrap_or((text, text));
        let target = target.parse::<u16>().map_or_else(|_| json!(target), |number| json!(number));
        let name = text.replace(':', "-");
        let mut entry = json!({"name": name, "port": number(port)?, "protocol": "TCP", "targetPort": target});
        if self.node_port > 0 {
            entry["nodePort"] = json!(self.node_port);
        }
        Ok(entry)
    }
}

/// Flags of `create ingress`.
#[derive(clap::Args)]
pub struct Ingress {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// The class.
    #[arg(long, value_name = "NAME", default_value = "")]
    class: String,
    /// HOST/PATH=SERVICE:PORT[,tls[=SECRET]]; may be repeated.
    #[arg(long, value_name = "RULE")]
    rule: Vec<String>,
    /// What answers everything else: SERVICE:PORT.
    #[arg(long, value_name = "SERVICE:PORT", default_value = "")]
    default_backend: String,
    /// KEY=VALUE; may be repeated.
    #[arg(long, value_name = "ANNOTATION")]
    annotation: Vec<String>,
}

fn backend(text: &str) -> Outcome<Value> {
    let (service, port) = text
        .split_once(':')
        .filter(|(service, port)| !service.is_empty() && !port.is_empty())
        .ok_or_else(|| Failure::new(format!("{text} is not SERVICE:PORT")))?;
    let port = port.parse::<u16>().map_or_else(|_| json!({"name": port}), |number| json!({"number": number}));
    Ok(json!({"service": {"name": service, "port": port}}))
}

impl Ingress {
    pub(super) fn object(&self) -> Outcome<Value> {
        if self.rule.is_empty() && self.default_backend.is_empty() {
            return Err(Failure::new(
                "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)",
            ));
        }
        let mut spec = Map::new();
        if !self.class.is_empty() {
            spec.insert("ingressClassName".to_owned(), json!(self.class));
        }
        if !self.default_backend.is_empty() {
            spec.insert("defaultBackend".to_owned(), backend(&self.default_backend)?);
        }
        let (rules, tls) = self.rules()?;
        if !rules.is_empty() {
            spec.insert("rules".to_owned(), Value::Array(rules));
        }
        if !tls.is_empty() {
            spec.insert("tls".to_owned(), Value::Array(tls));
        }
        let mut metadata = json!({"name": self.name});
        for pair in &self.annotation {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            metadata["annotations"][key] = json!(value);
        }
        let head = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata});
        Ok(with(head, json!({"spec": spec, "status": {"loadBalancer": {}}})))
    }

    /// Rules by host, and hosts by secret.
    fn rules(&self) -> Outcome<(Vec<Value>, Vec<Value>)> {
        let (mut rules, mut tls): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for text in &self.rule {
            let wrong = || {
                Failure::new(format!(
                    "rule {text} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
                ))
            };
            let (main, secret) = match text.split_once(",tls") {
                Some((main, secret)) => (main, Some(secret.trim_start_matches('='))),
                None => (text.as_str(), None),
            };
            let (place, service) = main.split_once('=').ok_or_else(wrong)?;
            let (host, path) = place.split_at(place.find('/').ok_or_else(wrong)?);
            let (path, kind) = match path.strip_suffix('*') {
                Some(prefix) => (prefix, "Prefix"),
                None => (path, "Exact"),
            };
            let entry = json!({"backend": backend(service)?, "path": path, "pathType": kind});
            let same = |rule: &&mut Value| rule["host"].as_str().unwrap_or_default() == host;
            match rules.iter_mut().find(same).and_then(|rule| rule["http"]["paths"].as_array_mut()) {
                Some(paths) => paths.push(entry),
                None if host.is_empty() => rules.push(json!({"http": {"paths": [entry]}})),
                None => rules.push(json!({"host": host, "http": {"paths": [entry]}})),
            }
            if let Some(secret) = secret {
                tls.push(match (host, secret) {
                    ("", secret) => json!({"secretName": secret}),
                    (host, "") => json!({"hosts": [host]}),
                    (host, secret) => json!({"hosts": [host], "secretName": secret}),
                });
            }
        }
        tls.dedup();
        Ok((rules, tls))
    }
}
