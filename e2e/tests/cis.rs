//! The CIS Kubernetes benchmark's checks of control plane and kubelet, asked of a running cluster: prints for each
//! whether it passes, fails, or why it says nothing about one binary. Numbers and subjects are those of
//! CIS Kubernetes Benchmark 1.11; the words are ours.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::cluster::Cluster;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};

/// What is checked, and how.
struct Check {
    number: &'static str,
    subject: &'static str,
    look: Look,
}

enum Look {
    At(fn(&Cluster) -> Result<()>),
    /// Why there is nothing to look at.
    Never(&'static str),
}

use Look::{At, Never};

const NO_POD_FILES: &str = "the control plane is one process, not pods made of files";
const NO_FLAG: &str = "there is no such switch: it cannot be turned that way";
const ONE_PROCESS: &str =
    "API server, controllers, scheduler and agent are one process, with no port of their own";
const EMBEDDED: &str = "the store is a file of this process; nobody connects to it";

const fn check(number: &'static str, subject: &'static str, look: Look) -> Check {
    Check { number, subject, look }
}

const CHECKS: &[Check] = &[
    check("1.1.1-8", "files of control-plane pods", Never(NO_POD_FILES)),
    check(
        "1.1.9-10",
        "files of network plugins",
        Never("there are none: the agent makes the network itself"),
    ),
    check("1.1.11-12", "the store's folder is root's alone", At(|c| private(&c.data_dir(), 0o700))),
    check(
        "1.1.13-14",
        "the administrator's kubeconfig is root's alone",
        At(|c| private(&c.kubeconfig(), 0o600)),
    ),
    check("1.1.15-18", "kubeconfigs of scheduler and controllers", Never(ONE_PROCESS)),
    check("1.1.19-21", "certificates and keys are root's alone", At(keys_are_private)),
    check("1.2.1", "anonymous requests are refused", At(nobody_is_let_in)),
    check("1.2.2", "there are no static tokens", At(a_made_up_token_is_refused)),
    check("1.2.4-5", "nodes are called with certificates both ways", At(the_node_wants_a_certificate)),
    check("1.2.6", "not everybody may do everything", At(|c| may_not(c, &["*", "*"], "nobody", &[]))),
    check("1.2.7", "nodes are limited to what is theirs", At(nodes_are_limited)),
    check("1.2.8", "RBAC decides", At(roles_decide)),
    check(
        "1.2.9-11",
        "EventRateLimit, AlwaysAdmit, AlwaysPullImages",
        Never("a choice of the administrator; AlwaysAdmit does not exist"),
    ),
    check("1.2.12", "pods get a service account", At(pods_get_an_account)),
    check("1.2.13", "nothing is made in a namespace that is not there", At(no_namespace_no_object)),
    check("1.2.14", "a node cannot change another", At(a_node_cannot_change_another)),
    check("1.2.15", "no profiling", At(|c| missing(c, "/debug/pprof/profile"))),
    check("1.2.16-19", "an audit log of bounded size", At(writes_are_logged)),
    check("1.2.20", "requests have a time limit", Never("60 s unless the caller asks for less")),
    check("1.2.21", "a token dies with its account", At(a_token_dies_with_its_account)),
    check(
        "1.2.22",
        "service accounts have a key of their own",
        At(|c| serves(c, "/openid/v1/jwks", "\"keys\"")),
    ),
    check("1.2.23,26", "TLS to the store", Never(EMBEDDED)),
    check(
        "1.2.24-25",
        "TLS, and client certificates of the cluster's own authority",
        At(|c| serves(c, "/readyz", "ok")),
    ),
    check("1.2.27-28", "secrets are encrypted at rest", At(secrets_are_not_on_disk_in_clear)),
    check(
        "1.2.29",
        "strong ciphers only",
        Never("TLS 1.2 and 1.3 with authenticated encryption is all that rustls has"),
    ),
    check("1.3.1", "finished pods are cleaned up at a threshold", Never(NO_FLAG)),
    check("1.3.2,1.4.1", "no profiling in controllers and scheduler", Never(ONE_PROCESS)),
    check("1.3.3", "controllers have rights of their own", At(roles_decide)),
    check("1.3.4", "the key that signs tokens is root's alone", At(keys_are_private)),
    check("1.3.5", "pods are given the cluster's authority", At(namespaces_have_the_authority)),
    check("1.3.6-7,1.4.2", "addresses of controllers and scheduler", Never(ONE_PROCESS)),
    check("2.1-7", "certificates of etcd", Never(EMBEDDED)),
    check(
        "3.1.1-3",
        "people do not use certificates, account tokens, bootstrap tokens",
        Never("a choice of the administrator"),
    ),
    check("3.2.1-2", "who did what can be found", At(writes_are_logged)),
    check("4.1.1-10", "files of the kubelet", At(keys_are_private)),
    check("4.2.1", "the node's API knows no anonymous callers", At(the_node_wants_a_certificate)),
    check("4.2.2-3", "the node's API is the API server's alone", At(the_node_refuses_people)),
    check("4.2.4", "no read-only port", At(no_read_only_port)),
    check("4.2.5-8", "time limits of streams, iptables chains, host names, events", Never(NO_FLAG)),
    check("4.2.9-11", "certificates of the node, renewed", At(the_node_wants_a_certificate)),
    check("4.2.12", "strong ciphers only", Never("as 1.2.29")),
    check("5.1.1", "cluster-admin is for system:masters only", At(one_cluster_admin)),
    check("5.1.5", "default accounts are given nothing", At(default_accounts_have_nothing)),
    check("5.2.1-12", "a namespace can refuse privileged pods", At(privileged_pods_can_be_refused)),
];

#[test]
fn the_benchmark() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut failed = Vec::new();
    for Check { number, subject, look } in CHECKS {
        match look {
            Never(why) => println!("  n/a  {number:<10} {subject}: {why}"),
            At(look) => match look(&cluster) {
                Ok(()) => println!(" PASS  {number:<10} {subject}"),
                Err(error) => {
                    println!(" FAIL  {number:<10} {subject}: {error:#}");
                    failed.push(*number);
                }
            },
        }
    }
    ensure!(failed.is_empty(), "checks that fail: {}", failed.join(", "));
    Ok(())
}

