//! What a certificate or a signing request says, and whom it names.
//!
//! Entry points: [`Facts::of`], [`Request::of`] and [`peer_user`].

use std::net::IpAddr;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

use super::issue::AlternativeName;
use crate::user::UserInfo;

/// The subject attribute that carries a user's uid (upstream's `x509.X509UID`).
const UID: &str = "1.3.6.1.4.1.57683.2";
/// Key of the extra that names the credential (KEP-4193).
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// What people and renewal want to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Common name.
    pub common_name: String,
    /// Organisations, in order.
    pub organizations: Vec<String>,
    /// Names beside the subject.
    pub alternative: Vec<AlternativeName>,
    /// Common name of who signed it.
    pub issuer: String,
    /// First moment of validity.
    pub from: Timestamp,
    /// Last moment of validity.
    pub until: Timestamp,
}

impl Facts {
    /// Of the first certificate of a PEM text; `None` when there is none.
    pub fn of(pem: &str) -> Option<Self> {
        Self::of_der(&CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
    }

    /// Of a certificate; `None` when it cannot be read.
    pub fn of_der(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let names = parsed.subject_alternative_name().ok()?;
        let validity = parsed.validity();
        Some(Self {
            common_name: common_name(parsed.subject()),
            organizations: organizations(parsed.subject()),
            alternative: names.map(|names| alternative(&names.value.general_names)).unwrap_or_default(),
            issuer: common_name(parsed.issuer()),
            from: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            until: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
        })
    }

    /// Whether it is good at some moment.
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.from <= now && now <= self.until
    }
}

/// What a signing request (PKCS #10) asks for; its signature has been checked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Common name.
    pub common_name: String,
    /// Organisations, in order.
    pub organizations: Vec<String>,
    /// Names beside the subject.
    pub alternative: Vec<AlternativeName>,
    /// The subject in DER.
    pub(super) subject: Vec<u8>,
    /// SubjectPublicKeyInfo in DER.
    pub(super) public_key: Vec<u8>,
}

impl Request {
    /// Reads the first request of a PEM text.
    ///
    /// # Errors
    /// With what is wrong, for people.
    pub fn of(pem: &[u8]) -> Result<Self, String> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem)
            .map_err(|_| "PEM block type must be CERTIFICATE REQUEST".to_owned())?;
        let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|e| e.to_string())?;
        parsed.verify_signature().map_err(|e| format!("unable to verify the request's signature: {e}"))?;
        let info = &parsed.certification_request_info;
        let names = parsed.requested_extensions().into_iter().flatten().find_map(|wish| match wish {
            ParsedExtension::SubjectAlternativeName(names) => Some(alternative(&names.general_names)),
            _ => None,
        });
        Ok(Self {
            common_name: common_name(&info.subject),
            organizations: organizations(&info.subject),
            alternative: names.unwrap_or_default(),
            subject: info.subject.as_raw().to_vec(),
            public_key: info.subject_pki.raw.to_vec(),
        })
    }
}

/// The user a verified client certificate names: its common name, with its organisations as groups
/// (`system:authenticated` added). `None` when it has no common name, or a uid that cannot be one.
pub fn peer_user(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = Some(common_name(parsed.subject())).filter(|name| !name.is_empty())?;
    let groups = organizations(parsed.subject());
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let mut user = UserInfo::component(&name, &groups);
    let mut uids = parsed.subject().iter_attributes().filter(|part| part.attr_type().to_id_string() == UID);
    if let Some(uid) = uids.next() {
        user.uid = uid.as_str().ok().filter(|uid| !uid.is_empty())?.to_owned();
        if uids.next().is_some() {
            return None;
        }
    }
    let fingerprint = digest(&SHA256, certificate);
    let hex: String = fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("X509SHA256={hex}");
    user.extra.insert(CREDENTIAL_ID.to_owned(), vec![id]);
    Some(user)
}

fn common_name(name: &X509Name<'_>) -> String {
    name.iter_common_name().next().and_then(|part| part.as_str().ok()).unwrap_or_default().to_owned()
}

fn organizations(name: &X509Name<'_>) -> Vec<String> {
    name.iter_organization().filter_map(|part| part.as_str().ok()).map(str::to_owned).collect()
}

fn alternative(names: &[GeneralName<'_>]) -> Vec<AlternativeName> {
    let known = names.iter().map(|name| match name {
        GeneralName::DNSName(name) => Some(AlternativeName::Dns((*name).to_owned())),
        GeneralName::RFC822Name(name) => Some(AlternativeName::Email((*name).to_owned())),
        GeneralName::URI(name) => Some(AlternativeName::Uri((*name).to_owned())),
        GeneralName::IPAddress(bytes) => address(bytes).map(AlternativeName::Address),
        _ => None,
    });
    known.flatten().collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
