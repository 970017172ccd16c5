//! Whose certificate is believed: one that an authority of the configuration signed, or one that stands in the
//! configuration itself.
//!
//! Entry point: [`verifier`]. The second is how Go's clients see a self-signed certificate that is its own
//! authority, which is what many webhooks have; webpki refuses such as a server's.

use std::sync::Arc;

use component_base::tls::{Judge, judged_by};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

/// Authorities this machine trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Debug)]
struct Authorities {
    signers: Arc<WebPkiServerVerifier>,
    /// Certificates the configuration names.
    named: Vec<CertificateDer<'static>>,
}

/// Believes these authorities (PEM), or those of this machine if there are none, as Go's clients do.
///
/// # Errors
/// When there is nobody to believe.
pub(crate) fn verifier(pem: &[u8]) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let roots = roots(pem);
    if roots.is_empty() {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
    }
    let provider = Arc::new(ring::default_provider());
    let signers = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let signers = signers.map_err(|error| error.to_string())?;
    let named = CertificateDer::pem_slice_iter(pem).flatten().collect();
    Ok(judged_by(Authorities { signers, named }))
}

fn roots(pem: &[u8]) -> RootCertStore {
    let machine = if pem.is_empty() { std::fs::read(SYSTEM_ROOTS).unwrap_or_default() } else { Vec::new() };
    let mut roots = RootCertStore::empty();
    let pem = if pem.is_empty() { &machine } else { pem };
    // One that cannot be used does not spoil the others.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    roots
}

/// Whether a certificate that is believed as such is for this name and this time.
fn fits(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
    let wrong = |problem| Error::InvalidCertificate(problem);
    let (_, parsed) =
        parse_x509_certificate(certificate).map_err(|_| wrong(CertificateError::BadEncoding))?;
    let at = i64::try_from(now.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    if !at.is_some_and(|at| parsed.validity().is_valid_at(at)) {
        return Err(wrong(CertificateError::Expired));
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
}

impl Judge for Authorities {
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.named.iter().any(|named| named.as_ref() == certificate.as_ref()) {
            return fits(certificate, name, now);
        }
        self.signers.verify_server_cert(certificate, intermediates, name, &[], now).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Self-signed, an authority, for `hook.default.svc`, from November 2026 for a hundred years.
    const PEM: &[u8] = include_bytes!("../../../api/testdata/authority.pem");
    const IN_TIME: u64 = 1_800_000_000;

    #[test]
    fn a_certificate_may_be_its_own_authority() {
        let verifier = verifier(PEM).expect("a verifier");
        let certificate = CertificateDer::from_pem_slice(PEM).expect("a certificate");
        let judge = |name: &str, seconds: u64| {
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            verifier.verify_server_cert(&certificate, &[], &name, &[], now).map(drop)
        };
        assert_eq!(judge("hook.default.svc", IN_TIME), Ok(()));
        let expired = Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(judge("hook.default.svc", 1_000), Err(expired));
        let other = judge("other.default.svc", IN_TIME).expect_err("another name");
        assert!(matches!(other, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })));
    }

    #[test]
    fn a_bundle_without_certificates_is_named() {
        let error = verifier(b"junk").expect_err("nobody");
        assert_eq!(error, "unable to load root certificates: unable to parse bytes as PEM block");
    }
}
