//! The cluster's certificates and keys in `DIR/pki`: three authorities, what they have signed, and how rustls
//! uses them.
//!
//! Entry point: [`Pki::open`], which makes whatever is missing or near its end and leaves the rest
//! alone, so a restart keeps trust; [`Pki::keep`] goes on doing so while the process runs. Whoever needs
//! something asks for it when needed, or follows [`Pki::changed`]; configurations for rustls follow by
//! themselves. Private keys are written with mode 0600 into a directory of mode 0700, and never logged.

mod authority;
mod certificate;
mod configs;
mod files;
mod issue;
mod judged;
mod kubeconfig;
mod leaf;
mod listing;
mod renewal;
mod token;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
pub use rcgen::KeyPair;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::{Notify, watch};

pub use authority::{Role, Step};
pub use certificate::{Facts, Request, peer_user};
pub use files::write_private;
pub use issue::{AlternativeName, signing_request, subject};
pub use judged::{Judge, any_server, any_server_config, judged_by};
pub use kubeconfig::kubeconfig;
pub use listing::{Listed, list};
pub use renewal::{expire, rotate_authority, rotate_token_key};
pub use token::{TokenKey, TokenKeys, TokenProblem};

use authority::Authority;
use files::make_private_dir;
use issue::Draft;
use leaf::{Leaf, Plan};

/// How long what is signed here is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of a certificate.
    pub certificate: SignedDuration,
    /// Of an authority.
    pub authority: SignedDuration,
}

impl Default for Lifetimes {
    /// Upstream's (kubeadm).
    fn default() -> Self {
        let year = SignedDuration::from_hours(365 * 24);
        Self { certificate: year, authority: year.saturating_mul(10) }
    }
}

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
#[derive(Clone, Default)]
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

/// Everything as it is at the moment.
struct State {
    serving: Authority,
    client: Authority,
    front_proxy: Authority,
    leaves: std::collections::BTreeMap<String, Leaf>,
    token_keys: Arc<TokenKeys>,
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
    front_proxies: Arc<dyn ClientCertVerifier>,
}

impl State {
    fn load(dir: &Path, plans: &[Plan], lifetimes: Lifetimes, now: Timestamp) -> Result<Self, TlsError> {
        authority::migrate(dir)?;
        let open = |role| Authority::open(dir, role, now, lifetimes.authority);
        let (serving, client, front_proxy) =
            (open(Role::Serving)?, open(Role::Client)?, open(Role::FrontProxy)?);
        let mut state = Self {
            servers: configs::believe_servers(serving.roots()?)?,
            clients: configs::believe_clients(client.roots()?)?,
            front_proxies: configs::believe_clients(front_proxy.roots()?)?,
            token_keys: Arc::new(TokenKeys::open(dir)?),
            leaves: std::collections::BTreeMap::new(),
            serving,
            client,
            front_proxy,
        };
        for plan in plans {
            let leaf =
                leaf::keep_or_issue(dir, plan, state.authority(plan.role), lifetimes.certificate, now)?;
            state.leaves.insert(plan.file.clone(), leaf);
        }
        Ok(state)
    }

    fn authority(&self, role: Role) -> &Authority {
        match role {
            Role::Serving => &self.serving,
            Role::Client => &self.client,
            Role::FrontProxy => &self.front_proxy,
        }
    }
}

/// The state, shared with what follows it.
#[derive(Clone)]
struct Current(Arc<RwLock<State>>);

impl Current {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read()
    }
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

/// The authorities and everything the control plane needs from them.
pub struct Pki {
    dir: PathBuf,
    lifetimes: Lifetimes,
    plans: Mutex<Vec<Plan>>,
    current: Current,
    /// Counts changes of anything.
    changed: watch::Sender<u64>,
    reload: Notify,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Pki {
    /// Opens `dir` (usually `DIR/pki`), making it and whatever in it is missing, near its end, signed
    /// by another authority, or (for the serving certificate) not good for all of `names`.
    ///
    /// # Errors
    /// When files cannot be read or written, or a present authority key is damaged: an authority is
    /// never replaced silently, since every kubeconfig trusts it.
    pub fn open(dir: &Path, names: &SubjectNames, now: Timestamp) -> Result<Self, TlsError> {
        Self::open_with(dir, names, now, Lifetimes::default())
    }

    /// The same with other lifetimes.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        dir: &Path,
        names: &SubjectNames,
        now: Timestamp,
        lifetimes: Lifetimes,
    ) -> Result<Self, TlsError> {
        make_private_dir(dir)?;
        let plans = leaf::control_plane(names);
        let state = State::load(dir, &plans, lifetimes, now)?;
        Ok(Self {
            dir: dir.to_owned(),
            lifetimes,
            plans: Mutex::new(plans),
            current: Current(Arc::new(RwLock::new(state))),
            changed: watch::Sender::new(0),
            reload: Notify::new(),
        })
    }

    /// Every authority servers' certificates may come from, in PEM: what clients trust.
    pub fn authority_pem(&self) -> String {
        self.current.read().serving.bundle()
    }

    /// Every authority of a kind that is trusted, in PEM.
    pub fn authorities_pem(&self, role: Role) -> String {
        self.current.read().authority(role).bundle()
    }

    /// The API server's serving certificate.
    pub fn serving(&self) -> Arc<Identity> {
        self.identity(leaf::SERVING)
    }

