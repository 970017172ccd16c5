//! Priority and fairness (KEP-1040): a request runs when its level has a seat for it, and waits its flow's turn.
//!
//! Entry points: [`FlowControl::admit`], which the chain calls for every request, and the [`Admission`] it gives back.
//! Schemas and levels are followed in memory; [`bootstrap`] keeps those every cluster has. Administrators and
//! probes are exempt; what lasts (logs, streams) is not counted, and a watch only until its first answer.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use component_base::metrics::{self, HistogramVec, IntCounterVec, IntGaugeVec, REQUEST_SECONDS};
use component_base::user::UserInfo;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;

use crate::call::Server;
use crate::followed::{Followed, Index};
use crate::output;
use crate::request::RequestInfo;
use crate::storage::Entry as Stored;

pub(crate) mod bootstrap;
mod level;
mod schema;

use level::{Configuration, Entry, Gauges, Level, Rejection, Seats};
use schema::Schema;

pub(crate) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
pub(crate) const LEVELS: &str = "prioritylevelconfigurations";
pub(crate) const SCHEMAS: &str = "flowschemas";

/// Seats of the whole server: upstream's defaults for reading (400) and changing (200) requests.
const SEATS: u64 = 600;
/// Objects a list looks at for each seat it takes.
const OBJECTS_PER_SEAT: usize = 100;
/// How long a count of objects serves for widths.
const COUNTED: Duration = Duration::from_secs(10);
/// The longest wait for a seat: upstream's quarter of the time a request has.
const LONGEST_WAIT: u32 = 4;
/// Seconds after which a rejected client may ask again.
const RETRY_AFTER: &str = "1";

static DISPATCHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Requests that were given seats.";
    metrics::counter(
        "apiserver_flowcontrol_dispatched_requests_total",
        help,
        &["priority_level", "flow_schema"],
    )
});
static REJECTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let labels = ["priority_level", "flow_schema", "reason"];
    metrics::counter(
        "apiserver_flowcontrol_rejected_requests_total",
        "Requests that were told to come again.",
        &labels,
    )
});
static WAITS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let labels = ["priority_level", "flow_schema", "execute"];
    let help = "Time that requests waited for seats, in seconds.";
    metrics::histogram("apiserver_flowcontrol_request_wait_duration_seconds", help, &labels, &REQUEST_SECONDS)
});
static IN_QUEUE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge(
        "apiserver_flowcontrol_current_inqueue_requests",
        "Requests that wait.",
        &["priority_level"],
    )
});
static EXECUTING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge(
        "apiserver_flowcontrol_current_executing_requests",
        "Requests that run.",
        &["priority_level"],
    )
});
static EXECUTING_SEATS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge(
        "apiserver_flowcontrol_current_executing_seats",
        "Seats that are taken.",
        &["priority_level"],
    )
});
static LIMIT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("apiserver_flowcontrol_nominal_limit_seats", "Seats of a level.", &["priority_level"])
});

fn gauges(level: &str) -> Gauges {
    let of = |gauge: &IntGaugeVec| gauge.with_label_values(&[level]);
    Gauges {
        in_queue: of(&IN_QUEUE),
        executing: of(&EXECUTING),
        seats: of(&EXECUTING_SEATS),
        limit: of(&LIMIT),
    }
}

/// A schema and what is counted of it.
struct Row {
    schema: Schema,
    /// What answers name it by.
    uid: Option<HeaderValue>,
    dispatched: metrics::IntCounter,
}

/// The stored schemas and levels.
#[derive(Default)]
pub(crate) struct Configured {
    /// By precedence, then name.
    rows: Vec<Arc<Row>>,
    levels: BTreeMap<String, Arc<Level>>,
}

fn last(key: &str) -> (&str, &str) {
    let mut parts = key.rsplit('/');
    let name = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), name)
}

impl Index for Configured {
    fn put(&mut self, entry: &Stored) {
        let Ok(object) = serde_json::from_slice::<Value>(&entry.bytes) else {
            tracing::error!(key = &*entry.key, "is not JSON and is left out");
            return;
        };
        match last(&entry.key) {
            (LEVELS, name) => {
                let configuration = Configuration::of(&object);
                match self.levels.get(name) {
                    Some(level) => level.configure(configuration, 1),
                    None => {
                        self.levels.insert(name.to_owned(), Level::new(configuration, gauges(name)));
                    }
                }
                self.share();
            }
            (_, name) => {
                self.rows.retain(|row| row.schema.name != name);
                let Some(schema) = Schema::of(&object) else {
                    tracing::error!(name, "a flow schema cannot be read and is left out");
                    return;
                };
                let dispatched = DISPATCHED.with_label_values(&[&schema.level, &schema.name]);
                let uid = HeaderValue::from_str(api::object::uid(&object)).ok();
                self.rows.push(Arc::new(Row { schema, uid, dispatched }));
                self.rows.sort_by(|one, two| {
                    (one.schema.precedence, &one.schema.name).cmp(&(two.schema.precedence, &two.schema.name))
                });
            }
        }
    }

    fn remove(&mut self, key: &str) {
        match last(key) {
            (LEVELS, name) => {
                self.levels.remove(name);
                self.share();
            }
            (_, name) => self.rows.retain(|row| row.schema.name != name),
        }
    }
}

impl Configured {
    /// Deals the server's seats to levels by their shares.
    fn share(&self) {
        let all: Vec<(&Arc<Level>, Configuration)> =
            self.levels.values().map(|level| (level, level.configuration())).collect();
        let total: u64 = all.iter().map(|(_, configuration)| configuration.shares).sum();
        for (level, configuration) in all {
            let limit = (SEATS * configuration.shares).div_ceil(total.max(1));
            level.configure(configuration, usize::try_from(limit).unwrap_or(usize::MAX));
        }
    }