/// Whether a file belongs to root and nobody else may touch it.
fn private(path: &Path, at_most: u32) -> Result<()> {
    let facts = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    let mode = facts.mode() & 0o777;
    ensure!(mode & !at_most == 0, "{} has mode {mode:o}, more than {at_most:o}", path.display());
    ensure!(facts.uid() == 0 && facts.gid() == 0, "{} is not root's", path.display());
    Ok(())
}

fn keys_are_private(cluster: &Cluster) -> Result<()> {
    let mut folders = vec![cluster.data_dir().join("pki")];
    let mut keys = 0;
    while let Some(folder) = folders.pop() {
        private(&folder, 0o700)?;
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                keys += usize::from(path.extension().is_some_and(|end| end == "key"));
                private(&path, 0o644)?;
                if path.extension().is_some_and(|end| end == "key") {
                    private(&path, 0o600)?;
                }
            }
        }
    }
    ensure!(keys > 0, "no keys were found");
    Ok(())
}

/// Asks for the API's versions without credentials but for a token.
fn ask(cluster: &Cluster, address: &str, token: Option<&str>) -> Result<Result<(), kube::Error>> {
    let token = token.map(|token| token.to_owned().into());
    ask_as(cluster, address, AuthInfo { token, ..AuthInfo::default() })
}

/// Asks for the API's versions as somebody.
fn ask_as(cluster: &Cluster, address: &str, user: AuthInfo) -> Result<Result<(), kube::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let file = Kubeconfig::read_from(cluster.kubeconfig())?;
        let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.auth_info = user;
        config.cluster_url = address.parse()?;
        let client = kube::Client::try_from(config)?;
        Ok(client.list_core_api_versions().await.map(drop))
    })
}

fn unauthorized(answer: Result<(), kube::Error>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 401 => Ok(()),
        other => bail!("answered {other:?}"),
    }
}

