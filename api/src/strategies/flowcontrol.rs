//! Rules of `flowcontrol.apiserver.k8s.io`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check::{self, list, text};
use crate::status::Cause;
use crate::strategy::{Context, Strategy};
use crate::{names, object};

const MAX_PRECEDENCE: i64 = 10_000;
const MAX_QUEUES: i64 = 10_000_000;
/// Bits of a hash that can be dealt out to a flow as its hand of queues.
const MAX_HASH_BITS: u32 = 60;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Kinds of subjects, and the field that names one.
const SUBJECTS: [(&str, &str); 3] =
    [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

/// Which requests belong to which priority level.
pub struct FlowSchema;

impl Strategy for FlowSchema {
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        precedence(&mut causes, object, spec);
        let method = &spec["distinguisherMethod"];
        if !method.is_null() && !["ByNamespace", "ByUser"].contains(&text(method, "type")) {
            let field = "spec.distinguisherMethod.type";
            causes.push(Cause::not_supported(field, method, &["ByNamespace", "ByUser"]));
        }
        let level = &spec["priorityLevelConfiguration"]["name"];
        let field = "spec.priorityLevelConfiguration.name";
        check::present(&mut causes, field, level, "must reference a priority level");
        check::optional(&mut causes, field, level, names::dns1123_subdomain);
        for (at, rule) in list(spec, "rules").iter().enumerate() {
            validate_rule(&mut causes, &format!("spec.rules[{at}]"), rule);
        }
        conditions(&mut causes, object);
        causes
    }
}

fn precedence(causes: &mut Vec<Cause>, object: &Value, spec: &Value) {
    let value = spec["matchingPrecedence"].as_i64().unwrap_or_default();
    let detail = match value {
        ..=0 => "must be a positive value".to_owned(),
        1 if object::name(object) != "exempt" => {
            "only the schema named 'exempt' may have matchingPrecedence 1".to_owned()
        }
        _ if value > MAX_PRECEDENCE => format!("must not be greater than {MAX_PRECEDENCE}"),
        _ => return,
    };
    causes.push(Cause::invalid("spec.matchingPrecedence", &json!(value), &detail));
}

fn conditions(causes: &mut Vec<Cause>, object: &Value) {
    let mut seen = BTreeSet::new();
    for (at, condition) in list(&object["status"], "conditions").iter().enumerate() {
        let (field, kind) = (format!("status.conditions[{at}].type"), text(condition, "type"));
        if !seen.insert(kind) {
            causes.push(Cause::duplicate(&field, &json!(kind)));
        }
        if kind.is_empty() {
            causes.push(Cause::required(field, "must not be empty"));
        }
    }
}

fn validate_rule(causes: &mut Vec<Cause>, path: &str, rule: &Value) {
    let subjects = list(rule, "subjects");
    if subjects.is_empty() {
        let detail = "subjects must contain at least one value";
        causes.push(Cause::required(format!("{path}.subjects"), detail));
    }
    for (at, subject) in subjects.iter().enumerate() {
        validate_subject(causes, &format!("{path}.subjects[{at}]"), subject);
    }
    let (resources, others) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        causes.push(Cause::required(path, detail));
    }
    for (at, rule) in resources.iter().enumerate() {
        resource_rule(causes, &format!("{path}.resourceRules[{at}]"), rule);
    }
    for (at, rule) in others.iter().enumerate() {
        non_resource_rule(causes, &format!("{path}.nonResourceRules[{at}]"), rule);
    }
}

fn validate_subject(causes: &mut Vec<Cause>, path: &str, subject: &Value) {
    let kind = text(subject, "kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        let kinds = SUBJECTS.map(|(kind, _)| kind);
        causes.push(Cause::not_supported(format!("{path}.kind"), &json!(kind), &kinds));
        return;
    };
    let (field, named) = (format!("{path}.{own}"), &subject[*own]);
    if named.is_null() {
        causes.push(Cause::required(&field, &format!("{own} is required when subject kind is '{kind}'")));
    } else if kind == "ServiceAccount" {
        service_account(causes, &field, named);
    } else {
        check::required(causes, &format!("{field}.name"), &named["name"], None);
    }
    for (kind, other) in SUBJECTS.iter().filter(|(_, other)| other != own) {
        if !subject[*other].is_null() {
            let detail = format!("{other} is forbidden when subject kind is not '{kind}'");
            causes.push(Cause::forbidden(format!("{path}.{other}"), &detail));
        }
    }
}

