//! Who is asking: an ordered table of authenticators, of which the first that knows the credential answers.
//!
//! Entry points: [`authenticate`] for requests, [`review`] for `TokenReview`. The TLS listener puts the
//! certificate of a connection into the request's extensions, the in-process transport the user of its
//! component; nothing on the wire can. Strangers hear `Unauthorized` and nothing more; why is in the log.

mod anonymous;
mod bearer_token;
mod bootstrap_token;
mod claims;
mod client_certificate;
mod configuration;
mod credentials;
mod distributed_claims;
mod impersonation;
pub(crate) mod jwt;
mod key_set;
mod legacy_token;
mod mapping;
mod oidc_flags;
pub(crate) mod published;
mod request_header;
mod service_account;
mod settings;
mod token_file;
mod token_webhook;

use std::sync::{Arc, LazyLock};

use api::{Reason, Status};
use component_base::metrics::{self, IntCounter, IntCounterVec};
use component_base::user::UserInfo;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request};

pub use oidc_flags::OidcSettings;
pub use settings::{AnonymousCondition, AuthenticationSettings, RequestHeaderSettings, SettingsError};

pub(crate) use anonymous::NAME as ANONYMOUS;
pub(crate) use client_certificate::Peer;
pub(crate) use credentials::Credentials;
pub(crate) use impersonation::impersonate;
pub(crate) use service_account::{Binding, Grant, issue, issuer, issuer_of};

use crate::authz::aggregate;
use crate::call::Server;
use crate::followed::Followed;

static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Requests over the network by whether it was found out who asks.";
    metrics::counter("authentication_attempts", help, &["result"])
});
static SUCCESS: LazyLock<IntCounter> = LazyLock::new(|| ATTEMPTS.with_label_values(&["success"]));
static FAILURE: LazyLock<IntCounter> = LazyLock::new(|| ATTEMPTS.with_label_values(&["failure"]));
static ERROR: LazyLock<IntCounter> = LazyLock::new(|| ATTEMPTS.with_label_values(&["error"]));

/// What authentication keeps.
pub(crate) struct Authentication {
    pub(crate) settings: AuthenticationSettings,
    /// What tokens are bound to, and the tokens that are stored.
    pub(crate) credentials: Followed<Credentials>,
    verified: claims::Verified,
    tokens: token_file::TokenFile,
    issuers: jwt::Issuers,
    webhook: Option<token_webhook::TokenWebhook>,
}

impl Authentication {
    /// Reads the files that settings name. `own` is the issuer of service-account tokens.
    pub(crate) fn new(settings: AuthenticationSettings, own: &str) -> Result<Self, SettingsError> {
        let tokens = match &settings.token_file {
            Some(path) => token_file::TokenFile::read(path)?,
            None => token_file::TokenFile::default(),
        };
        let issuers = jwt::Issuers::read(&settings, own)?;
        let webhook = settings.token_webhook.as_deref().map(token_webhook::TokenWebhook::read).transpose()?;
        let credentials = Followed::new(&credentials::KINDS);
        let verified = claims::Verified::default();
        Ok(Self { settings, credentials, verified, tokens, issuers, webhook })
    }
}

/// A request, as far as authentication looks at it.
struct Asked<'a> {
    headers: &'a mut HeaderMap,
    peer: Option<Arc<Peer>>,
    audiences: &'a [String],
}

/// Somebody an authenticator knows.
struct Known {
    user: UserInfo,
    /// Which of the audiences asked for the credential is meant for.
    audiences: Vec<String>,
}

/// `None`: not this authenticator's kind of credential. The error says why a credential was refused.
type Outcome = Result<Option<Known>, String>;

/// Judges requests.
type Authenticator = for<'a> fn(&'a Server, &'a mut Asked<'_>) -> BoxFuture<'a, Outcome>;

/// In upstream's order. A refusal does not keep the next from looking; if nobody knows the caller, all that was
/// refused is in the log.
const AUTHENTICATORS: &[Authenticator] = &[
    |server, asked| Box::pin(async { request_header::authenticate(server, asked) }),
    |server, asked| Box::pin(async { client_certificate::authenticate(server, asked) }),
    |server, asked| Box::pin(bearer_token::authenticate(server, asked)),
    |server, asked| Box::pin(bearer_token::authenticate_websocket(server, asked)),
];

/// Finds out who is asking. A credential that is present but wrong is refused, never ignored.
pub(crate) async fn authenticate<B>(server: &Server, request: &mut Request<B>) -> Result<UserInfo, Status> {
    if let Some(user) = request.extensions().get::<UserInfo>() {
        return Ok(user.clone());
    }
    let peer = request.extensions().get::<Arc<Peer>>().cloned();
    let path = request.uri().path().to_owned();
    let own = [issuer(server)];
    let headers = request.headers_mut();
    let mut asked = Asked { headers, peer, audiences: &own };
    let outcome = union(server, &mut asked).await;
    // The credential does not travel further into handlers and logs.
    asked.headers.remove(AUTHORIZATION);
    request_header::clear(&server.authentication.settings.request_header, asked.headers);
    let known = outcome.map(|known| {
        known.map(|known| authenticated(known.user)).or_else(|| anonymous::authenticate(server, &path))
    });
    match known {
        Ok(Some(user)) => {
            SUCCESS.inc();
            Ok(user)
        }
        Ok(None) => {
            FAILURE.inc();
            Err(unauthorized())
        }
        Err(problem) => {
            ERROR.inc();
            tracing::info!(%problem, path, "unable to authenticate the request");
            Err(unauthorized())
        }
    }
}

async fn union(server: &Server, asked: &mut Asked<'_>) -> Outcome {
    let mut problems = Vec::new();
    for authenticator in AUTHENTICATORS {
        match authenticator(server, asked).await {
            Ok(None) => {}
            Ok(Some(known)) => return Ok(Some(known)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(None) } else { Err(aggregate(&problems)) }
}

/// Whose token it is, and which of the audiences (none: this server) it is meant for; or why it is none.
pub(crate) async fn review(
    server: &Server,
    token: &str,
    audiences: &[String],
) -> Result<(UserInfo, Vec<String>), String> {
    let own = [issuer(server)];
    let audiences = if audiences.is_empty() { &own } else { audiences };
    match bearer_token::known(server, token, audiences).await {
        Ok(Some(known)) => Ok((authenticated(known.user), known.audiences)),
        Ok(None) => Err(bearer_token::INVALID.to_owned()),
        // Upstream asks its own loopback token first, which is another.
        Err(problem) => Err(aggregate(&[bearer_token::INVALID.to_owned(), problem])),
    }
}

/// Everybody who is known is of `system:authenticated`.
fn authenticated(mut user: UserInfo) -> UserInfo {
    const GROUP: &str = "system:authenticated";
    if user.name != ANONYMOUS && user.groups.iter().all(|group| group != GROUP) {
        user.groups.push(GROUP.to_owned());
    }
    user
}

fn unauthorized() -> Status {
    Status::new(Reason::Unauthorized, "Unauthorized")
}
