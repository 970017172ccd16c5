//! Asks a server elsewhere: a `SubjectAccessReview` is posted, the answer kept for a while.
//!
//! Entry points: [`Webhook::authorize`] and, at start, [`compile`]. Source: upstream's
//! `plugin/pkg/authorizer/webhook` and `pkg/authorization/cel`.

mod cache;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use api::cel::{
    Bindings, CompileError, DeclType, Environment, PER_CALL_LIMIT, Program, Type, Value as CelValue,
};
use api::selector::Operator;
use component_base::metrics::{self, HistogramVec, IntCounterVec};
use component_base::user::UserInfo;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Attributes, Decision, Selectors, Verdict, aggregate};
use crate::call::Server;
use crate::reviews::user_json;
use crate::transport::{self, Remote};
use cache::Cache;

/// A wish with longer texts than this is asked every time (upstream's `maxControlledAttrCacheSize`).
const MAX_CACHED: usize = 10_000;

static EVALUATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Questions to authorization webhooks, by the outcome.";
    metrics::counter("apiserver_authorization_webhook_evaluations_total", help, &["name", "result"])
});
static FAIL_OPEN: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "apiserver_authorization_webhook_evaluations_fail_open_total";
    metrics::counter(name, "Failed questions that settled nothing.", &["name", "result"])
});
static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let name = "apiserver_authorization_webhook_duration_seconds";
    metrics::histogram(name, "Time to an answer, in seconds.", &["name", "result"], &DEFAULT_BOUNDS)
});
static EXCLUSIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "apiserver_authorization_match_condition_exclusions_total";
    metrics::counter(name, "Webhooks not asked because of a condition.", &["type", "name"])
});
static CONDITION_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "apiserver_authorization_match_condition_evaluation_errors_total";
    metrics::counter(name, "Conditions that failed.", &["type", "name"])
});
/// Prometheus' own.
const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a configuration says of a webhook.
pub(super) struct Settings {
    pub(super) name: String,
    /// Of `authorization.k8s.io`.
    pub(super) version: String,
    pub(super) timeout: Duration,
    /// How long a yes is kept; zero for not at all.
    pub(super) authorized: Duration,
    /// The same for anything else.
    pub(super) unauthorized: Duration,
    /// What failing to ask means.
    pub(super) on_error: Verdict,
    /// Only wishes for which all of them hold are asked about; with their texts.
    pub(super) conditions: Vec<(String, Program)>,
}

/// An authorizer elsewhere.
pub(crate) struct Webhook {
    settings: Settings,
    remote: Remote,
    cache: Mutex<Cache>,
}

/// Compiles a match condition.
///
/// # Errors
/// What is wrong with it.
pub(super) fn compile(text: &str) -> Result<Program, CompileError> {
    static ENVIRONMENT: LazyLock<Environment> =
        LazyLock::new(|| Environment::new().with("request", &request_type()));
    ENVIRONMENT.compile(text, &Type::Bool)
}

/// `SubjectAccessReviewSpec`, as conditions see it.
fn request_type() -> Arc<DeclType> {
    let texts = || DeclType::list(DeclType::string(), u64::MAX);
    let of_texts = |names: &[&'static str]| -> Vec<(&'static str, Arc<DeclType>)> {
        names.iter().map(|name| (*name, DeclType::string())).collect()
    };
    let object = |name: &str, of: &[&'static str], others: Vec<(&'static str, Arc<DeclType>)>| {
        DeclType::object(name, of_texts(of).into_iter().chain(others))
    };
    let requirement =
        || object("kubernetes.SelectorRequirement", &["key", "operator"], vec![("values", texts())]);
    let selector = |name: &str| {
        object(name, &["rawSelector"], vec![("requirements", DeclType::list(requirement(), u64::MAX))])
    };
    let resource = object(
        "kubernetes.ResourceAttributes",
        &["namespace", "verb", "group", "version", "resource", "subresource", "name"],
        vec![
            ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
            ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
        ],
    );
    let other = object("kubernetes.NonResourceAttributes", &["path", "verb"], Vec::new());
    let rest = vec![
        ("resourceAttributes", resource),
        ("nonResourceAttributes", other),
        ("groups", texts()),
        ("extra", DeclType::map(texts(), u64::MAX)),
    ];
    object("kubernetes.SubjectAccessReviewSpec", &["user", "uid"], rest)
}

impl Webhook {
    pub(super) fn new(settings: Settings, remote: Remote) -> Self {
        Self { settings, remote, cache: Mutex::default() }
    }