fn nobody_is_let_in(cluster: &Cluster) -> Result<()> {
    unauthorized(ask(cluster, &format!("https://{}", cluster.address()), None)?)
}

fn a_made_up_token_is_refused(cluster: &Cluster) -> Result<()> {
    unauthorized(ask(cluster, &format!("https://{}", cluster.address()), Some("made-up"))?)
}

fn node_port(cluster: &Cluster) -> Result<u64> {
    let node = cluster.get(&["node", "node-1"])?;
    node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().context("no port")
}

fn the_node_wants_a_certificate(cluster: &Cluster) -> Result<()> {
    let address = format!("https://127.0.0.1:{}", node_port(cluster)?);
    match ask(cluster, &address, None)? {
        Err(kube::Error::Api(status)) if status.code != 401 => bail!("answered {status:?}"),
        Err(_refused) => Ok(()),
        Ok(()) => bail!("somebody without a certificate was answered"),
    }
}

fn the_node_refuses_people(cluster: &Cluster) -> Result<()> {
    let issued = cluster.gantry(&["kubeconfig", "--user", "jane", "--group", "people"])?.success()?;
    let user = Kubeconfig::from_yaml(&issued)?.auth_infos.pop().and_then(|named| named.auth_info);
    let address = format!("https://127.0.0.1:{}", node_port(cluster)?);
    match ask_as(cluster, &address, user.context("a user")?)? {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        other => bail!("answered {other:?}"),
    }
}

fn no_read_only_port(_cluster: &Cluster) -> Result<()> {
    ensure!(std::net::TcpStream::connect("127.0.0.1:10255").is_err(), "port 10255 is open");
    Ok(())
}

fn may_not(cluster: &Cluster, what: &[&str], user: &str, groups: &[&str]) -> Result<()> {
    let user = format!("--as={user}");
    let groups: Vec<String> = groups.iter().map(|group| format!("--as-group={group}")).collect();
    let mut line = vec!["auth", "can-i"];
    line.extend(what);
    line.push(&user);
    line.extend(groups.iter().map(String::as_str));
    let answer = cluster.kubectl(&line)?;
    ensure!(answer.code == 1 && answer.stdout.starts_with("no"), "{line:?}: {answer:?}");
    Ok(())
}

fn nodes_are_limited(cluster: &Cluster) -> Result<()> {
    let groups = ["system:nodes", "system:authenticated"];
    may_not(cluster, &["get", "secrets/any", "-n", "kube-system"], "system:node:node-1", &groups)?;
    may_not(cluster, &["create", "deployments"], "system:node:node-1", &groups)
}

fn roles_decide(cluster: &Cluster) -> Result<()> {
    cluster
        .kubectl(&["get", "clusterrole", "cluster-admin", "system:kube-scheduler", "system:node"])?
        .success()?;
    cluster.kubectl(&["get", "clusterrole", "system:controller:deployment-controller"])?.success()?;
    Ok(())
}

fn pods_get_an_account(cluster: &Cluster) -> Result<()> {
    let line = ["run", "p", "--image=i", "--dry-run=server", "-o", "jsonpath={.spec.serviceAccountName}"];
    let account = cluster.kubectl(&line)?.success()?;
    ensure!(account == "default", "the account is {account:?}");
    Ok(())
}

fn no_namespace_no_object(cluster: &Cluster) -> Result<()> {
    let text = cluster.kubectl(&["create", "configmap", "c", "-n", "nowhere"])?.failure()?;
    ensure!(text.contains("namespaces \"nowhere\" not found"), "{text}");
    Ok(())
}

fn a_node_cannot_change_another(cluster: &Cluster) -> Result<()> {
    let line = ["label", "node", "node-1", "a=b", "--as=system:node:node-2", "--as-group=system:nodes"];
    let text = cluster.kubectl(&line)?.failure()?;
    ensure!(text.contains("forbidden"), "{text}");
    Ok(())
}

fn missing(cluster: &Cluster, path: &str) -> Result<()> {
    let text = cluster.kubectl(&["get", "--raw", path])?.failure()?;
    ensure!(text.contains("NotFound") || text.contains("could not find"), "{text}");
    Ok(())
}

