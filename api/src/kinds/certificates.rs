//! Rows of `certificates.k8s.io`.

use super::{Kind, READ_WRITE, SAME, Scope, columns, plain};
use crate::strategies::certificates::{CertificateSigningRequest, trust_bundle::ClusterTrustBundle};

const GROUP: &str = "certificates.k8s.io";

pub(super) fn rows() -> Vec<Kind> {
    vec![
        plain(GROUP, "v1", "CertificateSigningRequest", "certificatesigningrequests", Scope::Cluster)
            .short(&["csr"])
            .rules(CertificateSigningRequest)
            .sub("approval", SAME, READ_WRITE)
            .status()
            .fields(&["spec.signerName"])
            .printed(columns::signing_request()),
        plain(GROUP, "v1beta1", "ClusterTrustBundle", "clustertrustbundles", Scope::Cluster)
            .rules(ClusterTrustBundle)
            .fields(&["spec.signerName"])
            .printed(columns::trust_bundle()),
    ]
}
