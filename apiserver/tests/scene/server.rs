//! A server for a test: fresh certificates, the built-in kinds, no disk but for the certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use apiserver::{Config, Ipv4Range};
use component_base::tls::{Pki, SubjectNames};
use jiff::Timestamp;
use tempfile::TempDir;

/// A configuration, and the directory that must outlive it.
pub fn config(bind: Option<SocketAddr>, now: Timestamp) -> (Config, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    (config_in(directory.path(), bind, now), directory)
}

/// A configuration with the certificates of a directory, which are made if there are none.
pub fn config_in(directory: &Path, bind: Option<SocketAddr>, now: Timestamp) -> Config {
    let names = SubjectNames::for_api_server("cluster.local", &[], &[]);
    Config {
        bind,
        advertise: [192, 0, 2, 1].into(),
        pki: Arc::new(Pki::open(directory, &names, now).expect("certificates")),
        service_range: Ipv4Range::parse("10.43.0.0/16").expect("a range"),
        cluster_domain: "cluster.local".to_owned(),
        kinds: api::kinds::builtin(),
        timeouts: apiserver::Timeouts::default(),
        admission: apiserver::Switches::default(),
        authentication: apiserver::AuthenticationSettings::default(),
        authorization: None,
        audit: apiserver::audit::Options::default(),
        seats: None,
        parts: Vec::new(),
    }
}