fn service_account(causes: &mut Vec<Cause>, path: &str, account: &Value) {
    let form: Option<check::Form> =
        if text(account, "name") == "*" { None } else { Some(names::dns1123_subdomain) };
    check::required(causes, &format!("{path}.name"), &account["name"], form);
    let field = format!("{path}.namespace");
    check::present(causes, &field, &account["namespace"], "must specify namespace for service account");
    check::optional(causes, &field, &account["namespace"], names::dns1123_label);
}

/// A list that must not be empty, and in which `*` stands alone.
fn wildcard_list(causes: &mut Vec<Cause>, field: &str, values: &Value, required: &str, others: &str) {
    let items = values.as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        causes.push(Cause::required(field, required));
    } else if items.len() > 1 && items.iter().any(|item| item == "*") {
        let detail = format!("if '*' is present, must not specify other {others}");
        causes.push(Cause::invalid(field, values, &detail));
    }
}

fn verbs(causes: &mut Vec<Cause>, path: &str, rule: &Value) {
    let (field, verbs) = (format!("{path}.verbs"), &rule["verbs"]);
    wildcard_list(causes, &field, verbs, "verbs must contain at least one value", "verbs");
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| verb == "*" || VERBS.contains(&verb));
    let all = list(rule, "verbs");
    if !all.iter().all(known) && !all.iter().any(|verb| verb == "*") {
        causes.push(Cause::not_supported(field, verbs, &VERBS));
    }
}

fn resource_rule(causes: &mut Vec<Cause>, path: &str, rule: &Value) {
    verbs(causes, path, rule);
    for (key, one, others) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let required = format!("resource rules must supply at least one {one}");
        wildcard_list(causes, &format!("{path}.{key}"), &rule[key], &required, others);
    }
    let (field, namespaces) = (format!("{path}.namespaces"), list(rule, "namespaces"));
    if namespaces.is_empty() && rule["clusterScope"] == true {
        return;
    }
    let required = "resource rules that are not cluster scoped must supply at least one namespace";
    wildcard_list(causes, &field, &rule["namespaces"], required, "namespaces");
    if namespaces.iter().any(|name| name == "*") {
        return;
    }
    for (at, name) in namespaces.iter().enumerate() {
        for broken in names::dns1123_label(name.as_str().unwrap_or_default()) {
            let detail = format!("each member of this list must be '*' or a DNS-1123 label; {broken}");
            causes.push(Cause::invalid(format!("{field}[{at}]"), name, &detail));
        }
    }
}

fn non_resource_rule(causes: &mut Vec<Cause>, path: &str, rule: &Value) {
    verbs(causes, path, rule);
    let (field, urls) = (format!("{path}.nonResourceURLs"), list(rule, "nonResourceURLs"));
    let required = "nonResourceURLs must contain at least one value";
    wildcard_list(causes, &field, &rule["nonResourceURLs"], required, "non-resource URLs");
    if urls.iter().any(|url| url == "*") {
        return;
    }
    for (at, url) in urls.iter().enumerate() {
        if let Some(detail) = bad_url(url.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid(format!("{field}[{at}]"), url, detail));
        }
    }
}

fn bad_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    if url.is_empty() {
        Some("must not be empty")
    } else if url == "/" {
        None
    } else if !url.starts_with('/') {
        Some("must start with slash")
    } else if url.contains(' ') {
        Some("must not contain white-space")
    } else if url.contains("//") {
        Some("must not contain double slash")
    } else if stars > 1 || (stars == 1 && !url.ends_with("/*")) {
        Some("wildcard can only do suffix matching")
    } else {
        None
    }
}

/// How many requests run at once, and what becomes of the others.
pub struct PriorityLevelConfiguration;

