//! Flags every verb has: which cluster, as whom, in which namespace. `gantry options` lists them.

use std::path::PathBuf;

/// The flags; valid before and after the verb.
#[derive(clap::Args, Clone, Default, Debug)]
pub struct Globals {
    /// The namespace to work in.
    #[arg(short, long, value_name = "NAME", global = true, hide = true)]
    pub namespace: Option<String>,
    /// The kubeconfig to use.
    #[arg(long, value_name = "FILE", global = true, hide = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME", global = true, hide = true)]
    pub context: Option<String>,
    /// The cluster of the kubeconfig.
    #[arg(long, value_name = "NAME", global = true, hide = true)]
    pub cluster: Option<String>,
    /// Address of the API server.
    #[arg(short, long, value_name = "URL", global = true, hide = true)]
    pub server: Option<String>,
    /// A bearer token.
    #[arg(long, value_name = "TOKEN", global = true, hide = true)]
    pub token: Option<String>,
    /// The user to act as.
    #[arg(long = "as", value_name = "USER", global = true, hide = true)]
    pub impersonate: Option<String>,
    /// A group to act as; may be repeated.
    #[arg(long = "as-group", value_name = "GROUP", global = true, hide = true)]
    pub impersonate_groups: Vec<String>,
    /// The uid to act as.
    #[arg(long = "as-uid", value_name = "UID", global = true, hide = true)]
    pub impersonate_uid: Option<String>,
    /// Do not check the server's certificate.
    #[arg(long, global = true, hide = true)]
    pub insecure_skip_tls_verify: bool,
    /// The authority that signed the server's certificate.
    #[arg(long, value_name = "FILE", global = true, hide = true)]
    pub certificate_authority: Option<PathBuf>,
    /// A client certificate.
    #[arg(long, value_name = "FILE", global = true, hide = true)]
    pub client_certificate: Option<PathBuf>,
    /// The key of the client certificate.
    #[arg(long, value_name = "FILE", global = true, hide = true)]
    pub client_key: Option<PathBuf>,
    /// The name the server's certificate must have.
    #[arg(long, value_name = "NAME", global = true, hide = true)]
    pub tls_server_name: Option<String>,
    /// How long one request may take, such as 5s; 0 is without end.
    #[arg(long, value_name = "DURATION", global = true, hide = true, default_value = "0")]
    pub request_timeout: String,
    /// How much to tell about requests; 6 shows each.
    #[arg(short = 'v', long = "v", value_name = "LEVEL", global = true, hide = true, default_value_t = 0)]
    pub verbosity: u8,
}
