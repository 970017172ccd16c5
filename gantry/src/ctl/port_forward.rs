//! `gantry port-forward`: local ports that lead to a pod's.

use std::net::IpAddr;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use super::connection::Connection;
use super::pods::pod_of;
use super::resources::Resources;
use super::{Failure, Outcome};

/// Flags of `port-forward`.
#[derive(clap::Args)]
pub struct Arguments {
    /// POD, or TYPE/NAME of something that owns pods, or of a service.
    target: String,
    /// PORT, LOCAL:REMOTE, or :REMOTE for any local port.
    #[arg(required = true)]
    ports: Vec<String>,
    /// Addresses to listen on; `localhost` is both loopback addresses.
    #[arg(long, value_name = "ADDRESSES", default_value = "localhost", value_delimiter = ',')]
    address: Vec<String>,
    /// How long to wait for a running pod; it is looked for once.
    #[arg(long = "pod-running-timeout", value_name = "DURATION", default_value = "1m0s", hide = true)]
    _timeout: String,
}

/// A local port and the pod's.
#[derive(Debug, PartialEq)]
struct Pair {
    local: u16,
    remote: String,
}

fn pair(text: &str) -> Outcome<Pair> {
    let wrong = || Failure::new(format!("invalid port format '{text}'"));
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    if remote.is_empty() || remote.contains(':') {
        return Err(wrong());
    }
    let local = match local {
        "" => 0,
        number if text.contains(':') => number
            .parse()
            .map_err(|_| Failure::new(format!("error parsing local port '{local}': invalid syntax")))?,
        // A named port has no number yet: any local one will do.
        number => number.parse().unwrap_or(0),
    };
    Ok(Pair { local, remote: remote.to_owned() })
}

/// Forwards until the process is ended.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let pairs = arguments.ports.iter().map(|text| pair(text)).collect::<Outcome<Vec<Pair>>>()?;
    let pod = pod_of(connection, &arguments.target).await?;
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if phase != "Running" {
        return Err(Failure::new(format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    let service = service(connection, &arguments.target).await?;
    let mut listening = Vec::new();
    for pair in &pairs {
        let remote = number(&pod, service.as_ref(), &pair.remote)?;
        let mut bound = Vec::new();
        for address in addresses(&arguments.address)? {
            match TcpListener::bind((address, pair.local)).await {
                Ok(listener) => bound.push(listener),
                Err(error) => eprintln!("Unable to listen on port {}: {error}", pair.local),
            }
        }
        if bound.is_empty() {
            return Err(Failure::new(format!(
                "unable to listen on any of the requested ports: [{} {remote}]",
                pair.local
            )));
        }
        for listener in bound {
            println!("Forwarding from {} -> {remote}", listener.local_addr()?);
            listening.push((listener, remote));
        }
    }
    let pods: Api<Pod> = Api::namespaced(connection.client(), api::object::namespace(&pod));
    let name = api::object::name(&pod).to_owned();
    let all =
        listening.into_iter().map(|(listener, remote)| serve(listener, pods.clone(), name.clone(), remote));
    futures::future::try_join_all(all).await.map(drop)
}

fn addresses(words: &[String]) -> Outcome<Vec<IpAddr>> {
    let mut all = Vec::new();
    for word in words {
        match word.as_str() {
            "localhost" => all.extend([IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]),
            other => all.push(other.parse().map_err(|_| Failure::new(format!("{other} is not a valid IP")))?),
        }
    }
    Ok(all)
}

async fn service(connection: &Connection, target: &str) -> Outcome<Option<Value>> {
    let Some((kind, name)) = target.split_once('/') else { return Ok(None) };
    let resources = Resources::discover(connection).await?;
    let resource = resources.named(kind)?;
    if resource.kind != "Service" {
        return Ok(None);
    }
    connection.get(&resource.object(&connection.default_namespace(), name)).await.map(Some)
}

/// The pod's port: a number, a container port's name, or what a service's port leads to.
fn number(pod: &Value, service: Option<&Value>, text: &str) -> Outcome<u16> {
    let named = |name: &str| -> Option<u16> {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let ports = containers.into_iter().filter_map(|c| c["ports"].as_array()).flatten();
        let mut found = ports.filter(|port| port["name"] == name);
        found.next().and_then(|port| port["containerPort"].as_u64()).and_then(|port| u16::try_from(port).ok())
    };
    let missing =
        || Failure::new(format!("Pod '{}' does not have a named port '{text}'", api::object::name(pod)));
    let Some(service) = service else {
        return text.parse().ok().or_else(|| named(text)).ok_or_else(missing);
    };
    let name = api::object::name(service);
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let found = ports
        .find(|port| port["name"] == text || text.parse::<u64>().is_ok_and(|number| port["port"] == number));
    let found = found.ok_or_else(|| match text.parse::<u16>() {
        Ok(_) => Failure::new(format!("Service {name} does not have a service port {text}")),
        Err(_) => Failure::new(format!("Service '{name}' does not have a named port '{text}'")),
    })?;
    let target = match &found["targetPort"] {
        Value::Null => &found["port"],
        target => target,
    };
    let target_number = target.as_u64().and_then(|port| u16::try_from(port).ok());
    target_number.or_else(|| named(target.as_str()?)).ok_or_else(missing)
}

async fn serve(listener: TcpListener, pods: Api<Pod>, name: String, remote: u16) -> Outcome {
    let local = listener.local_addr()?.port();
    loop {
        let (stream, _) = listener.accept().await?;
        println!("Handling connection for {local}");
        let (pods, name) = (pods.clone(), name.clone());
        tokio::spawn(async move {
            if let Err(error) = forward(stream, &pods, &name, remote).await {
                eprintln!("an error occurred forwarding {local} -> {remote}: {error:#}");
            }
        });
    }
}

async fn forward(mut stream: TcpStream, pods: &Api<Pod>, name: &str, remote: u16) -> anyhow::Result<()> {
    let mut forwarder = pods.portforward(name, &[remote]).await?;
    let mut inside = forwarder.take_stream(remote).context("the server gave no stream")?;
    tokio::io::copy_bidirectional(&mut stream, &mut inside).await?;
    drop(inside);
    forwarder.join().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports() {
        let check = |text: &str, local: u16, remote: &str| {
            assert_eq!(pair(text).expect("a pair"), Pair { local, remote: remote.to_owned() });
        };
        check("80", 80, "80");
        check("8080:80", 8080, "80");
        check(":80", 0, "80");
        check("http", 0, "http");
        assert!(pair("1:").is_err() && pair("x:1").is_err());
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80, "targetPort": "http"}]}});
        assert_eq!(number(&pod, None, "http").expect("a number"), 8080);
        assert_eq!(number(&pod, Some(&service), "80").expect("a number"), 8080);
        assert!(number(&pod, Some(&service), "81").is_err());
    }
}