    /// The schema of a request and its level. A schema without a level is passed over.
    fn find(&self, user: &UserInfo, info: &RequestInfo) -> Option<(&Arc<Row>, &Arc<Level>)> {
        let mut rows = self.rows.iter().filter(|row| row.schema.matches(user, info));
        rows.find_map(|row| Some((row, self.levels.get(&row.schema.level)?)))
    }
}

/// Objects of a collection as they were counted, and when.
type Counts = BTreeMap<String, (usize, Duration)>;

/// Who waits and who runs.
pub(crate) struct FlowControl {
    pub(crate) followed: Followed<Configured>,
    counts: Mutex<Counts>,
}

impl Default for FlowControl {
    fn default() -> Self {
        Self { followed: Followed::new(&[(GROUP, LEVELS), (GROUP, SCHEMAS)]), counts: Mutex::default() }
    }
}

/// What answers name: the uid of a schema and of its level.
type Uids = [Option<HeaderValue>; 2];

/// Leave to run, or none. Held while the request runs.
pub(crate) struct Admission {
    uids: Uids,
    /// Given back when this goes.
    _seats: Option<Seats>,
    rejected: bool,
}

impl Admission {
    /// The answer to a request that may not run.
    pub(crate) fn refusal(&self) -> Option<Response<Body>> {
        self.rejected.then(|| {
            // Plain text, as upstream's filter answers before there is an API to speak.
            let words = "Too many requests, please try again later.\n".to_owned();
            let mut response = output::text(StatusCode::TOO_MANY_REQUESTS, words);
            response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
            response
        })
    }

    /// An answer that names schema and level; the request has run.
    pub(crate) fn signed(self, mut response: Response<Body>) -> Response<Body> {
        const NAMES: [HeaderName; 2] = [
            HeaderName::from_static("x-kubernetes-pf-flowschema-uid"),
            HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid"),
        ];
        for (name, uid) in NAMES.into_iter().zip(self.uids) {
            if let Some(uid) = uid {
                response.headers_mut().insert(name, uid);
            }
        }
        response
    }
}

impl FlowControl {
    /// Waits for seats. What lasts needs none, but a watch for its beginning.
    pub(crate) async fn admit(
        server: &Server,
        user: &UserInfo,
        info: &RequestInfo,
        pairs: &[(String, String)],
    ) -> Admission {
        let free = Admission { uids: [None, None], _seats: None, rejected: false };
        if info.is_long_running() && info.verb != "watch" {
            return free;
        }
        let found = {
            let configured = server.flow_control.followed.read();
            configured.find(user, info).map(|(row, level)| (Arc::clone(row), Arc::clone(level)))
        };
        // Only before the first objects are there.
        let Some((row, level)) = found else { return free };
        let seats = server.flow_control.width(server, &level, info, pairs).await;
        let uids = [row.uid.clone(), level.uid()];
        match level.enter(|| row.schema.flow(user, info), seats) {
            Entry::Runs(seats) => {
                row.dispatched.inc();
                Admission { uids, _seats: Some(seats), rejected: false }
            }
            Entry::Waits(granted) => {
                let began = server.clock.monotonic();
                let granted = tokio::select! {
                    granted = granted => granted.map_err(|_| Rejection::TimeOut),
                    () = server.clock.sleep(server.config.timeouts.request / LONGEST_WAIT) => Err(Rejection::TimeOut),
                };
                let waited = server.clock.monotonic().saturating_sub(began).as_secs_f64();
                let executes = if granted.is_ok() { "true" } else { "false" };
                WAITS.with_label_values(&[&row.schema.level, &row.schema.name, executes]).observe(waited);
                match granted {
                    Ok(seats) => {
                        row.dispatched.inc();
                        Admission { uids, _seats: Some(seats), rejected: false }
                    }
                    Err(why) => rejected(&row, uids, why),
                }
            }
            Entry::Rejected(why) => rejected(&row, uids, why),
        }
    }

    /// Seats of a request: lists and the lists that begin watches by how much they look at (upstream's estimator
    /// for lists from memory), everything else one.
    async fn width(
        &self,
        server: &Server,
        level: &Arc<Level>,
        info: &RequestInfo,
        pairs: &[(String, String)],
    ) -> usize {
        let value =
            |name: &str| pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let lists = match info.verb {
            "list" => info.name.is_empty(),
            "watch" => value("sendInitialEvents") == "true" || ["", "0"].contains(&value("resourceVersion")),
            _ => false,
        };
        if !lists {
            return 1;
        }
        let objects = self.count(server, info).await;
        objects.div_ceil(OBJECTS_PER_SEAT).clamp(1, level.max_seats())
    }

    async fn count(&self, server: &Server, info: &RequestInfo) -> usize {
        let kinds = server.kinds();
        let Some(kind) = kinds.resource(&info.group, &info.version, &info.resource) else { return 0 };
        let prefix = kind.prefix(None);
        let now = server.clock.monotonic();
        let known = self.counts.lock().get(&prefix).copied();
        if let Some((count, at)) = known
            && now.saturating_sub(at) < COUNTED
        {
            return count;
        }
        // One entry is enough: the page says how many follow.
        let Ok(page) = server.store.list(&prefix, None, 1, None).await else { return 0 };
        let count = page.entries.len() + usize::try_from(page.remaining).unwrap_or(usize::MAX);
        self.counts.lock().insert(prefix, (count, now));
        count
    }
}

fn rejected(row: &Row, uids: Uids, why: Rejection) -> Admission {
    REJECTED.with_label_values(&[&row.schema.level, &row.schema.name, why.reason()]).inc();
    Admission { uids, _seats: None, rejected: true }
}

#[cfg(test)]
mod tests;
