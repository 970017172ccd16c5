//! `gantry snapshot`: the embedded store of a data directory in one file.
//!
//! Entry point: [`run`]. Saving works while the cluster runs; restoring needs a directory without a store.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use apiserver::storage::embedded::snapshot::{self, Summary};
use clap::Subcommand;
use component_base::clock::{RealClock, rfc3339_seconds};

use crate::config::{DEFAULT_DATA_DIR, Engine};
use crate::up::DataDir;

/// What to do with a snapshot.
#[derive(Subcommand)]
pub enum Command {
    /// Save the store to a file; the cluster may be running.
    Save {
        /// The file to make; it must not exist.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Make the store of a new data directory from a snapshot.
    Restore {
        /// The snapshot.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Check every byte of a snapshot and say what it holds.
    Verify {
        /// The snapshot.
        file: PathBuf,
    },
}

/// Whose store.
#[derive(clap::Args)]
pub struct Place {
    /// The cluster's data directory.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// The engine that keeps the objects, as for `up`.
    #[arg(long, value_name = "ENGINE", default_value = "embedded")]
    store: String,
}

impl Place {
    /// The store's directory, if it is an engine whose files are ours.
    fn directory(&self) -> Result<PathBuf> {
        match Engine::parse(&self.store)? {
            Engine::Embedded => Ok(self.data_dir.join("store")),
            Engine::Memory => bail!("--store memory keeps nothing that could be saved"),
            Engine::Etcd(urls) => bail!(
                "objects in etcd are saved with etcd's own tools: `etcdctl --endpoints {} snapshot save FILE`; restore with `etcdutl snapshot restore FILE --bump-revision 1000000000 --mark-compacted` and restart gantry",
                urls.join(",")
            ),
        }
    }
}

/// Saves, restores or verifies.
///
/// # Errors
/// When the store or the snapshot is damaged, cannot be read or written, or stands in the way.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Save { file, place } => {
            let time = rfc3339_seconds(RealClock::shared().now());
            let summary = snapshot::save(&place.directory()?, &file, env!("CARGO_PKG_VERSION"), &time)?;
            println!("saved {}: {}", file.display(), told(&summary));
            println!(
                "secrets in it are encrypted: it is of use only with the keys in {}, which are no part of it; keep a copy of them elsewhere",
                keys(&place)
            );
        }
        Command::Restore { file, place } => {
            let directory = place.directory()?;
            // Nobody may start on it meanwhile.
            let _lock = DataDir::open(&place.data_dir).context("cannot restore")?;
            let summary = snapshot::restore(&file, &directory)?;
            println!("restored {} into {}: {}", file.display(), directory.display(), told(&summary));
            if !place.data_dir.join("pki").exists() {
                println!(
                    "certificates and keys are no part of a snapshot: copy those of the old cluster to {} before the next start, or its secrets cannot be read (their keys are in encryption.yaml there) and its kubeconfigs and tokens are not valid",
                    place.data_dir.join("pki").display()
                );
            }
        }
        Command::Verify { file } => {
            let summary = snapshot::verify(&file)?;
            println!("{} is sound: {}", file.display(), told(&summary));
        }
    }
    Ok(())
}

/// Where the keys of a cluster's secrets are unless it was told otherwise.
fn keys(place: &Place) -> String {
    place.data_dir.join("pki/encryption.yaml").display().to_string()
}

fn told(summary: &Summary) -> String {
    let Summary { time, version, revision, objects, versions, bytes, .. } = summary;
    format!(
        "revision {revision}, {objects} objects, {versions} versions, {bytes} bytes, taken {time} by gantry {version}"
    )
}
