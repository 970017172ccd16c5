//! Admission policies in the expression language (KEP-3488, KEP-3962), and their bindings.
//!
//! Expressions must compile with objects and parameters of any type. Whether they fit the types of the kinds they
//! are about, which takes these kinds' schemas, is told in the status afterwards.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{FAILURE_POLICIES, REINVOCATION_POLICIES, rules};
use crate::cel::admission::{Composer, Offer};
use crate::cel::{Type, mutation};
use crate::status::Cause;
use crate::strategies::check::{self, list, text};
use crate::strategy::{Context, Strategy};
use crate::{names, object};

const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_AUDIT_EXPRESSION_BYTES: usize = 5 * 1024;
/// Words of the expression language that cannot be names.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// A policy that refuses requests.
pub struct ValidatingPolicy;

impl Strategy for ValidatingPolicy {
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let compiler = common(&mut causes, spec);
        let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            let detail = "validations or auditAnnotations must contain at least one item";
            causes.push(Cause::required("spec.validations", detail));
            causes.push(Cause::required("spec.auditAnnotations", detail));
        }
        for (at, validation) in validations.iter().enumerate() {
            validate_validation(&mut causes, &format!("spec.validations[{at}]"), validation, &compiler);
        }
        if annotations.len() > MAX_AUDIT_ANNOTATIONS {
            let detail = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
            causes.push(Cause::invalid("spec.auditAnnotations", &spec["auditAnnotations"], &detail));
        }
        let mut seen = BTreeSet::new();
        for (at, annotation) in annotations.iter().enumerate() {
            let path = format!("spec.auditAnnotations[{at}]");
            audit_annotation(&mut causes, &path, annotation, object::name(object));
            audit_value(&mut causes, &format!("{path}.valueExpression"), annotation, &compiler);
            if !seen.insert(text(annotation, "key")) {
                causes.push(Cause::duplicate(format!("{path}.key"), &annotation["key"]));
            }
        }
        causes
    }
}

/// Compiles the expressions of a policy.
struct Compiler {
    composer: Composer,
    offer: Offer,
}

impl Compiler {
    /// An expression that must be there and give one of some types.
    fn check(&self, causes: &mut Vec<Cause>, field: &str, value: &Value, returns: &[Type], offer: Offer) {
        let text = value.as_str().unwrap_or_default();
        if text.trim().is_empty() {
            causes.push(Cause::required(field, "expression is not specified"));
        } else if let Err(error) = self.composer.compile(text, returns, offer) {
            causes.push(Cause::invalid(field, value, &error));
        }
    }
}

/// What both kinds of policies have.
fn common(causes: &mut Vec<Cause>, spec: &Value) -> Compiler {
    let params = !spec["paramKind"].is_null();
    let failure = &spec["failurePolicy"];
    check::present(causes, "spec.failurePolicy", failure, "");
    check::supported(causes, "spec.failurePolicy", failure, &FAILURE_POLICIES);
    if params {
        param_kind(causes, "spec.paramKind", &spec["paramKind"]);
    }
    let constraints = &spec["matchConstraints"];
    if constraints.is_null() {
        causes.push(Cause::required("spec.matchConstraints", ""));
    } else {
        rules::match_resources(causes, "spec.matchConstraints", constraints);
        if list(constraints, "resourceRules").is_empty() {
            // Without a resource there is no type to check expressions against.
            causes.push(Cause::required("spec.matchConstraints.resourceRules", ""));
        }
    }
    rules::match_conditions(causes, "spec.matchConditions", list(spec, "matchConditions"), params);
    variables(causes, list(spec, "variables"), Offer { params, authorizer: true, mutation: false })
}

/// Every variable may use those before it.
fn variables(causes: &mut Vec<Cause>, variables: &[Value], offer: Offer) -> Compiler {
    let mut composer = if variables.is_empty() { Composer::default() } else { Composer::composed() };
    for (at, variable) in variables.iter().enumerate() {
        let (name, expression) = (text(variable, "name"), text(variable, "expression"));
        let field = |name: &str| format!("spec.variables[{at}].{name}");
        if name.trim().is_empty() {
            causes.push(Cause::required(field("name"), "name is not specified"));
        } else if !is_identifier(name) {
            causes.push(Cause::invalid(field("name"), &json!(name), "name is not a valid CEL identifier"));
        }
        if expression.trim().is_empty() {
            causes.push(Cause::required(field("expression"), "expression is not specified"));
        } else if let Err(error) = composer.declare(name, expression, offer) {
            causes.push(Cause::invalid(field("expression"), &json!(expression), &error));
        }
    }
    Compiler { composer, offer }
}

