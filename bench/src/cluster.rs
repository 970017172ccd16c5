//! A `gantry up` to measure, in a folder of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::api::{Connection, Target};

/// A cluster; dropped, it goes down.
pub struct Cluster {
    gantry: PathBuf,
    dir: tempfile::TempDir,
    process: Child,
}

impl Cluster {
    /// Starts one on an empty disk, with the sample images loaded if `images`.
    pub fn spawn(images: bool) -> Result<Self> {
        let gantry =
            PathBuf::from(std::env::var("GANTRY_BINARY").context("GANTRY_BINARY; use `cargo xtask bench`")?);
        let dir = tempfile::Builder::new().prefix("gb").tempdir_in("/tmp")?;
        let data = dir.path().join("d");
        if images {
            let folder = std::env::var("GANTRY_IMAGES").context("GANTRY_IMAGES; use `cargo xtask bench`")?;
            let files = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
            let mut load = Command::new(&gantry);
            load.args(["image", "load", "--data-dir"]).arg(&data).args(files).stdout(Stdio::null());
            if !load.status()?.success() {
                bail!("gantry image load failed");
            }
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new(&gantry)
            .args(["up", "--bind", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log"))?)
            .spawn()?;
        Ok(Self { gantry, dir, process })
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("d")
    }

    /// The process id of `gantry up`.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where to send requests; an error until the cluster has written its kubeconfig.
    pub fn target(&self) -> Result<Target> {
        Target::from_kubeconfig(&self.data_dir().join("admin.kubeconfig"))
    }

    /// Waits for a successful answer to `path`.
    pub async fn answers(&mut self, path: &str) -> Result<Connection> {
        loop {
            if let Some(status) = self.process.try_wait()? {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                bail!("gantry up ended with {status}:\n{log}");
            }
            if let Ok(connection) = self.try_once(path).await {
                return Ok(connection);
            }
            pause(Duration::from_millis(1)).await;
        }
    }

    async fn try_once(&self, path: &str) -> Result<Connection> {
        let mut connection = self.target()?.connect().await?;
        connection.get(path).await?;
        Ok(connection)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = Command::new(&self.gantry).args(["down", "--data-dir"]).arg(self.data_dir()).output();
        if !down.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("gantry down failed: {down:?}");
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Everything Gantry runs for a data directory: processes that name it on their command line.
pub fn processes(data_dir: &Path) -> Result<Vec<u32>> {
    let marker = data_dir.to_string_lossy();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if command.contains(&*marker)
            && let Ok(pid) = entry.file_name().to_string_lossy().parse()
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Lets time pass: between two looks, or while something is measured.
#[expect(clippy::disallowed_methods, reason = "a measurement lasts as long as it lasts")]
pub async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}