    /// A client certificate of `system:masters`, for `admin.kubeconfig`.
    pub fn admin(&self) -> Arc<Identity> {
        self.identity(leaf::ADMIN)
    }

    /// What the API server shows to node agents.
    pub fn agent_client(&self) -> Arc<Identity> {
        self.identity(leaf::AGENT_CLIENT)
    }

    /// What the API server shows to aggregated servers.
    pub fn front_proxy_client(&self) -> Arc<Identity> {
        self.identity(leaf::FRONT_PROXY_CLIENT)
    }

    /// One of the certificates every control plane has, so always there.
    fn identity(&self, file: &str) -> Arc<Identity> {
        let state = self.current.read();
        state.leaves.get(file).map(|leaf| Arc::clone(&leaf.identity)).unwrap_or_default()
    }

    /// What signs and verifies service-account tokens.
    pub fn token_keys(&self) -> Arc<TokenKeys> {
        Arc::clone(&self.current.read().token_keys)
    }

    /// Counts changes of anything; each is seen after it has taken effect.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The number of changes so far.
    pub fn generation(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Whether a client's certificate chain, leaf first, leads to an authority of a kind and is good for
    /// clients now.
    ///
    /// # Errors
    /// With what is wrong, for the log.
    pub fn check_client(
        &self,
        role: Role,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), String> {
        let verifier = {
            let state = self.current.read();
            Arc::clone(if role == Role::FrontProxy { &state.front_proxies } else { &state.clients })
        };
        let Some((leaf, others)) = chain.split_first() else { return Err("no certificate".to_owned()) };
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        verifier.verify_client_cert(leaf, others, now).map(|_| ()).map_err(|error| error.to_string())
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
        let plan = Plan::client("", common_name, organizations);
        leaf::issue(&plan, &self.current.read().client, self.lifetimes.certificate, now)
    }

    /// A serving certificate for `names`, for a server of the cluster that is no node.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue_serving(
        &self,
        common_name: &str,
        organizations: &[&str],
        names: &SubjectNames,
        now: Timestamp,
    ) -> Result<Identity, TlsError> {
        let plan = Plan::server("", common_name, organizations, names);
        leaf::issue(&plan, &self.current.read().serving, self.lifetimes.certificate, now)
    }

    /// A certificate in PEM for a signing request.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign_request(
        &self,
        role: Role,
        request: &Request,
        usages: &[String],
        (from, until): (Timestamp, Timestamp),
    ) -> Result<String, TlsError> {
        let draft = Draft {
            subject: &request.subject,
            public_key: &request.public_key,
            alternative: &request.alternative,
            usages,
            authority: false,
            from,
            until,
        };
        let signed = self.current.read().authority(role).sign(&draft);
        signed.map_err(|source| sign_error(&request.common_name, source))
    }

    /// The last moment the authority of a kind is good for.
    pub fn authority_end(&self, role: Role) -> Option<Timestamp> {
        self.current.read().authority(role).facts().map(|facts| facts.until)
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
    ) -> Result<Arc<Identity>, TlsError> {
        let plan = Plan::node(name, addresses);
        let file = plan.file.clone();
        self.plans.lock().retain(|other| other.file != file);
        self.plans.lock().push(plan);
        self.refresh(now)?;
        Ok(self.identity(&file))
    }

    /// Writes a kubeconfig of the administrator for `server` (such as `https://127.0.0.1:6443`) to
    /// `path`, mode 0600.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_admin_kubeconfig(&self, path: &Path, server: &str) -> Result<(), TlsError> {
        let text = kubeconfig(server, &self.authority_pem(), &self.admin());
        write_private(path, text.as_bytes())
    }

    /// How the API server listens: HTTP/2 and 1.1, client certificates welcome; who signed them is for
    /// [`Self::check_client`].
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        configs::server(&self.current, leaf::SERVING, false, &[b"h2", b"http/1.1"])
    }

    /// How a node agent with a [`Self::node_identity`] listens: HTTP/1.1 (exec and port-forward upgrade the
    /// connection), trusted client certificates required.
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn node_server_config(&self, name: &str) -> Result<Arc<ServerConfig>, TlsError> {
        configs::server(&self.current, &leaf::node_file(name), true, &[b"http/1.1"])
    }

    /// How a server that is told who asks by the API server listens: for front proxies alone.
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn aggregated_server_config(&self, identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
        configs::server_as(identity, Arc::clone(&self.current.read().front_proxies))
    }

    /// How to call an aggregated API server as the front proxy; `verifier` judges the certificate it shows.
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn front_proxy_config(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        configs::client_judged(&self.current, leaf::FRONT_PROXY_CLIENT, verifier)
    }

    /// How the API server calls node agents, whatever is renewed.
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn agent_client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        configs::client(&self.current, leaf::AGENT_CLIENT)
    }

    /// How to call another part of the cluster as `identity`, trusting only this cluster's servers.
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn client_config(
        &self,
        identity: impl std::borrow::Borrow<Identity>,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        configs::client_as(&self.current, identity.borrow())
    }
}

fn sign_error(subject: &str, source: rcgen::Error) -> TlsError {
    TlsError::Sign { subject: subject.to_owned(), source }
}

/// A new key, and its use in PEM.
fn new_key(subject: &str) -> Result<KeyPair, TlsError> {
    KeyPair::generate().map_err(|source| sign_error(subject, source))
}

#[cfg(test)]
mod tests;
