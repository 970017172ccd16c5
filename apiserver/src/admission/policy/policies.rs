//! The policies there are with their bindings, kept in memory and compiled.
//!
//! Entry points: [`Policies::mutating`] and [`Policies::validating`], ordered by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::cel::Type;
use api::cel::admission::{Composer, Conditions, Expression, Offer};
use api::strategies::admissionregistration::mutation_result;
use serde_json::Value;

use crate::admission::webhook::matching::Criteria;
use crate::followed::Index;
use crate::storage::Entry;

const GROUP: &str = "admissionregistration.k8s.io";
const PLURALS: [&str; 4] = [
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];
/// What [`Policies`] is made of, for `Followed`.
pub(crate) const KINDS: [(&str, &str); 4] =
    [(GROUP, PLURALS[0]), (GROUP, PLURALS[1]), (GROUP, PLURALS[2]), (GROUP, PLURALS[3])];

/// A policy of either kind.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(super) name: String,
    pub(super) criteria: Criteria,
    /// `failurePolicy: Fail`.
    pub(super) fails: bool,
    /// `apiVersion` and `kind` of its parameters.
    pub(super) param_kind: Option<(String, String)>,
    pub(super) composer: Composer,
    pub(super) conditions: Conditions,
    pub(super) validations: Vec<Validation>,
    /// By key.
    pub(super) annotations: Vec<(String, Expression)>,
    pub(super) mutations: Vec<Mutation>,
    /// `reinvocationPolicy: IfNeeded`.
    pub(super) reinvocable: bool,
}

/// What must hold.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message_expression: Option<Expression>,
    pub(super) message: String,
    pub(super) reason: String,
}

/// A change.
#[derive(Debug)]
pub(super) struct Mutation {
    /// Else a configuration to apply.
    pub(super) is_json_patch: bool,
    pub(super) expression: Expression,
}

/// What puts a policy to work.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(super) name: String,
    policy: String,
    /// `None`: wherever the policy matches.
    pub(super) criteria: Option<Criteria>,
    pub(super) param_ref: Option<Value>,
    /// `Deny`, `Warn`, `Audit`.
    pub(super) actions: Vec<String>,
}

fn text(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

fn list<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    object[key].as_array().into_iter().flatten()
}

impl Policy {
    fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let param_kind = &spec["paramKind"];
        let params = !param_kind.is_null();
        let offer = Offer { params, authorizer: true, mutation: false };
        let mut composer = Composer::composed();
        for variable in list(spec, "variables") {
            // One that does not compile any more fails those who use it.
            let _ = composer.declare(&text(variable, "name"), &text(variable, "expression"), offer);
        }
        let fails = spec["failurePolicy"] != "Ignore";
        let annotation = |annotation: &Value| {
            let value = text(annotation, "valueExpression");
            (text(annotation, "key"), composer.expression(&value, &[Type::String, Type::Null], offer))
        };
        Self {
            name: api::object::name(object).to_owned(),
            criteria: Criteria::of_resources(&spec["matchConstraints"]),
            fails,
            param_kind: params.then(|| (text(param_kind, "apiVersion"), text(param_kind, "kind"))),
            conditions: Conditions::compile(&composer, &spec["matchConditions"], params, fails),
            validations: list(spec, "validations").map(|v| Validation::read(&composer, v, offer)).collect(),
            annotations: list(spec, "auditAnnotations").map(annotation).collect(),
            mutations: list(spec, "mutations").map(|m| Mutation::read(&composer, m, offer)).collect(),
            reinvocable: spec["reinvocationPolicy"] == "IfNeeded",
            composer,
        }
    }
}

impl Validation {
    fn read(composer: &Composer, validation: &Value, offer: Offer) -> Self {
        let message = text(validation, "messageExpression");
        let offer_of_messages = Offer { authorizer: false, ..offer };
        Self {
            expression: composer.expression(&text(validation, "expression"), &[Type::Bool], offer),
            message_expression: (!message.is_empty())
                .then(|| composer.expression(&message, &[Type::String], offer_of_messages)),
            message: text(validation, "message"),
            reason: text(validation, "reason"),
        }
    }
}

impl Mutation {
    fn read(composer: &Composer, mutation: &Value, offer: Offer) -> Self {
        let patch_type = text(mutation, "patchType");
        let is_json_patch = patch_type == "JSONPatch";
        let body = &mutation[if is_json_patch { "jsonPatch" } else { "applyConfiguration" }];
        let offer = Offer { mutation: true, ..offer };
        let expression = composer.expression(&text(body, "expression"), &mutation_result(&patch_type), offer);
        Self { is_json_patch, expression }
    }
}

impl Binding {
    fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let present = |key: &str| Some(&spec[key]).filter(|value| !value.is_null());
        Self {
            name: api::object::name(object).to_owned(),
            policy: text(spec, "policyName"),
            criteria: present("matchResources").map(Criteria::of_resources),
            param_ref: present("paramRef").cloned(),
            actions: list(spec, "validationActions")
                .filter_map(|action| action.as_str().map(str::to_owned))
                .collect(),
        }
    }
}

/// A policy and what binds it.
pub(crate) type Bound = (Arc<Policy>, Vec<Arc<Binding>>);

/// Policies of one kind.
#[derive(Default)]
struct Phase {
    /// By storage key.
    policies: BTreeMap<String, Arc<Policy>>,
    bindings: BTreeMap<String, Arc<Binding>>,
    bound: Arc<[Bound]>,
}

impl Phase {
    /// A policy without a binding does nothing.
    fn join(&mut self) {
        let bindings = &self.bindings;
        let joined = self.policies.values().map(|policy| {
            let of = bindings.values().filter(|binding| binding.policy == policy.name);
            (Arc::clone(policy), of.cloned().collect::<Vec<_>>())
        });
        self.bound = joined.filter(|(_, bindings)| !bindings.is_empty()).collect();
    }
}

/// Policies of both kinds.
#[derive(Default)]
pub(crate) struct Policies {
    validating: Phase,
    mutating: Phase,
}

impl Policies {
    pub(crate) fn validating(&self) -> Arc<[Bound]> {
        Arc::clone(&self.validating.bound)
    }

    pub(crate) fn mutating(&self) -> Arc<[Bound]> {
        Arc::clone(&self.mutating.bound)
    }

    /// The phase of a key, and whether it is a binding's.
    fn place(&mut self, key: &str) -> (&mut Phase, bool) {
        let is = |plural: &str| key.contains(&format!("/{plural}/"));
        let phase = if is(PLURALS[0]) || is(PLURALS[1]) { &mut self.validating } else { &mut self.mutating };
        (phase, is(PLURALS[1]) || is(PLURALS[3]))
    }
}

impl Index for Policies {
    fn put(&mut self, entry: &Entry) {
        let object: Value = match serde_json::from_slice(&entry.bytes) {
            Ok(object) => object,
            Err(error) => return tracing::error!(key = &*entry.key, %error, "a policy cannot be read"),
        };
        let (phase, binds) = self.place(&entry.key);
        if binds {
            phase.bindings.insert(entry.key.to_string(), Arc::new(Binding::read(&object)));
        } else {
            phase.policies.insert(entry.key.to_string(), Arc::new(Policy::read(&object)));
        }
        phase.join();
    }

    fn remove(&mut self, key: &str) {
        let (phase, _) = self.place(key);
        phase.policies.remove(key);
        phase.bindings.remove(key);
        phase.join();
    }
}
