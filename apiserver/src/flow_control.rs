//! Priority and fairness (KEP-1040): a request runs when its level has a seat for it, and waits its flow's turn.
//!
//! Entry points: [`FlowControl::admit`], which the chain calls for every request, and the [`Admission`] it gives back.
//! Schemas and levels are followed in memory; [`bootstrap`] keeps those every cluster has. Administrators and
//! probes are exempt; what lasts (logs, streams) is not counted, and a watch only until its first answer. How wide a
//! request is: [`width`]; who runs and who waits can be looked at: [`dump`].

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use component_base::clock::SharedClock;
use component_base::metrics::{self, Histogram, HistogramVec, IntCounterVec, IntGaugeVec, REQUEST_SECONDS};
use component_base::user::UserInfo;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::call::Server;
use crate::followed::{Followed, Index};
use crate::output;
use crate::request::RequestInfo;
use crate::storage::Entry as Stored;

pub(crate) mod bootstrap;
pub(crate) mod dump;
mod level;
mod pool;
mod schema;
mod width;

use level::{Asker, Configuration, Counted, Entry, Gauges, Level, Place, Rejection, Seats};
use pool::{Limits, Pool};
use schema::Schema;
use width::Lists;

pub(crate) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
pub(crate) const LEVELS: &str = "prioritylevelconfigurations";
pub(crate) const SCHEMAS: &str = "flowschemas";

/// Seats of the whole server: upstream's defaults for reading (400) and changing (200) requests.
pub const SEATS: u64 = 600;
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
static EXECUTION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let labels = ["priority_level", "flow_schema", "type"];
    let help = "Time that requests ran, a watch until its first answer, in seconds.";
    metrics::histogram("apiserver_flowcontrol_request_execution_seconds", help, &labels, &REQUEST_SECONDS)
});
static WIDTHS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let (labels, bounds) = (["priority_level", "flow_schema"], [1.0, 2.0, 4.0, 10.0]);
    metrics::histogram("apiserver_flowcontrol_work_estimated_seats", "Seats of requests.", &labels, &bounds)
});
static QUEUE_LENGTHS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let (labels, bounds) =
        (["priority_level", "flow_schema"], [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0]);
    let help = "Requests in a queue, as one that joins it finds it with itself.";
    metrics::histogram("apiserver_flowcontrol_request_queue_length_after_enqueue", help, &labels, &bounds)
});
static NO_ROOM: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Requests that found no seats free.";
    let name = "apiserver_flowcontrol_request_dispatch_no_accommodation_total";
    metrics::counter(name, help, &["priority_level", "flow_schema"])
});

/// Gauges of a schema on its level, and of a level.
static OF_SCHEMA: LazyLock<[IntGaugeVec; 4]> = LazyLock::new(|| {
    [
        ("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait."),
        ("apiserver_flowcontrol_current_inqueue_seats", "Seats that are waited for."),
        ("apiserver_flowcontrol_current_executing_requests", "Requests that run."),
        ("apiserver_flowcontrol_current_executing_seats", "Seats that are taken."),
    ]
    .map(|(name, help)| metrics::gauge(name, help, &["priority_level", "flow_schema"]))
});
static OF_LEVEL: LazyLock<[IntGaugeVec; 4]> = LazyLock::new(|| {
    [
        ("apiserver_flowcontrol_nominal_limit_seats", "Seats of a level."),
        ("apiserver_flowcontrol_lower_limit_seats", "Seats of a level that it does not lend."),
        ("apiserver_flowcontrol_upper_limit_seats", "Seats of a level with all it may borrow."),
        ("apiserver_flowcontrol_current_limit_seats", "Seats that a level may have as things are."),
    ]
    .map(|(name, help)| metrics::gauge(name, help, &["priority_level"]))
});

fn gauges(level: &str) -> Gauges {
    let [nominal, lower, upper, current] = &*OF_LEVEL;
    let of = |gauge: &IntGaugeVec| gauge.with_label_values(&[level]);
    Gauges { nominal: of(nominal), lower: of(lower), upper: of(upper), current: of(current) }
}

fn counted(level: &str, schema: &str) -> Arc<Counted> {
    let labels = [level, schema];
    let [in_queue, seats_in_queue, executing, executing_seats] = &*OF_SCHEMA;
    let of = |gauge: &IntGaugeVec| gauge.with_label_values(&labels);
    Arc::new(Counted {
        dispatched: DISPATCHED.with_label_values(&labels),
        in_queue: of(in_queue),
        seats_in_queue: of(seats_in_queue),
        executing: of(executing),
        executing_seats: of(executing_seats),
        queue_length: QUEUE_LENGTHS.with_label_values(&labels),
        no_room: NO_ROOM.with_label_values(&labels),
    })
}

