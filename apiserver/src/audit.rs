//! Audit: who did what, when, and how it ended (`audit.k8s.io/v1`).
//!
//! Entry points: [`Audit::open`] at start; [`Visit`] per request: [`Audit::visit`] when it arrives, [`Visit::begin`]
//! once it is known who asks, [`Visit::answered`] at the end. A policy ([`policy`]) says what is written down; a
//! thread ([`log`]) writes and a task ([`webhook`]) sends, so no request waits. When more events wait than it can hold, further ones are dropped
//! and counted in `apiserver_audit_error_total`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, OnceLock};

use api::Status;
use axum::body::Body;
use component_base::clock::SharedClock;
use component_base::metrics::{self, IntCounter, IntCounterVec};
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::authz;
use crate::call::Server;
use crate::flow_control::Uids;
use crate::request::RequestInfo;

mod event;
pub mod log;
pub(crate) mod policy;
mod webhook;

use event::{Event, Request, without_managed_fields};
use log::Message;
pub use log::{Format, LogOptions};
use policy::{Decision, Level, Policy, Stage};
use webhook::Webhook;
pub use webhook::WebhookOptions;

static EVENTS: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Events that were to be written down.";
    metrics::counter("apiserver_audit_event_total", help, &[]).with_label_values::<&str>(&[])
});
static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Events that could not be written down, by what was to take them.";
    metrics::counter("apiserver_audit_error_total", help, &["plugin"])
});
/// In the order of [`Level`].
static LEVELS: LazyLock<[IntCounter; 4]> = LazyLock::new(|| {
    let help = "Requests by the level of their policy.";
    let counter = metrics::counter("apiserver_audit_level_total", help, &["level"]);
    ["None", "Metadata", "Request", "RequestResponse"].map(|level| counter.with_label_values(&[level]))
});

/// The address a request came from, as an extension of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source(pub(crate) SocketAddr);

/// What is audited, and where it goes. The default writes nothing down.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A `Policy`; without one changes are written down, and no bodies.
    pub policy_file: Option<PathBuf>,
    /// The log, if there is one.
    pub log: Option<LogOptions>,
    /// Another server that takes events, if there is one.
    pub webhook: Option<WebhookOptions>,
}

/// Why auditing did not start.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file cannot be read or written.
    #[error("audit: {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file that names the webhook's server is wrong.
    #[error("audit webhook: {path}: {why}", path = path.display())]
    Webhook {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The policy is wrong.
    #[error("loading audit policy file: {path}: {why}", path = path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// In upstream's words.
        why: String,
    },
}

fn count_error(plugin: &str) {
    ERRORS.with_label_values(&[plugin]).inc();
}

/// Where events go.
struct Sink {
    log: Option<SyncSender<Message>>,
    webhook: Option<mpsc::Sender<Event>>,
    clock: SharedClock,
}

impl Sink {
    fn take(&self, event: Event) {
        EVENTS.inc();
        if let Some(webhook) = &self.webhook
            && webhook.try_send(event.clone()).is_err()
        {
            count_error("webhook");
        }
        if let Some(log) = &self.log
            && log.try_send(Message::Event(Box::new(event))).is_err()
        {
            count_error("log");
        }
    }
}

/// Auditing as it was set up.
#[derive(Default)]
pub(crate) struct Audit(Option<(Policy, Arc<Sink>)>);

impl Audit {
    /// Reads the policy and begins to write.
    ///
    /// # Errors
    /// When a file cannot be used or the policy is wrong.
    pub(crate) fn open(
        options: Options,
        clock: &SharedClock,
        shutdown: &Shutdown,
    ) -> Result<Self, AuditError> {
        let policy = match options.policy_file {
            None => Policy::usual(),
            Some(path) => {
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|source| AuditError::File { path: path.clone(), source })?;
                Policy::parse(&text).map_err(|why| AuditError::Policy { path, why })?
            }
        };
        if options.log.is_none() && options.webhook.is_none() {
            return Ok(Self::default());
        }
        let log = options.log.map(|options| log::start(options, Arc::clone(clock))).transpose()?;
        let webhook = match options.webhook {
            None => None,
            Some(options) => {
                let server = Webhook::open(&options.config_file)?;
                let (sender, events) = mpsc::channel(options.buffer_size.max(1));
                let around = (Arc::clone(clock), shutdown.clone());
                shutdown.spawn(webhook::run(server, options, events, around));
                Some(sender)
            }
        };
        Ok(Self(Some((policy, Arc::new(Sink { log, webhook, clock: Arc::clone(clock) })))))
    }

    /// A request arrives.
    pub(crate) fn visit(&self, audit_id: String) -> Visit<'_> {
        let received = self.0.as_ref().map(|(_, sink)| sink.clock.now());
        Visit {
            audit: self,
            audit_id,
            received: received.unwrap_or_default(),
            trail: OnceLock::new(),
            flow: OnceLock::new(),
        }
    }
}

