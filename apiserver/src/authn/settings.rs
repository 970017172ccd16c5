//! How callers are authenticated beyond what every cluster has.
//!
//! Entry point: [`AuthenticationSettings`].

use std::path::PathBuf;

use super::OidcSettings;

/// Upstream's `--token-auth-file`, `--requestheader-*` and so on.
#[derive(Debug, Clone)]
pub struct AuthenticationSettings {
    /// CSV of static tokens (`--token-auth-file`): token, user, uid, groups.
    pub token_file: Option<PathBuf>,
    /// Issuers of tokens and anonymous requests (`--authentication-config`), in YAML.
    pub configuration: Option<PathBuf>,
    /// One issuer without a file (`--oidc-*`); a configuration file counts alone.
    pub oidc: Option<OidcSettings>,
    /// A kubeconfig that leads to whoever reviews tokens (`--authentication-token-webhook-config-file`).
    pub token_webhook: Option<PathBuf>,
    /// Which headers of front proxies say who is asking.
    pub request_header: RequestHeaderSettings,
    /// Where nobody needs to be known; `None` makes everybody welcome to be judged as `system:anonymous`.
    pub anonymous: Option<Vec<AnonymousCondition>>,
    /// Whether bootstrap tokens are accepted (`--enable-bootstrap-token-auth`).
    pub bootstrap_tokens: bool,
    /// Whether tokens that pods get for an hour are good for a year, with a warning after the hour
    /// (`--service-account-extend-token-expiration`).
    pub extend_expiration: bool,
    /// The longest life of a token that is asked for, in seconds (`--service-account-max-token-expiration`); longer
    /// wishes are shortened, with a warning.
    pub most_seconds: Option<i64>,
}

/// A path without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnonymousCondition {
    /// The path, and with `prefix` everything below it.
    pub path: String,
    /// Whether paths below are meant, too.
    pub below: bool,
}

/// Upstream's `--requestheader-*` flags.
#[derive(Debug, Clone)]
pub struct RequestHeaderSettings {
    /// Common names of certificates that may speak for others; empty for every one of the front-proxy authority.
    pub allowed_names: Vec<String>,
    /// The first of these that has a value names the user.
    pub username_headers: Vec<String>,
    /// The first of these that has a value is the uid.
    pub uid_headers: Vec<String>,
    /// All values of all of these are groups.
    pub group_headers: Vec<String>,
    /// What follows these prefixes is an extra.
    pub extra_prefixes: Vec<String>,
}

impl Default for RequestHeaderSettings {
    /// kubeadm's.
    fn default() -> Self {
        let one = |text: &str| vec![text.to_owned()];
        Self {
            allowed_names: one("front-proxy-client"),
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
        }
    }
}

impl Default for AuthenticationSettings {
    fn default() -> Self {
        let open = [
            ("/version", false),
            ("/version/", false),
            ("/healthz", true),
            ("/livez", true),
            ("/readyz", true),
            // Signed for those who join with a token.
            ("/api/v1/namespaces/kube-public/configmaps/cluster-info", false),
        ];
        Self {
            token_file: None,
            configuration: None,
            oidc: None,
            token_webhook: None,
            request_header: RequestHeaderSettings::default(),
            anonymous: Some(
                open.map(|(path, below)| AnonymousCondition { path: path.to_owned(), below }).to_vec(),
            ),
            bootstrap_tokens: true,
            extend_expiration: true,
            most_seconds: None,
        }
    }
}

/// Why authentication cannot be set up as asked.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("reading {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {detail}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// An issuer that settings name cannot be used.
    #[error("the issuer of tokens: {0}")]
    Issuer(String),
}
