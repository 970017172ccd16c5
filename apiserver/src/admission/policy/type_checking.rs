//! Tells in a policy's status where its expressions do not fit the types of the kinds they are about.
//!
//! Entry point: [`run`]. Objects and parameters are of any type when a policy is stored and when it is evaluated;
//! this is advice and changes nothing. Source: upstream's `policy/validating/typechecking.go` and the controller
//! `validatingadmissionpolicy-status`.

mod schemas;

use std::sync::Arc;
use std::time::Duration;

use api::cel::DeclType;
use api::cel::admission::{Composer, Offer};
use api::{Kind, KindTable, Reason, Status, object};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::call::{Call, Server, parse};
use crate::registry::{self, Part};
use crate::storage::{Entry, StoreError};

const POLICIES: (&str, &str, &str) = ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies");
/// Who writes the status.
const MANAGER: &str = "validatingadmissionpolicy-status";
/// At most this many kinds are looked at for one policy.
const MAX_KINDS: usize = 10;
/// Pause before listing again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Checks every policy that is new or changed, for ever.
pub(crate) async fn run(server: Arc<Server>) {
    loop {
        match follow(&server).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "policies cannot be followed"),
        }
        server.clock.sleep(RETRY).await;
    }
}

async fn follow(server: &Arc<Server>) -> Result<(), StoreError> {
    let prefix = api::names::storage_prefix(POLICIES.0, POLICIES.2, None);
    let page = server.store.list(&prefix, None, 0, None).await?;
    let mut events = server.store.watch(&prefix, page.revision).await?;
    for entry in &page.entries {
        consider(server, entry).await;
    }
    while let Some(event) = events.next().await {
        if let Some(entry) = event?.entry {
            consider(server, &entry).await;
        }
    }
    Ok(())
}

async fn consider(server: &Arc<Server>, entry: &Entry) {
    let Ok(policy) = parse(&entry.bytes) else { return };
    let seen = policy["status"]["observedGeneration"].as_i64().unwrap_or_default();
    if object::generation(&policy) <= seen {
        return;
    }
    match report(server, &policy).await {
        // Somebody changed or deleted it: there is another event.
        Err(status) if !matches!(status.reason, Reason::NotFound | Reason::Conflict) => {
            tracing::warn!(policy = object::name(&policy), message = status.message, "cannot write a status");
        }
        _ => {}
    }
}

async fn report(server: &Arc<Server>, policy: &Value) -> Result<(), Status> {
    let kinds = server.kinds();
    let Some(row) = kinds.resource(POLICIES.0, POLICIES.1, POLICIES.2) else { return Ok(()) };
    let warnings = check(&kinds, &policy["spec"]);
    let mut call = Call::internal(server, row, "", object::name(policy));
    MANAGER.clone_into(&mut call.options.field_manager);
    "status".clone_into(&mut Arc::make_mut(&mut call.info).subresource);
    let type_checking = match warnings.is_empty() {
        true => json!({}),
        false => json!({"expressionWarnings": warnings}),
    };
    let write = |current: &Value| {
        let mut new = current.clone();
        let status = object::section(&mut new, "status");
        status.insert("observedGeneration".to_owned(), object::generation(policy).into());
        status.insert("typeChecking".to_owned(), type_checking.clone());
        Ok(new)
    };
    registry::update(&call, object::name(policy), Part::Status, write).await.map(drop)
}

/// A kind an expression is checked against.
struct Checked {
    name: String,
    decl: Arc<DeclType>,
}

/// What does not fit: `fieldRef` and `warning` of each expression.
fn check(kinds: &KindTable, spec: &Value) -> Vec<Value> {
    let objects: Vec<Checked> = matched(kinds, &spec["matchConstraints"]).iter().filter_map(decl).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let param_kind = &spec["paramKind"];
    let params = kinds.kind(&text(&param_kind["apiVersion"]), &text(&param_kind["kind"]));
    let params = params.and_then(decl).map(|checked| checked.decl);
    let offer = Offer { params: !param_kind.is_null(), authorizer: true, mutation: false };
    let mut warnings = Vec::new();
    for (at, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let expression = text(&validation[field]);
            if expression.is_empty() {
                continue;
            }
            let problems: Vec<String> = objects
                .iter()
                .filter_map(|object| problem(object, params.as_ref(), &spec["variables"], &expression, offer))
                .collect();
            if !problems.is_empty() {
                let field = format!("spec.validations[{at}].{field}");
                warnings.push(json!({"fieldRef": field, "warning": problems.join("\n")}));
            }
        }
    }
    warnings
}

