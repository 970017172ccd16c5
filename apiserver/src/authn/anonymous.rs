//! Nobody in particular: requests without credentials, where the settings allow them.

use component_base::user::UserInfo;

use super::configuration::Anonymous;
use super::settings::AnonymousCondition;
use crate::call::Server;

/// The user of requests without credentials.
pub(crate) const NAME: &str = "system:anonymous";

/// Nobody, if the path is open to nobody.
pub(super) fn authenticate(server: &Server, path: &str) -> Option<UserInfo> {
    let one_of = |conditions: &[AnonymousCondition]| conditions.iter().any(|one| matches(one, path));
    // What the structured configuration says goes before the settings.
    let is_open = match server.authentication.issuers.anonymous() {
        Some(Anonymous::Refused) => false,
        Some(Anonymous::Everywhere) => true,
        Some(Anonymous::At(conditions)) => one_of(&conditions),
        None => server.authentication.settings.anonymous.as_deref().is_none_or(one_of),
    };
    is_open.then(|| UserInfo {
        name: NAME.to_owned(),
        groups: vec!["system:unauthenticated".to_owned()],
        ..UserInfo::default()
    })
}

fn matches(condition: &AnonymousCondition, path: &str) -> bool {
    match path.strip_prefix(condition.path.as_str()) {
        Some("") => true,
        Some(rest) => condition.below && rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_name_paths_whole() {
        let health = AnonymousCondition { path: "/livez".to_owned(), below: true };
        let exact = AnonymousCondition { path: "/version".to_owned(), below: false };
        for (condition, path, expected) in [
            (&health, "/livez", true),
            (&health, "/livez/ping", true),
            (&health, "/livezzz", false),
            (&exact, "/version", true),
            (&exact, "/version/x", false),
            (&exact, "/", false),
        ] {
            assert_eq!(matches(condition, path), expected, "{path}");
        }
    }
}