fn is_identifier(name: &str) -> bool {
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit()) && !RESERVED.contains(&name)
}

fn param_kind(causes: &mut Vec<Cause>, path: &str, kind: &Value) {
    let (version, name) = (text(kind, "apiVersion"), text(kind, "kind"));
    let field = format!("{path}.apiVersion");
    if version.is_empty() {
        causes.push(Cause::required(field, ""));
    } else if version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {version}");
        causes.push(Cause::invalid(field, &json!(version), &detail));
    } else {
        let (group, bare) = version.split_once('/').unwrap_or(("", version));
        let broken = names::dns1123_subdomain(group);
        if !group.is_empty() && !broken.is_empty() {
            causes.push(Cause::invalid(&field, &json!(group), &broken.join(",")));
        }
        let broken = names::dns1035_label(bare);
        if bare.is_empty() {
            causes.push(Cause::invalid(field, &json!(version), "version must be specified"));
        } else if !broken.is_empty() {
            causes.push(Cause::invalid(field, &json!(bare), &broken.join(",")));
        }
    }
    let broken = names::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        causes.push(Cause::required(format!("{path}.kind"), ""));
    } else if !broken.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", broken.join(","));
        causes.push(Cause::invalid(format!("{path}.kind"), &json!(name), &detail));
    }
}

fn validate_validation(causes: &mut Vec<Cause>, path: &str, validation: &Value, compiler: &Compiler) {
    let (field, expression) = (format!("{path}.expression"), &validation["expression"]);
    compiler.check(causes, &field, expression, &[Type::Bool], compiler.offer);
    let blank = |field: &str| {
        let text = text(validation, field);
        !text.is_empty() && text.trim().is_empty()
    };
    let (field, expression) = (format!("{path}.messageExpression"), &validation["messageExpression"]);
    if blank("messageExpression") {
        causes.push(Cause::invalid(field, expression, "must be non-empty if specified"));
    } else if !text(validation, "messageExpression").is_empty() {
        let offer = Offer { authorizer: false, ..compiler.offer };
        compiler.check(causes, &field, expression, &[Type::String], offer);
    }
    let (field, message) = (format!("{path}.message"), &validation["message"]);
    if blank("message") {
        causes.push(Cause::invalid(field, message, "message must be non-empty if specified"));
    } else if text(validation, "message").trim().contains(['\n', '\r']) {
        causes.push(Cause::invalid(field, message, "message must not contain line breaks"));
    }
    let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    check::supported(causes, &format!("{path}.reason"), &validation["reason"], &reasons);
}

fn audit_annotation(causes: &mut Vec<Cause>, path: &str, annotation: &Value, policy: &str) {
    let (field, key) = (format!("{path}.key"), text(annotation, "key"));
    if policy.is_empty() {
        causes.push(Cause::invalid(field, &json!(key), "requires metadata.name be non-empty"));
    } else {
        let full = format!("{policy}/{key}");
        check::rules(causes, &field, &json!(full), names::qualified_name(&full));
    }
    let (field, value) = (format!("{path}.valueExpression"), text(annotation, "valueExpression").trim());
    if value.is_empty() {
        causes.push(Cause::required(field, "valueExpression is not specified"));
    } else if value.len() > MAX_AUDIT_EXPRESSION_BYTES {
        let detail = format!("must not exceed {MAX_AUDIT_EXPRESSION_BYTES} bytes in length");
        causes.push(Cause::required(field, &detail));
    }
}

/// What becomes the annotation's value: a text, or null for none.
fn audit_value(causes: &mut Vec<Cause>, field: &str, annotation: &Value, compiler: &Compiler) {
    let value = text(annotation, "valueExpression").trim();
    if value.is_empty() || value.len() > MAX_AUDIT_EXPRESSION_BYTES {
        return;
    }
    if let Err(error) = compiler.composer.compile(value, &[Type::String, Type::Null], compiler.offer) {
        causes.push(Cause::invalid(field, &annotation["valueExpression"], &error));
    }
}

