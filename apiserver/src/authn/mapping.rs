//! How the claims of a verified token make a user: by claim and prefix, or by expression, with rules about both.
//!
//! Entry points: [`Mapping::compile`], [`Mapping::user`]. Texts are upstream's (`oidc: …`).

use std::collections::BTreeMap;

use api::Cause;
use api::cel::{Bindings, CompileError, DeclType, Environment, PER_CALL_LIMIT, Program, Type};
use component_base::user::UserInfo;
use serde_json::{Value, json};

use super::configuration::{ClaimMappings, ClaimOrExpression, ClaimRule, ExtraMapping, UserRule};

/// Most claims of a token, and most values of one, for estimates of cost.
const MOST: u64 = 1024;
/// Where Kubernetes keeps extras of its own.
const RESERVED: [&str; 2] = ["k8s.io", "kubernetes.io"];

/// Where a part of a user comes from.
#[derive(Debug)]
enum Source {
    Claim { name: String, prefix: String },
    Expression(Program),
}

/// A rule that is an expression, and what is said when it is not true.
#[derive(Debug)]
struct Rule {
    text: String,
    program: Program,
    message: String,
}

/// What becomes of claims.
#[derive(Debug)]
pub(super) struct Mapping {
    username: Source,
    groups: Option<Source>,
    uid: Option<Source>,
    extra: Vec<(String, Program)>,
    required: Vec<(String, String)>,
    claim_rules: Vec<Rule>,
    user_rules: Vec<Rule>,
}

/// Compiles expressions and remembers which claims they use.
struct Compiler<'a> {
    environment: Environment,
    causes: &'a mut Vec<Cause>,
    uses_email: bool,
    uses_email_verified: bool,
}

impl Compiler<'_> {
    fn compile(&mut self, text: &str, expected: &Type, field: &str) -> Option<Program> {
        match self.environment.compile(text, expected) {
            Ok(program) => Some(program),
            Err(error) => {
                let detail = match error {
                    wrong @ CompileError::Result { .. } => wrong.to_string(),
                    issues @ CompileError::Issues(_) => format!("compilation failed: {issues}"),
                };
                self.causes.push(Cause::invalid(field, &json!(text), &detail));
                None
            }
        }
    }

    /// A claim with a prefix, or an expression; `None` when neither is given.
    fn source(&mut self, from: ClaimOrExpression, field: &str, needs_prefix: bool) -> Option<Source> {
        let ClaimOrExpression { claim, prefix, expression } = from;
        match (claim.is_empty(), expression.is_empty()) {
            (false, false) => {
                self.causes.push(Cause::invalid(field, &json!(""), "claim and expression can't both be set"));
                None
            }
            (true, true) => None,
            (true, false) => {
                if let Some(prefix) = prefix {
                    let detail = "may not be specified when expression is set";
                    self.causes.push(Cause::invalid(format!("{field}.prefix"), &json!(prefix), detail));
                }
                self.compile(&expression, &Type::Dyn, &format!("{field}.expression")).map(Source::Expression)
            }
            (false, true) => {
                if prefix.is_none() && needs_prefix {
                    let detail = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                    self.causes.push(Cause::required(format!("{field}.prefix"), detail));
                }
                Some(Source::Claim { name: claim, prefix: prefix.unwrap_or_default() })
            }
        }
    }

    fn extra(&mut self, mappings: Vec<ExtraMapping>, field: &str) -> Vec<(String, Program)> {
        let mut made: Vec<(String, Program)> = Vec::new();
        for (at, ExtraMapping { key, value_expression }) in mappings.into_iter().enumerate() {
            let field = format!("{field}.extra[{at}]");
            let key_field = format!("{field}.key");
            let domain = key.split_once('/').filter(|(domain, path)| !domain.is_empty() && !path.is_empty());
            let detail = match domain {
                None => "must be a domain-prefixed path (such as \"acme.io/foo\")",
                Some(_) if key != key.to_lowercase() => "must be lowercase",
                Some((domain, _)) if is_reserved(domain) => {
                    "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
                }
                Some(_) => "",
            };
            if !detail.is_empty() {
                self.causes.push(Cause::invalid(&*key_field, &json!(key), detail));
            }
            if made.iter().any(|(other, _)| *other == key) {
                self.causes.push(Cause::duplicate(key_field, &json!(key)));
                continue;
            }
            let place = format!("{field}.valueExpression");
            if value_expression.is_empty() {
                self.causes.push(Cause::required(place, ""));
                continue;
            }
            self.uses_email_verified |= value_expression.contains("email_verified");
            made.extend(self.compile(&value_expression, &Type::Dyn, &place).map(|program| (key, program)));
        }
        made
    }
}