/// A schema and what is counted of it.
struct Row {
    schema: Schema,
    name: Arc<str>,
    /// What answers name it by.
    uid: Option<HeaderValue>,
    counted: Arc<Counted>,
    /// How long requests ran: watches until their first answer, and others.
    watches: Histogram,
    others: Histogram,
    widths: Histogram,
}

impl Row {
    fn new(schema: Schema, uid: Option<HeaderValue>) -> Self {
        let labels = [schema.level.as_str(), schema.name.as_str()];
        let ran = |kind| EXECUTION.with_label_values(&[labels[0], labels[1], kind]);
        Self {
            name: schema.name.as_str().into(),
            uid,
            counted: counted(&schema.level, &schema.name),
            watches: ran("watch"),
            others: ran("regular"),
            widths: WIDTHS.with_label_values(&labels),
            schema,
        }
    }
}

/// The stored schemas and levels.
pub(crate) struct Configured {
    /// Seats of the server, which levels share.
    seats: u64,
    pool: Arc<Pool>,
    /// By precedence, then name.
    rows: Vec<Arc<Row>>,
    levels: BTreeMap<String, Arc<Level>>,
}

impl Default for Configured {
    fn default() -> Self {
        Self { seats: SEATS, pool: Arc::default(), rows: Vec::new(), levels: BTreeMap::new() }
    }
}

fn last(key: &str) -> (&str, &str) {
    let mut parts = key.rsplit('/');
    let name = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), name)
}

impl Index for Configured {
    fn emptied(&self) -> Self {
        Self { seats: self.seats, ..Self::default() }
    }

    fn put(&mut self, entry: &Stored) {
        let Ok(object) = serde_json::from_slice::<Value>(&entry.bytes) else {
            tracing::error!(key = &*entry.key, "is not JSON and is left out");
            return;
        };
        match last(&entry.key) {
            (LEVELS, name) => {
                let configuration = Configuration::of(&object);
                let made = || Level::new(configuration.clone(), gauges(name), &self.pool);
                self.levels.entry(name.to_owned()).or_insert_with(made);
                self.share(Some((name, configuration)));
            }
            (_, name) => {
                self.rows.retain(|row| row.schema.name != name);
                let Some(schema) = Schema::of(&object) else {
                    tracing::error!(name, "a flow schema cannot be read and is left out");
                    return;
                };
                let uid = HeaderValue::from_str(api::object::uid(&object)).ok();
                self.rows.push(Arc::new(Row::new(schema, uid)));
                self.rows.sort_by(|one, two| {
                    (one.schema.precedence, &one.schema.name).cmp(&(two.schema.precedence, &two.schema.name))
                });
            }
        }
    }

    fn remove(&mut self, key: &str) {
        match last(key) {
            (LEVELS, name) => {
                if let Some(level) = self.levels.remove(name) {
                    level.retire();
                }
                self.share(None);
            }
            (_, name) => self.rows.retain(|row| row.schema.name != name),
        }
    }
}

impl Configured {
    /// Deals the server's seats to levels by their shares; one of them may be configured anew.
    fn share(&self, changed: Option<(&str, Configuration)>) {
        let all: Vec<(&Arc<Level>, Configuration)> = (self.levels.iter())
            .map(|(name, level)| match &changed {
                Some((of, configuration)) if of == name => (level, configuration.clone()),
                _ => (level, level.configuration()),
            })
            .collect();
        let total: u64 = all.iter().map(|(_, configuration)| configuration.shares).sum();
        for (level, configuration) in all {
            let Configuration { shares, lendable, borrowing, .. } = configuration;
            let limits = Limits::of(self.seats, shares, total, lendable, borrowing);
            level.configure(configuration, limits);
        }
        self.pool.wake();
    }

    /// The schema of a request and its level. A schema without a level is passed over.
    fn find(&self, user: &UserInfo, info: &RequestInfo) -> Option<(&Arc<Row>, &Arc<Level>)> {
        let mut rows = self.rows.iter().filter(|row| row.schema.matches(user, info));
        rows.find_map(|row| Some((row, self.levels.get(&row.schema.level)?)))
    }
}

/// Who waits and who runs.
pub(crate) struct FlowControl {
    pub(crate) followed: Followed<Configured>,
    lists: Lists,
}

impl FlowControl {
    /// No schema and no level yet, and so many seats for all.
    pub(crate) fn new(seats: u64) -> Self {
        let empty = Configured { seats, ..Configured::default() };
        Self {
            followed: Followed::over(empty, &[(GROUP, LEVELS), (GROUP, SCHEMAS)]),
            lists: Lists::default(),
        }
    }