fn serves(cluster: &Cluster, path: &str, part: &str) -> Result<()> {
    let text = cluster.kubectl(&["get", "--raw", path])?.success()?;
    ensure!(text.contains(part), "{text}");
    Ok(())
}

fn writes_are_logged(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "configmap", "audited"])?.success()?;
    cluster.kubectl(&["delete", "configmap", "audited"])?.success()?;
    let found = cluster.gantry(&["audit", "who-deleted", "configmap/audited"])?.success()?;
    ensure!(found.contains("kubernetes-admin"), "{found}");
    Ok(())
}

fn a_token_dies_with_its_account(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "serviceaccount", "mortal"])?.success()?;
    let token = cluster.kubectl(&["create", "token", "mortal"])?.success()?;
    let address = format!("https://{}", cluster.address());
    ask(cluster, &address, Some(token.trim()))?.context("while the account is there")?;
    cluster.kubectl(&["delete", "serviceaccount", "mortal"])?.success()?;
    unauthorized(ask(cluster, &address, Some(token.trim()))?)
}

fn secrets_are_not_on_disk_in_clear(cluster: &Cluster) -> Result<()> {
    const WORD: &str = "planted-e2e-secret";
    // Base64 of a word depends on where it begins: three forms, without their ends.
    const FORMS: [&str; 4] =
        [WORD, "cGxhbnRlZC1lMmUtc2Vjc", "xhbnRlZC1lMmUtc2VjcmV0", "bGFudGVkLWUyZS1zZWNyZXQ"];
    let literal = format!("--from-literal=word={WORD}");
    cluster.kubectl(&["create", "secret", "generic", "planted", &literal])?.success()?;
    cluster.kubectl(&["annotate", "secret", "planted", "a=b"])?.success()?;
    cluster.kubectl(&["delete", "secret", "planted"])?.success()?;
    let mut folders = vec![cluster.data_dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                let found =
                    FORMS.iter().any(|form| bytes.windows(form.len()).any(|part| part == form.as_bytes()));
                ensure!(!found, "{} holds it", entry.path().display());
            }
        }
    }
    ensure!(!FORMS.iter().any(|form| cluster.log().contains(form)), "the log holds it");
    Ok(())
}

fn namespaces_have_the_authority(cluster: &Cluster) -> Result<()> {
    let map = cluster.get(&["configmap", "kube-root-ca.crt"])?;
    let pem = map["data"]["ca.crt"].as_str().unwrap_or_default();
    ensure!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{map}");
    Ok(())
}

fn one_cluster_admin(cluster: &Cluster) -> Result<()> {
    let all = cluster.get(&["clusterrolebindings"])?;
    let bindings = all["items"].as_array().context("no list")?;
    for binding in bindings.iter().filter(|binding| binding["roleRef"]["name"] == "cluster-admin") {
        let subjects = binding["subjects"].as_array().map_or(&[][..], Vec::as_slice);
        let only = subjects.iter().all(|subject| subject["name"] == "system:masters");
        ensure!(only, "{} binds others", binding["metadata"]["name"]);
    }
    Ok(())
}

fn default_accounts_have_nothing(cluster: &Cluster) -> Result<()> {
    for kind in ["clusterrolebindings", "rolebindings"] {
        let all = cluster.get(&[kind, "-A"])?;
        for binding in all["items"].as_array().context("no list")? {
            let subjects = binding["subjects"].as_array().map_or(&[][..], Vec::as_slice);
            let given = subjects.iter().any(|s| s["kind"] == "ServiceAccount" && s["name"] == "default");
            ensure!(!given, "{} gives a default account something", binding["metadata"]["name"]);
        }
    }
    Ok(())
}

fn privileged_pods_can_be_refused(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "strict"])?.success()?;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", "strict", label])?.success()?;
    let text = cluster.kubectl(&["run", "p", "--image=i", "-n", "strict", "--privileged"])?.failure()?;
    ensure!(text.contains("violates PodSecurity \"restricted:latest\""), "{text}");
    Ok(())
}
