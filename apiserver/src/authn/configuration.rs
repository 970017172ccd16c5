//! Structured authentication configuration (`--authentication-config`, KEP-3331): issuers of tokens, and where
//! nobody needs to be known.
//!
//! Entry point: [`Configuration::parse`], which checks everything, expressions included.

use std::collections::BTreeSet;

use api::Cause;
use serde::Deserialize;
use serde_json::json;

use super::mapping::Mapping;
use super::settings::AnonymousCondition;

const GROUP: &str = "apiserver.config.k8s.io/";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const MOST_ISSUERS: usize = 64;

/// What signatures can be made with.
pub(super) const ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// A configuration that has been checked.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    pub(super) issuers: Vec<Issuer>,
    /// What it says of requests without credentials; `None` when it says nothing.
    pub(super) anonymous: Option<Anonymous>,
}

/// Requests without credentials.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Anonymous {
    Refused,
    Everywhere,
    At(Vec<AnonymousCondition>),
}

/// Whose tokens are accepted, and what they mean.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) url: String,
    /// Where its discovery document is.
    pub(super) discovery_url: String,
    /// PEM; empty for the machine's own trust.
    pub(super) authority: String,
    pub(super) audiences: Vec<String>,
    /// What its tokens may be signed with.
    pub(super) algorithms: Vec<String>,
    pub(super) mapping: Mapping,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    jwt: Vec<JwtAuthenticator>,
    anonymous: Option<AnonymousConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnonymousConfig {
    enabled: bool,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JwtAuthenticator {
    issuer: IssuerConfig,
    #[serde(default)]
    claim_validation_rules: Vec<ClaimRule>,
    claim_mappings: ClaimMappings,
    #[serde(default)]
    user_validation_rules: Vec<UserRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssuerConfig {
    #[serde(default)]
    url: String,
    #[serde(default, rename = "discoveryURL")]
    discovery_url: String,
    #[serde(default)]
    certificate_authority: String,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    audience_match_policy: String,
}

/// A rule about claims: one must have a value, or an expression be true.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ClaimRule {
    pub(super) claim: String,
    pub(super) required_value: String,
    pub(super) expression: String,
    pub(super) message: String,
}

/// A rule about the user that claims make.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct UserRule {
    pub(super) expression: String,
    pub(super) message: String,
}

/// How claims make a user.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ClaimMappings {
    pub(super) username: ClaimOrExpression,
    pub(super) groups: ClaimOrExpression,
    pub(super) uid: ClaimOrExpression,
    pub(super) extra: Vec<ExtraMapping>,
}

/// Where a part of the user comes from.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ClaimOrExpression {
    pub(super) claim: String,
    pub(super) prefix: Option<String>,
    pub(super) expression: String,
}

/// Where an extra comes from.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ExtraMapping {
    pub(super) key: String,
    pub(super) value_expression: String,
}

impl Configuration {
    /// Reads and checks a configuration in YAML. `own` is the issuer of service-account tokens, which nobody else
    /// may speak for.
    ///
    /// # Errors
    /// With everything that is wrong, for people.
    pub(super) fn parse(text: &str, own: &str) -> Result<Self, String> {
        let file: File = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        let version = file.api_version.strip_prefix(GROUP).unwrap_or_default();
        if file.kind != "AuthenticationConfiguration" || !VERSIONS.contains(&version) {
            return Err(format!(
                "expected an AuthenticationConfiguration of {GROUP}v1, found {} of {}",
                file.kind, file.api_version
            ));
        }
        let mut causes = Vec::new();
        if file.jwt.len() > MOST_ISSUERS {
            causes.push(Cause::too_many("jwt", file.jwt.len(), MOST_ISSUERS));
        }
        let anonymous = file.anonymous.map(|anonymous| anonymity(anonymous, &mut causes));
        let (mut urls, mut discovery_urls) = (BTreeSet::new(), BTreeSet::new());
        let mut issuers = Vec::new();
        for (at, config) in file.jwt.into_iter().enumerate() {
            let field = format!("jwt[{at}]");
            let (url, discovery) = (config.issuer.url.clone(), config.issuer.discovery_url.clone());
            issuers.extend(issuer(config, &field, own, &mut causes));
            if !urls.insert(url.clone()) {
                causes.push(Cause::duplicate(format!("{field}.issuer.url"), &json!(url)));
            }
            if !discovery.is_empty() && !discovery_urls.insert(discovery.clone()) {
                causes.push(Cause::duplicate(format!("{field}.issuer.discoveryURL"), &json!(discovery)));
            }
        }
        if causes.is_empty() { Ok(Self { issuers, anonymous }) } else { Err(told(&causes)) }
    }
}

