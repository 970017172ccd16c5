//! Verifiers of servers that differ in one thing, whom they believe; proving that a server holds its key is the same
//! for all.
//!
//! Entry points: [`judged_by`], [`any_server`] and [`any_server_config`].

use std::fmt::Debug;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::TlsError;
use super::configs::{provider, refused};

/// Who is believed to be the server that was meant.
pub trait Judge: Debug + Send + Sync + 'static {
    /// Believes a certificate and those that came with it, or says why not.
    ///
    /// # Errors
    /// What is wrong with the certificate.
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error>;
}

/// Believes whom the judge believes.
pub fn judged_by(judge: impl Judge) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier(Some(Box::new(judge))))
}

/// Believes whoever answers: for those who ask whether a server answers, not who it is, and for servers that have
/// certificates of nobody one could know. Even certificates of forms that could not be verified are taken.
pub fn any_server() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier(None))
}

/// How to call whoever answers, as nobody.
///
/// # Errors
/// When rustls refuses its own defaults.
pub fn any_server_config() -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .dangerous()
        .with_custom_certificate_verifier(any_server())
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// `None` believes everybody: then there is nothing that a signature could prove.
#[derive(Debug)]
struct Verifier(Option<Box<dyn Judge>>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(judge) = &self.0 {
            judge.judge(certificate, others, name, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.0.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.0.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
