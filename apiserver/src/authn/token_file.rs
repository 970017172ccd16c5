//! Static tokens of a CSV file (`--token-auth-file`): token, user name, uid and, optionally, groups.
//!
//! Entry points: [`TokenFile::read`], [`authenticate`]. Tokens are kept as digests, so that looking one up takes
//! as long for a nearly right one as for a wrong one.

use std::collections::BTreeMap;
use std::path::Path;

use component_base::user::UserInfo;
use sha2::{Digest as _, Sha256};

use super::bearer_token::own_audiences;
use super::settings::SettingsError;
use super::{Known, Outcome};
use crate::call::Server;

/// What a file holds.
#[derive(Default)]
pub(super) struct TokenFile(BTreeMap<[u8; 32], UserInfo>);

impl TokenFile {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
        let place = path.display();
        Self::parse(&text, &place.to_string())
            .map_err(|detail| SettingsError::Content { path: path.to_owned(), detail })
    }

    fn parse(text: &str, place: &str) -> Result<Self, String> {
        let mut tokens = BTreeMap::new();
        for (number, record) in records(text)?.into_iter().enumerate() {
            let [token, name, uid, rest @ ..] = record.as_slice() else {
                return Err(format!(
                    "token file '{place}' must have at least 3 columns (token, user name, user uid), found {}",
                    record.len()
                ));
            };
            if token.is_empty() {
                tracing::warn!(place, record = number + 1, "an empty token in the token file");
                continue;
            }
            let groups = rest.first().into_iter().flat_map(|groups| groups.split(',')).map(str::to_owned);
            let user = UserInfo {
                name: name.clone(),
                uid: uid.clone(),
                groups: groups.collect(),
                ..UserInfo::default()
            };
            if tokens.insert(Sha256::digest(token).into(), user).is_some() {
                tracing::warn!(place, record = number + 1, "the same token twice in the token file");
            }
        }
        Ok(Self(tokens))
    }
}

/// Lines of comma-separated fields, which may be quoted (RFC 4180).
fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let mut fields = vec![String::new()];
        let mut characters = line.chars().peekable();
        let mut is_quoted = false;
        while let Some(character) = characters.next() {
            let field = fields.last_mut().ok_or("no field")?;
            match character {
                '"' if is_quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
                '"' if is_quoted || field.is_empty() => is_quoted = !is_quoted,
                ',' if !is_quoted => fields.push(String::new()),
                other => field.push(other),
            }
        }
        if is_quoted {
            return Err(format!("record on line {}: a quote is not closed", number + 1));
        }
        records.push(fields);
    }
    Ok(records)
}

pub(super) fn authenticate(server: &Server, token: &str, audiences: &[String]) -> Outcome {
    let digest: [u8; 32] = Sha256::digest(token).into();
    let user = server.authentication.tokens.0.get(&digest);
    let Some((user, audiences)) = user.zip(own_audiences(server, audiences)) else { return Ok(None) };
    Ok(Some(Known { user: user.clone(), audiences }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_users() {
        let text = "t1,jane,7,\"a,b\"\n\nt2,\"jo \"\"x\"\"\",8\n,nobody,9\n";
        let file = TokenFile::parse(text, "f").expect("parsed");
        let user = |token: &str| file.0.get(&<[u8; 32]>::from(Sha256::digest(token))).cloned();
        let jane = user("t1").expect("a user");
        assert_eq!((jane.name.as_str(), jane.uid.as_str(), jane.groups.len()), ("jane", "7", 2));
        assert_eq!(user("t2").expect("a user").name, "jo \"x\"");
        assert_eq!(user(""), None);
        assert_eq!(
            TokenFile::parse("a,b", "f").err().expect("refused"),
            "token file 'f' must have at least 3 columns (token, user name, user uid), found 2"
        );
        assert!(TokenFile::parse("\"a,b,c", "f").is_err());
    }
}
