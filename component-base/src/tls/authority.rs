//! The cluster's certificate authorities: one for servers, one for clients, one for front proxies, so that
//! whoever has the key of one cannot pass for another.
//!
//! Entry point: [`Authority::open`]. An authority is replaced in three steps with both trusted in between
//! ([`rotate`]): `NAME.next` is trusted but signs nothing yet, then it signs and the former one becomes
//! `NAME.retired`, which is trusted until the last step removes it.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate::Facts;
use super::files::{read, read_if_there, remove, restrict, write_private};
use super::issue::{Draft, Signer, key_id, pem, subject};
use super::{TlsError, sign_error};

/// What an authority is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Signs what servers show: the API server and nodes. Clients trust it.
    Serving,
    /// Signs what clients show: administrators, nodes, whoever asks through `certificates.k8s.io`.
    Client,
    /// Signs what the API server shows to aggregated servers, which then believe its headers.
    FrontProxy,
}

impl Role {
    /// Every authority, in the order people are shown them.
    pub const ALL: [Self; 3] = [Self::Serving, Self::Client, Self::FrontProxy];

    /// The start of its file names.
    pub fn file(self) -> &'static str {
        match self {
            Self::Serving => "ca",
            Self::Client => "client-ca",
            Self::FrontProxy => "front-proxy-ca",
        }
    }

    fn common_name(self) -> &'static str {
        match self {
            Self::Serving => "kubernetes-ca",
            Self::Client => "kubernetes-client-ca",
            Self::FrontProxy => "kubernetes-front-proxy-ca",
        }
    }
}

/// How far a replacement has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The new authority is trusted beside the old, which still signs.
    Trusted,
    /// The new authority signs; the old is still trusted.
    Signing,
    /// The old authority is gone.
    Done,
}

/// An authority that signs, and all of its kind that are trusted.
pub(super) struct Authority {
    pub(super) certificate_pem: String,
    certificate: CertificateDer<'static>,
    name: Vec<u8>,
    key_id: Vec<u8>,
    key: KeyPair,
    /// Other certificates in PEM that are trusted: the next one, and those before.
    others: String,
}

fn path(dir: &Path, role: Role, what: &str) -> PathBuf {
    dir.join(format!("{}.{what}", role.file()))
}

impl Authority {
    /// Reads an authority, or makes one where neither of its two files exists: one that is there is never
    /// replaced silently, since every kubeconfig trusts it.
    pub(super) fn open(
        dir: &Path,
        role: Role,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (path(dir, role, "crt"), path(dir, role, "key"));
        if !certificate.exists() && !key.exists() {
            make(dir, role, "", now, life)?;
        }
        restrict(&key)?;
        let mut others = String::new();
        for what in ["next.crt", "retired.crt"] {
            others += read_if_there(&path(dir, role, what))?.as_deref().unwrap_or_default();
        }
        Self::of(&certificate, &key, others)
    }

    fn of(certificate_path: &Path, key_path: &Path, others: String) -> Result<Self, TlsError> {
        let unusable = |path: &Path, detail: String| TlsError::Unusable { path: path.to_owned(), detail };
        let certificate_pem = read(certificate_path)?;
        let key = KeyPair::from_pem(&read(key_path)?).map_err(|e| unusable(key_path, e.to_string()))?;
        let wrong = |detail: &str| unusable(certificate_path, detail.to_owned());
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| wrong("it holds no certificate"))?;
        let (name, key_id) = {
            let (_, parsed) = X509Certificate::from_der(&certificate)
                .map_err(|_| wrong("its certificate cannot be read"))?;
            if parsed.public_key().raw != key.subject_public_key_info() {
                return Err(wrong("it does not belong to the key beside it"));
            }
            let known = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
            let id = known.unwrap_or_else(|| key_id(parsed.public_key().raw));
            (parsed.subject().as_raw().to_vec(), id)
        };
        Ok(Self { certificate_pem, certificate, name, key_id, key, others })
    }

    /// All that is trusted, in PEM; the one that signs comes first.
    pub(super) fn bundle(&self) -> String {
        format!("{}{}", self.certificate_pem, self.others)
    }

    /// The same for rustls.
    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.bundle().as_bytes()) {
            let certificate = certificate.map_err(|e| TlsError::Config(e.to_string()))?;
            store.add(certificate).map_err(|e| TlsError::Config(e.to_string()))?;
        }
        Ok(store)
    }

    /// Signs; the certificate in PEM.
    pub(super) fn sign(&self, draft: &Draft<'_>) -> Result<String, rcgen::Error> {
        let signer = Signer { name: &self.name, key_id: &self.key_id, key: &self.key };
        draft.sign(&signer).map(|der| pem("CERTIFICATE", &der))
    }

    /// Whether it, and not its next or former self, signed a certificate.
    pub(super) fn has_signed(&self, certificate: &CertificateDer<'_>) -> bool {
        let (Ok((_, leaf)), Ok((_, own))) =
            (X509Certificate::from_der(certificate), X509Certificate::from_der(&self.certificate))
        else {
            return false;
        };
        leaf.issuer() == own.subject() && leaf.verify_signature(Some(own.public_key())).is_ok()
    }

    /// What its own certificate says.
    pub(super) fn facts(&self) -> Option<Facts> {
        Facts::of_der(&self.certificate)
    }
}