/// When the server ends, waits until everything is written.
pub(crate) async fn flush_at_end(server: Arc<Server>) {
    server.shutdown.triggered().await;
    let Some((_, sink)) = &server.audit.0 else { return };
    let Some(log) = sink.log.clone() else { return };
    let flush = move || {
        let (done, written) = sync_channel(1);
        // A thread that is gone has nothing left to write.
        if log.send(Message::Flush(done)).is_ok() {
            let _gone = written.recv();
        }
    };
    let _panicked = tokio::task::spawn_blocking(flush).await;
}

/// One request on its way.
pub(crate) struct Visit<'a> {
    audit: &'a Audit,
    /// `Audit-Id` of the answer.
    pub(crate) audit_id: String,
    received: Timestamp,
    trail: OnceLock<Arc<Trail>>,
    /// Whose seats it has.
    pub(crate) flow: OnceLock<Uids>,
}

/// What a request says of itself beside its path.
struct Sender {
    method: String,
    uri: String,
    user_agent: String,
    source_ips: Vec<String>,
}

impl Sender {
    fn of(request: &http::Request<Body>) -> Self {
        let header = |name: &str| text(request.headers(), name);
        let peer = request.extensions().get::<Source>().map(|source| source.0.ip().to_string());
        let forwarded = header("x-forwarded-for");
        let named = forwarded.split(',').map(str::trim).filter(|ip| !ip.is_empty()).map(str::to_owned);
        let mut source_ips: Vec<String> = named.collect();
        if source_ips.is_empty() {
            source_ips.extend(Some(header("x-real-ip")).filter(|ip| !ip.is_empty()));
        }
        source_ips.extend(peer.filter(|peer| source_ips.last() != Some(peer)));
        Self {
            method: request.method().as_str().to_lowercase(),
            uri: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            user_agent: header("user-agent"),
            source_ips,
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

impl Visit<'_> {
    /// It is known who asks: decides what is written down, and writes that the request was received. `acting` is
    /// whom the user acts as, if not as themselves.
    pub(crate) fn begin(
        &self,
        request: &http::Request<Body>,
        info: &Arc<RequestInfo>,
        user: &UserInfo,
        acting: Option<&UserInfo>,
    ) -> Option<Arc<Trail>> {
        let (policy, sink) = self.audit.0.as_ref()?;
        let decision = policy.decide(user, info);
        LEVELS[decision.level as usize].inc();
        if decision.level == Level::None {
            return None;
        }
        let Sender { method, uri, user_agent, source_ips } = Sender::of(request);
        let request = Request {
            level: decision.level,
            audit_id: self.audit_id.clone(),
            uri,
            method,
            info: Arc::clone(info),
            user: user.clone(),
            impersonated: acting.cloned(),
            source_ips,
            user_agent,
            received: self.received,
        };
        let trail =
            Trail { sink: Arc::clone(sink), decision, request: Arc::new(request), known: Mutex::default() };
        let trail = Arc::new(trail);
        trail.write(Stage::RequestReceived, None);
        Some(Arc::clone(self.trail.get_or_init(|| trail)))
    }

    /// What is written down of this request, if anything is.
    pub(crate) fn trail(&self) -> Option<&Arc<Trail>> {
        self.trail.get()
    }

    /// The handler panicked.
    pub(crate) fn panicked(&self) {
        if let Some(trail) = self.trail() {
            let message = "APIServer panic'd";
            let status = json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500});
            trail.write(Stage::Panic, Some(status));
        }
    }

