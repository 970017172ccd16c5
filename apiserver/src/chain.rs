//! The filter chain, in order, in one function: understand, authenticate, audit, wait for a seat, authorise,
//! dispatch.
//!
//! Entry point: [`handle`]. A panic below it costs one request a 500, never the process.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use api::{KindTable, Reason, Status};
use axum::body::Body;
use component_base::user::UserInfo;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tracing::Instrument as _;

use crate::audit::{self, Trail, Visit};
use crate::authz::{Attributes, Selectors};
use crate::call::{Call, Server, stored_row};
use crate::flow_control::FlowControl;
use crate::metrics::Busy;
use crate::negotiation::Reader;
use crate::request::{Options, RequestInfo, query_pairs};
use crate::{
    aggregator, authn, authz, component_status, handlers, health, methods, metrics, metrics_api, output,
    paths, reviews, subresources, warnings,
};

/// Answers one request, whatever happens.
pub(crate) async fn handle(server: Arc<Server>, request: Request<Body>) -> Response<Body> {
    let started = server.clock.monotonic();
    let audit_id = request
        .headers()
        .get("audit-id")
        .and_then(|v| v.to_str().ok())
        .map_or_else(|| server.rng.uid(), str::to_owned);
    let pairs = query_pairs(request.uri());
    let watch = pairs.iter().flatten().any(|(k, v)| k == "watch" && !matches!(v.as_str(), "false" | "0"));
    let info = Arc::new(RequestInfo::parse(request.method(), request.uri(), watch));
    let visit = server.audit.visit(audit_id);
    let dry_run = pairs.iter().flatten().any(|(key, value)| key == "dryRun" && value == "All");
    let busy = Busy::with(&info);
    let is_head = request.method() == Method::HEAD;
    let reader = Reader::of(request.headers(), request.uri().query().unwrap_or_default());
    let span = tracing::debug_span!(
        "request",
        verb = info.verb,
        resource = info.resource,
        namespace = info.namespace,
        name = info.name,
        user = tracing::field::Empty,
        audit_id = visit.audit_id,
    );
    let work = async {
        let pairs = pairs?;
        let limit = time_limit(&server, &info, &pairs)?;
        let options = Options::parse(info.verb, &pairs);
        let options = options.map(|options| Options { pretty: reader.pretty, ..options });
        let selectors = Selectors::of_query(info.verb, &pairs);
        let (server, info) = (Arc::clone(&server), Arc::clone(&info));
        // A box: with the whole chain in it, what this is part of would be moved about at some length.
        let work = Box::pin(filter(Arc::clone(&server), info, &pairs, selectors, options, request, &visit));
        in_time(&server, limit, work).await
    };
    let outcome = AssertUnwindSafe(work).catch_unwind().instrument(span.clone()).await;
    let response = match outcome {
        Ok(Ok(response)) => visit.answered(None, busy.is_none(), response).await,
        Ok(Err(status)) => {
            span.in_scope(|| tracing::debug!(code = status.code(), message = status.message, "refused"));
            visit.answered(Some(&status), false, output::failure(&status)).await
        }
        Err(_panic) => {
            span.in_scope(|| tracing::error!("the handler panicked"));
            visit.panicked();
            output::failure(&Status::internal("the request failed in the server; see its log"))
        }
    };
    let mut response = output::finish(response, &reader);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        methods::allow(&server, &info, response.headers_mut());
    }
    if is_head {
        response = methods::without_body(response);
    }
    if let Some(uids) = visit.flow.get() {
        uids.sign(response.headers_mut());
    }
    if let Ok(value) = HeaderValue::from_str(&visit.audit_id) {
        response.headers_mut().insert("audit-id", value);
    }
    // Clients must not reuse cached answers: upstream's `WithCacheControl`.
    response
        .headers_mut()
        .entry(http::header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    let took = server.clock.monotonic().saturating_sub(started);
    metrics::record(&server.served(), &info, dry_run, response.status(), took);
    match busy {
        Some(_) => response,
        None => metrics::lasting(&server, &info, response),
    }
}