/// A policy that changes objects.
pub struct MutatingPolicy;

impl Strategy for MutatingPolicy {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let compiler = common(&mut causes, spec);
        let mutations = list(spec, "mutations");
        if mutations.is_empty() {
            causes.push(Cause::required("spec.mutations", "mutations must contain at least one item"));
        }
        for (at, mutation) in mutations.iter().enumerate() {
            validate_mutation(&mut causes, &format!("spec.mutations[{at}]"), mutation, &compiler);
        }
        check::one_of(
            &mut causes,
            "spec.reinvocationPolicy",
            &spec["reinvocationPolicy"],
            &REINVOCATION_POLICIES,
        );
        causes
    }
}

fn validate_mutation(causes: &mut Vec<Cause>, path: &str, mutation: &Value, compiler: &Compiler) {
    let kind = text(mutation, "patchType");
    let (own, other) = match kind {
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        _ => {
            let types = ["ApplyConfiguration", "JSONPatch"];
            check::one_of(causes, &format!("{path}.patchType"), &mutation["patchType"], &types);
            return;
        }
    };
    let field = format!("{path}.{own}");
    if mutation[own].is_null() {
        causes.push(Cause::required(field, &format!("must be specified when patchType is {kind}")));
    } else {
        let (field, offer) = (format!("{field}.expression"), Offer { mutation: true, ..compiler.offer });
        compiler.check(causes, &field, &mutation[own]["expression"], &mutation_result(kind), offer);
    }
    if !mutation[other].is_null() {
        let detail = format!("must not be specified when patchType is {kind}");
        causes.push(Cause::invalid(format!("{path}.{other}"), &json!(format!("{{{other}}}")), &detail));
    }
}

/// What an expression of a patch type has to give.
pub fn mutation_result(patch_type: &str) -> [Type; 1] {
    match patch_type {
        "JSONPatch" => [Type::list(Type::Object(mutation::JSON_PATCH.into()))],
        _ => [Type::Object(mutation::OBJECT.into())],
    }
}

/// Puts a policy to work.
pub struct Binding {
    /// Whether it says what becomes of a refusal, which only validating policies have.
    pub actions: bool,
}

impl Strategy for Binding {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let policy = &spec["policyName"];
        check::required(&mut causes, "spec.policyName", policy, Some(names::dns1123_subdomain));
        if !spec["paramRef"].is_null() {
            param_ref(&mut causes, "spec.paramRef", &spec["paramRef"]);
        }
        if !spec["matchResources"].is_null() {
            rules::match_resources(&mut causes, "spec.matchResouces", &spec["matchResources"]);
        }
        if self.actions {
            validation_actions(&mut causes, "spec.validationActions", spec);
        }
        causes
    }
}

fn param_ref(causes: &mut Vec<Cause>, path: &str, reference: &Value) {
    let (name, selector) = (text(reference, "name"), &reference["selector"]);
    let at = |field: &str| format!("{path}.{field}");
    let both = "name and selector are mutually exclusive";
    check::optional(causes, &at("name"), &reference["name"], names::path_segment);
    if !selector.is_null() {
        if !name.is_empty() {
            causes.push(Cause::forbidden(at("name"), both));
        }
        check::label_selector(causes, &at("selector"), selector);
        if !name.is_empty() {
            causes.push(Cause::forbidden(at("selector"), both));
        }
    } else if name.is_empty() {
        causes.push(Cause::required(path, "one of name or selector must be specified"));
    }
    let (field, action) = (at("parameterNotFoundAction"), &reference["parameterNotFoundAction"]);
    check::one_of(causes, &field, action, &["Deny", "Allow"]);
}

fn validation_actions(causes: &mut Vec<Cause>, field: &str, spec: &Value) {
    let mut seen = BTreeSet::new();
    for (at, action) in list(spec, "validationActions").iter().enumerate() {
        let field = format!("{field}[{at}]");
        check::supported(causes, &field, action, &["Audit", "Deny", "Warn"]);
        if !seen.insert(action.as_str().unwrap_or_default()) {
            causes.push(Cause::duplicate(field, action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information \
            in the API response and headers serves no purpose)";
        causes.push(Cause::invalid(field, &spec["validationActions"], detail));
    }
    if seen.is_empty() {
        causes.push(Cause::required(field, "at least one validation action is required"));
    }
}
