//! `gantry expose` and `gantry autoscale`: a service or an autoscaler for an object that is there.

use serde_json::{Map, Value, json};

use super::connection::Connection;
use super::create::{Common, sent};
use super::manifest::Files;
use super::resources::Resources;
use super::selection::{Choice, Target};
use super::{Failure, Outcome};

/// Which objects.
#[derive(clap::Args)]
pub struct Which {
    /// TYPE NAME…, TYPE/NAME…
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    common: Common,
    /// The new object's name; that of the other by default.
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
}

impl Which {
    async fn targets(&self, connection: &Connection, resources: &Resources) -> Outcome<Vec<Target>> {
        let choice = Choice { fetch: true, ..Choice::of(&self.words, &self.files) };
        choice.exactly(connection, resources).await
    }

    fn name_for(&self, target: &Target) -> String {
        if self.name.is_empty() { target.name.clone() } else { self.name.clone() }
    }

    async fn make(
        &self,
        connection: &Connection,
        resources: &Resources,
        object: Value,
        what: &str,
    ) -> Outcome {
        let made = sent(connection, resources, &self.common, object, what).await?;
        let said = if what == "kubectl-expose" { "exposed" } else { "autoscaled" };
        self.common.change.report()?.tell(resources.of(&made, "")?, &made, said)
    }
}

/// Flags of `expose`.
#[derive(clap::Args)]
pub struct Exposing {
    #[command(flatten)]
    which: Which,
    /// The service's port; that of the containers by default.
    #[arg(long, value_name = "PORT", default_value = "")]
    port: String,
    /// The containers' port or its name.
    #[arg(long, value_name = "PORT", default_value = "")]
    target_port: String,
    /// `TCP`, `UDP` or `SCTP`.
    #[arg(long, value_name = "PROTOCOL", default_value = "")]
    protocol: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[arg(long = "type", value_name = "TYPE", default_value = "")]
    kind: String,
    /// The address, or `None`.
    #[arg(long, value_name = "IP", default_value = "")]
    cluster_ip: String,
    /// An address outside.
    #[arg(long, value_name = "IP", default_value = "")]
    external_ip: String,
    /// The balancer's address.
    #[arg(long, value_name = "IP", default_value = "")]
    load_balancer_ip: String,
    /// `None` or `ClientIP`.
    #[arg(long, value_name = "KIND", default_value = "")]
    session_affinity: String,
    /// The service's selector; that of the object by default.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// KEY=VALUE,…
    #[arg(short, long, value_name = "LABELS", default_value = "")]
    labels: String,
}

fn pairs(text: &str) -> Value {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    Value::Object(pairs.map(|(key, value)| (key.to_owned(), json!(value))).collect())
}

/// Exposes objects.
pub async fn run(connection: &Connection, arguments: Exposing) -> Outcome {
    let resources = Resources::discover(connection).await?;
    for target in arguments.which.targets(connection, &resources).await? {
        let service = arguments.service(&target)?;
        arguments.which.make(connection, &resources, service, "kubectl-expose").await?;
    }
    Ok(())
}

impl Exposing {
    fn service(&self, target: &Target) -> Outcome<Value> {
        let name = self.which.name_for(target);
        let labels = if self.labels.is_empty() {
            target.object["metadata"]["labels"].clone()
        } else {
            pairs(&self.labels)
        };
        let mut metadata = json!({"name": name});
        if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
            metadata["labels"] = labels;
        }
        let mut spec = Map::new();
        spec.insert("ports".to_owned(), Value::Array(self.ports(target)?));
        spec.insert("selector".to_owned(), self.selector_of(target)?);
        for (field, value) in [
            ("type", &self.kind),
            ("clusterIP", &self.cluster_ip),
            ("loadBalancerIP", &self.load_balancer_ip),
            ("sessionAffinity", &self.session_affinity),
        ] {
            if !value.is_empty() {
                spec.insert(field.to_owned(), json!(value));
            }
        }
        if !self.external_ip.is_empty() {
            spec.insert("externalIPs".to_owned(), json!([self.external_ip]));
        }
        Ok(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec,
            "status": {"loadBalancer": {}}}))
    }

    fn selector_of(&self, target: &Target) -> Outcome<Value> {
        if !self.selector.is_empty() {
            return Ok(pairs(&self.selector));
        }
        let object = &target.object;
        let found = match target.resource.kind.as_str() {
            "Pod" => &object["metadata"]["labels"],
            "Service" | "ReplicationController" => &object["spec"]["selector"],
            "Deployment" | "ReplicaSet" => {
                let selector = &object["spec"]["selector"];
                if selector["matchExpressions"].as_array().is_some_and(|all| !all.is_empty()) {
                    return Err(Failure::new(
                        "couldn't convert expressions - \"matchExpressions\" to map-based selector format",
                    ));
                }
                &selector["matchLabels"]
            }
            other => return Err(Failure::new(format!("cannot expose a {other}"))),
        };
        match found.as_object().is_some_and(|labels| !labels.is_empty()) {
            true => Ok(found.clone()),
            false => Err(Failure::new(
                "couldn't retrieve selectors via --selector flag or introspection: the object has none",
            )),
        }
    }

    /// The ports asked for, or those the object has.
    fn ports(&self, target: &Target) -> Outcome<Vec<Value>> {
        let (spec, kind) = (&target.object["spec"], target.resource.kind.as_str());
        let pod = if kind == "Pod" { spec } else { &spec["template"]["spec"] };
        let own = |ports: &Value, field: &str| -> Vec<(i64, String)> {
            let all = ports.as_array().into_iter().flatten();
            all.map(|p| {
                (p[field].as_i64().unwrap_or_default(), p["protocol"].as_str().unwrap_or("TCP").to_owned())
            })
            .collect()
        };
        let known: Vec<(i64, String)> = match kind {
            "Service" => own(&spec["ports"], "port"),
            _ => pod["containers"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|c| own(&c["ports"], "containerPort"))
                .collect(),
        };
        let wanted: Vec<i64> = match self.port.as_str() {
            "" => known.iter().map(|(port, _)| *port).collect(),
            text => text
                .split(',')
                .map(|port| {
                    port.trim()
                        .parse()
                        .map_err(|_| Failure::new(format!("strconv.Atoi: parsing {port:?}: invalid syntax")))
                })
                .collect::<Outcome<_>>()?,
        };
        if wanted.is_empty() {
            return Err(Failure::new("couldn't find port via --port flag or introspection"));
        }
        let several = wanted.len() > 1;
        let port = |(at, port): (usize, &i64)| {
            let protocol =
                known.iter().find(|(known, _)| known == port).map_or("TCP", |(_, protocol)| protocol);
            let protocol = if self.protocol.is_empty() { protocol } else { &self.protocol };
            let target = match self.target_port.as_str() {
                "" => json!(port),
                text => text.parse::<u16>().map_or_else(|_| json!(text), |number| json!(number)),
            };
            let mut entry = json!({"port": port, "protocol": protocol, "targetPort": target});
            if several {
                entry["name"] = json!(format!("port-{}", at + 1));
            }
            entry
        };
        Ok(wanted.iter().enumerate().map(port).collect())
    }
}

