//! An etcd of Debian's package to keep a control plane's objects in, on a folder and ports of its own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cluster::pause;

/// More than any measurement here writes; etcd's own default is 2 GiB.
const QUOTA_BYTES: &str = "8589934592";

/// A running etcd; dropped, it ends.
pub struct Etcd {
    process: Child,
    /// Where clients reach it.
    pub url: String,
    data: PathBuf,
}

impl Etcd {
    /// Starts one that keeps its files below `dir` and waits until it serves.
    pub async fn spawn(dir: &Path) -> Result<Self> {
        let (client, peer) = (free_url()?, free_url()?);
        let data = dir.join("etcd");
        let process = Command::new("etcd")
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--quota-backend-bytes", QUOTA_BYTES])
            .arg("--data-dir")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("etcd.log"))?)
            .spawn()
            .context("cannot start etcd: is Debian's etcd-server installed?")?;
        let mut etcd = Self { process, url: client, data };
        while !etcd.serves() {
            if let Some(status) = etcd.process.try_wait()? {
                bail!("etcd ended with {status}");
            }
            pause(Duration::from_millis(10)).await;
        }
        Ok(etcd)
    }

    fn serves(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(self.url.trim_start_matches("http://"))?;
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        ask().is_ok_and(|answer| answer.contains("\"true\""))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The file its objects are in.
    pub fn file(&self) -> PathBuf {
        self.data.join("member/snap/db")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _gone = self.process.kill().is_err();
        let _gone = self.process.wait().is_err();
    }
}

fn free_url() -> Result<String> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    Ok(format!("http://127.0.0.1:{port}"))
}
