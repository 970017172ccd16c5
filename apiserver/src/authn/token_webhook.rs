//! Tokens somebody else knows (`--authentication-token-webhook-config-file`): a TokenReview is posted to the server of
//! a kubeconfig. Answers are kept for two minutes, as upstream does.
//!
//! Entry points: [`TokenWebhook::read`], [`authenticate`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use component_base::user::UserInfo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::settings::SettingsError;
use super::{Known, Outcome};
use crate::call::Server;
use crate::transport::{self, Remote};

/// How long an answer may take (upstream's `defaultRequestTimeout`).
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer is good (`--authentication-token-webhook-cache-ttl`).
const LIFE: Duration = Duration::from_secs(120);
/// Answers kept at most; when there are more, all are forgotten.
const MOST_KEPT: usize = 4096;

/// What was answered: whose token it is, or why it is nobody's.
type Answer = Result<Option<(UserInfo, Vec<String>)>, String>;

/// A server that reviews tokens.
pub(super) struct TokenWebhook {
    remote: Remote,
    /// Answers by the digest of token and audiences, with the end of their life by the monotonic clock.
    kept: Mutex<BTreeMap<[u8; 32], (Duration, Answer)>>,
}

impl TokenWebhook {
    /// Reads a kubeconfig: the server of its current context.
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let remote = Remote::read(path);
        let remote = remote.map_err(|detail| SettingsError::Content { path: path.to_owned(), detail })?;
        Ok(Self { remote, kept: Mutex::default() })
    }

    async fn ask(&self, server: &Server, token: &str, audiences: &[String]) -> Answer {
        let review = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"creationTimestamp": null}, "spec": {"token": token, "audiences": audiences}, "status": {"user": {}}});
        let answer = transport::document(self.remote.post(&server.clock, &review, TIMEOUT).await?)?;
        answered(&answer["status"], audiences)
    }
}

/// What a status says.
fn answered(status: &Value, audiences: &[String]) -> Answer {
    if status["authenticated"] != true {
        return match status["error"].as_str().filter(|error| !error.is_empty()) {
            Some(error) => Err(error.to_owned()),
            None => Ok(None),
        };
    }
    // One that says nothing of audiences does not know of them, and speaks for the API server.
    let meant = match status["audiences"].as_array() {
        None => audiences.to_vec(),
        Some(_) => {
            let named = strings(&status["audiences"]);
            audiences.iter().filter(|audience| named.contains(audience)).cloned().collect()
        }
    };
    if meant.is_empty() {
        return Ok(None);
    }
    let user = &status["user"];
    let extra = user["extra"].as_object().into_iter().flatten();
    let user = UserInfo {
        name: user["username"].as_str().unwrap_or_default().to_owned(),
        uid: user["uid"].as_str().unwrap_or_default().to_owned(),
        groups: strings(&user["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), strings(values))).collect(),
    };
    Ok(Some((user, meant)))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(super) async fn authenticate(server: &Server, token: &str, audiences: &[String]) -> Outcome {
    let Some(webhook) = &server.authentication.webhook else { return Ok(None) };
    let digest: [u8; 32] = Sha256::digest(json!([token, audiences]).to_string()).into();
    let now = server.clock.monotonic();
    let kept =
        webhook.kept.lock().get(&digest).filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone());
    let answer = match kept {
        Some(answer) => answer,
        None => {
            let answer = webhook.ask(server, token, audiences).await;
            let mut kept = webhook.kept.lock();
            if kept.len() >= MOST_KEPT {
                kept.clear();
            }
            // That nobody answered is not kept: the next request may find somebody.
            if answer.is_ok() {
                kept.insert(digest, (now + LIFE, answer.clone()));
            }
            answer
        }
    };
    answer.map(|known| known.map(|(user, audiences)| Known { user, audiences }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_name_a_user_or_nobody() {
        let asked = ["a".to_owned(), "b".to_owned()];
        let user = json!({"username": "jane", "groups": ["g"], "extra": {"k": ["v"]}});
        let of = |status: Value| answered(&status, &asked);
        let (jane, audiences) =
            of(json!({"authenticated": true, "user": user})).expect("an answer").expect("known");
        assert_eq!((jane.name.as_str(), jane.groups.len(), jane.extra["k"].len()), ("jane", 1, 1));
        assert_eq!(audiences, asked);
        let some =
            of(json!({"authenticated": true, "user": user, "audiences": ["b", "c"]})).expect("an answer");
        assert_eq!(some.expect("known").1, ["b"]);
        assert_eq!(of(json!({"authenticated": true, "user": user, "audiences": ["c"]})), Ok(None));
        assert_eq!(of(json!({"authenticated": false})), Ok(None));
        assert_eq!(of(json!({"error": "why"})), Err("why".to_owned()));
    }
}