/// Flags of `autoscale`.
#[derive(clap::Args)]
pub struct Autoscaling {
    #[command(flatten)]
    which: Which,
    /// The least replicas.
    #[arg(long, value_name = "COUNT", default_value_t = -1, allow_negative_numbers = true)]
    min: i64,
    /// The most replicas.
    #[arg(long, value_name = "COUNT", default_value_t = -1, allow_negative_numbers = true)]
    max: i64,
    /// The share of their CPU request that pods are to use.
    #[arg(long, value_name = "PERCENT", default_value_t = -1, allow_negative_numbers = true)]
    cpu_percent: i64,
    /// The CPU pods are to use: `80%` or `500m`.
    #[arg(long, value_name = "AMOUNT", default_value = "")]
    cpu: String,
    /// The memory pods are to use: `80%` or `100Mi`.
    #[arg(long, value_name = "AMOUNT", default_value = "")]
    memory: String,
}

/// Makes autoscalers.
pub async fn autoscale(connection: &Connection, arguments: Autoscaling) -> Outcome {
    if arguments.max < 1 {
        return Err(Failure::new(format!(
            "--max=MAXPODS is required and must be at least 1, max: {}",
            arguments.max
        )));
    }
    if arguments.max < arguments.min {
        return Err(Failure::new(format!(
            "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {}, min: {}",
            arguments.max, arguments.min
        )));
    }
    let resources = Resources::discover(connection).await?;
    for target in arguments.which.targets(connection, &resources).await? {
        if !["Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"]
            .contains(&target.resource.kind.as_str())
        {
            return Err(Failure::new(format!("cannot autoscale a {}", target.resource.kind)));
        }
        let mut spec = json!({
            "maxReplicas": arguments.max,
            "scaleTargetRef": {"apiVersion": target.resource.api_version(), "kind": target.resource.kind, "name": target.name},
        });
        if arguments.min > 0 {
            spec["minReplicas"] = json!(arguments.min);
        }
        let metrics: Vec<Value> = arguments.metrics();
        if !metrics.is_empty() {
            spec["metrics"] = Value::Array(metrics);
        }
        let name = arguments.which.name_for(&target);
        let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name}, "spec": spec, "status": {"currentMetrics": null, "desiredReplicas": 0}});
        arguments.which.make(connection, &resources, scaler, "kubectl-autoscale").await?;
    }
    Ok(())
}

impl Autoscaling {
    fn metrics(&self) -> Vec<Value> {
        let cpu = if self.cpu_percent >= 0 { format!("{}%", self.cpu_percent) } else { self.cpu.clone() };
        let metric = |(name, wanted): (&str, String)| {
            let target = match wanted.strip_suffix('%').and_then(|percent| percent.parse::<i64>().ok()) {
                Some(percent) => json!({"type": "Utilization", "averageUtilization": percent}),
                None => json!({"type": "AverageValue", "averageValue": wanted}),
            };
            json!({"type": "Resource", "resource": {"name": name, "target": target}})
        };
        let both = [("cpu", cpu), ("memory", self.memory.clone())];
        both.into_iter().filter(|(_, wanted)| !wanted.is_empty()).map(metric).collect()
    }
}
