//! Field names as CEL identifiers: `namespace` is written `__namespace__`, `a-b` is `a__dash__b`.
//! Source: Kubernetes' CRD documentation, "Validation rules", and `apiserver/pkg/cel/escaping.go`.

use super::parser::RESERVED;

/// Words that are literals; with [`RESERVED`] they are no identifiers.
const LITERALS: [&str; 3] = ["true", "false", "null"];

fn is_word(name: &str) -> bool {
    LITERALS.contains(&name) || RESERVED.contains(&name)
}

/// The identifier for a property; none if the property cannot be reached from an expression.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if is_word(name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '_' if chars.peek() == Some(&'_') => {
                chars.next();
                out.push_str("__underscores__");
            }
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
    }
    Some(out)
}

/// The property behind an identifier; none if no property is escaped so.
pub fn unescape(identifier: &str) -> Option<String> {
    let mut out = String::with_capacity(identifier.len());
    let mut rest = identifier;
    while let Some(start) = rest.find("__") {
        let (before, after) = rest.split_at(start);
        let inner = after.get(2..).unwrap_or_default();
        // `__`, something without underscores, `__`; anything else stays.
        let word = inner.find('_').and_then(|end| {
            let word = inner.get(..end)?;
            (end > 0 && inner.get(end..)?.starts_with("__")).then_some(word)
        });
        out.push_str(before);
        let Some(word) = word else {
            // One underscore at a time: the match may start at the second of three.
            out.push('_');
            rest = after.get(1..).unwrap_or_default();
            continue;
        };
        out.push_str(match word {
            "underscores" => "__",
            "dot" => ".",
            "dash" => "-",
            "slash" => "/",
            word if is_word(word) && identifier.len() == word.len() + 4 => word,
            _ => return None,
        });
        rest = inner.get(word.len() + 2..).unwrap_or_default();
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_identifiers() {
        for (name, identifier) in [
            ("namespace", Some("__namespace__")),
            ("a-b", Some("a__dash__b")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("a___b", Some("a__underscores___b")),
            ("a_b", Some("a_b")),
            ("", None),
            ("1a", None),
            ("é", None),
            ("a b", None),
        ] {
            assert_eq!(escape(name).as_deref(), identifier, "{name}");
            if let Some(identifier) = identifier {
                assert_eq!(unescape(identifier).as_deref(), Some(name), "{identifier}");
            }
        }
        assert_eq!(unescape("__other__"), None);
        assert_eq!(unescape("a__in__"), None);
    }

    proptest! {
        #[test]
        fn there_and_back(name in "[a-z_][a-z_./-]{0,12}") {
            if let Some(identifier) = escape(&name) {
                prop_assert_eq!(unescape(&identifier), Some(name));
            }
        }
    }
}