    /// Asks, unless a condition does not hold or the answer is known.
    pub(super) async fn authorize(
        &self,
        server: &Server,
        user: &UserInfo,
        wish: &Attributes<'_>,
    ) -> Decision {
        let name = self.settings.name.as_str();
        match self.matches(user, wish) {
            Ok(true) => {}
            Ok(false) => {
                EXCLUSIONS.with_label_values(&["Webhook", name]).inc();
                return Decision::none();
            }
            Err(error) => {
                CONDITION_ERRORS.with_label_values(&["Webhook", name]).inc();
                return self.failed(error);
            }
        }
        let spec = spec(user, wish);
        let key = spec.to_string();
        let now = server.clock.monotonic();
        let known = self.cache.lock().get(&key, now);
        if let Some(status) = known {
            return decision(&status);
        }
        let review = json!({
            "kind": "SubjectAccessReview", "apiVersion": format!("authorization.k8s.io/{}", self.settings.version),
            "metadata": {}, "spec": self.versioned(spec), "status": {"allowed": false},
        });
        let answer = self.remote.post(&server.clock, &review, self.settings.timeout).await;
        let answer = answer.and_then(transport::document);
        let result = match &answer {
            Ok(_) => "success",
            Err(error) if error.ends_with(transport::TOO_LATE) => "timeout",
            Err(_) => "error",
        };
        let took = server.clock.monotonic().saturating_sub(now);
        EVALUATIONS.with_label_values(&[name, result]).inc();
        SECONDS.with_label_values(&[name, result]).observe(took.as_secs_f64());
        let status = match answer {
            Ok(mut answer) => answer["status"].take(),
            Err(error) => {
                if self.settings.on_error == Verdict::NoOpinion {
                    FAIL_OPEN.with_label_values(&[name, result]).inc();
                }
                tracing::warn!(
                    error,
                    authorizer = self.settings.name,
                    "failed to make webhook authorizer request"
                );
                return self.failed(error);
            }
        };
        let allowed = status["allowed"] == true;
        let span = if allowed { self.settings.authorized } else { self.settings.unauthorized };
        if !span.is_zero() && key.len() < MAX_CACHED {
            self.cache.lock().keep(key, status.clone(), now, span);
        }
        decision(&status)
    }

    fn failed(&self, error: String) -> Decision {
        Decision { verdict: self.settings.on_error, reason: String::new(), error: Some(error) }
    }

    /// In v1beta1 the groups are called `group`.
    fn versioned(&self, mut spec: Value) -> Value {
        if self.settings.version == "v1beta1" {
            let groups = spec.as_object_mut().and_then(|spec| spec.remove("groups"));
            if let Some(groups) = groups {
                spec["group"] = groups;
            }
        }
        spec
    }

    /// Whether all conditions hold. One that fails to answer matters only if none says no.
    fn matches(&self, user: &UserInfo, wish: &Attributes<'_>) -> Result<bool, String> {
        if self.settings.conditions.is_empty() {
            return Ok(true);
        }
        let request = whole_spec(user, wish);
        let mut errors = Vec::new();
        for (text, program) in &self.settings.conditions {
            let bindings = Bindings::new().json("request", &request);
            match program.evaluate(&bindings, PER_CALL_LIMIT).value {
                Ok(CelValue::Bool(true)) => {}
                Ok(CelValue::Bool(false)) => return Ok(false),
                Ok(_) => errors.push(format!(
                    "cel evaluation error: expression '{text}' eval result type should be bool"
                )),
                Err(error) => {
                    errors.push(format!(
                        "cel evaluation error: expression '{text}' resulted in error: {error}"
                    ));
                }
            }
        }
        if errors.is_empty() { Ok(true) } else { Err(aggregate(&errors)) }
    }
}

fn decision(status: &Value) -> Decision {
    let (allowed, denied) = (status["allowed"] == true, status["denied"] == true);
    let verdict = match (denied, allowed) {
        (true, _) => Verdict::Deny,
        (false, true) => Verdict::Allow,
        (false, false) => Verdict::NoOpinion,
    };
    let both = "webhook subject access review returned both allow and deny response";
    let error = (allowed && denied).then(|| both.to_owned());
    Decision { verdict, reason: status["reason"].as_str().unwrap_or_default().to_owned(), error }
}

/// `SubjectAccessReviewSpec`; what is empty is left out.
fn spec(user: &UserInfo, wish: &Attributes<'_>) -> Value {
    let mut spec = user_json(user);
    if let Some(name) = spec.as_object_mut().and_then(|spec| spec.remove("username")) {
        spec["user"] = name;
    }
    let (key, mut attributes) = attributes(wish);
    if let Some(fields) = attributes.as_object_mut() {
        fields.retain(|_, value| *value != "");
    }
    spec[key] = attributes;
    spec
}