    /// The request was answered: with a failure, or with a body, which lasts if `lasting`.
    pub(crate) async fn answered(
        &self,
        failure: Option<&Status>,
        lasting: bool,
        response: Response<Body>,
    ) -> Response<Body> {
        let Some(trail) = self.trail() else { return response };
        if let Some(failure) = failure {
            trail.refused(failure);
        }
        let refusal = trail.known.lock().refusal.clone();
        let status = refusal.unwrap_or_else(|| json!({"metadata": {}, "code": response.status().as_u16()}));
        if lasting {
            trail.write(Stage::ResponseStarted, Some(status.clone()));
            let end = End { trail: Arc::clone(trail), status };
            return response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _while_it_lasts = &end;
                    frame
                }))
            });
        }
        let response = trail.read_answer(response).await;
        trail.write(Stage::ResponseComplete, Some(status));
        response
    }
}

/// Writes that an answer that lasts has ended, when it goes.
struct End {
    trail: Arc<Trail>,
    status: Value,
}

impl Drop for End {
    fn drop(&mut self) {
        self.trail.write(Stage::ResponseComplete, Some(self.status.clone()));
    }
}

/// Those fields of a Status that upstream writes down.
fn bounded(status: &Value) -> Value {
    let mut shown = json!({"metadata": {}});
    for field in ["status", "message", "reason", "details", "code"] {
        if !status[field].is_null() {
            shown[field] = status[field].clone();
        }
    }
    shown
}

/// What became known on the way.
#[derive(Default)]
struct Known {
    sent: Option<Arc<Value>>,
    answered: Option<Arc<Value>>,
    refusal: Option<Value>,
    annotations: BTreeMap<String, String>,
}

/// A request that is written down.
pub(crate) struct Trail {
    sink: Arc<Sink>,
    decision: Decision,
    request: Arc<Request>,
    known: Mutex<Known>,
}

impl Trail {
    /// Adds an annotation; the first value of a key stays, as upstream's.
    pub(crate) fn annotate(&self, key: &str, value: impl Into<String>) {
        self.known.lock().annotations.entry(key.to_owned()).or_insert_with(|| value.into());
    }

    /// Keeps why the request is refused.
    pub(crate) fn refused(&self, status: &Status) {
        self.known.lock().refusal = Some(bounded(&status.to_json()));
    }

    /// Whether the policy wants what was sent.
    pub(crate) fn keeps_objects(&self) -> bool {
        self.decision.level >= Level::Request
    }

    /// Keeps what was sent, if the policy wants it.
    pub(crate) fn sent(&self, object: &Value) {
        if self.keeps_objects() {
            self.known.lock().sent = Some(self.shown(object.clone()));
        }
    }

    fn shown(&self, object: Value) -> Arc<Value> {
        Arc::new(if self.decision.omit_managed_fields { without_managed_fields(object) } else { object })
    }

    /// Keeps what is answered, if the policy wants it and it is JSON; other encodings are told of by their level only.
    async fn read_answer(&self, response: Response<Body>) -> Response<Body> {
        if self.decision.level < Level::RequestResponse {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(collected) = body.collect().await else {
            return Response::from_parts(parts, Body::empty());
        };
        let bytes = collected.to_bytes();
        if let Ok(object) = serde_json::from_slice::<Value>(&bytes) {
            self.known.lock().answered = Some(self.shown(object));
        }
        Response::from_parts(parts, Body::from(bytes))
    }

    fn write(&self, stage: Stage, status: Option<Value>) {
        if self.decision.omit_stages.contains(&stage) {
            return;
        }
        let known = self.known.lock();
        self.sink.take(Event {
            request: Arc::clone(&self.request),
            stage,
            time: self.sink.clock.now(),
            status,
            sent: known.sent.clone(),
            answered: known.answered.clone(),
            annotations: known.annotations.clone(),
        });
    }
}

/// What authorization said, under upstream's annotations.
pub(crate) fn decided(trail: Option<&Arc<Trail>>, decision: &authz::Decision) {
    let Some(trail) = trail else { return };
    let allowed = decision.is_allowed();
    if decision.error.is_some() && !allowed {
        return trail.annotate("authorization.k8s.io/reason", "internal error");
    }
    trail.annotate("authorization.k8s.io/decision", if allowed { "allow" } else { "forbid" });
    trail.annotate("authorization.k8s.io/reason", &*decision.reason);
}
