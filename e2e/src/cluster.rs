//! A cluster of one node in a folder of its own, driven by stock kubectl and by our tool.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::command::{Lines, Output, run};
use crate::etcd::Etcd;
use crate::eventually::eventually;

/// Long enough for anything that is not waiting for a back-off or an autoscaler.
pub const SOON: Duration = Duration::from_secs(30);

/// A running `gantry up`; dropped, it takes the cluster down again.
pub struct Cluster {
    gantry: PathBuf,
    /// Where its objects are, if not in its data directory; ends before the folder goes.
    etcd: Option<Etcd>,
    dir: tempfile::TempDir,
    bind: String,
    /// Further flags of `gantry up`.
    flags: Vec<String>,
    process: Option<Child>,
}

impl Cluster {
    /// A fresh cluster with the sample images loaded, ready for requests.
    ///
    /// # Errors
    /// When the environment is not as `cargo xtask test` makes it, or the cluster does not get ready.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with further flags of `gantry up`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(flags: &[&str]) -> Result<Self> {
        let gantry =
            PathBuf::from(std::env::var("GANTRY_BINARY").context("GANTRY_BINARY; use `cargo xtask test`")?);
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // Socket paths are at most 107 bytes long, so the folder's name is short.
        let dir = tempfile::Builder::new().prefix("gt").tempdir_in("/tmp")?;
        let etcd = match std::env::var("GANTRY_E2E_STORE").as_deref() {
            Ok("etcd") => Some(Etcd::start(dir.path())?),
            Ok("embedded") | Err(_) => None,
            Ok(other) => bail!("GANTRY_E2E_STORE={other}: the clusters' store is `embedded` or `etcd`"),
        };
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut cluster = Self { gantry, etcd, dir, bind: format!("127.0.0.1:{port}"), flags, process: None };
        let images = std::env::var("GANTRY_IMAGES").context("GANTRY_IMAGES; use `cargo xtask test`")?;
        let mut load = vec!["image".to_owned(), "load".to_owned()];
        for entry in std::fs::read_dir(&images).with_context(|| format!("cannot read {images}"))? {
            load.push(entry?.path().display().to_string());
        }
        load.extend(["--data-dir".to_owned(), cluster.data_dir().display().to_string()]);
        run(Command::new(&cluster.gantry).args(&load), "")?.success()?;
        cluster.up()?;
        Ok(cluster)
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("d")
    }

    /// The API server's address.
    pub fn address(&self) -> &str {
        &self.bind
    }

    /// The path of the binary.
    pub fn binary(&self) -> &Path {
        &self.gantry
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("up.log")
    }

    /// What `gantry up` has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The process id of `gantry up`.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> Result<i32> {
        let child = self.process.as_ref().context("the cluster is not running")?;
        Ok(i32::try_from(child.id())?)
    }

    /// Starts `gantry up` on the data directory and waits for its ready line.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; the text holds its log.
    pub fn up(&mut self) -> Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let ready = self.dir.path().join("ready");
        let engine = self.etcd.as_ref().map_or("embedded".to_owned(), Etcd::engine);
        let child = Command::new(&self.gantry)
            .args(["up", "--bind", &self.bind, "--node-name", "node-1", "--store", &engine, "--data-dir"])
            .arg(self.data_dir())
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&ready)?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let child = self.process.insert(child);
        let outcome = eventually("gantry up is ready", SOON, || {
            if let Some(status) = child.try_wait()? {
                return Ok(Err(anyhow!("gantry up ended with {status}")));
            }
            let line = std::fs::read_to_string(&ready)?;
            if line.contains("KUBECONFIG=") { Ok(Ok(())) } else { bail!("printed {line:?}") }
        });
        outcome.and_then(|inner| inner).with_context(|| self.log())
    }

    /// Ends `gantry up` as a crash would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.process.take().context("the cluster is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    fn tool(&self, program: &Path, arguments: &[&str], input: &str) -> Result<Output> {
        // A cache of our own: two clusters must not see each other's discovery documents.
        run(
            Command::new(program)
                .env("KUBECONFIG", self.kubeconfig())
                .env("HOME", self.dir.path())
                .env("KUBECACHEDIR", self.dir.path().join("cache"))
                .args(arguments),
            input,
        )
    }

    /// The machine's kubectl.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        self.tool(Path::new("kubectl"), arguments, "")
    }

    /// The machine's kubectl with standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kubectl_input(&self, arguments: &[&str], input: &str) -> Result<Output> {
        self.tool(Path::new("kubectl"), arguments, input)
    }

    /// The machine's kubectl, read line by line while it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kubectl_stream(&self, arguments: &[&str]) -> Result<Lines> {
        Lines::of(
            Command::new("kubectl")
                .env("KUBECONFIG", self.kubeconfig())
                .env("HOME", self.dir.path())
                .args(arguments),
        )
    }

    /// Debian's kubectl 1.20.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn old_kubectl(&self, arguments: &[&str]) -> Result<Output> {
        let program =
            std::env::var("GANTRY_OLD_KUBECTL").context("GANTRY_OLD_KUBECTL; use `cargo xtask test`")?;
        self.tool(Path::new(&program), arguments, "")
    }

    /// Our own tool.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn gantry(&self, arguments: &[&str]) -> Result<Output> {
        self.tool(&self.gantry, arguments, "")
    }

    /// Applies YAML text.
    ///
    /// # Errors
    /// When kubectl refuses it.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl_input(&["apply", "-f", "-"], yaml)?.success()
    }

    /// Applies a file of `manifests/`.
    ///
    /// # Errors
    /// When kubectl refuses it.
    pub fn apply_manifest(&self, name: &str) -> Result<String> {
        self.kubectl(&["apply", "-f", &manifest(name)])?.success()
    }

    /// An object, or a list, as JSON.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let all: Vec<&str> = ["get", "-o", "json"].iter().chain(arguments).copied().collect();
        serde_json::from_str(&self.kubectl(&all)?.success()?).context("kubectl printed no JSON")
    }

    /// The pods a selector finds that are not being deleted.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn pods(&self, selector: &str) -> Result<Vec<Value>> {
        let list = self.get(&["pods", "-l", selector])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect())
    }

    /// Waits until exactly `count` pods of a selector exist and all are ready.
    ///
    /// # Errors
    /// When that does not happen soon; the text shows the pods.
    pub fn ready_pods(&self, selector: &str, count: usize) -> Result<Vec<Value>> {
        eventually(&format!("{count} ready pods of {selector}"), SOON, || {
            let pods = self.pods(selector)?;
            if pods.len() == count && pods.iter().all(is_ready) {
                return Ok(pods);
            }
            bail!("{}", self.kubectl(&["get", "pods", "-o", "wide"])?.stdout)
        })
        .with_context(|| self.log())
    }

    /// `gantry down` on the data directory.
    ///
    /// # Errors
    /// When it fails.
    pub fn down(&mut self) -> Result<()> {
        let dir = self.data_dir().display().to_string();
        let output = run(Command::new(&self.gantry).args(["down", "--data-dir", &dir]), "")?;
        if let Some(mut child) = self.process.take() {
            child.wait()?;
        }
        output.success().map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.data_dir().exists()
            && let Err(error) = self.down()
        {
            eprintln!("the cluster did not go down: {error:#}\n{}", self.log());
        }
        if let Some(mut child) = self.process.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The path of a file of `manifests/`.
pub fn manifest(name: &str) -> String {
    format!("{}/../manifests/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Whether a pod's Ready condition is True.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
