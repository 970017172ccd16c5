//! What those hear who may not.
//!
//! Source: `apiserver/pkg/endpoints/handlers/responsewriters/errors.go`.

use api::{Reason, Status};
use component_base::user::UserInfo;

use super::{Attributes, Decision};

/// 403 with the authorizers' reason; 500 if an authorizer failed.
pub(crate) fn status(user: &UserInfo, wish: &Attributes<'_>, decision: &Decision) -> Status {
    match &decision.error {
        Some(error) => Status::internal(error),
        None => forbidden(user, wish, &decision.reason),
    }
}

/// 403 in upstream's words; the reason may be empty.
pub(crate) fn forbidden(user: &UserInfo, wish: &Attributes<'_>, reason: &str) -> Status {
    let mut detail = no_html(&message(user, wish));
    if !reason.is_empty() {
        detail = format!("{detail}: {reason}");
    }
    if !wish.is_resource {
        return Status::new(Reason::Forbidden, format!("forbidden: {detail}"));
    }
    Status::forbidden(wish.group, wish.resource, wish.name, &detail)
}

fn message(user: &UserInfo, wish: &Attributes<'_>) -> String {
    let Attributes { verb, path, group, namespace, .. } = wish;
    if !wish.is_resource {
        return format!("User {:?} cannot {verb} path {path:?}", user.name);
    }
    let scope = match *namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let resource = wish.qualified_resource();
    format!("User {:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}", user.name)
}

/// An error must not look like a page to a browser.
fn no_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
