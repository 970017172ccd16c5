//! What fields mean, in upstream's words: taken from `k8s-openapi`'s schemas while a document is made.
//!
//! A kind is described when it is listed in [`Descriptions::load`]; what it contains comes along.

use k8s_openapi::api::{
    admissionregistration, apps, authentication, authorization, autoscaling, batch, certificates,
    coordination, core, discovery, events, flowcontrol, networking, node, policy, rbac, resource, scheduling,
    storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// Descriptions by definition.
pub(super) struct Descriptions {
    definitions: Map<String, Value>,
}

macro_rules! described {
    ($generator:ident: $($kind:ty),* $(,)?) => {
        $( $generator.subschema_for::<$kind>(); )*
    };
}

impl Descriptions {
    /// Collects them all; some megabytes, to be dropped soon.
    pub(super) fn load() -> Self {
        let mut generator = SchemaSettings::openapi3().into_generator();
        described!(generator:
            core::v1::Binding, core::v1::ConfigMap, core::v1::Endpoints, core::v1::Event,
            core::v1::Namespace, core::v1::Node, core::v1::Pod, core::v1::Secret, core::v1::Service,
            core::v1::ServiceAccount, core::v1::PodTemplate,
            core::v1::ComponentStatus, core::v1::LimitRange, core::v1::PersistentVolume,
            core::v1::PersistentVolumeClaim, core::v1::ReplicationController, core::v1::ResourceQuota,
            batch::v1::CronJob, batch::v1::Job, policy::v1::PodDisruptionBudget,
            apps::v1::ControllerRevision, apps::v1::DaemonSet, apps::v1::Deployment,
            apps::v1::ReplicaSet, apps::v1::StatefulSet,
            autoscaling::v1::HorizontalPodAutoscaler, autoscaling::v1::Scale,
            autoscaling::v2::HorizontalPodAutoscaler,
            authentication::v1::TokenRequest, coordination::v1::Lease, discovery::v1::EndpointSlice,
            events::v1::Event, policy::v1::Eviction, apiextensions::v1::CustomResourceDefinition, meta::DeleteOptions, meta::Status,
            meta::APIGroupList, meta::APIResourceList, meta::APIVersions,
            rbac::v1::ClusterRole, rbac::v1::ClusterRoleBinding, rbac::v1::Role, rbac::v1::RoleBinding,
            networking::v1::Ingress, networking::v1::IngressClass, networking::v1::IPAddress,
            networking::v1::NetworkPolicy, networking::v1::ServiceCIDR,
            storage::v1::CSIDriver, storage::v1::CSINode, storage::v1::CSIStorageCapacity,
            storage::v1::StorageClass, storage::v1::VolumeAttachment, storage::v1::VolumeAttributesClass,
            scheduling::v1::PriorityClass, node::v1::RuntimeClass,
            certificates::v1::CertificateSigningRequest, certificates::v1beta1::ClusterTrustBundle,
            admissionregistration::v1::MutatingAdmissionPolicy,
            admissionregistration::v1::MutatingAdmissionPolicyBinding,
            admissionregistration::v1::MutatingWebhookConfiguration,
            admissionregistration::v1::ValidatingAdmissionPolicy,
            admissionregistration::v1::ValidatingAdmissionPolicyBinding,
            admissionregistration::v1::ValidatingWebhookConfiguration,
            apiregistration::v1::APIService,
            flowcontrol::v1::FlowSchema, flowcontrol::v1::PriorityLevelConfiguration,
            resource::v1::DeviceClass, resource::v1::ResourceClaim, resource::v1::ResourceClaimTemplate,
            resource::v1::ResourceSlice,
            authentication::v1::SelfSubjectReview, authentication::v1::TokenReview,
            authorization::v1::LocalSubjectAccessReview, authorization::v1::SelfSubjectAccessReview,
            authorization::v1::SelfSubjectRulesReview, authorization::v1::SubjectAccessReview,
        );
        Self { definitions: generator.take_definitions(true) }
    }

    /// What a definition is.
    pub(super) fn of(&self, definition: &str) -> Option<&str> {
        self.definitions.get(definition)?.get("description")?.as_str()
    }

    /// What a field is.
    pub(super) fn of_field(&self, definition: &str, field: &str) -> Option<&str> {
        self.definitions.get(definition)?.get("properties")?.get(field)?.get("description")?.as_str()
    }
}
