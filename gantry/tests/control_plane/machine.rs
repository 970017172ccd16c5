//! The network and the images of a node that only pretends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use node_agent::network::host_ports::HostPort;
use node_agent::network::{NetworkError, PodNetwork};
use node_agent::stages::{Image, ImageError, ImageService};
use parking_lot::Mutex;

/// Every pod gets an address nobody had before.
#[derive(Default)]
pub struct Addresses(Mutex<BTreeMap<String, IpAddr>>);

#[async_trait]
impl PodNetwork for Addresses {
    async fn attach(&self, uid: &str, _netns: &Path) -> Result<Vec<IpAddr>, NetworkError> {
        let mut addresses = self.0.lock();
        let host = u8::try_from(addresses.len() + 2).expect("fewer than 250 pods in one test");
        let address = addresses.entry(uid.to_owned()).or_insert_with(|| IpAddr::from([10, 42, 0, host]));
        Ok(vec![*address])
    }

    async fn detach(&self, _uid: &str) -> Result<(), NetworkError> {
        Ok(())
    }

    fn addresses(&self, uid: &str) -> Vec<IpAddr> {
        self.0.lock().get(uid).copied().into_iter().collect()
    }

    async fn recover(&self, _live: &[(String, PathBuf)]) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn publish(&self, _uid: &str, _ports: &[HostPort]) -> Result<(), NetworkError> {
        Ok(())
    }
}

/// Has the images it was given.
pub struct Images(pub BTreeSet<&'static str>);

#[async_trait]
impl ImageService for Images {
    async fn get(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let image =
            Image { id: format!("sha256:{reference}"), command: vec!["/web".to_owned()], ..Image::default() };
        Ok(self.0.contains(reference).then_some(image))
    }

    async fn pull(&self, reference: &str) -> Result<Image, ImageError> {
        Err(ImageError::Unavailable(format!("image \"{reference}\" is not on this node")))
    }
}