/// How long a request may take: as the server allows, or less if the caller says so. `None` for one that
/// lasts.
fn time_limit(
    server: &Server,
    info: &RequestInfo,
    pairs: &[(String, String)],
) -> Result<Option<Duration>, Status> {
    if info.is_long_running() {
        return Ok(None);
    }
    let most = server.config.timeouts.request;
    let asked = pairs.iter().find(|(key, value)| key == "timeout" && !value.is_empty());
    let Some((_, asked)) = asked else { return Ok(Some(most)) };
    let nanos = api::time::parse_go_duration(asked).ok_or_else(|| {
        let why = api::time::explain_go_duration(asked);
        Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    // None at all means that the caller leaves it to the server.
    let asked = u64::try_from(nanos).map(Duration::from_nanos).unwrap_or_default();
    Ok(Some(if asked.is_zero() { most } else { most.min(asked) }))
}

/// The answer, if it is there in time. A body that never ends is a request that takes too long.
async fn in_time<T>(
    server: &Server,
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let Some(limit) = limit else { return work.await };
    tokio::select! {
        biased;
        done = work => done,
        // The timer is made only for requests that do not answer at once.
        () = async { server.clock.sleep(limit).await } => {
            Err(Status::new(Reason::Timeout, "Timeout: request did not complete within the allotted timeout"))
        }
    }
}

async fn filter(
    server: Arc<Server>,
    info: Arc<RequestInfo>,
    pairs: &[(String, String)],
    selectors: Option<Selectors>,
    options: Result<Options, Status>,
    mut request: Request<Body>,
    visit: &Visit<'_>,
) -> Result<Response<Body>, Status> {
    let authenticated = authn::authenticate(&server, &mut request).await;
    let wish = Attributes::of(&info, selectors.as_ref());
    let (user, trail) = identify(&server, &wish, &mut request, (visit, &info), authenticated).await?;
    tracing::Span::current().record("user", user.name.as_str());
    let admission = FlowControl::admit(&server, &user, &info, pairs).await;
    // Nobody has set it before.
    let _first = visit.flow.set(admission.uids.clone()).is_ok();
    if let Some(refusal) = admission.refusal() {
        return Ok(refusal);
    }
    let response = permitted(server, user, &wish, options, request, trail, Arc::clone(&info)).await?;
    Ok(admission.until_read(response))
}

/// Answers a request that has its seats, if whoever sent it may.
async fn permitted(
    server: Arc<Server>,
    user: UserInfo,
    wish: &Attributes<'_>,
    options: Result<Options, Status>,
    request: Request<Body>,
    trail: Option<Arc<Trail>>,
    info: Arc<RequestInfo>,
) -> Result<Response<Body>, Status> {
    let decision = authz::authorize(&server, &user, wish).await;
    audit::decided(trail.as_ref(), &decision);
    decision.permit(&user, wish)?;
    if let Some(delegation) = aggregator::find(&server, &info.path) {
        return aggregator::forward(&server, &user, &delegation, request).await;
    }
    // What the query says wrong is nothing for those who may not ask.
    dispatch(server, user, info, options?, request, trail).await
}

/// Whom the request is served for, and what is written down of it: also that somebody could not say who they are.
async fn identify(
    server: &Server,
    wish: &Attributes<'_>,
    request: &mut Request<Body>,
    (visit, info): (&Visit<'_>, &Arc<RequestInfo>),
    authenticated: Result<UserInfo, Status>,
) -> Result<(UserInfo, Option<Arc<Trail>>), Status> {
    let user = match authenticated {
        Ok(user) => user,
        Err(status) => {
            visit.begin(request, info, &UserInfo::default(), None);
            return Err(status);
        }
    };
    let asking = request.headers().contains_key("impersonate-user").then(|| user.clone());
    let acting = authn::impersonate(server, user, wish, request.headers_mut()).await;
    let trail = match (&asking, &acting) {
        (Some(asking), Ok(acting)) => visit.begin(request, info, asking, Some(acting)),
        (Some(asking), Err(_)) => visit.begin(request, info, asking, None),
        (None, Ok(user)) => visit.begin(request, info, user, None),
        (None, Err(_)) => None,
    };
    Ok((acting?, trail))
}

async fn dispatch(
    server: Arc<Server>,
    user: UserInfo,
    info: Arc<RequestInfo>,
    options: Options,
    request: Request<Body>,
    trail: Option<Arc<Trail>>,
) -> Result<Response<Body>, Status> {
    if !info.is_resource() {
        return Box::pin(no_resource(&server, &info, request.uri(), request.headers())).await;
    }
    let kinds = server.kinds();
    let Some(kind) = kinds.resource(&info.group, &info.version, &info.resource).cloned() else {
        return no_such_resource(&kinds, &info);
    };
    let stored = stored_row(&kinds, &kind);
    let agent = request.headers().get(http::header::USER_AGENT).and_then(|v| v.to_str().ok());
    let user_agent = agent.unwrap_or_default().to_owned();
    let call = Arc::new(Call {
        server,
        user,
        user_agent,
        info,
        options,
        kind,
        stored,
        warnings: parking_lot::Mutex::default(),
        trail,
    });
    if let Some(words) = call.kind.custom.as_ref().and_then(|custom| custom.deprecation.clone()) {
        call.warn(words);
    }
    // Who is refused hears the warnings, too.
    let mut response = route(&call, request).await.unwrap_or_else(|status| {
        tracing::debug!(code = status.code(), message = status.message, "refused");
        if let Some(trail) = &call.trail {
            trail.refused(&status);
        }
        output::failure(&status)
    });
    warnings::write(&call.warnings.lock(), response.headers_mut());
    Ok(response)
}

async fn no_resource(
    server: &Server,
    info: &RequestInfo,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    match health::respond(server, info, uri).await {
        Some(response) => Ok(response),
        None => paths::respond(server, info, &query_pairs(uri)?, headers).await,
    }
}

/// 404 for a resource that is not served: of a version of ours as a `Status`, else without a word of the API.
fn no_such_resource(kinds: &KindTable, info: &RequestInfo) -> Result<Response<Body>, Status> {
    let mut same = kinds.iter().filter(|kind| kind.group == info.group && kind.version == info.version);
    if same.any(|kind| !kind.is_custom()) {
        return Err(Status::no_such_path());
    }
    Ok(output::page_not_found())
}

/// A place for every verb of every kind.
async fn route(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let info = &call.info;
    let namespaced = call.kind.namespaced();
    let wrong_scope = !info.namespace.is_empty() && !namespaced;
    let across = namespaced && info.namespace.is_empty();
    if wrong_scope || (across && !info.name.is_empty()) {
        return Err(Status::no_such_path());
    }
    // All namespaces at once can be read, and nothing else: a slip must not empty the cluster.
    if across && !["list", "watch"].contains(&info.verb) {
        let listed = call.kind.verbs.contains(&"list") && !call.kind.is_custom();
        return Err(if listed { method_not_allowed() } else { Status::no_such_path() });
    }
    if !call.kind.is_stored() {
        return Box::pin(computed(call, request)).await;
    }
    if !info.subresource.is_empty() {
        return Box::pin(subresources::respond(call, request)).await;
    }
    let needs_name = ["update", "patch"].contains(&info.verb) && info.name.is_empty();
    if needs_name || !call.kind.verbs.contains(&info.verb) {
        return Err(method_not_allowed());
    }
    // A box each: unboxed, every request's future would have room for the largest of them, and be moved
    // about with it.
    let answer: BoxFuture<'_, _> = match info.verb {
        "get" => Box::pin(handlers::get::respond(call, request.headers())),
        "list" => Box::pin(handlers::list::respond(call, request.headers())),
        "watch" => Box::pin(handlers::watch::respond(call, request.headers())),
        "create" => Box::pin(handlers::create::respond(call, request)),
        "update" => Box::pin(handlers::update::respond(call, request)),
        "patch" => Box::pin(handlers::patch::respond(call, request)),
        "delete" => Box::pin(handlers::delete::respond(call, request)),
        "deletecollection" => Box::pin(handlers::delete::respond_collection(call, request)),
        _ => return Err(method_not_allowed()),
    };
    answer.await
}

/// Kinds that are not stored: answers are computed, or a request does something.
async fn computed(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    match (call.kind.group.as_ref(), call.kind.plural.as_ref()) {
        ("", "bindings") => subresources::binding::respond(call, request).await,
        ("", "componentstatuses") => component_status::respond(call, request.headers()),
        ("authentication.k8s.io" | "authorization.k8s.io", _) => reviews::respond(call, request).await,
        _ => metrics_api::respond(call, request.headers()).await,
    }
}

/// 405 with the text upstream's router gives.
pub(crate) fn method_not_allowed() -> Status {
    Status::new(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
}

/// 501-like answer for what this version does not do; the word says what.
pub(crate) fn not_implemented(what: &str) -> Response<Body> {
    let mut body = Status::new(Reason::MethodNotAllowed, format!("{what} is not supported yet")).to_json();
    body["code"] = StatusCode::NOT_IMPLEMENTED.as_u16().into();
    body["reason"] = "NotImplemented".into();
    output::json_value(StatusCode::NOT_IMPLEMENTED, &body)
}
