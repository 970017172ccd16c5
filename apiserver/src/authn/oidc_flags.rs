//! One issuer of tokens by settings instead of a file: upstream's `--oidc-*` flags, which say the same as a
//! configuration with one issuer, with defaults of their own.
//!
//! Entry point: [`OidcSettings`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::configuration::{ALGORITHMS, Configuration, Issuer};
use super::settings::SettingsError;

/// Upstream's flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OidcSettings {
    /// `--oidc-issuer-url`.
    pub issuer_url: String,
    /// `--oidc-client-id`: the audience of its tokens.
    pub client_id: String,
    /// `--oidc-ca-file`: whom to believe at the issuer, in PEM; this machine's authorities otherwise.
    pub authority: Option<PathBuf>,
    /// `--oidc-username-claim`.
    pub username_claim: Option<String>,
    /// `--oidc-username-prefix`; `-` is none. Names that are no addresses of mail begin with the issuer otherwise.
    pub username_prefix: Option<String>,
    /// `--oidc-groups-claim`.
    pub groups_claim: Option<String>,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: Option<String>,
    /// `--oidc-signing-algs`.
    pub signing_algorithms: Vec<String>,
    /// `--oidc-required-claim`.
    pub required_claims: BTreeMap<String, String>,
}

impl OidcSettings {
    /// The issuer, checked as one of a file is. `own` is the issuer of service-account tokens.
    pub(super) fn issuer(&self, own: &str) -> Result<Issuer, SettingsError> {
        let wrong = |detail: String| SettingsError::Issuer(detail);
        let known = |name: &&String| !ALGORITHMS.contains(&name.as_str());
        if let Some(unknown) = self.signing_algorithms.iter().find(known) {
            return Err(wrong(format!("oidc: unsupported signing alg: {unknown:?}")));
        }
        let authority = match &self.authority {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| SettingsError::File { path: path.clone(), source })?,
        };
        let text = self.configuration(&authority).to_string();
        let mut issuers = Configuration::parse(&text, own).map_err(wrong)?.issuers;
        let mut issuer = issuers.pop().ok_or_else(|| wrong("it is none".to_owned()))?;
        issuer.algorithms = match self.signing_algorithms.is_empty() {
            true => vec!["RS256".to_owned()],
            false => self.signing_algorithms.clone(),
        };
        Ok(issuer)
    }

    /// The same as a file would say it.
    fn configuration(&self, authority: &str) -> serde_json::Value {
        let username = self.username_claim.as_deref().unwrap_or("sub");
        let prefix = match self.username_prefix.as_deref().unwrap_or_default() {
            "-" => String::new(),
            "" if username != "email" => format!("{}#", self.issuer_url),
            prefix => prefix.to_owned(),
        };
        let mut mappings = json!({"username": {"claim": username, "prefix": prefix}});
        if let Some(claim) = self.groups_claim.as_deref().filter(|claim| !claim.is_empty()) {
            mappings["groups"] =
                json!({"claim": claim, "prefix": self.groups_prefix.as_deref().unwrap_or_default()});
        }
        let rules = self.required_claims.iter();
        let rules: Vec<_> =
            rules.map(|(claim, value)| json!({"claim": claim, "requiredValue": value})).collect();
        let issuer =
            json!({"url": self.issuer_url, "audiences": [self.client_id], "certificateAuthority": authority});
        json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{"issuer": issuer, "claimMappings": mappings, "claimValidationRules": rules}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_a_file_would() {
        let flags = |change: &dyn Fn(&mut OidcSettings)| {
            let mut settings = OidcSettings {
                issuer_url: "https://i".to_owned(),
                client_id: "c".to_owned(),
                ..OidcSettings::default()
            };
            change(&mut settings);
            settings
        };
        let text = |text: &str| Some(text.to_owned());
        let claims = json!({"sub": "jane", "email": "j@x", "roles": ["dev"], "hd": "x"});
        let user = |change: &dyn Fn(&mut OidcSettings)| {
            let issuer = flags(change).issuer("https://own").expect("an issuer");
            let user = issuer.mapping.user(&claims)?;
            Ok::<_, String>((user.name, user.groups))
        };
        let name = |change: &dyn Fn(&mut OidcSettings)| user(change).expect("a user").0;
        assert_eq!(name(&|_| {}), "https://i#jane");
        assert_eq!(name(&|s| s.username_prefix = text("-")), "jane");
        assert_eq!(name(&|s| s.username_prefix = text("p:")), "p:jane");
        assert_eq!(name(&|s| s.username_claim = text("email")), "j@x");
        let groups = |s: &mut OidcSettings| (s.groups_claim, s.groups_prefix) = (text("roles"), text("g:"));
        assert_eq!(user(&groups).expect("a user").1, ["g:dev"]);
        let required = |value: &str| [("hd".to_owned(), value.to_owned())].into();
        assert!(user(&|s| s.required_claims = required("x")).is_ok());
        assert!(user(&|s| s.required_claims = required("y")).is_err());
        assert_eq!(flags(&|_| {}).issuer("https://own").expect("an issuer").algorithms, ["RS256"]);
        type Change = fn(&mut OidcSettings);
        let wrong: [(Change, &str); 4] = [
            (|s| s.signing_algorithms = vec!["none".to_owned()], "unsupported signing alg: \"none\""),
            (|s| s.issuer_url = "http://i".to_owned(), "URL scheme must be https"),
            (|s| s.issuer_url = "https://own".to_owned(), "must not overlap"),
            (|s| s.authority = Some("/nowhere/ca".into()), "/nowhere/ca: No such file"),
        ];
        for (change, expected) in wrong {
            let problem = flags(&change).issuer("https://own").expect_err(expected).to_string();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
