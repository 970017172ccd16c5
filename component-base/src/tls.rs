//! The cluster's certificates and keys: one certificate authority in `DIR/pki`, what it has signed, and
//! how rustls uses them.
//!
//! Entry point: [`Pki::open`], which makes whatever is missing or near its end and leaves the rest
//! alone, so a restart keeps trust. Private keys are written with mode 0600 into a directory of mode
//! 0700, and never logged.

mod configs;
mod kubeconfig;
mod token;

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

pub use configs::peer_user;
pub use kubeconfig::kubeconfig;
pub use token::{TokenKey, TokenProblem};

/// How long a signed certificate is valid.
const CERTIFICATE_YEARS: i64 = 1;
/// How long the authority is valid.
const AUTHORITY_YEARS: i64 = 10;
/// A certificate with less than this left is replaced at the next start, so that a process that then
/// runs for months does not run out.
const RENEW_BEFORE_DAYS: i64 = 90;

/// Why certificates could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or directory could not be read or written.
    #[error("{act} {path}: {source}")]
    File {
        /// What was being done.
        act: &'static str,
        /// To which file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file does not hold what its name says.
    #[error("{path} is not usable ({detail}); remove it to have a new one made")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Signing failed.
    #[error("signing a certificate for {subject}: {source}")]
    Sign {
        /// Common name.
        subject: String,
        /// The reason.
        source: rcgen::Error,
    },
    /// rustls refused the material.
    #[error("TLS configuration: {0}")]
    Config(String),
}

/// A certificate chain and its private key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// Leaf first.
    pub certificate_pem: String,
    /// PKCS#8.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// Names a serving certificate is good for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
}

impl SubjectNames {
    /// The names of an API server: its well-known in-cluster names, `localhost`, and what is passed.
    pub fn for_api_server(cluster_domain: &str, dns: &[String], addresses: &[IpAddr]) -> Self {
        let well_known = [
            "localhost".to_owned(),
            "kubernetes".to_owned(),
            "kubernetes.default".to_owned(),
            "kubernetes.default.svc".to_owned(),
            format!("kubernetes.default.svc.{cluster_domain}"),
        ];
        let mut names = Self {
            dns: well_known.into_iter().chain(dns.iter().cloned()).collect(),
            addresses: [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]
                .into_iter()
                .chain(addresses.iter().copied().filter(|a| !a.is_unspecified()))
                .collect(),
        };
        names.dns.sort();
        names.dns.dedup();
        names.addresses.sort();
        names.addresses.dedup();
        names
    }
}

/// The certificate authority and everything the control plane needs from it.
pub struct Pki {
    dir: PathBuf,
    authority_pem: String,
    authority_key: KeyPair,
    serving: Identity,
    admin: Identity,
    agent_client: Identity,
    token_key: TokenKey,
}

impl Pki {
    /// Opens `dir` (usually `DIR/pki`), making it and whatever in it is missing, near its end, signed
    /// by another authority, or (for the serving certificate) not good for all of `names`.
    ///
    /// # Errors
    /// When files cannot be read or written, or a present authority key is damaged: the authority is
    /// never replaced silently, since every kubeconfig trusts it.
    pub fn open(dir: &Path, names: &SubjectNames, now: Timestamp) -> Result<Self, TlsError> {
        make_private_dir(dir)?;
        let (authority_pem, authority_key) = open_authority(dir, now)?;
        let token_key = TokenKey::open(&dir.join("service-account.key"))?;
        let mut pki = Self {
            dir: dir.to_owned(),
            authority_pem,
            authority_key,
            serving: empty_identity(),
            admin: empty_identity(),
            agent_client: empty_identity(),
            token_key,
        };
        pki.serving = pki.keep_or_issue("apiserver", names, now, || {
            pki.issue_serving("kube-apiserver", &[], names, now)
        })?;
        let nameless = SubjectNames::default();
        pki.admin = pki.keep_or_issue("admin", &nameless, now, || {
            pki.issue_client("kubernetes-admin", &["system:masters"], now)
        })?;
        pki.agent_client = pki.keep_or_issue("apiserver-kubelet-client", &nameless, now, || {
            pki.issue_client("kube-apiserver-kubelet-client", &["system:masters"], now)
        })?;
        Ok(pki)
    }

    /// The authority's certificate in PEM.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// The API server's serving certificate.
    pub fn serving(&self) -> &Identity {
        &self.serving
    }

    /// A client certificate of `system:masters`, for `admin.kubeconfig`.
    pub fn admin(&self) -> &Identity {
        &self.admin
    }

    /// What the API server shows to node agents.
    pub fn agent_client(&self) -> &Identity {
        &self.agent_client
    }

    /// Signs service-account tokens.
    pub fn token_key(&self) -> &TokenKey {
        &self.token_key
    }

