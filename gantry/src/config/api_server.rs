//! Settings of the API server that only some clusters need, under the names of upstream's flags.
//!
//! Entry point: [`ApiServer::or`]. In a settings file they stand below `apiServer`.

use std::path::PathBuf;

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
}

impl ApiServer {
    /// These settings where they are made, else the others.
    pub fn or(self, other: Self) -> Self {
        Self {
            encryption_provider_config: self.encryption_provider_config.or(other.encryption_provider_config),
            encryption_provider_config_automatic_reload: self.encryption_provider_config_automatic_reload
                || other.encryption_provider_config_automatic_reload,
            authorization_config: self.authorization_config.or(other.authorization_config),
        }
    }
}