fn told(causes: &[Cause]) -> String {
    let texts = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message));
    texts.collect::<Vec<_>>().join("; ")
}

fn anonymity(config: AnonymousConfig, causes: &mut Vec<Cause>) -> Anonymous {
    if !config.enabled && !config.conditions.is_empty() {
        let detail = "enabled should be set to true when conditions are defined";
        let paths: Vec<&str> = config.conditions.iter().map(|condition| condition.path.as_str()).collect();
        causes.push(Cause::invalid("anonymous.conditions", &json!(paths), detail));
    }
    let conditions = config.conditions.into_iter();
    let conditions: Vec<AnonymousCondition> =
        conditions.map(|condition| AnonymousCondition { path: condition.path, below: false }).collect();
    match (config.enabled, conditions.is_empty()) {
        (false, _) => Anonymous::Refused,
        (true, true) => Anonymous::Everywhere,
        (true, false) => Anonymous::At(conditions),
    }
}

fn issuer(config: JwtAuthenticator, field: &str, own: &str, causes: &mut Vec<Cause>) -> Option<Issuer> {
    let IssuerConfig { url, discovery_url, certificate_authority, audiences, audience_match_policy } =
        config.issuer;
    let place = format!("{field}.issuer");
    if url.is_empty() {
        causes.push(Cause::required(format!("{place}.url"), ""));
    } else {
        if url == own {
            let detail = format!("URL must not overlap with disallowed issuers: [{own}]");
            causes.push(Cause::invalid(format!("{place}.url"), &json!(url), &detail));
        }
        check_url(&url, &format!("{place}.url"), causes);
    }
    if !discovery_url.is_empty() {
        let place = format!("{place}.discoveryURL");
        if url.trim_end_matches('/') == discovery_url.trim_end_matches('/') {
            causes.push(Cause::invalid(
                &*place,
                &json!(discovery_url),
                "discoveryURL must be different from URL",
            ));
        }
        check_url(&discovery_url, &place, causes);
    }
    check_audiences(&audiences, &audience_match_policy, &place, causes);
    let has_authority = certificate_authority.contains("-----BEGIN CERTIFICATE-----");
    if !certificate_authority.is_empty() && !has_authority {
        let detail = "data does not contain any valid RSA or ECDSA certificates";
        causes.push(Cause::invalid(format!("{place}.certificateAuthority"), &json!("<omitted>"), detail));
    }
    let mapping = Mapping::compile(
        config.claim_mappings,
        config.claim_validation_rules,
        config.user_validation_rules,
        field,
        causes,
    )?;
    let discovery_url = match discovery_url.as_str() {
        "" => format!("{}/.well-known/openid-configuration", url.trim_end_matches('/')),
        other => other.to_owned(),
    };
    let algorithms = ALGORITHMS.map(str::to_owned).to_vec();
    Some(Issuer { url, discovery_url, authority: certificate_authority, audiences, algorithms, mapping })
}

