//! Client certificates: common name and organisations of one that the client authority signed.
//!
//! Entry points: [`Peer`], which the TLS listener makes of each connection, and [`authenticate`]. A chain is
//! verified once per connection and again whenever trust changes; its validity is checked with every request.

use component_base::tls::{Facts, Pki, Role, peer_user};
use component_base::user::UserInfo;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;

use super::{Asked, Known, Outcome};
use crate::call::Server;

/// What the other end of a TLS connection showed; it has the key of the first certificate.
pub(crate) struct Peer {
    chain: Vec<CertificateDer<'static>>,
    facts: Option<Facts>,
    user: Option<UserInfo>,
    /// The last verdict as a client, and the generation of certificates it was made with.
    verdict: Mutex<Option<(u64, Result<(), String>)>>,
}

impl Peer {
    /// Of a certificate chain, leaf first; `None` for an empty one.
    pub(crate) fn new(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let leaf = chain.first()?;
        Some(Self {
            facts: Facts::of_der(leaf),
            user: peer_user(leaf),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            verdict: Mutex::default(),
        })
    }

    /// The common name of the certificate; empty if it has none.
    pub(super) fn common_name(&self) -> &str {
        self.facts.as_ref().map(|facts| facts.common_name.as_str()).unwrap_or_default()
    }

    /// Whether the chain leads to the authority of front proxies.
    pub(super) fn is_front_proxy(&self, pki: &Pki, now: Timestamp) -> Result<(), String> {
        pki.check_client(Role::FrontProxy, &self.chain, now)
    }

    fn is_client(&self, pki: &Pki, now: Timestamp) -> Result<(), String> {
        if self.facts.as_ref().is_none_or(|facts| !facts.is_current(now)) {
            return Err("the certificate has expired or is not yet valid".to_owned());
        }
        let generation = pki.generation();
        if let Some((_, verdict)) = self.verdict.lock().as_ref().filter(|(made, _)| *made == generation) {
            return verdict.clone();
        }
        let verdict = pki.check_client(Role::Client, &self.chain, now);
        *self.verdict.lock() = Some((generation, verdict.clone()));
        verdict
    }
}

pub(super) fn authenticate(server: &Server, asked: &Asked<'_>) -> Outcome {
    let Some(peer) = &asked.peer else { return Ok(None) };
    peer.is_client(&server.config.pki, server.clock.now())
        .map_err(|problem| format!("verifying certificate CN={:?} failed: {problem}", peer.common_name()))?;
    let known = |user: &UserInfo| Known { user: user.clone(), audiences: asked.audiences.to_vec() };
    Ok(peer.user.as_ref().map(known))
}
