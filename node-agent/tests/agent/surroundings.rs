//! A network and images that only pretend.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use node_agent::network::host_ports::HostPort;
use node_agent::network::{NetworkError, PodNetwork};
use node_agent::stages::{Image, ImageError, ImageService};
use parking_lot::Mutex;

/// Every pod is the local host, so that probes reach what a test listens on.
pub struct FakeNetwork;

#[async_trait]
impl PodNetwork for FakeNetwork {
    async fn attach(&self, _uid: &str, _netns: &Path) -> Result<Vec<IpAddr>, NetworkError> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }

    async fn detach(&self, _uid: &str) -> Result<(), NetworkError> {
        Ok(())
    }

    fn addresses(&self, _uid: &str) -> Vec<IpAddr> {
        vec![IpAddr::from([127, 0, 0, 1])]
    }

    async fn recover(&self, _live: &[(String, PathBuf)]) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn publish(&self, _uid: &str, _ports: &[HostPort]) -> Result<(), NetworkError> {
        Ok(())
    }
}

/// Has every image but those it was told to lack.
#[derive(Default)]
pub struct FakeImages {
    pub missing: Mutex<Vec<String>>,
}

#[async_trait]
impl ImageService for FakeImages {
    async fn get(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        if reference.contains(' ') {
            return Err(ImageError::InvalidName(reference.to_owned()));
        }
        let image =
            Image { id: format!("sha256:{reference}"), command: vec!["/run".to_owned()], ..Image::default() };
        Ok((!self.missing.lock().iter().any(|name| name == reference)).then_some(image))
    }

    async fn pull(&self, reference: &str) -> Result<Image, ImageError> {
        Err(ImageError::Unavailable(format!("image \"{reference}\" is not on this node")))
    }
}
