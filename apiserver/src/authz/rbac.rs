//! Role-based access control: rules of roles, given to users by bindings.
//!
//! Entry points: [`decide`], [`rules_of`], and for writers of roles and bindings [`guard::check`].
//! Source: upstream's `plugin/pkg/auth/authorizer/rbac` and `pkg/registry/rbac`.

pub(crate) mod guard;
mod index;
mod rule;

use std::ops::ControlFlow;

use api::rbac::PolicyRule;
use component_base::user::UserInfo;
use serde_json::json;

pub(crate) use index::{Bindings, KINDS};
pub(crate) use rule::allows;

use super::{Attributes, Decision, Verdict, aggregate};

/// Allows what a rule of the user allows; never denies.
pub(super) fn decide(bindings: &Bindings, user: &UserInfo, wish: &Attributes<'_>) -> Decision {
    let mut errors = Vec::new();
    let mut allowed = None;
    bindings.visit(user, wish.namespace, |found| {
        match found {
            Ok((binding, rule)) if allows(rule, wish) => {
                allowed = Some(binding);
                return ControlFlow::Break(());
            }
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
        ControlFlow::Continue(())
    });
    if let Some(binding) = allowed {
        return Decision::new(Verdict::Allow, format!("RBAC: allowed by {}", binding.describe(user)));
    }
    let reason = if errors.is_empty() { String::new() } else { format!("RBAC: {}", aggregate(&errors)) };
    Decision::new(Verdict::NoOpinion, reason)
}

/// All rules a user has in a namespace (empty: in the whole cluster), and what could not be found out.
pub(crate) fn rules_of(
    bindings: &Bindings,
    user: &UserInfo,
    namespace: &str,
) -> (Vec<PolicyRule>, Vec<String>) {
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    bindings.visit(user, namespace, |found| {
        match found {
            Ok((_, rule)) => rules.push(rule.clone()),
            Err(error) => errors.push(error),
        }
        ControlFlow::Continue(())
    });
    (rules, errors)
}

/// The rules of those who may do everything.
pub(crate) fn everything() -> [PolicyRule; 2] {
    [
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
        json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
    ]
    .map(|rule| PolicyRule::of(&rule))
}

#[cfg(test)]
mod tests;
