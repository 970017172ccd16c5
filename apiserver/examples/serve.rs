//! A bare API server over the memory store, for trying clients: `serve DIR ADDRESS` writes
//! `DIR/admin.kubeconfig` and serves until interrupted.

use std::path::PathBuf;
use std::sync::Arc;

use apiserver::{Config, Ipv4Range};
use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::{Pki, SubjectNames};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    component_base::telemetry::init();
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("a directory is missing")?);
    let bind = arguments.next().unwrap_or_else(|| "127.0.0.1:6443".to_owned()).parse()?;
    let clock = RealClock::shared();
    let range = Ipv4Range::parse("10.43.0.0/16").ok_or("a range")?;
    let names = SubjectNames::for_api_server("cluster.local", &[], &[range.address(1).into()]);
    let pki = Arc::new(Pki::open(&dir.join("pki"), &names, clock.now())?);
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let config = Config {
        bind: Some(bind),
        advertise: [127, 0, 0, 1].into(),
        pki: Arc::clone(&pki),
        service_range: range,
        cluster_domain: "cluster.local".to_owned(),
        kinds: api::kinds::builtin(),
        timeouts: apiserver::Timeouts::default(),
        admission: apiserver::Switches::default(),
        authentication: apiserver::AuthenticationSettings::default(),
        authorization: None,
        audit: apiserver::audit::Options::default(),
        seats: Some(apiserver::SEATS),
        parts: Vec::new(),
    };
    let store = apiserver::storage::memory::Memory::open();
    let running = apiserver::run(config, store, clock, Rng::from_system(), shutdown.clone()).await?;
    if let Some(address) = running.address {
        pki.write_admin_kubeconfig(&dir.join("admin.kubeconfig"), &format!("https://{address}"))?;
        tracing::info!(%address, "serving");
    }
    shutdown.triggered().await;
    shutdown.drained().await;
    Ok(())
}