fn is_reserved(domain: &str) -> bool {
    RESERVED.iter().any(|reserved| domain == *reserved || domain.ends_with(&format!(".{reserved}")))
}

impl Mapping {
    /// Compiles everything; what is wrong goes to `causes`.
    pub(super) fn compile(
        mappings: ClaimMappings,
        claim_rules: Vec<ClaimRule>,
        user_rules: Vec<UserRule>,
        field: &str,
        causes: &mut Vec<Cause>,
    ) -> Option<Self> {
        let claims = DeclType::map(DeclType::dynamic(), MOST);
        let environment = Environment::new().with("claims", &claims);
        let mut compiler = Compiler { environment, causes, uses_email: false, uses_email_verified: false };
        let (required, claim_rules) = compiled_rules(&mut compiler, claim_rules, field);
        let place = format!("{field}.claimMappings");
        let username_text = mappings.username.expression.clone();
        compiler.uses_email |= username_text.replace("email_verified", "").contains("claims.email");
        compiler.uses_email_verified |= username_text.contains("email_verified");
        let is_named = !mappings.username.claim.is_empty() || !username_text.is_empty();
        let username = compiler.source(mappings.username, &format!("{place}.username"), true);
        if !is_named {
            let detail = "claim or expression is required";
            compiler.causes.push(Cause::required(format!("{place}.username"), detail));
        }
        let groups = compiler.source(mappings.groups, &format!("{place}.groups"), true);
        let uid = compiler.source(mappings.uid, &format!("{place}.uid"), false);
        let extra = compiler.extra(mappings.extra, &place);
        if compiler.uses_email && !compiler.uses_email_verified {
            let detail = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
            let place = format!("{place}.username.expression");
            compiler.causes.push(Cause::invalid(place, &json!(username_text), detail));
        }
        let text = DeclType::string;
        let user = DeclType::object(
            "kubernetes.UserInfo",
            [
                ("username", text()),
                ("uid", text()),
                ("groups", DeclType::list(text(), MOST)),
                ("extra", DeclType::map(DeclType::list(text(), MOST), MOST)),
            ],
        );
        compiler.environment = Environment::new().with("user", &user);
        let rules: Vec<(usize, UserRule)> = user_rules.into_iter().enumerate().collect();
        let mut compiled = Vec::new();
        for (at, UserRule { expression, message }) in rules {
            let place = format!("{field}.userValidationRules[{at}].expression");
            if expression.is_empty() {
                compiler.causes.push(Cause::required(place, ""));
                continue;
            }
            let program = compiler.compile(&expression, &Type::Bool, &place);
            compiled.extend(program.map(|program| Rule { text: expression, program, message }));
        }
        Some(Self { username: username?, groups, uid, extra, required, claim_rules, user_rules: compiled })
    }

