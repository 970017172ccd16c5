//! The `authorizer` of expressions: asks about the user of the request, or a service account.

use std::fmt;

use api::cel::{Authorizer, Check, Decision, ResourceCheck, ServiceAccount};
use component_base::user::UserInfo;

use crate::admission::Attributes;
use crate::authz::{self, Selectors};
use crate::call::Call;

/// Who asks.
pub(crate) struct Asker<'a> {
    call: &'a Call,
}

impl<'a> Asker<'a> {
    pub(crate) fn of(call: &'a Call) -> Self {
        Self { call }
    }

    /// What `authorizer.requestResource` begins with.
    pub(crate) fn requested(&self, attributes: &Attributes<'_>) -> ResourceCheck {
        let (group, resource, subresource) = attributes.resource();
        ResourceCheck {
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: attributes.namespace().into(),
            name: attributes.name.as_str().into(),
            ..ResourceCheck::default()
        }
    }

    fn decide(&self, account: Option<&ServiceAccount>, wish: &authz::Attributes<'_>) -> Decision {
        let server = &self.call.server;
        let account = account.map(account_user);
        let user = account.as_ref().unwrap_or(&self.call.user);
        // Most authorizers answer from memory; expressions cannot wait for the others but by holding a thread.
        let decision = authz::authorize_now(server, user, wish).unwrap_or_else(|| {
            let far = authz::authorize(server, user, wish);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(far))
        });
        Decision { allowed: decision.is_allowed(), reason: decision.reason, error: decision.error }
    }
}

/// Upstream's `serviceaccount.UserInfo`.
fn account_user(account: &ServiceAccount) -> UserInfo {
    let ServiceAccount { namespace, name } = account;
    UserInfo {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        ..UserInfo::default()
    }
}

impl Authorizer for Asker<'_> {
    fn authorize(&self, check: &Check, verb: &str) -> Decision {
        match check {
            Check::Path { service_account, path } => {
                let wish = authz::Attributes { verb, path, ..authz::Attributes::default() };
                self.decide(service_account.as_ref(), &wish)
            }
            Check::Resource(check) => {
                let (field, label) = (check.field_selector.as_deref(), check.label_selector.as_deref());
                let selectors = Selectors::parse(field.unwrap_or_default(), label.unwrap_or_default());
                let wish = authz::Attributes {
                    verb,
                    namespace: &check.namespace,
                    group: &check.group,
                    version: "*",
                    resource: &check.resource,
                    subresource: &check.subresource,
                    name: &check.name,
                    path: "",
                    is_resource: true,
                    selectors: (field.is_some() || label.is_some()).then_some(&selectors),
                };
                self.decide(check.service_account.as_ref(), &wish)
            }
        }
    }
}

impl fmt::Debug for Asker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("user", &self.call.user.name).finish_non_exhaustive()
    }
}
