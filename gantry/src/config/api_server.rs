//! Settings of the API server that only some clusters need, under the names of upstream's flags.
//!
//! Entry point: [`ApiServer::or`]. In a settings file they stand below `apiServer`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use apiserver::audit::{Format, LogOptions, Options, WebhookOptions};
use apiserver::{AuthenticationSettings, OidcSettings, RequestHeaderSettings};
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
    /// An issuer of tokens, without such a file.
    #[arg(long, value_name = "URL")]
    pub oidc_issuer_url: Option<String>,
    /// The audience that its tokens must have.
    #[arg(long, value_name = "ID")]
    pub oidc_client_id: Option<String>,
    /// Whom to believe at the issuer, in PEM [default: this machine's authorities].
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// The claim that names the user [default: sub].
    #[arg(long, value_name = "CLAIM")]
    pub oidc_username_claim: Option<String>,
    /// What names of users begin with; `-` is nothing [default: the issuer and `#`, but nothing for `email`].
    #[arg(long, value_name = "PREFIX")]
    pub oidc_username_prefix: Option<String>,
    /// The claim that holds the user's groups.
    #[arg(long, value_name = "CLAIM")]
    pub oidc_groups_claim: Option<String>,
    /// What names of groups begin with.
    #[arg(long, value_name = "PREFIX")]
    pub oidc_groups_prefix: Option<String>,
    /// What its tokens may be signed with [default: RS256].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub oidc_signing_algs: Vec<String>,
    /// A claim that must have a value; may be repeated.
    #[arg(long, value_name = "CLAIM=VALUE", value_delimiter = ',')]
    pub oidc_required_claim: Vec<String>,
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
    /// Requests that read and run at once; with the next flag, the seats that priority levels share [default: 400].
    #[arg(long, value_name = "COUNT")]
    pub max_requests_inflight: Option<u32>,
    /// Requests that change something and run at once; they are added to those that read [default: 200].
    #[arg(long, value_name = "COUNT")]
    pub max_mutating_requests_inflight: Option<u32>,
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
            oidc_issuer_url: self.oidc_issuer_url.or(other.oidc_issuer_url),
            oidc_client_id: self.oidc_client_id.or(other.oidc_client_id),
            oidc_ca_file: self.oidc_ca_file.or(other.oidc_ca_file),
            oidc_username_claim: self.oidc_username_claim.or(other.oidc_username_claim),
            oidc_username_prefix: self.oidc_username_prefix.or(other.oidc_username_prefix),
            oidc_groups_claim: self.oidc_groups_claim.or(other.oidc_groups_claim),
            oidc_groups_prefix: self.oidc_groups_prefix.or(other.oidc_groups_prefix),
            oidc_signing_algs: first(self.oidc_signing_algs, other.oidc_signing_algs),
            oidc_required_claim: first(self.oidc_required_claim, other.oidc_required_claim),
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
            max_requests_inflight: self.max_requests_inflight.or(other.max_requests_inflight),
            max_mutating_requests_inflight: self
                .max_mutating_requests_inflight
                .or(other.max_mutating_requests_inflight),
        }
    }

    /// Seats that priority levels share; nothing when requests do not wait for any.
    ///
    /// # Errors
    /// When there are none to share.
    pub fn seats(&self) -> Result<Option<u64>> {
        const READING: u32 = 400;
        const CHANGING: u32 = 200;
        if !self.enable_priority_and_fairness.unwrap_or(true) {
            return Ok(None);
        }
        let reading = u64::from(self.max_requests_inflight.unwrap_or(READING));
        match reading + u64::from(self.max_mutating_requests_inflight.unwrap_or(CHANGING)) {
            0 => {
                bail!("--max-requests-inflight and --max-mutating-requests-inflight are 0: nothing could run")
            }
            seats => Ok(Some(seats)),
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

    /// The issuer that flags name, if they do.
    fn oidc(&self) -> Result<Option<OidcSettings>> {
        let required = self.oidc_required_claim.iter().map(|pair| {
            let (claim, value) = pair
                .split_once('=')
                .with_context(|| format!("--oidc-required-claim {pair}: must be CLAIM=VALUE"))?;
            Ok((claim.to_owned(), value.to_owned()))
        });
        let settings = OidcSettings {
            issuer_url: self.oidc_issuer_url.clone().unwrap_or_default(),
            client_id: self.oidc_client_id.clone().unwrap_or_default(),
            authority: self.oidc_ca_file.clone(),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone(),
            signing_algorithms: self.oidc_signing_algs.clone(),
            required_claims: required.collect::<Result<_>>()?,
        };
        if settings == OidcSettings::default() {
            return Ok(None);
        }
        if self.authentication_config.is_some() {
            bail!("authentication-config file and oidc-* flags are mutually exclusive");
        }
        if settings.issuer_url.is_empty() || settings.client_id.is_empty() {
            bail!(
                "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
            );
        }
        Ok(Some(settings))
    }

    /// Who may be who.
    ///
    /// # Errors
    /// When a life of tokens is no duration, or out of bounds, or settings of an issuer do not go together.
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
            oidc: self.oidc()?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_an_issuer_go_together() {
        let text = |text: &str| Some(text.to_owned());
        let whole = ApiServer {
            oidc_issuer_url: text("https://i"),
            oidc_client_id: text("c"),
            oidc_required_claim: vec!["hd=x".to_owned()],
            ..ApiServer::default()
        };
        assert_eq!(ApiServer::default().oidc().expect("none"), None);
        let settings = whole.oidc().expect("good").expect("an issuer");
        assert_eq!(settings.required_claims, [("hd".to_owned(), "x".to_owned())].into());
        for (wrong, expected) in [
            (ApiServer { oidc_client_id: None, ..whole.clone() }, "must be specified together"),
            (
                ApiServer { oidc_groups_claim: text("g"), ..ApiServer::default() },
                "must be specified together",
            ),
            (ApiServer { authentication_config: Some("f".into()), ..whole.clone() }, "mutually exclusive"),
            (ApiServer { oidc_required_claim: vec!["hd".to_owned()], ..whole }, "must be CLAIM=VALUE"),
        ] {
            let problem = wrong.oidc().expect_err(expected).to_string();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
