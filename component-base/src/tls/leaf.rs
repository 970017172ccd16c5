//! Certificates the control plane and its node show: what each says, and when it is renewed.
//!
//! Entry points: [`control_plane`] lists them, [`keep_or_issue`] makes one current.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::PublicKeyData as _;
use ring::digest::{SHA256, digest};
use rustls::sign::CertifiedKey;

use super::authority::{Authority, Role};
use super::certificate::Facts;
use super::files::{read_if_there, restrict, write_private};
use super::issue::{AlternativeName, Draft, subject};
use super::{Identity, SubjectNames, TlsError, configs, new_key, sign_error};

pub(super) const SERVING: &str = "apiserver";
pub(super) const ADMIN: &str = "admin";
pub(super) const AGENT_CLIENT: &str = "apiserver-kubelet-client";
pub(super) const FRONT_PROXY_CLIENT: &str = "front-proxy-client";

/// Certificates start a little in the past so that machines whose clocks differ a little agree.
const BACKDATED: SignedDuration = SignedDuration::from_hours(24);

/// A certificate that shall be there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Start of the names of its two files.
    pub(super) file: String,
    /// Who signs it.
    pub(super) role: Role,
    common_name: String,
    organizations: Vec<String>,
    names: SubjectNames,
    usages: Vec<String>,
}

impl Plan {
    /// What a client shows.
    pub(super) fn client(file: &str, common_name: &str, organizations: &[&str]) -> Self {
        Self {
            file: file.to_owned(),
            role: Role::Client,
            common_name: common_name.to_owned(),
            organizations: organizations.iter().map(|text| (*text).to_owned()).collect(),
            names: SubjectNames::default(),
            usages: ["digital signature", "client auth"].map(str::to_owned).to_vec(),
        }
    }

    /// What a server shows.
    pub(super) fn server(
        file: &str,
        common_name: &str,
        organizations: &[&str],
        names: &SubjectNames,
    ) -> Self {
        Self {
            role: Role::Serving,
            names: names.clone(),
            usages: ["digital signature", "server auth"].map(str::to_owned).to_vec(),
            ..Self::client(file, common_name, organizations)
        }
    }

    /// What a node's own API shows.
    pub(super) fn node(name: &str, addresses: &[IpAddr]) -> Self {
        let mut names = SubjectNames { dns: vec![name.to_owned()], addresses: addresses.to_vec() };
        names.addresses.sort();
        names.addresses.dedup();
        Self::server(&node_file(name), &format!("system:node:{name}"), &["system:nodes"], &names)
    }

    fn alternative(&self) -> Vec<AlternativeName> {
        let dns = self.names.dns.iter().cloned().map(AlternativeName::Dns);
        dns.chain(self.names.addresses.iter().copied().map(AlternativeName::Address)).collect()
    }
}

/// Start of the file names of a node's certificate.
pub(super) fn node_file(name: &str) -> String {
    format!("node-{name}")
}

/// What every control plane has.
pub(super) fn control_plane(names: &SubjectNames) -> Vec<Plan> {
    vec![
        Plan::server(SERVING, "kube-apiserver", &[], names),
        Plan::client(ADMIN, "kubernetes-admin", &["system:masters"]),
        Plan::client(AGENT_CLIENT, "kube-apiserver-kubelet-client", &["system:masters"]),
        Plan { role: Role::FrontProxy, ..Plan::client(FRONT_PROXY_CLIENT, "front-proxy-client", &[]) },
    ]
}

/// A certificate in use.
pub(super) struct Leaf {
    pub(super) identity: Arc<Identity>,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) facts: Facts,
    pub(super) renewed_at: Timestamp,
}

impl Leaf {
    fn of(identity: Identity) -> Result<Self, TlsError> {
        let certified = configs::certified(&identity)?;
        let unreadable = || TlsError::Config("a certificate cannot be read".to_owned());
        let first = certified.cert.first().ok_or_else(unreadable)?;
        let facts = Facts::of_der(first).ok_or_else(unreadable)?;
        let renewed_at = renewed_at(&facts, first);
        Ok(Self { identity: Arc::new(identity), certified: Arc::new(certified), facts, renewed_at })
    }
}

/// When a certificate is replaced: between two thirds and four fifths of its life. Where in between depends on its
/// bytes, so not all are renewed at once, and everybody who looks at it comes to the same moment.
pub(super) fn renewed_at(facts: &Facts, der: &[u8]) -> Timestamp {
    let life = facts.until.duration_since(facts.from);
    let spread = f64::from(digest(&SHA256, der).as_ref().first().copied().unwrap_or_default()) / 255.0;
    let share = 2.0 / 3.0 + spread * (4.0 / 5.0 - 2.0 / 3.0);
    let after = SignedDuration::from_secs_f64(life.as_secs_f64() * share);
    facts.from.saturating_add(after).unwrap_or(facts.until)
}

/// Reads a certificate, or issues it when it is missing, unusable, near its end, not good yet, signed by another
/// authority, or lacks a name.
pub(super) fn keep_or_issue(
    dir: &Path,
    plan: &Plan,
    authority: &Authority,
    life: SignedDuration,
    now: Timestamp,
) -> Result<Leaf, TlsError> {
    let (certificate, key) = (dir.join(format!("{}.crt", plan.file)), dir.join(format!("{}.key", plan.file)));
    restrict(&key)?;
    if let (Some(certificate_pem), Some(key_pem)) = (read_if_there(&certificate)?, read_if_there(&key)?)
        && let Ok(leaf) = Leaf::of(Identity { certificate_pem, key_pem })
        && is_good(&leaf, plan, authority, now)
    {
        return Ok(leaf);
    }
    let identity = issue(plan, authority, life, now)?;
    write_private(&key, identity.key_pem.as_bytes())?;
    write_private(&certificate, identity.certificate_pem.as_bytes())?;
    let leaf = Leaf::of(identity)?;
    tracing::info!(certificate = plan.file, until = %leaf.facts.until, "issued");
    Ok(leaf)
}

fn is_good(leaf: &Leaf, plan: &Plan, authority: &Authority, now: Timestamp) -> bool {
    let names = plan.alternative();
    leaf.facts.from <= now
        && now < leaf.renewed_at
        && names.iter().all(|name| leaf.facts.alternative.contains(name))
        && leaf.certified.cert.first().is_some_and(|leaf| authority.has_signed(leaf))
}

/// A new key and a certificate for it.
pub(super) fn issue(
    plan: &Plan,
    authority: &Authority,
    life: SignedDuration,
    now: Timestamp,
) -> Result<Identity, TlsError> {
    let key = new_key(&plan.common_name)?;
    let organizations: Vec<&str> = plan.organizations.iter().map(String::as_str).collect();
    let draft = Draft {
        subject: &subject(&plan.common_name, &organizations),
        public_key: &key.subject_public_key_info(),
        alternative: &plan.alternative(),
        usages: &plan.usages,
        authority: false,
        from: now.saturating_sub(BACKDATED.min(life / 10)).unwrap_or(now),
        until: now.saturating_add(life).unwrap_or(now),
    };
    let certificate_pem = authority.sign(&draft).map_err(|source| sign_error(&plan.common_name, source))?;
    Ok(Identity { certificate_pem, key_pem: key.serialize_pem() })
}