    /// The claim that groups come from, if it is one.
    pub(super) fn groups_claim(&self) -> Option<&str> {
        match &self.groups {
            Some(Source::Claim { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// The user that claims make.
    ///
    /// # Errors
    /// When a claim is missing or of another type, or a rule is broken.
    pub(super) fn user(&self, claims: &Value) -> Result<UserInfo, String> {
        let mut user = UserInfo { name: self.username(claims)?, ..UserInfo::default() };
        if let Some(source) = &self.groups {
            user.groups = match source {
                Source::Claim { name, .. } if claims.get(name).is_none() => Vec::new(),
                Source::Claim { name, prefix } => {
                    let groups = strings(&claims[name]).ok_or_else(|| {
                        format!("oidc: parse groups claim {name:?}: it is no text and no list of texts")
                    })?;
                    groups.into_iter().map(|group| format!("{prefix}{group}")).collect()
                }
                Source::Expression(program) => list(&evaluate(program, claims, "group claim")?)
                    .map_err(|problem| format!("oidc: error evaluating group claim expression: {problem}"))?,
            };
        }
        if let Some(source) = &self.uid {
            user.uid = match source {
                Source::Claim { name, .. } => claim_text(claims, name)
                    .map_err(|problem| format!("oidc: parse uid claim {name:?}: {problem}"))?,
                Source::Expression(program) => text_of(evaluate(program, claims, "uid claim")?, "uid claim")?,
            };
        }
        if let Some(id) = claims["jti"].as_str() {
            let key = "authentication.kubernetes.io/credential-id";
            user.extra.insert(key.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, program) in &self.extra {
            let values = list(&evaluate(program, claims, "extra claim")?)
                .map_err(|problem| format!("oidc: error evaluating extra claim expression: {problem}"))?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        self.check(claims, &user)?;
        Ok(user)
    }

    fn username(&self, claims: &Value) -> Result<String, String> {
        match &self.username {
            Source::Expression(program) => {
                let name = text_of(evaluate(program, claims, "username claim")?, "username claim")?;
                if name.is_empty() {
                    return Err("oidc: empty username via CEL expression is not allowed".to_owned());
                }
                Ok(name)
            }
            Source::Claim { name, prefix } => {
                let text = claim_text(claims, name)
                    .map_err(|problem| format!("oidc: parse username claims {name:?}: {problem}"))?;
                match &claims["email_verified"] {
                    _ if name != "email" => {}
                    Value::Null | Value::Bool(true) => {}
                    Value::Bool(false) => return Err("oidc: email not verified".to_owned()),
                    _ => return Err("oidc: parse 'email_verified' claim: it is no boolean".to_owned()),
                }
                Ok(format!("{prefix}{text}"))
            }
        }
    }

    fn check(&self, claims: &Value, user: &UserInfo) -> Result<(), String> {
        for (claim, wanted) in &self.required {
            if claims.get(claim).is_none() {
                return Err(format!("oidc: required claim {claim} not present in ID token"));
            }
            let found = claim_text(claims, claim)
                .map_err(|problem| format!("oidc: parse claim {claim}: {problem}"))?;
            if found != *wanted {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        for rule in &self.claim_rules {
            rule.check("claims", claims).map_err(|problem| {
                format!("oidc: error evaluating claim validation expression: {problem}")
            })?;
        }
        if self.user_rules.is_empty() {
            return Ok(());
        }
        let user =
            json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        for rule in &self.user_rules {
            rule.check("user", &user)
                .map_err(|problem| format!("oidc: error evaluating user info validation rule: {problem}"))?;
        }
        Ok(())
    }
}

impl Rule {
    fn check(&self, variable: &str, value: &Value) -> Result<(), String> {
        let outcome = self.program.evaluate(&Bindings::new().json(variable, value), PER_CALL_LIMIT);
        match outcome.value {
            Ok(value) if value.as_bool() == Some(true) => Ok(()),
            Ok(_) if self.message.is_empty() => Err(format!("validation expression '{}' failed", self.text)),
            Ok(_) => Err(format!("validation expression '{}' failed: {}", self.text, self.message)),
            Err(error) => Err(error.to_string()),
        }
    }
}

type Required = Vec<(String, String)>;

fn compiled_rules(compiler: &mut Compiler<'_>, rules: Vec<ClaimRule>, field: &str) -> (Required, Vec<Rule>) {
    let mut required: BTreeMap<String, String> = BTreeMap::new();
    let mut compiled: Vec<Rule> = Vec::new();
    for (at, ClaimRule { claim, required_value, expression, message }) in rules.into_iter().enumerate() {
        let place = format!("{field}.claimValidationRules[{at}]");
        match (claim.is_empty(), expression.is_empty()) {
            (false, false) => {
                let detail = "claim and expression can't both be set";
                compiler.causes.push(Cause::invalid(place, &json!(claim), detail));
            }
            (true, true) => compiler.causes.push(Cause::required(place, "claim or expression is required")),
            (false, true) => {
                if !message.is_empty() {
                    let detail = "may not be specified when claim is set";
                    compiler.causes.push(Cause::invalid(format!("{place}.message"), &json!(message), detail));
                }
                if required.insert(claim.clone(), required_value).is_some() {
                    compiler.causes.push(Cause::duplicate(format!("{place}.claim"), &json!(claim)));
                }
            }
            (true, false) => {
                if !required_value.is_empty() {
                    let detail = "may not be specified when expression is set";
                    let place = format!("{place}.requiredValue");
                    compiler.causes.push(Cause::invalid(place, &json!(required_value), detail));
                }
                let place = format!("{place}.expression");
                if compiled.iter().any(|rule| rule.text == expression) {
                    compiler.causes.push(Cause::duplicate(place, &json!(expression)));
                    continue;
                }
                compiler.uses_email_verified |= expression.contains("email_verified");
                let program = compiler.compile(&expression, &Type::Bool, &place);
                compiled.extend(program.map(|program| Rule { text: expression, program, message }));
            }
        }
    }
    (required.into_iter().collect(), compiled)
}

fn evaluate(program: &Program, claims: &Value, what: &str) -> Result<Value, String> {
    let outcome = program.evaluate(&Bindings::new().json("claims", claims), PER_CALL_LIMIT);
    let value = outcome.value.and_then(|value| value.to_json());
    value.map_err(|error| format!("oidc: error evaluating {what} expression: {error}"))
}

fn text_of(value: Value, what: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(format!("oidc: error evaluating {what} expression: {what} expression must return a string")),
    }
}

/// A text or a list of them; nothing and the empty text are none.
fn list(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        other => {
            strings(other).ok_or_else(|| "expression must return a string or a list of strings".to_owned())
        }
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn claim_text(claims: &Value, name: &str) -> Result<String, String> {
    match claims.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err("it is no text".to_owned()),
        None => Err("claim not present".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::configuration::Configuration;
    use super::*;

    fn user(rest: &str, claims: &Value) -> Result<UserInfo, String> {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {{url: 'https://i', audiences: [a]}}\n  {rest}\n"
        );
        Configuration::parse(&text, "").expect("a configuration").issuers[0].mapping.user(claims)
    }

    #[test]
    fn claims_make_a_user() {
        let claims = json!({"sub": "jane", "email": "j@x", "email_verified": true, "roles": ["a", "b"], "one": "c",
            "id": "7", "jti": "t", "deep": {"x": "y"}, "number": 3});
        let name = "username: {claim: sub, prefix: 'o:'}";
        let plain = user(
            &format!("claimMappings: {{{name}, groups: {{claim: roles, prefix: 'g:'}}, uid: {{claim: id}}}}"),
            &claims,
        )
        .expect("a user");
        assert_eq!((plain.name.as_str(), plain.uid.as_str()), ("o:jane", "7"));
        assert_eq!(plain.groups, ["g:a", "g:b"]);
        assert_eq!(plain.extra["authentication.kubernetes.io/credential-id"], ["JTI=t"]);
        let computed = user("claimMappings: {username: {expression: \"claims.sub + '!'\"}, groups: {expression: 'claims.roles'}, uid: {expression: 'claims.id'}, extra: [{key: example.com/x, valueExpression: 'claims.deep.x'}, {key: example.com/none, valueExpression: \"''\"}]}", &claims).expect("a user");
        assert_eq!((computed.name.as_str(), computed.uid.as_str()), ("jane!", "7"));
        assert_eq!(computed.groups, ["a", "b"]);
        assert_eq!(computed.extra["example.com/x"], ["y"]);
        assert!(!computed.extra.contains_key("example.com/none"));
    }

    #[test]
    fn what_is_missing_or_broken_is_refused() {
        let claims =
            json!({"sub": "jane", "email": "j@x", "email_verified": false, "number": 3, "roles": [1]});
        let name = "claimMappings: {username: {claim: sub, prefix: ''}}";
        for (rest, expected) in [
            (
                "claimMappings: {username: {claim: none, prefix: ''}}".to_owned(),
                "oidc: parse username claims \"none\": claim not present",
            ),
            ("claimMappings: {username: {claim: email, prefix: ''}}".to_owned(), "oidc: email not verified"),
            ("claimMappings: {username: {expression: 'claims.number'}}".to_owned(), "must return a string"),
            (
                "claimMappings: {username: {expression: \"''\"}}".to_owned(),
                "oidc: empty username via CEL expression is not allowed",
            ),
            (
                "claimMappings: {username: {claim: sub, prefix: ''}, groups: {claim: roles, prefix: ''}}"
                    .to_owned(),
                "oidc: parse groups claim",
            ),
            (
                format!("{name}\n  claimValidationRules: [{{claim: hd, requiredValue: x}}]"),
                "oidc: required claim hd not present in ID token",
            ),
            (
                format!("{name}\n  claimValidationRules: [{{claim: sub, requiredValue: x}}]"),
                "oidc: required claim sub value does not match. Got = jane, want = x",
            ),
            (
                format!(
                    "{name}\n  claimValidationRules: [{{expression: 'claims.number == 4', message: four}}]"
                ),
                "validation expression 'claims.number == 4' failed: four",
            ),
            (
                format!(
                    "{name}\n  userValidationRules: [{{expression: \"!user.username.startsWith('j')\", message: no j}}]"
                ),
                "oidc: error evaluating user info validation rule",
            ),
        ] {
            let problem = user(&rest, &claims).expect_err("refused");
            assert!(problem.contains(expected), "{rest}: {problem}");
        }
        user(&format!("{name}\n  userValidationRules: [{{expression: \"user.username == 'jane' && user.groups.size() == 0\"}}]"), &claims).expect("a user");
    }
}
