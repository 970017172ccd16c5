//! A kubeconfig with everything inline, so that one file is enough to reach a cluster.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Identity;

/// The text of a kubeconfig for `server` that trusts `authority_pem` and authenticates as `identity`.
pub fn kubeconfig(server: &str, authority_pem: &str, identity: &Identity) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: gantry\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {}\nusers:\n- name: gantry\n  user:\n    client-certificate-data: {}\n    \
         client-key-data: {}\ncontexts:\n- name: gantry\n  context:\n    cluster: gantry\n    user: gantry\n\
         current-context: gantry\npreferences: {{}}\n",
        encode(authority_pem),
        encode(&identity.certificate_pem),
        encode(&identity.key_pem),
    )
}