fn check_url(url: &str, field: &str, causes: &mut Vec<Cause>) {
    let (place, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split('/').next().unwrap_or_default();
    for (is_wrong, detail) in [
        (place != "https", "URL scheme must be https"),
        (host.contains('@'), "URL must not contain a username or password"),
        (url.contains('?'), "URL must not contain a query"),
        (url.contains('#'), "URL must not contain a fragment"),
    ] {
        if is_wrong {
            causes.push(Cause::invalid(field, &json!(url), detail));
        }
    }
}

fn check_audiences(audiences: &[String], policy: &str, field: &str, causes: &mut Vec<Cause>) {
    let place = format!("{field}.audiences");
    if audiences.is_empty() {
        causes.push(Cause::required(&*place, &format!("at least one {place} is required")));
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, audience) in audiences.iter().enumerate() {
        if audience.is_empty() {
            causes.push(Cause::required(format!("{place}[{at}]"), ""));
        }
        if !seen.insert(audience) {
            causes.push(Cause::duplicate(format!("{place}[{at}]"), &json!(audience)));
        }
    }
    let detail = match (audiences.len(), policy) {
        (_, "MatchAny") | (1, "") => return,
        (1, _) => "audienceMatchPolicy must be empty or MatchAny for single audience",
        _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
    };
    causes.push(Cause::invalid(format!("{field}.audienceMatchPolicy"), &json!(policy), detail));
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "https://own";

    fn problem(issuer: &str, rest: &str) -> String {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {issuer}\n  {rest}\n"
        );
        Configuration::parse(&text, OWN).err().unwrap_or_default()
    }

    #[test]
    fn mistakes_are_named() {
        let good = "{url: 'https://i', audiences: [a]}";
        let mapping = "claimMappings: {username: {claim: sub, prefix: ''}}";
        for (issuer, rest, expected) in [
            (good, mapping, ""),
            ("{url: '', audiences: [a]}", mapping, "jwt[0].issuer.url: Required value"),
            ("{url: 'http://i', audiences: [a]}", mapping, "URL scheme must be https"),
            (
                "{url: 'https://own', audiences: [a]}",
                mapping,
                "URL must not overlap with disallowed issuers: [https://own]",
            ),
            ("{url: 'https://u@i', audiences: [a]}", mapping, "URL must not contain a username or password"),
            ("{url: 'https://i?x', audiences: [a]}", mapping, "URL must not contain a query"),
            (
                "{url: 'https://i', discoveryURL: 'https://i/', audiences: [a]}",
                mapping,
                "discoveryURL must be different from URL",
            ),
            ("{url: 'https://i'}", mapping, "jwt[0].issuer.audiences: Required value"),
            (
                "{url: 'https://i', audiences: [a, a], audienceMatchPolicy: MatchAny}",
                mapping,
                "jwt[0].issuer.audiences[1]: Duplicate value",
            ),
            (
                "{url: 'https://i', audiences: [a, b]}",
                mapping,
                "audienceMatchPolicy must be MatchAny for multiple audiences",
            ),
            ("{url: 'https://i', audiences: [a], certificateAuthority: x}", mapping, "<omitted>"),
            ("{url: 'https://i', audience: [a]}", mapping, "unknown field"),
            (good, "claimMappings: {username: {claim: sub}}", "prefix is required when claim is set"),
            (
                good,
                "claimMappings: {username: {}}",
                "jwt[0].claimMappings.username: Required value: claim or expression is required",
            ),
            (
                good,
                "claimMappings: {username: {claim: a, expression: 'claims.b'}}",
                "claim and expression can't both be set",
            ),
            (good, "claimMappings: {username: {expression: 'claims.'}}", "compilation failed"),
            (
                good,
                "claimMappings: {username: {expression: 'claims.email'}}",
                "claims.email_verified must be used",
            ),
            (
                good,
                "claimMappings: {username: {claim: sub, prefix: ''}, extra: [{key: foo, valueExpression: 'claims.a'}]}",
                "jwt[0].claimMappings.extra[0].key",
            ),
            (
                good,
                "claimMappings: {username: {claim: sub, prefix: ''}, extra: [{key: a.kubernetes.io/b, valueExpression: 'claims.a'}]}",
                "reserved for Kubernetes use",
            ),
        ] {
            let told = problem(issuer, rest);
            assert!(
                told.contains(expected) && told.is_empty() == expected.is_empty(),
                "{issuer} {rest}: {told}"
            );
        }
        assert!(Configuration::parse("kind: Other\napiVersion: v1", OWN).is_err());
        let text = "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}";
        let condition = AnonymousCondition { path: "/livez".to_owned(), below: false };
        let parsed = Configuration::parse(text, OWN).expect("good");
        assert_eq!(parsed.anonymous, Some(Anonymous::At(vec![condition])));
    }
}