/// Makes an authority. It is valid from a year ago, so that it is not "not yet valid" when the clock turns out to
/// have been ahead.
fn make(dir: &Path, role: Role, stage: &str, now: Timestamp, life: SignedDuration) -> Result<(), TlsError> {
    const BACKDATED: SignedDuration = SignedDuration::from_hours(366 * 24);
    let fail = |source| sign_error(role.common_name(), source);
    let key = KeyPair::generate().map_err(fail)?;
    let (name, public_key) = (subject(role.common_name(), &[]), key.subject_public_key_info());
    let usages = ["cert sign", "crl sign", "digital signature"].map(str::to_owned);
    let draft = Draft {
        subject: &name,
        public_key: &public_key,
        alternative: &[],
        usages: &usages,
        authority: true,
        from: now.saturating_sub(BACKDATED).unwrap_or(now),
        until: now.saturating_add(life).unwrap_or(now),
    };
    let der = draft.sign(&Signer { name: &name, key_id: &key_id(&public_key), key: &key }).map_err(fail)?;
    write_private(&path(dir, role, &format!("{stage}key")), key.serialize_pem().as_bytes())?;
    write_private(&path(dir, role, &format!("{stage}crt")), pem("CERTIFICATE", &der).as_bytes())
}

/// Goes one step further in replacing an authority.
///
/// # Errors
/// When files cannot be read or written.
pub(super) fn rotate(dir: &Path, role: Role, now: Timestamp, life: SignedDuration) -> Result<Step, TlsError> {
    let [current, key, next, next_key, retired] =
        ["crt", "key", "next.crt", "next.key", "retired.crt"].map(|what| path(dir, role, what));
    if next.exists() && next_key.exists() {
        let former = read(&current)? + read_if_there(&retired)?.as_deref().unwrap_or_default();
        write_private(&retired, former.as_bytes())?;
        // The key first: a certificate without its key would be refused, and the next call goes on from here.
        write_private(&key, read(&next_key)?.as_bytes())?;
        write_private(&current, read(&next)?.as_bytes())?;
        remove(&next)?;
        remove(&next_key)?;
        return Ok(Step::Signing);
    }
    if retired.exists() {
        remove(&retired)?;
        return Ok(Step::Done);
    }
    make(dir, role, "next.", now, life)?;
    Ok(Step::Trusted)
}

/// A data directory of earlier versions has one authority for everything. It goes on as the one for servers;
/// the one for clients is new, and what the old one signed for them stays good until it expires.
pub(super) fn migrate(dir: &Path) -> Result<(), TlsError> {
    let (old, new) = (path(dir, Role::Serving, "crt"), path(dir, Role::Client, "crt"));
    let retired = path(dir, Role::Client, "retired.crt");
    if !old.exists() || new.exists() || retired.exists() {
        return Ok(());
    }
    tracing::info!("clients get a certificate authority of their own; what the old one signed stays good");
    write_private(&retired, read(&old)?.as_bytes())
}
