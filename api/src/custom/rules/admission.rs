//! Rules of a new or changed definition: they must compile, and cost little enough.

use serde_json::Value;

use super::{compile_message, compile_rule, is_whole, paths, rules_of};
use crate::cel::{DeclType, ESTIMATED_COST_LIMIT, ESTIMATED_CRD_COST_LIMIT};
use crate::status::Cause;

/// Judges every rule of a schema whose shape is right.
pub fn check(path: &str, schema: &Value, causes: &mut Vec<Cause>) {
    let mut total = Total::default();
    let place = Place { cardinality: Some(1), uncorrelated: None, root: true };
    walk(path, schema, &place, &mut total, causes);
    if total.cost > ESTIMATED_CRD_COST_LIMIT {
        for (rule, _) in &total.expensive {
            let detail =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            causes.push(Cause::forbidden(rule.as_str(), detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        causes.push(Cause::forbidden(path, &over(what, total.cost, ESTIMATED_CRD_COST_LIMIT)));
    }
}

/// Costs of all rules, and the four most expensive ones.
#[derive(Default)]
struct Total {
    cost: u64,
    expensive: Vec<(String, u64)>,
}

impl Total {
    fn add(&mut self, rule: String, cost: u64) {
        self.cost = self.cost.saturating_add(cost);
        if cost >= ESTIMATED_CRD_COST_LIMIT / 100 {
            self.expensive.push((rule, cost));
            self.expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.expensive.truncate(4);
        }
    }
}

#[derive(Clone)]
struct Place {
    /// How often the place may occur in an object; `None` without a bound.
    cardinality: Option<u64>,
    /// Where, at or above, items can no longer be told apart between two states of the object.
    uncorrelated: Option<String>,
    root: bool,
}

fn walk(path: &str, schema: &Value, place: &Place, total: &mut Total, causes: &mut Vec<Cause>) {
    let below = Place { root: false, ..place.clone() };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.properties[{name}]"), property, &below, total, causes);
    }
    let times = |key: &str| Some(place.cardinality?.saturating_mul(schema[key].as_u64()?));
    if schema["additionalProperties"].is_object() {
        let below = Place { cardinality: times("maxProperties"), ..below.clone() };
        walk(&format!("{path}.additionalProperties"), &schema["additionalProperties"], &below, total, causes);
    }
    if schema["items"].is_object() {
        let keyed = schema["x-kubernetes-list-type"] == "map";
        let uncorrelated = place.uncorrelated.clone().or_else(|| (!keyed).then(|| path.to_owned()));
        let below = Place { cardinality: times("maxItems"), uncorrelated, root: false };
        walk(&format!("{path}.items"), &schema["items"], &below, total, causes);
    }
    for (at, rule) in rules_of(schema).iter().enumerate() {
        judge(&format!("{path}.x-kubernetes-validations[{at}]"), schema, rule, place, total, causes);
    }
}

fn judge(
    path: &str,
    schema: &Value,
    rule: &Value,
    place: &Place,
    total: &mut Total,
    causes: &mut Vec<Cause>,
) {
    let whole = is_whole(schema, place.root);
    let field = |key: &str| format!("{path}.{key}");
    let field_path = rule["fieldPath"].as_str().unwrap_or_default();
    if !field_path.is_empty() && !paths::is_valid(schema, field_path) {
        causes.push(Cause::invalid(field("fieldPath"), &rule["fieldPath"], "must be a valid path"));
    }
    let program = match compile_rule(schema, whole, rule) {
        Ok(program) => program,
        Err(error) => {
            causes.push(Cause::invalid(field("rule"), rule, &error));
            return;
        }
    };
    let often = place
        .cardinality
        .unwrap_or_else(|| DeclType::from_schema(schema, whole).map_or(1, |decl| decl.max_cardinality()));
    let cost = program.cost().max.saturating_mul(often);
    if cost > ESTIMATED_COST_LIMIT {
        causes
            .push(Cause::forbidden(field("rule"), &over("estimated rule cost", cost, ESTIMATED_COST_LIMIT)));
    }
    total.add(field("rule"), cost);
    match compile_message(schema, whole, rule) {
        Err(error) => causes.push(Cause::invalid(field("messageExpression"), rule, &error)),
        Ok(None) => {}
        Ok(Some(message)) => {
            let cost = message.cost().max;
            if cost > ESTIMATED_COST_LIMIT {
                let what = "estimated messageExpression cost";
                causes.push(Cause::forbidden(
                    field("messageExpression"),
                    &over(what, cost, ESTIMATED_COST_LIMIT),
                ));
            }
            total.add(field("messageExpression"), cost);
        }
    }
    if program.uses("oldSelf") {
        if let Some(at) = &place.uncorrelated {
            let detail =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {at}");
            causes.push(Cause::invalid(field("rule"), &rule["rule"], &detail));
        }
    } else if let Some(optional) = rule.get("optionalOldSelf") {
        let detail = "may not be set if oldSelf is not used in rule";
        causes.push(Cause::invalid(field("optionalOldSelf"), optional, detail));
    }
}

/// By how much a limit is exceeded, and what helps.
#[allow(clippy::cast_precision_loss, reason = "a factor for people")]
fn over(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
