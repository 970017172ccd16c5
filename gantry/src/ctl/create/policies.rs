//! `gantry create namespace|serviceaccount|quota|poddisruptionbudget|priorityclass`.

use serde_json::{Map, Value, json};

use super::Common;
use crate::ctl::{Failure, Outcome};

/// A kind that needs only a name.
#[derive(clap::Args)]
pub struct Named {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Named {
    pub(super) fn object(&self, kind: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": self.name}})
    }
}

/// Flags of `create quota`.
#[derive(clap::Args)]
pub struct Quota {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// RESOURCE=QUANTITY,…
    #[arg(long, value_name = "LIMITS", default_value = "")]
    hard: String,
    /// Which objects count.
    #[arg(long, value_name = "SCOPES", default_value = "")]
    scopes: String,
}

impl Quota {
    pub(super) fn object(&self) -> Outcome<Value> {
        let mut hard = Map::new();
        for pair in self.hard.split(',').filter(|pair| !pair.is_empty()) {
            let (name, amount) = pair.split_once('=').ok_or_else(|| {
                Failure::new(format!("invalid argument syntax {pair:?}, expected <resource>=<value>"))
            })?;
            hard.insert(name.to_owned(), json!(amount));
        }
        let mut spec = Map::new();
        if !hard.is_empty() {
            spec.insert("hard".to_owned(), Value::Object(hard));
        }
        let scopes: Vec<&str> = self.scopes.split(',').filter(|scope| !scope.is_empty()).collect();
        if !scopes.is_empty() {
            spec.insert("scopes".to_owned(), json!(scopes));
        }
        Ok(
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": self.name}, "spec": spec, "status": {}}),
        )
    }
}

/// Flags of `create poddisruptionbudget`.
#[derive(clap::Args)]
pub struct Budget {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// Which pods.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// How many must be there, a number or a share.
    #[arg(long, value_name = "COUNT", default_value = "")]
    min_available: String,
    /// How many may be missing, a number or a share.
    #[arg(long, value_name = "COUNT", default_value = "")]
    max_unavailable: String,
}

impl Budget {
    pub(super) fn object(&self) -> Outcome<Value> {
        if self.selector.is_empty() {
            return Err(Failure::new("a selector must be specified"));
        }
        let number = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
        let (field, value) = match (self.min_available.as_str(), self.max_unavailable.as_str()) {
            ("", "") => {
                return Err(Failure::new("one of min-available or max-unavailable must be specified"));
            }
            (least, "") => ("minAvailable", number(least)),
            ("", most) => ("maxUnavailable", number(most)),
            _ => return Err(Failure::new("min-available and max-unavailable cannot be both specified")),
        };
        Ok(json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": self.name},
            "spec": {field: value, "selector": selector_object(&self.selector)?},
            "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
        }))
    }
}

/// A selector's text as the object that selects the same.
pub fn selector_object(text: &str) -> Outcome<Value> {
    let parsed = api::selector::LabelSelector::parse(text).map_err(Failure::new)?;
    let (mut labels, mut expressions) = (Map::new(), Vec::new());
    for requirement in parsed.requirements() {
        use api::selector::Operator;
        let operator = match requirement.operator {
            Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            _ => return Err(Failure::new(format!("a selector of objects cannot compare: {text}"))),
        };
        let mut values = requirement.values.iter();
        match (operator, values.next(), values.next()) {
            ("In", Some(only), None) => drop(labels.insert(requirement.key.clone(), json!(only))),
            (_, None, _) => expressions.push(json!({"key": requirement.key, "operator": operator})),
            _ => expressions
                .push(json!({"key": requirement.key, "operator": operator, "values": requirement.values})),
        }
    }
    let mut selector = Map::new();
    if !expressions.is_empty() {
        selector.insert("matchExpressions".to_owned(), Value::Array(expressions));
    }
    if !labels.is_empty() {
        selector.insert("matchLabels".to_owned(), Value::Object(labels));
    }
    Ok(Value::Object(selector))
}

/// Flags of `create priorityclass`.
#[derive(clap::Args)]
pub struct Priority {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// The higher goes first.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    value: i64,
    /// For pods without a class.
    #[arg(long)]
    global_default: bool,
    /// When to use it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// `PreemptLowerPriority` or `Never`.
    #[arg(long, value_name = "POLICY", default_value = "PreemptLowerPriority")]
    preemption_policy: String,
}

impl Priority {
    pub(super) fn object(&self) -> Outcome<Value> {
        let mut object = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": self.name}, "preemptionPolicy": self.preemption_policy, "value": self.value});
        if self.global_default {
            object["globalDefault"] = json!(true);
        }
        if !self.description.is_empty() {
            object["description"] = json!(self.description);
        }
        Ok(object)
    }
}
