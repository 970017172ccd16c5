//! Who is asking: in-process identity, client certificate, bearer token, or nobody.
//!
//! Entry point: [`authenticate`]. The TLS listener puts the user of a verified client certificate into
//! the request's extensions, the in-process transport that of its component; nothing on the wire can.

mod token;

use api::{Reason, Status};
use component_base::user::UserInfo;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request};

pub(crate) use token::{Grant, issue, issuer};

use crate::call::Server;

/// The user of requests without credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";

/// Finds out who is asking. A credential that is present but wrong is refused, never ignored.
pub(crate) async fn authenticate<B>(server: &Server, request: &mut Request<B>) -> Result<UserInfo, Status> {
    if let Some(user) = request.extensions().get::<UserInfo>() {
        return Ok(user.clone());
    }
    // The credential does not travel further into handlers and logs.
    let Some(header) = request.headers_mut().remove(AUTHORIZATION) else { return Ok(anonymous()) };
    let bearer = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned())
        .ok_or_else(unauthorized)?;
    match token::user_of(server, &bearer).await {
        Ok(user) => Ok(user),
        Err(problem) => {
            tracing::info!(%problem, "a bearer token was refused");
            Err(unauthorized())
        }
    }
}

/// Whose token it is, and which of the audiences (none: this server) it is meant for; or why it is none.
pub(crate) async fn review(
    server: &Server,
    token: &str,
    audiences: &[String],
) -> Result<(UserInfo, Vec<String>), String> {
    let own = [issuer(server)];
    let audiences = if audiences.is_empty() { &own } else { audiences };
    token::user_for(server, token, audiences).await.map_err(|problem| problem.to_string())
}

/// Acts as somebody else, for administrators (`kubectl --as`).
pub(crate) fn impersonate(user: UserInfo, headers: &HeaderMap) -> Result<UserInfo, Status> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let Some(name) = headers.get("impersonate-user").map(text) else { return Ok(user) };
    if !user.groups.iter().any(|g| g == "system:masters") {
        let detail = format!(
            "User {:?} cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            user.name
        );
        return Err(Status::forbidden("", "users", &name, &detail));
    }
    let groups: Vec<String> = headers.get_all("impersonate-group").iter().map(text).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    Ok(UserInfo::component(&name, &groups))
}

fn anonymous() -> UserInfo {
    UserInfo {
        name: ANONYMOUS.to_owned(),
        groups: vec!["system:unauthenticated".to_owned()],
        ..UserInfo::default()
    }
}

fn unauthorized() -> Status {
    Status::new(Reason::Unauthorized, "Unauthorized")
}
