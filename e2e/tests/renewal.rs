//! Certificates that live for seconds are renewed under load, and nobody notices.
//!
//! By hand for longer: `GANTRY_E2E_VALIDITY=10m GANTRY_E2E_SECONDS=3600`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::{Cluster, SOON, is_ready};
use e2e::command::{Lines, run};
use e2e::eventually::{eventually, repeatedly};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Certificates that must have been replaced meanwhile.
const RENEWED: [&str; 4] = ["apiserver", "admin", "apiserver-kubelet-client", "node-node-1"];
/// Failures whose texts are kept.
const MOST_SHOWN: usize = 5;

/// How often something worked, and how it did not.
#[derive(Default)]
struct Tally {
    good: u64,
    failed: u64,
    problems: Vec<String>,
}

impl Tally {
    /// Does something again and again.
    fn of(span: Duration, interval: Duration, mut act: impl FnMut(u64) -> Result<()>) -> Self {
        let mut tally = Self::default();
        repeatedly(span, interval, || match act(tally.good + tally.failed) {
            Ok(()) => tally.good += 1,
            Err(error) => {
                tally.failed += 1;
                if tally.problems.len() < MOST_SHOWN {
                    tally.problems.push(format!("{error:#}"));
                }
            }
        });
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} good, {} failed {:?}", self.good, self.failed, self.problems)
    }
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// A client with a connection of its own.
async fn client(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// A kubeconfig whose user has a token, which outlives all certificates.
fn token_kubeconfig(cluster: &Cluster, span: Duration) -> Result<PathBuf> {
    cluster.kubectl(&["create", "serviceaccount", "load"])?.success()?;
    let binding = ["create", "clusterrolebinding", "load", "--clusterrole=cluster-admin"];
    cluster.kubectl(&[&binding[..], &["--serviceaccount=default:load"]].concat())?.success()?;
    let life = format!("--duration={}s", span.as_secs() + 3600);
    let token = cluster.kubectl(&["create", "token", "load", &life])?.success()?;
    let authority = std::fs::read(cluster.data_dir().join("pki/ca.crt"))?;
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "load",
        "clusters": [{"name": "load", "cluster": {
            "server": format!("https://{}", cluster.address()),
            "certificate-authority-data": STANDARD.encode(authority)}}],
        "users": [{"name": "load", "user": {"token": token.trim()}}],
        "contexts": [{"name": "load", "context": {"cluster": "load", "user": "load"}}],
    });
    let path = cluster.data_dir().join("load.kubeconfig");
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.env("KUBECONFIG", kubeconfig).args(arguments);
    command
}

/// The administrator's kubeconfig is read again for every connection.
fn fresh_connections(cluster: &Cluster, span: Duration) -> Result<Tally> {
    let runtime = runtime()?;
    Ok(Tally::of(span, Duration::from_millis(200), |_| {
        runtime.block_on(async {
            let maps: Api<ConfigMap> = Api::default_namespaced(client(&cluster.kubeconfig()).await?);
            maps.list(&ListParams::default()).await.map(drop)?;
            Ok(())
        })
    }))
}

/// One connection, opened before the first renewal, writes to the end.
fn a_kept_connection(kubeconfig: &Path, span: Duration) -> Result<Tally> {
    let runtime = runtime()?;
    let maps: Api<ConfigMap> = Api::default_namespaced(runtime.block_on(client(kubeconfig))?);
    Ok(Tally::of(span, Duration::from_millis(100), |number| {
        let patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"number": number.to_string()}});
        let (owner, patch) = (PatchParams::apply("load").force(), Patch::Apply(&patch));
        runtime.block_on(maps.patch("beat", &owner, &patch)).map(drop)?;
        Ok(())
    }))
}

/// A watch opened before the first renewal sees every write in order.
fn a_kept_watch(mut watch: Lines, last: &str) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut next = 0;
    loop {
        let line = watch.line()?;
        ensure!(!line.is_empty(), "the watch ended after {next} writes");
        let event: Value = serde_json::from_str(&line)?;
        let number = event["object"]["data"]["number"].as_str().unwrap_or_default();
        if number == last {
            return Ok(tally);
        }
        let number: u64 = number.parse()?;
        if number == next {
            tally.good += 1;
        } else {
            tally.failed += 1;
            tally.problems.push(format!("{number} instead of {next}"));
        }
        next = number + 1;
    }
}

