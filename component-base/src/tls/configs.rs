//! rustls configurations that follow the cluster's certificates: every handshake takes what is current, so
//! renewal needs no restart and ends no connection.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};

use super::judged::{Judge, judged_by};
use super::{Current, Identity, TlsError};

/// Sessions an API server remembers; a client that comes back shakes hands without certificates.
const SESSIONS: usize = 4096;

/// Shows the current certificate of a name.
#[derive(Debug)]
struct Shown {
    current: Current,
    name: String,
}

impl Shown {
    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().leaves.get(&self.name)?.certified))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes servers of the authorities trusted at the moment.
#[derive(Debug)]
struct Servers(Current);

impl Judge for Servers {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let servers = Arc::clone(&self.0.read().servers);
        servers.verify_server_cert(leaf, others, name, &[], now).map(drop)
    }
}

/// Asks clients for a certificate and has them prove that they hold its key.
#[derive(Debug)]
struct Clients {
    current: Current,
    /// Whether the handshake fails for clients without a trusted certificate. The API server lets them in:
    /// who signed what is for authentication to judge, which answers strangers in HTTP and follows changes of trust.
    strict: bool,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.strict
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if !self.strict {
            return Ok(ClientCertVerified::assertion());
        }
        let clients = Arc::clone(&self.current.read().clients);
        clients.verify_client_cert(leaf, others, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// How to listen with the current certificate `name`.
pub(super) fn server(
    current: &Current,
    name: &str,
    strict: bool,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_client_cert_verifier(Arc::new(Clients { current: current.clone(), strict }))
        .with_cert_resolver(Arc::new(Shown { current: current.clone(), name: name.to_owned() }));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
    Ok(Arc::new(config))
}

/// How to call another part of the cluster with the current certificate `name`.
pub(super) fn client(current: &Current, name: &str) -> Result<Arc<ClientConfig>, TlsError> {
    client_judged(current, name, judged_by(Servers(current.clone())))
}

/// How to call another part of the cluster as somebody.
pub(super) fn client_as(current: &Current, identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
    let (chain, key) = chain_and_key(identity)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .dangerous()
        .with_custom_certificate_verifier(judged_by(Servers(current.clone())))
        .with_client_auth_cert(chain, key)
        .map_err(refused)?;
    Ok(Arc::new(config))
}

/// How to call a server that somebody else judges, with the current certificate `name`.
pub(super) fn client_judged(
    current: &Current,
    name: &str,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(Shown { current: current.clone(), name: name.to_owned() }));
    Ok(Arc::new(config))
}

/// How to listen as somebody, for clients that `verifier` believes.
pub(super) fn server_as(
    identity: &Identity,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = chain_and_key(identity)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(refused)?;
    Ok(Arc::new(config))
}

/// What believes servers of some authorities.
pub(super) fn believe_servers(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| TlsError::Config(e.to_string()))
}

/// What believes clients of some authorities.
pub(super) fn believe_clients(roots: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| TlsError::Config(e.to_string()))
}

/// A certificate with its key, checked to belong together.
pub(super) fn certified(identity: &Identity) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = chain_and_key(identity)?;
    let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(refused)?;
    pair.keys_match().map_err(refused)?;
    Ok(pair)
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
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

pub(super) fn refused(error: rustls::Error) -> TlsError {
    TlsError::Config(error.to_string())
}
