//! Settings of the API server that only some clusters need, under the names of upstream's flags.
//!
//! Entry point: [`ApiServer::or`]. In a settings file they stand below `apiServer`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use apiserver::audit::{Format, LogOptions, Options, WebhookOptions};
use apiserver::{AuthenticationSettings, RequestHeaderSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ApiServer {
    /// What is encrypted in the store, and with which keys: an EncryptionConfiguration [default: secrets, with a key in
    /// DATA_DIR/pki/encryption.yaml].
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Take changes of that file while running.
    #[arg(long, requires = "encryption_provider_config")]
    pub encryption_provider_config_automatic_reload: bool,
    /// Who decides who may do what: an AuthorizationConfiguration [default: Node, then RBAC].
    #[arg(long, value_name = "FILE")]
    pub authorization_config: Option<PathBuf>,
    /// CSV of static tokens: token, user, uid, groups.
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Issuers of tokens and anonymous requests: an AuthenticationConfiguration, followed while running.
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
    /// A kubeconfig that leads to a webhook that reviews tokens.
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// The longest life of a service-account token that is asked for, from `1h` on; longer wishes are shortened.
    #[arg(long, value_name = "DURATION")]
    pub service_account_max_token_expiration: Option<String>,
    /// Let tokens that pods get for an hour be good for a year, with warnings after the hour [default: true].
    #[arg(long, value_name = "BOOL")]
    pub service_account_extend_token_expiration: Option<bool>,
    /// Common names of certificates of the front-proxy authority that may speak for others [default: front-proxy-client].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers of front proxies that name the user [default: X-Remote-User].
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    /// Headers of front proxies that hold the uid [default: X-Remote-Uid].
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers of front proxies that name groups [default: X-Remote-Group].
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    /// What headers with extras begin with [default: X-Remote-Extra-].
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// What is audited: a Policy of audit.k8s.io/v1 [default: changes, without bodies].
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// The audit log; `-` is standard output, `none` is no log [default: DATA_DIR/audit/audit.log].
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// Megabytes of the audit log before it is rotated [default: 10].
    #[arg(long, value_name = "MB")]
    pub audit_log_maxsize: Option<u64>,
    /// Days that rotated audit logs are kept; 0 is for ever [default: 0].
    #[arg(long, value_name = "DAYS")]
    pub audit_log_maxage: Option<u64>,
    /// Rotated audit logs that are kept; 0 is all [default: 5].
    #[arg(long, value_name = "COUNT")]
    pub audit_log_maxbackup: Option<usize>,
    /// `json` or `legacy` [default: json].
    #[arg(long, value_name = "FORMAT")]
    pub audit_log_format: Option<String>,
    /// A kubeconfig that names a server which takes audit events, too.
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// Let requests wait for seats of their priority level [default: true].
    #[arg(long, value_name = "BOOL")]
    pub enable_priority_and_fairness: Option<bool>,
}

/// Where the audit log of a data directory is unless it was told otherwise.
pub fn audit_log(data_dir: &Path) -> PathBuf {
    data_dir.join("audit/audit.log")
}

impl ApiServer {
    /// These settings where they are made, else the others.
    pub fn or(self, other: Self) -> Self {
        Self {
            encryption_provider_config: self.encryption_provider_config.or(other.encryption_provider_config),
            encryption_provider_config_automatic_reload: self.encryption_provider_config_automatic_reload
                || other.encryption_provider_config_automatic_reload,
            authorization_config: self.authorization_config.or(other.authorization_config),
            token_auth_file: self.token_auth_file.or(other.token_auth_file),
            authentication_config: self.authentication_config.or(other.authentication_config),
            authentication_token_webhook_config_file: self
                .authentication_token_webhook_config_file
                .or(other.authentication_token_webhook_config_file),
            service_account_max_token_expiration: self
                .service_account_max_token_expiration
                .or(other.service_account_max_token_expiration),
            service_account_extend_token_expiration: self
                .service_account_extend_token_expiration
                .or(other.service_account_extend_token_expiration),
            requestheader_allowed_names: first(
                self.requestheader_allowed_names,
                other.requestheader_allowed_names,
            ),
            requestheader_username_headers: first(
                self.requestheader_username_headers,
                other.requestheader_username_headers,
            ),
            requestheader_uid_headers: first(self.requestheader_uid_headers, other.requestheader_uid_headers),
            requestheader_group_headers: first(
                self.requestheader_group_headers,
                other.requestheader_group_headers,
            ),
            requestheader_extra_headers_prefix: first(
                self.requestheader_extra_headers_prefix,
                other.requestheader_extra_headers_prefix,
            ),
            audit_policy_file: self.audit_policy_file.or(other.audit_policy_file),
            audit_log_path: self.audit_log_path.or(other.audit_log_path),
            audit_log_maxsize: self.audit_log_maxsize.or(other.audit_log_maxsize),
            audit_log_maxage: self.audit_log_maxage.or(other.audit_log_maxage),
            audit_log_maxbackup: self.audit_log_maxbackup.or(other.audit_log_maxbackup),
            audit_log_format: self.audit_log_format.or(other.audit_log_format),
            audit_webhook_config_file: self.audit_webhook_config_file.or(other.audit_webhook_config_file),
            enable_priority_and_fairness: self
                .enable_priority_and_fairness
                .or(other.enable_priority_and_fairness),
        }
    }

    /// What is audited, and where it goes: sixty megabytes at most unless more is asked for.
    ///
    /// # Errors
    /// When there is no such format.
    pub fn audit(&self, data_dir: &Path) -> Result<Options> {
        let path = self.audit_log_path.clone().unwrap_or_else(|| audit_log(data_dir));
        let format = match self.audit_log_format.as_deref() {
            None | Some("json") => Format::Json,
            Some("legacy") => Format::Legacy,
            Some(other) => bail!("--audit-log-format {other}: allowed formats are \"json,legacy\""),
        };
        let log = LogOptions {
            path,
            format,
            max_size: self.audit_log_maxsize.unwrap_or(10),
            max_age: self.audit_log_maxage.unwrap_or(0),
            max_backups: self.audit_log_maxbackup.unwrap_or(5),
        };
        let log = (log.path != Path::new("none")).then_some(log);
        let webhook = self.audit_webhook_config_file.clone().map(WebhookOptions::new);
        Ok(Options { policy_file: self.audit_policy_file.clone(), log, webhook })
    }

    /// Who may be who.
    ///
    /// # Errors
    /// When a life of tokens is no duration, or out of bounds.
    pub fn authentication(&self) -> Result<AuthenticationSettings> {
        const SHORTEST: i64 = 60 * 60;
        const LONGEST: i64 = 1 << 32;
        let usual = RequestHeaderSettings::default();
        let most_seconds = match &self.service_account_max_token_expiration {
            None => None,
            Some(text) => {
                let seconds = api::time::parse_go_duration(text).map(|nanos| nanos / 1_000_000_000);
                let seconds = seconds.filter(|seconds| (SHORTEST..=LONGEST).contains(seconds));
                Some(seconds.with_context(|| {
                    format!(
                        "--service-account-max-token-expiration {text}: must be between 1 hour and 2^32 seconds"
                    )
                })?)
            }
        };
        Ok(AuthenticationSettings {
            most_seconds,
            extend_expiration: self.service_account_extend_token_expiration.unwrap_or(true),
            token_file: self.token_auth_file.clone(),
            configuration: self.authentication_config.clone(),
            token_webhook: self.authentication_token_webhook_config_file.clone(),
            request_header: RequestHeaderSettings {
                allowed_names: first(self.requestheader_allowed_names.clone(), usual.allowed_names),
                username_headers: first(self.requestheader_username_headers.clone(), usual.username_headers),
                uid_headers: first(self.requestheader_uid_headers.clone(), usual.uid_headers),
                group_headers: first(self.requestheader_group_headers.clone(), usual.group_headers),
                extra_prefixes: first(self.requestheader_extra_headers_prefix.clone(), usual.extra_prefixes),
            },
            ..AuthenticationSettings::default()
        })
    }
}

/// The first list that says something.
fn first(list: Vec<String>, other: Vec<String>) -> Vec<String> {
    if list.is_empty() { other } else { list }
}
