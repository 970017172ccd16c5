//! Images on this node: names, contents, unpacked layers that all containers share.
//!
//! Entry point: [`Store::open`]. Several processes may use one store at once (`gantry image load` beside a running
//! node): every change is made under a file lock and shows by one atomic rename of the table of images.

pub mod collect;
mod load;
pub mod reference;
pub mod store;
mod unpack;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use store::{Changes, Loaded, Store};

use crate::stages::{self, ImageService};

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of its configuration: `sha256:…`.
    pub id: String,
    /// Digest of its manifest: `sha256:…`.
    pub digest: String,
    /// Complete references, such as `docker.io/library/busybox:latest`.
    pub repo_tags: Vec<String>,
    /// Bytes of the layers as they were loaded, uncompressed.
    pub size: u64,
    /// Directories of the unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// What containers of it inherit.
    pub config: ImageConfig,
}

/// The part of an image's configuration that containers inherit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `ENTRYPOINT`.
    #[serde(rename = "Entrypoint", deserialize_with = "nullable")]
    pub entrypoint: Vec<String>,
    /// `CMD`.
    #[serde(rename = "Cmd", deserialize_with = "nullable")]
    pub cmd: Vec<String>,
    /// `KEY=value`.
    #[serde(rename = "Env", deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// `WORKDIR`.
    #[serde(rename = "WorkingDir")]
    pub working_dir: String,
    /// `USER`.
    #[serde(rename = "User")]
    pub user: String,
    /// `EXPOSE`, such as `80/tcp`.
    #[serde(rename = "ExposedPorts", deserialize_with = "nullable")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    /// `STOPSIGNAL`.
    #[serde(rename = "StopSignal")]
    pub stop_signal: Option<String>,
}

/// Docker writes `null` for empty lists.
fn nullable<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    source: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

/// Why the store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not a reference at all.
    #[error("couldn't parse image name \"{0}\": invalid reference format")]
    InvalidReference(String),
    /// Nothing of that name is here.
    #[error("image {0} is not in the store")]
    NotFound(String),
    /// Its layers are mounted.
    #[error("image {reference} is in use by container {container}")]
    InUse {
        /// The image.
        reference: String,
        /// A container that uses it.
        container: String,
    },
    /// The archive is not what it should be.
    #[error("archive: {0}")]
    Archive(String),
    /// What was read is not what its digest says.
    #[error("{what} has digest {found}, not {expected}")]
    Digest {
        /// Which part.
        what: String,
        /// As named.
        expected: String,
        /// As computed.
        found: String,
    },
    /// The disk or the archive cannot be read or written.
    #[error("{act}: {source}")]
    Io {
        /// What was being done.
        act: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

pub(crate) fn io_error(act: impl Into<String>) -> impl FnOnce(std::io::Error) -> ImageError {
    let act = act.into();
    move |source| ImageError::Io { act, source }
}

/// Why a missing image stays missing in this version.
const NOT_PULLED: &str = "image not present and pulling is not supported in this version: load it with \
                          `gantry image load`";

#[async_trait]
impl ImageService for Store {
    async fn get(&self, reference: &str) -> Result<Option<stages::Image>, stages::ImageError> {
        let store = self.clone();
        let wanted = reference.to_owned();
        let found = tokio::task::spawn_blocking(move || store.get(&wanted))
            .await
            .map_err(|error| stages::ImageError::Unavailable(error.to_string()))?;
        match found {
            Ok(found) => Ok(found.map(for_container)),
            Err(ImageError::InvalidReference(name)) => Err(stages::ImageError::InvalidName(name)),
            Err(error) => Err(stages::ImageError::Unavailable(error.to_string())),
        }
    }

    async fn pull(&self, reference: &str) -> Result<stages::Image, stages::ImageError> {
        Err(stages::ImageError::Unavailable(format!("{reference}: {NOT_PULLED}")))
    }
}

fn for_container(image: Image) -> stages::Image {
    let Image { id, layers, config, .. } = image;
    stages::Image {
        id,
        layers,
        entrypoint: config.entrypoint,
        command: config.cmd,
        env: config.env,
        working_dir: config.working_dir,
        user: config.user,
        stop_signal: config.stop_signal.filter(|signal| !signal.is_empty()),
    }
}
