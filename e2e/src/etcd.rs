//! An etcd for one cluster: Debian's, on loopback, with its own settings.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::cluster::SOON;
use crate::eventually::eventually;

/// A running etcd; dropped, it ends.
pub struct Etcd {
    process: Child,
    endpoint: String,
}

impl Etcd {
    /// Starts an empty etcd that keeps everything below `dir`, and waits until it serves.
    ///
    /// # Errors
    /// When it is not installed or does not get ready; the text holds its log.
    pub fn start(dir: &Path) -> Result<Self> {
        let (client, peer) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let [endpoint, peers] =
            [&client, &peer].map(|listener| listener.local_addr().map(|address| format!("http://{address}")));
        let (endpoint, peers) = (endpoint?, peers?);
        drop((client, peer));
        let log = dir.join("etcd.log");
        let process = Command::new("etcd")
            .args(["--logger=zap", "--log-outputs=stderr", "--name=e2e"])
            .arg(format!("--data-dir={}", dir.join("etcd").display()))
            .arg(format!("--listen-client-urls={endpoint}"))
            .arg(format!("--advertise-client-urls={endpoint}"))
            .arg(format!("--listen-peer-urls={peers}"))
            .arg(format!("--initial-advertise-peer-urls={peers}"))
            .arg(format!("--initial-cluster=e2e={peers}"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("cannot start etcd; run `cargo xtask setup`")?;
        let etcd = Self { process, endpoint };
        eventually("etcd serves", SOON, || {
            let told = std::fs::read_to_string(&log)?;
            if told.contains("serving client traffic") { Ok(()) } else { bail!("{told}") }
        })?;
        Ok(etcd)
    }

    /// What `--store` names it.
    pub fn engine(&self) -> String {
        format!("etcd={}", self.endpoint)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