    /// A client certificate: `common_name` becomes the user, `organizations` its groups.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue_client(
        &self,
        common_name: &str,
        organizations: &[&str],
        now: Timestamp,
    ) -> Result<Identity, TlsError> {
        let mut params = subject(common_name, organizations, now, CERTIFICATE_YEARS);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(common_name, params)
    }

    /// A serving certificate for `names`, usable as a client certificate too (node agents use one
    /// certificate `system:node:NAME` of `system:nodes` for both).
    ///
    /// # Errors
    /// When signing fails or a name is not a DNS name.
    pub fn issue_serving(
        &self,
        common_name: &str,
        organizations: &[&str],
        names: &SubjectNames,
        now: Timestamp,
    ) -> Result<Identity, TlsError> {
        let mut params = subject(common_name, organizations, now, CERTIFICATE_YEARS);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for name in &names.dns {
            let name = name.as_str().try_into().map_err(|source| sign_error(common_name, source))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
        self.sign(common_name, params)
    }

    /// The certificate of node `name` for its own API (`system:node:NAME`, organisation
    /// `system:nodes`), kept in the pki directory and renewed like the others.
    ///
    /// # Errors
    /// When signing or writing fails.
    pub fn node_identity(
        &self,
        name: &str,
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Identity, TlsError> {
        let mut names = SubjectNames { dns: vec![name.to_owned()], addresses: addresses.to_vec() };
        names.addresses.sort();
        names.addresses.dedup();
        let user = format!("system:node:{name}");
        self.keep_or_issue(&format!("node-{name}"), &names, now, || {
            self.issue_serving(&user, &["system:nodes"], &names, now)
        })
    }

    /// Writes a kubeconfig of the administrator for `server` (such as `https://127.0.0.1:6443`) to
    /// `path`, mode 0600.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_admin_kubeconfig(&self, path: &Path, server: &str) -> Result<(), TlsError> {
        let text = kubeconfig(server, &self.authority_pem, &self.admin);
        write_private(path, text.as_bytes())
    }

    fn sign(&self, common_name: &str, params: CertificateParams) -> Result<Identity, TlsError> {
        let fail = |source| sign_error(common_name, source);
        let issuer = Issuer::from_ca_cert_pem(&self.authority_pem, &self.authority_key).map_err(fail)?;
        let key = KeyPair::generate().map_err(fail)?;
        let certificate = params.signed_by(&key, &issuer).map_err(fail)?;
        Ok(Identity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    fn keep_or_issue(
        &self,
        file: &str,
        names: &SubjectNames,
        now: Timestamp,
        issue: impl FnOnce() -> Result<Identity, TlsError>,
    ) -> Result<Identity, TlsError> {
        let (certificate, key) = (self.dir.join(format!("{file}.crt")), self.dir.join(format!("{file}.key")));
        if let (Ok(certificate_pem), Ok(key_pem)) =
            (std::fs::read_to_string(&certificate), std::fs::read_to_string(&key))
        {
            let usable = configs::still_good(&certificate_pem, &key_pem, &self.authority_pem, names, now);
            if usable {
                return Ok(Identity { certificate_pem, key_pem });
            }
        }
        let identity = issue()?;
        write_private(&key, identity.key_pem.as_bytes())?;
        write_private(&certificate, identity.certificate_pem.as_bytes())?;
        Ok(identity)
    }
}

fn empty_identity() -> Identity {
    Identity { certificate_pem: String::new(), key_pem: String::new() }
}

fn sign_error(subject: &str, source: rcgen::Error) -> TlsError {
    TlsError::Sign { subject: subject.to_owned(), source }
}

/// Reads the authority, or makes one where neither of its two files exists.
fn open_authority(dir: &Path, now: Timestamp) -> Result<(String, KeyPair), TlsError> {
    let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
    if certificate.exists() || key.exists() {
        let pem = read(&certificate)?;
        let pair = KeyPair::from_pem(&read(&key)?)
            .map_err(|e| TlsError::Unusable { path: key.clone(), detail: e.to_string() })?;
        Issuer::from_ca_cert_pem(&pem, &pair)
            .map_err(|e| TlsError::Unusable { path: certificate, detail: e.to_string() })?;
        return Ok((pem, pair));
    }
    let fail = |source| sign_error("kubernetes-ca", source);
    let mut params = subject("kubernetes-ca", &[], now, AUTHORITY_YEARS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let pair = KeyPair::generate().map_err(fail)?;
    let pem = params.self_signed(&pair).map_err(fail)?.pem();
    write_private(&key, pair.serialize_pem().as_bytes())?;
    write_private(&certificate, pem.as_bytes())?;
    Ok((pem, pair))
}

/// Parameters shared by all certificates. Validity starts a day early so that machines whose clocks
/// differ a little agree.
fn subject(common_name: &str, organizations: &[&str], now: Timestamp, years: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let today = now.to_zoned(TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(today.saturating_add(Span::new().days(-1)));
    params.not_after = day(today.saturating_add(Span::new().years(years)));
    params
}

fn make_private_dir(dir: &Path) -> Result<(), TlsError> {
    let fail = |act| move |source| TlsError::File { act, path: dir.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("making"))?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(fail("restricting"))
}

fn read(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|source| TlsError::File {
        act: "reading",
        path: path.to_owned(),
        source,
    })
}

/// Writes a file of mode 0600 beside its name, then renames it, so that no reader sees half a key.
fn write_private(path: &Path, content: &[u8]) -> Result<(), TlsError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| TlsError::File { act: "writing", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
