//! Rules of limit ranges.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::check::{self, entries, list, text};
use super::super::resources;
use crate::names;
use crate::object;
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// Bounds and defaults of what single pods, containers and claims of a namespace may ask for.
pub struct LimitRange;

impl Strategy for LimitRange {
    /// What a bound says of containers by default: limits from the maximum, requests from limits, then from
    /// the minimum.
    fn default(&self, object: &mut Value) {
        let items = object.pointer_mut("/spec/limits").and_then(Value::as_array_mut);
        for item in items.into_iter().flatten().filter(|item| item["type"] == "Container") {
            for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
                let given = item[from].clone();
                let target = object::section(item, to);
                for (name, amount) in entries(&given) {
                    target.entry(name.clone()).or_insert_with(|| amount.clone());
                }
                if target.is_empty() {
                    object::remove(item, to);
                }
            }
        }
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, item) in list(&object["spec"], "limits").iter().enumerate() {
            let path = format!("spec.limits[{at}]");
            let kind = text(item, "type");
            limit_type(&mut causes, &format!("{path}.type"), kind);
            if !seen.insert(kind) {
                causes.push(Cause::duplicate(format!("{path}.type"), &json!(kind)));
            }
            limits(&mut causes, &path, kind, item);
        }
        causes
    }
}

fn limit_type(causes: &mut Vec<Cause>, field: &str, kind: &str) {
    let broken = names::qualified_name(kind);
    let known = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind) || kind.contains('/');
    if broken.is_empty() && !known {
        let detail = "must be a standard limit type or fully qualified";
        causes.push(Cause::invalid(field, &json!(kind), detail));
    }
    check::rules(causes, field, &json!(kind), broken);
}

fn limits(causes: &mut Vec<Cause>, path: &str, kind: &str, item: &Value) {
    let mut bounds: BTreeMap<&str, Bounds> = BTreeMap::new();
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let defaults = ["default", "defaultRequest"].contains(&field);
        if kind == "Pod" && defaults {
            if item[field].as_object().is_some_and(|map| !map.is_empty()) {
                let detail = "may not be specified when `type` is 'Pod'";
                causes.push(Cause::forbidden(format!("{path}.{field}"), detail));
            }
            continue;
        }
        for (name, amount) in entries(&item[field]) {
            let at = format!("{path}.{field}[{name}]");
            if ["Pod", "Container"].contains(&kind) {
                resources::container_name(causes, &at, name);
            } else {
                resources::name(causes, &at, name);
            }
            match Quantity::from_json(amount) {
                Ok(amount) => bounds.entry(name).or_default().set(field, amount),
                Err(error) => causes.push(Cause::invalid(at, amount, &error.to_string())),
            }
        }
    }
    let storage = bounds.get("storage").copied().unwrap_or_default();
    if kind == "PersistentVolumeClaim" && storage.min.is_none() && storage.max.is_none() {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        causes.push(Cause::required(format!("{path}.limits"), detail));
    }
    for (name, bounds) in bounds {
        bounds.validate(causes, path, name);
    }
}

/// What is said of one resource.
#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    min: Option<Quantity>,
    max: Option<Quantity>,
    limit: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

impl Bounds {
    fn set(&mut self, field: &str, amount: Quantity) {
        let place = match field {
            "max" => &mut self.max,
            "min" => &mut self.min,
            "default" => &mut self.limit,
            "defaultRequest" => &mut self.request,
            _ => &mut self.ratio,
        };
        *place = Some(amount);
    }

    fn validate(self, causes: &mut Vec<Cause>, path: &str, name: &str) {
        let (min, max) = ((self.min, "min value"), (self.max, "max value"));
        let (limit, request) = ((self.limit, "default value"), (self.request, "default request value"));
        let default_limit = (self.limit, "default limit value");
        // Less, more, and which field is to blame and shown.
        for (low, high, field, shown) in [
            (min, max, "min", self.min),
            (min, request, "defaultRequest", self.request),
            (request, max, "defaultRequest", self.request),
            (request, default_limit, "defaultRequest", self.request),
            (min, limit, "default", self.min),
            (limit, max, "default", self.max),
        ] {
            if let ((Some(less), less_name), (Some(more), more_name), Some(shown)) = (low, high, shown)
                && less > more
            {
                let detail = format!("{less_name} {less} is greater than {more_name} {more}");
                causes.push(invalid(path, field, name, shown, &detail));
            }
        }
        if let Some(ratio) = self.ratio {
            self.validate_ratio(causes, path, name, ratio);
        }
        if let (Some(limit), Some(request)) = (self.limit, self.request)
            && !resources::may_be_overcommitted(name)
            && limit != request
        {
            let detail =
                format!("default value {limit} must equal to defaultRequest value {request} in {name}");
            causes.push(invalid(path, "defaultRequest", name, request, &detail));
        }
    }

    fn validate_ratio(self, causes: &mut Vec<Cause>, path: &str, name: &str, ratio: Quantity) {
        let field = "maxLimitRequestRatio";
        if ratio < Quantity::from_units(1) {
            causes.push(invalid(path, field, name, ratio, &format!("ratio {ratio} is less than 1")));
        }
        if let (Some(min), Some(max)) = (self.min, self.max) {
            let most = max.as_f64() / min.as_f64();
            if ratio.as_f64() > most {
                let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
                causes.push(invalid(path, field, name, ratio, &detail));
            }
        }
    }
}

fn invalid(path: &str, field: &str, name: &str, shown: Quantity, detail: &str) -> Cause {
    Cause::invalid(format!("{path}.{field}[{name}]"), &json!(shown.to_string()), detail)
}