    /// Brings gauges up to date that nothing else sets.
    pub(crate) fn look(&self) {
        self.followed.read().levels.values().for_each(|level| level.look());
    }
}

/// What answers name: the uid of a schema and of its level.
#[derive(Clone, Default)]
pub(crate) struct Uids([Option<HeaderValue>; 2]);

impl Uids {
    /// Names schema and level.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        const NAMES: [HeaderName; 2] = [
            HeaderName::from_static("x-kubernetes-pf-flowschema-uid"),
            HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid"),
        ];
        for (name, uid) in NAMES.into_iter().zip(&self.0) {
            if let Some(uid) = uid {
                headers.insert(name, uid.clone());
            }
        }
    }
}

/// Seats, and since when they are had. Given back when this goes.
struct Held {
    _seats: Seats,
    since: Duration,
    clock: SharedClock,
    histogram: Histogram,
    /// Whether the work is done with the first answer.
    watches: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.histogram.observe(self.clock.monotonic().saturating_sub(self.since).as_secs_f64());
    }
}

/// Leave to run, or none. Held while the request runs.
#[derive(Default)]
pub(crate) struct Admission {
    pub(crate) uids: Uids,
    rejected: bool,
    held: Option<Held>,
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

    /// The request has run as soon as its answer is made: a long one while it is read.
    pub(crate) fn until_read(self, response: Response<Body>) -> Response<Body> {
        let made = response.body().size_hint().exact().is_some();
        let Some(held) = self.held.filter(|held| !held.watches && !made) else { return response };
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _while_it_lasts = &held;
                frame
            }))
        })
    }
}

impl FlowControl {
    /// Waits for seats. What lasts needs none, but a watch for its beginning.
    pub(crate) async fn admit(
        server: &Server,
        user: &UserInfo,
        info: &Arc<RequestInfo>,
        query: &[(String, String)],
    ) -> Admission {
        let watches = info.verb == "watch";
        if info.is_long_running() && !watches {
            return Admission::default();
        }
        let found = {
            let configured = server.flow_control.followed.read();
            configured.find(user, info).map(|(row, level)| (Arc::clone(row), Arc::clone(level)))
        };
        // Only before the first objects are there.
        let Some((row, level)) = found else { return Admission::default() };
        let wanted = server.flow_control.lists.width(server, info, query).await;
        let seats = wanted.min(level.max_seats());
        row.widths.observe(seats as f64);
        let asker = Asker {
            schema: Arc::clone(&row.name),
            flow: row.schema.told_apart(user, info).to_owned(),
            user: user.name.clone(),
            info: Arc::clone(info),
            arrived: server.clock.now(),
            seats,
            counted: Arc::clone(&row.counted),
        };
        let granted = match level.enter(|| row.schema.flow(user, info), asker) {
            Entry::Runs(seats) => Ok(seats),
            Entry::Waits(place) => wait(server, &row, place).await,
            Entry::Rejected(why) => Err(why),
        };
        let uids = Uids([row.uid.clone(), level.uid()]);
        match granted {
            Ok(granted) => {
                if seats > 1 {
                    // Those behind it find their queues, or run, before the long work begins.
                    tokio::task::yield_now().await;
                }
                let held = Held {
                    _seats: granted,
                    since: server.clock.monotonic(),
                    clock: Arc::clone(&server.clock),
                    histogram: if watches { &row.watches } else { &row.others }.clone(),
                    watches,
                };
                Admission { uids, rejected: false, held: Some(held) }
            }
            Err(why) => {
                REJECTED.with_label_values(&[&row.schema.level, &row.schema.name, why.reason()]).inc();
                Admission { uids, rejected: true, held: None }
            }
        }
    }
}

/// Waits in a queue.
async fn wait(server: &Server, row: &Row, mut place: Place) -> Result<Seats, Rejection> {
    let began = server.clock.monotonic();
    let granted = tokio::select! {
        granted = place.granted() => granted,
        () = server.clock.sleep(server.config.timeouts.request / LONGEST_WAIT) => None,
    };
    let waited = server.clock.monotonic().saturating_sub(began).as_secs_f64();
    let executes = if granted.is_some() { "true" } else { "false" };
    WAITS.with_label_values(&[&row.schema.level, &row.schema.name, executes]).observe(waited);
    match granted {
        Some(seats) => {
            seats.begin(server.clock.now());
            Ok(seats)
        }
        None => {
            place.time_out();
            Err(Rejection::TimeOut)
        }
    }
}

#[cfg(test)]
mod tests;
