//! rustls configurations made of the cluster's certificates, and what a peer's certificate says.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Identity, Pki, RENEW_BEFORE_DAYS, SubjectNames, TlsError};
use crate::user::UserInfo;

impl Pki {
    /// How the API server listens: HTTP/2 and 1.1, client certificates of this authority welcome but
    /// not needed.
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let config = server_config(&self.serving, self.authority_pem(), false)?;
        Ok(Arc::new(with_protocols(config, &[b"h2", b"http/1.1"])))
    }

    /// How a node agent listens: HTTP/1.1 (exec and port-forward upgrade the connection), client
    /// certificates of this authority required.
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn node_server_config(&self, identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
        let config = server_config(identity, self.authority_pem(), true)?;
        Ok(Arc::new(with_protocols(config, &[b"http/1.1"])))
    }

    /// How to call another part of the cluster as `identity`, trusting only this authority.
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn client_config(&self, identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
        let (chain, key) = chain_and_key(identity)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_root_certificates(roots(self.authority_pem())?)
            .with_client_auth_cert(chain, key)
            .map_err(refused)?;
        Ok(Arc::new(config))
    }

    /// How to call an aggregated API server as the front proxy; `verifier` judges the certificate it shows.
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn front_proxy_config(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let (chain, key) = chain_and_key(self.agent_client())?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(refused)?;
        Ok(Arc::new(config))
    }
}

/// The user a verified client certificate names: its common name, with its organisations as groups
/// (`system:authenticated` added). `None` when it has no common name.
pub fn peer_user(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups: Vec<&str> =
        parsed.subject().iter_organization().filter_map(|part| part.as_str().ok()).collect();
    Some(UserInfo::component(&name, &groups))
}

/// Whether a stored certificate can be used on: signed by this authority, matching its key, good for
/// `names`, and not near its end.
pub(super) fn still_good(
    certificate_pem: &str,
    key_pem: &str,
    authority_pem: &str,
    names: &SubjectNames,
    now: Timestamp,
) -> bool {
    let identity = Identity { certificate_pem: certificate_pem.to_owned(), key_pem: key_pem.to_owned() };
    let (Ok((chain, key)), Ok(authority)) =
        (chain_and_key(&identity), CertificateDer::from_pem_slice(authority_pem.as_bytes()))
    else {
        return false;
    };
    chain.first().is_some_and(|leaf| {
        signed_and_current(leaf, &authority, names, now)
            && rustls::sign::CertifiedKey::from_der(chain.clone(), key, &provider())
                .is_ok_and(|pair| pair.keys_match().is_ok())
    })
}

fn signed_and_current(
    leaf: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    names: &SubjectNames,
    now: Timestamp,
) -> bool {
    let (Ok((_, leaf)), Ok((_, authority))) =
        (X509Certificate::from_der(leaf), X509Certificate::from_der(authority))
    else {
        return false;
    };
    let left_seconds = leaf.validity().not_after.timestamp() - now.as_second();
    let has_names = || {
        let Ok(Some(extension)) = leaf.subject_alternative_name() else { return false };
        let (mut dns, mut addresses) = (Vec::new(), Vec::new());
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => dns.push(*name),
                GeneralName::IPAddress(bytes) => addresses.push(*bytes),
                _ => {}
            }
        }
        names.dns.iter().all(|name| dns.contains(&name.as_str()))
            && names.addresses.iter().all(|address| match address {
                std::net::IpAddr::V4(v4) => addresses.contains(&v4.octets().as_slice()),
                std::net::IpAddr::V6(v6) => addresses.contains(&v6.octets().as_slice()),
            })
    };
    left_seconds > RENEW_BEFORE_DAYS * 24 * 60 * 60
        && leaf.issuer() == authority.subject()
        && (names == &SubjectNames::default() || has_names())
        && leaf.verify_signature(Some(authority.public_key())).is_ok()
}

fn server_config(
    identity: &Identity,
    authority_pem: &str,
    require_client: bool,
) -> Result<ServerConfig, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority_pem)?), provider());
    let verifier = if require_client { verifier } else { verifier.allow_unauthenticated() };
    let verifier = verifier.build().map_err(|e| TlsError::Config(e.to_string()))?;
    let (chain, key) = chain_and_key(identity)?;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(refused)
}

fn with_protocols(mut config: ServerConfig, protocols: &[&[u8]]) -> ServerConfig {
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    config
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(authority_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes())
        .map_err(|e| TlsError::Config(e.to_string()))?;
    store.add(authority).map_err(refused)?;
    Ok(store)
}

fn chain_and_key(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsError::Config(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|e| TlsError::Config(e.to_string()))?;
    Ok((chain, key))
}

fn refused(error: rustls::Error) -> TlsError {
    TlsError::Config(error.to_string())
}