impl Strategy for PriorityLevelConfiguration {
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let kind = text(spec, "type");
        if (object::name(object) == "exempt") != (kind == "Exempt") {
            let detail = "type must be 'Exempt' if and only if name is 'exempt'";
            causes.push(Cause::invalid("spec.type", &json!(kind), detail));
        }
        let (exempt, limited) = (&spec["exempt"], &spec["limited"]);
        match kind {
            "Exempt" => {
                if !limited.is_null() {
                    causes.push(Cause::forbidden("spec.limited", "must be nil if the type is not Limited"));
                }
                if !exempt.is_null() {
                    shares(&mut causes, "spec.exempt", exempt);
                }
            }
            "Limited" => {
                if !exempt.is_null() {
                    causes.push(Cause::forbidden("spec.exempt", "must be nil if the type is Limited"));
                }
                if limited.is_null() {
                    let detail = "must not be empty when type is Limited";
                    causes.push(Cause::required("spec.limited", detail));
                } else {
                    validate_limited(&mut causes, "spec.limited", limited);
                }
            }
            _ => causes.push(Cause::not_supported("spec.type", &json!(kind), &["Exempt", "Limited"])),
        }
        conditions(&mut causes, object);
        causes
    }
}

fn shares(causes: &mut Vec<Cause>, path: &str, level: &Value) {
    let field = |name: &str| format!("{path}.{name}");
    if level["nominalConcurrencyShares"].as_i64().is_some_and(|shares| shares < 0) {
        let value = &level["nominalConcurrencyShares"];
        causes.push(Cause::invalid(
            field("nominalConcurrencyShares"),
            value,
            "must be a non-negative integer",
        ));
    }
    check::between(causes, &field("lendablePercent"), &level["lendablePercent"], 0, 100);
}

fn validate_limited(causes: &mut Vec<Cause>, path: &str, limited: &Value) {
    shares(causes, path, limited);
    let borrowing = &limited["borrowingLimitPercent"];
    if borrowing.as_i64().is_some_and(|percent| percent < 0) {
        let detail = "if specified, must be a non-negative integer";
        causes.push(Cause::invalid(format!("{path}.borrowingLimitPercent"), borrowing, detail));
    }
    let response = &limited["limitResponse"];
    let (queuing, field) = (&response["queuing"], format!("{path}.limitResponse.queuing"));
    match text(response, "type") {
        "Reject" if !queuing.is_null() => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            causes.push(Cause::forbidden(field, detail));
        }
        "Reject" => {}
        "Queue" if queuing.is_null() => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            causes.push(Cause::required(field, detail));
        }
        "Queue" => validate_queuing(causes, &field, queuing),
        other => {
            let field = format!("{path}.limitResponse.type");
            causes.push(Cause::not_supported(field, &json!(other), &["Queue", "Reject"]));
        }
    }
}

fn validate_queuing(causes: &mut Vec<Cause>, path: &str, queuing: &Value) {
    let number = |key: &str| queuing[key].as_i64().unwrap_or_default();
    let (queues, hand) = (number("queues"), number("handSize"));
    let mut refuse = |key: &str, detail: &str| {
        causes.push(Cause::invalid(format!("{path}.{key}"), &json!(number(key)), detail));
    };
    if number("queueLengthLimit") <= 0 {
        refuse("queueLengthLimit", "must be positive");
    }
    if queues <= 0 {
        refuse("queues", "must be positive");
    } else if queues > MAX_QUEUES {
        refuse("queues", &format!("must not be greater than {MAX_QUEUES}"));
    }
    if hand <= 0 {
        refuse("handSize", "must be positive");
    } else if hand > queues {
        refuse("handSize", &format!("should not be greater than queues ({queues})"));
    } else if entropy_bits(queues, hand) > f64::from(MAX_HASH_BITS) {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        );
        refuse("handSize", &detail);
    }
}

/// Bits it takes to choose a hand of queues: with 64 queues and a hand of 8, 6 · 8 = 48.
#[expect(clippy::cast_precision_loss, reason = "both numbers are below 10^7")]
fn entropy_bits(queues: i64, hand: i64) -> f64 {
    ((queues as f64).log2() * hand as f64).ceil()
}
