//! Rows of `certificates.k8s.io`.

use super::{Kind, READ_WRITE, SAME, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    vec![
        plain(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            Scope::Cluster,
        )
        .short(&["csr"])
        .rules(crate::strategies::certificates::CertificateSigningRequest)
        .sub("approval", SAME, READ_WRITE)
        .status()
        .fields(&["spec.signerName"])
        .printed(columns::signing_request()),
    ]
}