/// A program in a container answers every line, from before the first renewal to the end.
fn a_kept_exec(kubeconfig: &Path, span: Duration) -> Result<Tally> {
    let mut command = kubectl(kubeconfig, &["exec", "-i", "steady", "--", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("a piped stdin")?;
    let mut stdout = BufReader::new(child.stdout.take().context("a piped stdout")?);
    let tally = Tally::of(span, Duration::from_millis(250), |number| {
        writeln!(stdin, "{number}")?;
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        ensure!(line.trim() == number.to_string(), "{line:?} instead of {number}");
        Ok(())
    });
    drop(stdin);
    ensure!(child.wait()?.success(), "kubectl exec ended badly");
    Ok(tally)
}

/// The API server calls the node anew for each.
fn fresh_execs(kubeconfig: &Path, span: Duration) -> Tally {
    Tally::of(span, Duration::from_secs(1), |number| {
        let text = number.to_string();
        let said = run(&mut kubectl(kubeconfig, &["exec", "steady", "--", "echo", &text]), "")?.success()?;
        ensure!(said.trim() == text, "{said:?}");
        Ok(())
    })
}

/// Pods come and go: the agent and the controllers work on.
fn rollouts(kubeconfig: &Path, span: Duration) -> Tally {
    Tally::of(span, Duration::from_secs(2), |_| {
        run(&mut kubectl(kubeconfig, &["rollout", "restart", "deployment/rolling"]), "")?.success()?;
        let wait = ["rollout", "status", "deployment/rolling", "--timeout=60s"];
        run(&mut kubectl(kubeconfig, &wait), "")?.success()?;
        Ok(())
    })
}

/// How often each certificate on the disk became another one.
fn renewals(dir: &Path, span: Duration) -> BTreeMap<&'static str, usize> {
    let mut seen: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    repeatedly(span, Duration::from_millis(500), || {
        for name in RENEWED {
            let text = std::fs::read_to_string(dir.join(format!("{name}.crt"))).unwrap_or_default();
            let known = seen.entry(name).or_default();
            if !text.is_empty() && known.last() != Some(&text) {
                known.push(text);
            }
        }
    });
    seen.into_iter().map(|(name, texts)| (name, texts.len().saturating_sub(1))).collect()
}

fn setting(name: &str, usual: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| usual.to_owned())
}

#[test]
fn renewed_certificates_drop_nothing() -> Result<()> {
    let validity = setting("GANTRY_E2E_VALIDITY", "10s");
    let span = Duration::from_secs(setting("GANTRY_E2E_SECONDS", "45").parse()?);
    let cluster = Cluster::start_with(&["--certificate-validity-period", &validity])?;
    cluster
        .kubectl(&["run", "steady", "--image=gantry.local/busybox:1", "--", "sleep", "99999"])?
        .success()?;
    let image = "--image=gantry.local/web:v1";
    cluster.kubectl(&["create", "deployment", "rolling", image, "--replicas=2"])?.success()?;
    cluster.kubectl(&["create", "configmap", "beat"])?.success()?;
    eventually("the pod runs", SOON, || {
        ensure!(is_ready(&cluster.get(&["pod", "steady"])?), "not ready");
        Ok(())
    })?;
    let token = token_kubeconfig(&cluster, span)?;
    let path = format!(
        "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name=beat&timeoutSeconds={}",
        span.as_secs() + 600
    );
    let mut watches = [(); 3]
        .map(|()| Lines::of(&mut kubectl(&token, &["get", "--raw", &path])))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for watch in &mut watches {
        ensure!(watch.line()?.contains("ADDED"), "a watch begins with what there is");
    }
    let pki = cluster.data_dir().join("pki");

    let (tallies, renewals) = thread::scope(|scope| -> Result<_> {
        let (cluster, token) = (&cluster, &token);
        let watches: Vec<_> =
            watches.into_iter().map(|watch| scope.spawn(move || a_kept_watch(watch, "last"))).collect();
        let renewals = scope.spawn(|| renewals(&pki, span));
        let fresh = scope.spawn(move || fresh_connections(cluster, span));
        let exec = scope.spawn(move || a_kept_exec(token, span));
        let execs = scope.spawn(move || fresh_execs(token, span));
        let rolled = scope.spawn(move || rollouts(token, span));
        let kept = a_kept_connection(token, span)?;
        let last = r#"{"data": {"number": "last"}}"#;
        run(&mut kubectl(token, &["patch", "configmap", "beat", "-p", last]), "")?.success()?;
        let joined = |what: &str| format!("{what} panicked");
        let mut tallies = vec![
            ("one connection, kept", kept),
            ("fresh connections", fresh.join().map_err(|_| anyhow::anyhow!(joined("fresh")))??),
            ("one exec, kept", exec.join().map_err(|_| anyhow::anyhow!(joined("exec")))??),
            ("fresh execs", execs.join().map_err(|_| anyhow::anyhow!(joined("execs")))?),
            ("rollouts", rolled.join().map_err(|_| anyhow::anyhow!(joined("rollouts")))?),
        ];
        for watch in watches {
            tallies.push(("a watch, kept", watch.join().map_err(|_| anyhow::anyhow!(joined("watch")))??));
        }
        Ok((tallies, renewals.join().map_err(|_| anyhow::anyhow!(joined("renewals")))?))
    })?;

    println!("certificates of {validity} for {span:?}: renewed {renewals:?}");
    for (what, tally) in &tallies {
        println!("{what}: {tally}");
    }
    for name in RENEWED {
        ensure!(renewals.get(name).is_some_and(|count| *count >= 2), "{name} was not renewed: {renewals:?}");
    }
    for (what, tally) in &tallies {
        ensure!(tally.failed == 0 && tally.good > 0, "{what}: {tally}\n{}", cluster.log());
    }
    Ok(())
}
