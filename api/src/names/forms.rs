//! The forms of names: each function answers with every rule the value breaks, in the words clients of
//! Kubernetes know (`apimachinery/pkg/util/validation`); an empty answer means valid.

use std::sync::LazyLock;

use regex::Regex;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";
const CONDITION_REASON: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
const HTTP_PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";

const QUALIFIED_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character";
const QUALIFIED_EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];

static LABEL_REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| whole(LABEL));
static SUBDOMAIN_REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| whole(SUBDOMAIN));
static LABEL_1035_REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| whole(LABEL_1035));
static QUALIFIED_REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| whole(QUALIFIED));
static LABEL_VALUE_REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| whole(LABEL_VALUE));
static CONFIG_KEY_REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| whole(CONFIG_KEY));
static CONDITION_REASON_REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| whole(CONDITION_REASON));
static HTTP_PATH_REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| whole(HTTP_PATH));

fn whole(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^{pattern}$")).ok()
}

fn fits(regex: &LazyLock<Option<Regex>>, value: &str) -> bool {
    // `$` also matches before a final line feed in some dialects; not in this crate's.
    regex.as_ref().is_some_and(|regex| regex.is_match(value))
}

/// The rule, examples and the expression, worded as upstream words them (double space included).
fn explain(rule: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{rule} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<_> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// A label of a domain name, RFC 1123: namespaces, container names.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 63 {
        errors.push(too_long(63));
    }
    if !fits(&LABEL_REGEX, value) {
        if fits(&SUBDOMAIN_REGEX, value) {
            errors.push("must not contain dots".to_owned());
        } else {
            let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                and must start and end with an alphanumeric character";
            errors.push(explain(rule, LABEL, &["my-name", "123-abc"]));
        }
    }
    errors
}

/// A domain name, RFC 1123: the name of most objects.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 253 {
        errors.push(too_long(253));
    }
    if !fits(&SUBDOMAIN_REGEX, value) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
            and must start and end with an alphanumeric character";
        errors.push(explain(rule, SUBDOMAIN, &["example.com"]));
    }
    errors
}

/// A domain name whose first label is `*`: the host of an Ingress.
pub fn wildcard_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 253 {
        errors.push(too_long(253));
    }
    if !value.strip_prefix("*.").is_some_and(|rest| fits(&SUBDOMAIN_REGEX, rest)) {
        let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
            which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        errors.push(explain(rule, &format!(r"\*\.{SUBDOMAIN}"), &["*.example.com"]));
    }
    errors
}

/// A label of a domain name, RFC 1035: the name of a service.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 63 {
        errors.push(too_long(63));
    }
    if !fits(&LABEL_1035_REGEX, value) {
        let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
            start with an alphabetic character, and end with an alphanumeric character";
        errors.push(explain(rule, LABEL_1035, &["my-name", "abc-123"]));
    }
    errors
}

/// `[prefix/]name`: keys of labels and annotations, resource names, finalizers.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(dns1123_subdomain(prefix).into_iter().map(|e| format!("prefix part {e}")));
            }
            name
        }
        _ => {
            let text = explain(QUALIFIED_RULE, QUALIFIED, &QUALIFIED_EXAMPLES);
            return vec![format!(
                "a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push(format!("name part {}", too_long(63)));
    }
    if !fits(&QUALIFIED_REGEX, name) {
        errors.push(format!("name part {}", explain(QUALIFIED_RULE, QUALIFIED, &QUALIFIED_EXAMPLES)));
    }
    errors
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 63 {
        errors.push(too_long(63));
    }
    if !fits(&LABEL_VALUE_REGEX, value) {
        let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
            and must start and end with an alphanumeric character";
        errors.push(explain(rule, LABEL_VALUE, &["MyValue", "my_value", "12345"]));
    }
    errors
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 253 {
        errors.push(too_long(253));
    }
    if !fits(&CONFIG_KEY_REGEX, value) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errors.push(explain(rule, CONFIG_KEY, &["key.name", "KEY_NAME", "key-name"]));
    }
    errors.extend(no_parent_directory(value));
    errors
}

/// Keys become file names, so they must not climb.
fn no_parent_directory(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// The reason of a condition.
pub fn condition_reason(value: &str) -> Vec<String> {
    let rule = "a condition reason must start with alphabetic character, optionally followed by a string of \
        alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
    let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    (!fits(&CONDITION_REASON_REGEX, value))
        .then(|| explain(rule, CONDITION_REASON, &examples))
        .into_iter()
        .collect()
}

/// `domain/path`, such as the name of a controller; the wrong part and what is wrong with it, nothing for
/// an empty text.
pub fn domain_prefixed_path(value: &str) -> Vec<(String, String)> {
    let (domain, path) = value.split_once('/').unwrap_or((value, ""));
    if domain.is_empty() || path.is_empty() {
        let rule = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return vec![(value.to_owned(), rule.to_owned())];
    }
    let mut errors: Vec<_> =
        dns1123_subdomain(domain).into_iter().map(|error| (domain.to_owned(), error)).collect();
    if !fits(&HTTP_PATH_REGEX, path) {
        errors.push((path.to_owned(), explain("Invalid path", HTTP_PATH, &[])));
    }
    errors
}

/// A name that may stand in a URL path and nothing more.
pub fn path_segment(value: &str) -> Vec<String> {
    if matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    ['/', '%'].into_iter().filter(|c| value.contains(*c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// The name of an environment variable (relaxed form, KEP-4369).
pub fn environment_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
    }
    if value.chars().any(|c| !(' '..='~').contains(&c) || c == '=') {
        let rule = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        errors.push(rule.to_owned());
    }
    errors
}

/// The name of a port (RFC 6335, lower case).
pub fn port_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 15 {
        errors.push(too_long(15));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if value.is_empty() || !value.chars().all(allowed) {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.chars().any(|c| c.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_accept_and_refuse() {
        type Form = fn(&str) -> Vec<String>;
        let table: [(Form, &str, &str); 16] = [
            (dns1123_label, "a-1", ""),
            (dns1123_label, "a.b", "must not contain dots"),
            (dns1123_label, "-a", "a lowercase RFC 1123 label"),
            (dns1123_subdomain, "a.b-c", ""),
            (dns1123_subdomain, "A", "a lowercase RFC 1123 subdomain"),
            (dns1123_subdomain, "a\n", "a lowercase RFC 1123 subdomain"),
            (dns1035_label, "1a", "a DNS-1035 label"),
            (qualified_name, "x.io/Y_z", ""),
            (qualified_name, "/y", "prefix part must be non-empty"),
            (qualified_name, "a/b/c", "a valid label key must consist"),
            (label_value, "", ""),
            (label_value, "a b", "a valid label must be"),
            (config_map_key, "..x", "must not start with '..'"),
            (environment_name, "a b", ""),
            (environment_name, "a=b", "a valid environment variable name"),
            (port_name, "80", "must contain at least one letter"),
        ];
        for (form, value, expect) in table {
            let errors = form(value);
            match errors.first() {
                None => assert_eq!(expect, "", "{value:?}"),
                Some(error) => {
                    assert!(!expect.is_empty() && error.starts_with(expect), "{value:?}: {errors:?}");
                }
            }
        }
    }

    #[test]
    fn wording_is_upstreams() {
        assert_eq!(
            dns1123_subdomain("Bad"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
              and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
              validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert!(dns1123_label("Bad")[0].contains("(e.g. 'my-name',  or '123-abc', regex used"));
    }
}