/// The same with every field of the user and of the wish: conditions need not ask whether they are there.
fn whole_spec(user: &UserInfo, wish: &Attributes<'_>) -> Value {
    let mut spec = json!({"user": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
    let (key, attributes) = attributes(wish);
    spec[key] = attributes;
    spec
}

fn attributes(wish: &Attributes<'_>) -> (&'static str, Value) {
    if !wish.is_resource {
        return ("nonResourceAttributes", json!({"path": wish.path, "verb": wish.verb}));
    }
    let mut resource = json!({
        "namespace": wish.namespace, "verb": wish.verb, "group": wish.group, "version": wish.version,
        "resource": wish.resource, "subresource": wish.subresource, "name": wish.name,
    });
    for (key, list) in wish.selectors.map(requirements).unwrap_or_default() {
        if !list.is_empty() {
            resource[key] = json!({ "requirements": list });
        }
    }
    ("resourceAttributes", resource)
}

/// Selectors as the API lists them; operators it does not have are left out, which asks for more, not less.
fn requirements(selectors: &Selectors) -> [(&'static str, Vec<Value>); 2] {
    let fields = selectors.field.terms().iter().map(|term| {
        let operator = if term.equal { "In" } else { "NotIn" };
        json!({"key": term.field, "operator": operator, "values": [term.value]})
    });
    let labels = selectors.label.requirements().iter().filter_map(|requirement| {
        let operator = match requirement.operator {
            Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            Operator::GreaterThan | Operator::LessThan => return None,
        };
        let mut item = json!({"key": requirement.key, "operator": operator});
        if !requirement.values.is_empty() {
            item["values"] = json!(requirement.values);
        }
        Some(item)
    });
    [("fieldSelector", fields.collect()), ("labelSelector", labels.collect())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Attributes<'static> {
        Attributes {
            verb: "list",
            namespace: "a",
            version: "v1",
            resource: "pods",
            is_resource: true,
            ..Attributes::default()
        }
    }

    fn webhook(conditions: &[&str]) -> Webhook {
        let conditions = conditions.iter().map(|text| ((*text).to_owned(), compile(text).unwrap())).collect();
        let settings = Settings {
            name: "w".to_owned(),
            version: "v1beta1".to_owned(),
            timeout: Duration::from_secs(1),
            authorized: Duration::ZERO,
            unauthorized: Duration::ZERO,
            on_error: Verdict::Deny,
            conditions,
        };
        Webhook::new(settings, Remote::nowhere())
    }

    #[test]
    fn conditions_choose_what_is_asked() {
        let jane = UserInfo::component("jane", &["team"]);
        let check = |conditions: &[&str]| webhook(conditions).matches(&jane, &wish());
        assert_eq!(
            check(&["has(request.resourceAttributes)", "request.resourceAttributes.namespace == 'a'"]),
            Ok(true)
        );
        assert_eq!(check(&["request.user == 'joe'"]), Ok(false));
        assert_eq!(check(&["'team' in request.groups && request.uid == ''"]), Ok(true));
        let error = check(&["request.nonResourceAttributes.path == '/'"]).unwrap_err();
        assert!(error.starts_with("cel evaluation error: expression 'request.nonResourceAttributes.path == '/'' resulted in error:"), "{error}");
        assert_eq!(check(&["request.nonResourceAttributes.path == '/'", "request.user == 'joe'"]), Ok(false));
    }

    #[test]
    fn what_is_posted_and_what_the_answer_means() {
        let jane = UserInfo::component("jane", &[]);
        let selectors = Selectors::parse("spec.nodeName=n,a!=b", "x,y in (z)");
        let spec = webhook(&[]).versioned(spec(&jane, &Attributes { selectors: Some(&selectors), ..wish() }));
        let expect = json!({"user": "jane", "group": ["system:authenticated"], "resourceAttributes": {
            "namespace": "a", "verb": "list", "version": "v1", "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}, {"key": "a", "operator": "NotIn", "values": ["b"]}]},
            "labelSelector": {"requirements": [{"key": "x", "operator": "Exists"}, {"key": "y", "operator": "In", "values": ["z"]}]}}});
        assert_eq!(spec, expect);
        let verdict = |status: Value| decision(&status).verdict;
        assert_eq!(verdict(json!({"allowed": true})), Verdict::Allow);
        assert_eq!(verdict(json!({"allowed": false, "denied": true})), Verdict::Deny);
        assert_eq!(verdict(json!({"allowed": true, "denied": true})), Verdict::Deny);
        assert_eq!(verdict(Value::Null), Verdict::NoOpinion);
    }
}
