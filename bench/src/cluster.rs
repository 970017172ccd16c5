//! A `gantry up`, or only its control plane, to measure, in a folder of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::api::{Connection, Target};
use crate::etcd::Etcd;

/// What keeps the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The embedded store.
    Embedded,
    /// Debian's etcd.
    Etcd,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
        })
    }
}

/// A cluster; dropped, it goes down.
pub struct Cluster {
    gantry: PathBuf,
    process: Child,
    /// How it is started, and started again.
    arguments: Vec<String>,
    etcd: Option<Etcd>,
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts control plane and node on an empty disk, with the sample images loaded if `images`.
    pub fn spawn(images: bool) -> Result<Self> {
        let dir = folder()?;
        if images {
            let folder = std::env::var("GANTRY_IMAGES").context("GANTRY_IMAGES; use `cargo xtask bench`")?;
            let files = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
            let mut load = Command::new(binary()?);
            load.args(["image", "load", "--data-dir"]).arg(data_in(&dir)).args(files).stdout(Stdio::null());
            if !load.status()?.success() {
                bail!("gantry image load failed");
            }
        }
        Self::start("up", dir, None, &[])
    }

    /// Starts only a control plane, its objects in `engine`.
    pub async fn control_plane(engine: Engine) -> Result<Self> {
        Self::control_plane_with(engine, &[]).await
    }

    /// The same with more flags.
    pub async fn control_plane_with(engine: Engine, flags: &[&str]) -> Result<Self> {
        let dir = folder()?;
        let etcd = match engine {
            Engine::Embedded => None,
            Engine::Etcd => Some(Etcd::spawn(dir.path()).await?),
        };
        Self::start("server", dir, etcd, flags)
    }

    fn start(verb: &str, dir: tempfile::TempDir, etcd: Option<Etcd>, flags: &[&str]) -> Result<Self> {
        let gantry = binary()?;
        let bind = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let data = data_in(&dir).to_string_lossy().into_owned();
        let mut arguments = [verb, "--bind", &bind, "--data-dir", &data].map(str::to_owned).to_vec();
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        if let Some(etcd) = &etcd {
            arguments.extend(["--store".to_owned(), format!("etcd={}", etcd.url)]);
        }
        let process = exec(&gantry, &arguments, dir.path())?;
        Ok(Self { gantry, process, arguments, etcd, dir })
    }

    /// Ends the process as an administrator would and waits until it is gone.
    pub fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM)?;
        self.process.wait()?;
        Ok(())
    }

    /// Starts the stopped process again on what it left; etcd has run on.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = exec(&self.gantry, &self.arguments, self.dir.path())?;
        Ok(())
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        data_in(&self.dir)
    }

    /// The file the objects are in.
    pub fn store_file(&self) -> PathBuf {
        self.etcd.as_ref().map_or_else(|| self.data_dir().join("store/store.db"), Etcd::file)
    }

    /// The process id of gantry.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The process id of etcd, if there is one.
    pub fn etcd_pid(&self) -> Option<u32> {
        self.etcd.as_ref().map(Etcd::pid)
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
                bail!("gantry ended with {status}:\n{log}");
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

fn binary() -> Result<PathBuf> {
    Ok(PathBuf::from(std::env::var("GANTRY_BINARY").context("GANTRY_BINARY; use `cargo xtask bench`")?))
}

fn folder() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("gb").tempdir_in("/tmp")?)
}

fn data_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("d")
}

fn exec(gantry: &Path, arguments: &[String], dir: &Path) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log"))?;
    Ok(Command::new(gantry).args(arguments).stdout(Stdio::null()).stderr(log).spawn()?)
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