/// Why an expression does not fit one kind.
fn problem(
    object: &Checked,
    params: Option<&Arc<DeclType>>,
    variables: &Value,
    expression: &str,
    offer: Offer,
) -> Option<String> {
    let mut composer = Composer::typed(Some(Arc::clone(&object.decl)), params.cloned());
    for variable in variables.as_array().into_iter().flatten() {
        let text = |key: &str| variable[key].as_str().unwrap_or_default();
        // One that does not fit shows where it is used.
        let _ = composer.declare(text("name"), text("expression"), offer);
    }
    let error = composer.compile(expression, &[], offer).err()?;
    let issues = error.strip_prefix("compilation failed: ").unwrap_or(&error);
    Some(format!("{}: {issues}\n", object.name))
}

/// The kinds the rules name in so many words, in order.
fn matched(kinds: &KindTable, constraints: &Value) -> Vec<Arc<Kind>> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let list = rule[key].as_array().into_iter().flatten();
        list.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let mut found: Vec<Arc<Kind>> = Vec::new();
    for rule in constraints["resourceRules"].as_array().into_iter().flatten() {
        let (groups, versions) = (words(rule, "apiGroups"), words(rule, "apiVersions"));
        if groups.iter().chain(&versions).any(|word| word.contains('*')) {
            continue;
        }
        for resource in words(rule, "resources").iter().filter(|word| !word.contains(['*', '/'])) {
            let rows = groups.iter().flat_map(|group| versions.iter().map(move |version| (group, version)));
            let rows = rows.filter_map(|(group, version)| kinds.resource(group, version, resource));
            found.extend(rows.cloned());
        }
    }
    found.sort_by(|a, b| (&a.group, &a.version, &a.kind).cmp(&(&b.group, &b.version, &b.kind)));
    found.dedup_by(|a, b| Arc::ptr_eq(a, b));
    found.truncate(MAX_KINDS);
    found
}

/// The type of a kind's objects, if there is a schema.
fn decl(row: &Arc<Kind>) -> Option<Checked> {
    let decl = match &row.custom {
        Some(custom) => DeclType::named(&custom.schema.open_api, true, &row.kind)?,
        None => DeclType::named(&schemas::structural(row.schema()?), false, &row.kind)?,
    };
    Some(Checked { name: format!("{}, Kind={}", group_version(row), row.kind), decl })
}

/// Go writes the core group as nothing before the slash.
fn group_version(row: &Kind) -> String {
    format!("{}/{}", row.group, row.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_do_not_fit_their_kinds() {
        let kinds = api::kinds::builtin();
        let rule =
            json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "*/scale"]});
        let spec = json!({
            "matchConstraints": {"resourceRules": [rule]},
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "variables.replicas > 1 && object.metadata.labels['a'] == params.data['b']"},
                {"expression": "object.spec.replicas > '1'", "messageExpression": "object.foo"},
                {"expression": "object.spec.template.spec.containers.all(c, c.image.startsWith('x') && c.port == 1)"},
            ],
        });
        let warnings = check(&kinds, &spec);
        let expected = [
            (
                "spec.validations[1].expression",
                "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n",
            ),
            (
                "spec.validations[1].messageExpression",
                "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'foo'\n | object.foo\n | ......^\n",
            ),
        ];
        for (warning, (field, text)) in warnings.iter().zip(expected) {
            assert_eq!(
                (warning["fieldRef"].as_str(), warning["warning"].as_str()),
                (Some(field), Some(text))
            );
        }
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[2]["warning"].as_str().is_some_and(|text| text.contains("undefined field 'port'")));
        // Nothing is said about kinds that are not named.
        let mut any = spec.clone();
        any["matchConstraints"]["resourceRules"][0]["apiGroups"] = json!(["*"]);
        assert_eq!(check(&kinds, &any), Vec::<Value>::new());
    }
}
