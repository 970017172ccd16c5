//! The authorities of ClusterTrustBundles as one file. Entry point: [`anchors`].

use std::collections::BTreeSet;
use std::sync::Arc;

use api::pem;
use api::selector::LabelSelector;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use serde_json::json;

/// The certificates of the bundles a source means, in PEM: each once, and nothing else. In the order of their bytes,
/// so that the file changes only when they do.
///
/// # Errors
/// When nothing is meant, and the source is not optional.
pub(super) fn anchors(
    source: &ClusterTrustBundleProjection,
    bundles: &[Arc<ClusterTrustBundle>],
) -> Result<String, String> {
    let meant = match (&source.name, &source.signer_name) {
        (Some(name), _) => {
            bundles.iter().filter(|bundle| bundle.metadata.name.as_ref() == Some(name)).collect()
        }
        (None, Some(signer)) => of_signer(source, signer, bundles)?,
        (None, None) => Vec::new(),
    };
    if meant.is_empty() && source.optional != Some(true) {
        return Err(match &source.name {
            Some(name) => format!("clustertrustbundle.certificates.k8s.io \"{name}\" not found"),
            None => "combination of signerName and labelSelector matched zero ClusterTrustBundles".to_owned(),
        });
    }
    let blocks = meant.iter().flat_map(|bundle| pem::blocks(&bundle.spec.trust_bundle));
    let anchors: BTreeSet<Vec<u8>> = blocks.map(|block| block.bytes).collect();
    Ok(anchors.iter().map(|anchor| pem::certificate(anchor)).collect())
}

/// No selector selects nothing, an empty one everything.
fn of_signer<'a>(
    source: &ClusterTrustBundleProjection,
    signer: &String,
    bundles: &'a [Arc<ClusterTrustBundle>],
) -> Result<Vec<&'a Arc<ClusterTrustBundle>>, String> {
    let selector = match &source.label_selector {
        None => LabelSelector::nothing(),
        Some(selector) => LabelSelector::from_object(&json!(selector)).map_err(|error| error.to_string())?,
    };
    let of = |bundle: &&Arc<ClusterTrustBundle>| {
        let labels = bundle.metadata.labels.clone().unwrap_or_default();
        bundle.spec.signer_name.as_ref() == Some(signer) && selector.matches(&labels)
    };
    Ok(bundles.iter().filter(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(name: &str, signer: &str, labels: &[(&str, &str)], contents: &[u8]) -> Arc<ClusterTrustBundle> {
        let labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
        let text: String = contents.iter().map(|byte| pem::certificate(&[*byte])).collect();
        let bundle = json!({"metadata": {"name": name, "labels": labels},
            "spec": {"signerName": (!signer.is_empty()).then_some(signer), "trustBundle": format!("words\n{text}")}});
        Arc::new(serde_json::from_value(bundle).expect("a bundle"))
    }

    #[test]
    fn by_name_or_by_signer_and_labels() {
        let all = [
            bundle("a", "", &[], &[1]),
            bundle("s:x:b", "s/x", &[("l", "1")], &[3, 2]),
            bundle("s:x:c", "s/x", &[("l", "2")], &[2, 4]),
            bundle("s:y:d", "s/y", &[("l", "1")], &[5]),
        ];
        let check = |source: serde_json::Value, expect: Result<&[u8], &str>| {
            let mut with_path = source.clone();
            with_path["path"] = json!("p");
            let source_of = serde_json::from_value(with_path).expect("a source");
            let found = anchors(&source_of, &all);
            let expect =
                expect.map(|bytes| bytes.iter().map(|byte| pem::certificate(&[*byte])).collect::<String>());
            assert_eq!(found, expect.map_err(str::to_owned), "{source}");
        };
        let none = "combination of signerName and labelSelector matched zero ClusterTrustBundles";
        check(json!({"name": "a"}), Ok(&[1]));
        check(json!({"name": "z"}), Err("clustertrustbundle.certificates.k8s.io \"z\" not found"));
        check(json!({"name": "z", "optional": true}), Ok(&[]));
        check(json!({"signerName": "s/x", "labelSelector": {}}), Ok(&[2, 3, 4]));
        check(json!({"signerName": "s/x", "labelSelector": {"matchLabels": {"l": "2"}}}), Ok(&[2, 4]));
        check(json!({"signerName": "s/x"}), Err(none));
        check(json!({"signerName": "s/x", "optional": true}), Ok(&[]));
        check(json!({"signerName": "s/z", "labelSelector": {}}), Err(none));
    }
}
