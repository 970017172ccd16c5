//! DefaultStorageClass, StorageObjectInUseProtection and PersistentVolumeClaimResize: which class a claim without one
//! gets, what does not go while it is used, and which claims may grow; and DefaultIngressClass, which is the same for ingresses.

use api::quantity::Quantity;
use api::{Status, object};
use serde_json::{Value, json};

use super::Attributes;

const STORAGE_CLASSES: (&str, &str) = ("storage.k8s.io", "storageclasses");
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The default among classes: of several the newest, then the first by name.
fn default_of(mut classes: Vec<Value>, annotations: &[&str]) -> Option<Value> {
    let marked =
        |class: &Value| annotations.iter().any(|key| class["metadata"]["annotations"][*key] == "true");
    classes.retain(marked);
    classes.sort_by(|a, b| {
        let created = |class: &Value| object::meta_str(class, "creationTimestamp").to_owned();
        created(b).cmp(&created(a)).then_with(|| object::name(a).cmp(object::name(b)))
    });
    classes.into_iter().next()
}

pub(super) async fn default_storage_class(
    attributes: &Attributes<'_>,
    claim: &mut Value,
) -> Result<(), Status> {
    let annotated = !claim["metadata"]["annotations"][CLASS_ANNOTATION].is_null();
    if annotated || !claim["spec"]["storageClassName"].is_null() {
        return Ok(());
    }
    let classes = attributes.stored_all(STORAGE_CLASSES, None).await?;
    let marks =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    if let Some(class) = default_of(classes, &marks) {
        claim["spec"]["storageClassName"] = object::name(&class).into();
    }
    Ok(())
}

pub(super) async fn default_ingress_class(
    attributes: &Attributes<'_>,
    ingress: &mut Value,
) -> Result<(), Status> {
    let annotated = !ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_null();
    if annotated || !ingress["spec"]["ingressClassName"].is_null() {
        return Ok(());
    }
    let classes = attributes.stored_all(("networking.k8s.io", "ingressclasses"), None).await?;
    if let Some(class) = default_of(classes, &["ingressclass.kubernetes.io/is-default-class"]) {
        ingress["spec"]["ingressClassName"] = object::name(&class).into();
    }
    Ok(())
}

/// What is in use does not go: the finalizer that `controller_manager::volume_protection` takes away.
pub(super) async fn protect(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let claim = attributes.call.kind.plural == "persistentvolumeclaims";
    let finalizer = if claim { "kubernetes.io/pvc-protection" } else { "kubernetes.io/pv-protection" };
    let mut finalizers = object::finalizers(object);
    if !finalizers.contains(&finalizer) {
        finalizers.push(finalizer);
        let finalizers = json!(finalizers);
        object::metadata_mut(object).insert("finalizers".to_owned(), finalizers);
    }
    Ok(())
}

fn class_name(claim: &Value) -> &str {
    let annotated = claim["metadata"]["annotations"][CLASS_ANNOTATION].as_str();
    annotated.or(claim["spec"]["storageClassName"].as_str()).unwrap_or_default()
}

/// A claim grows only if it is bound, and its class allows it.
pub(super) async fn resize(attributes: &Attributes<'_>, claim: &Value) -> Result<(), Status> {
    let Some(old) = attributes.old else { return Ok(()) };
    let size = |claim: &Value| Quantity::from_json(&claim["spec"]["resources"]["requests"]["storage"]).ok();
    if size(claim) <= size(old) {
        return Ok(());
    }
    if old["status"]["phase"] != "Bound" {
        let detail = "Only bound persistent volume claims can be expanded";
        return Err(attributes.forbidden(claim, detail));
    }
    let name = class_name(claim);
    let class = match name {
        "" => None,
        _ if name != class_name(old) => None,
        _ => attributes.stored(STORAGE_CLASSES, None, name).await?,
    };
    if class.is_some_and(|class| class["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    let detail = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(attributes.forbidden(claim, detail))
}
