//! A server that a kubeconfig names: its current context says where it is, whom to believe there and what to show.
//!
//! Entry points: [`Remote::read`], [`Remote::post`].

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use component_base::clock::SharedClock;
use component_base::tls::any_server;
use http::{HeaderValue, Request, StatusCode, Uri};
use serde_json::Value;

use super::{Client, Shown, TOO_LATE, tls_with, verifier};

/// The largest answer read: upstream's limit for webhooks is that of a request body.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Ways to get credentials, and to a server, that need another program or server first.
const REFUSED: [(&str, &str); 3] = [("user", "exec"), ("user", "auth-provider"), ("cluster", "proxy-url")];

/// A server and how it is spoken to.
#[derive(Debug)]
pub(crate) struct Remote {
    url: String,
    client: Client,
}

impl Remote {
    /// Reads a file.
    ///
    /// # Errors
    /// What of it cannot be used.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("/")))
    }

    /// The same from its text; files it names are in `folder` unless their paths say otherwise.
    fn parse(text: &[u8], folder: &Path) -> Result<Self, String> {
        let config = api::codec::yaml::decode(text).map_err(|error| error.to_string())?.value;
        let context = named(&config, "context", &config["current-context"])?;
        let cluster = named(&config, "cluster", &context["cluster"])?;
        let user = match context["user"].as_str() {
            None | Some("") => Value::Null,
            Some(_) => named(&config, "user", &context["user"])?,
        };
        for (of, key) in REFUSED {
            let section = if of == "user" { &user } else { &cluster };
            if !section[key].is_null() {
                return Err(format!("{key} of a {of} is not supported here"));
            }
        }
        let url = cluster["server"].as_str().unwrap_or_default();
        let uri = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("https" | "http"))) {
            return Err(format!("the cluster's server must be an https:// URL, not {url:?}"));
        }
        let file = |section: &Value, key: &str| content(section, key, folder);
        let judge = match cluster["insecure-skip-tls-verify"] == true {
            true => any_server(),
            false => verifier(&file(&cluster, "certificate-authority")?)?,
        };
        let (certificate, key) = (file(&user, "client-certificate")?, file(&user, "client-key")?);
        let shown = (!certificate.is_empty()).then_some(Shown { certificate: &certificate, key: &key });
        let name = cluster["tls-server-name"].as_str().map(str::to_owned);
        let client = Client::new(tls_with(judge, shown)?, name).authorized(credentials(&user, folder)?);
        Ok(Self { url: url.to_owned(), client })
    }

    /// One that nobody listens at.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        let cluster = serde_json::json!({"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": true});
        let config = serde_json::json!({
            "clusters": [{"name": "c", "cluster": cluster}], "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        });
        Self::parse(config.to_string().as_bytes(), Path::new("/")).expect("a kubeconfig")
    }

    /// Sends a document: code and bytes of the answer.
    ///
    /// # Errors
    /// Says what failed, in the form Go's client does.
    pub(crate) async fn post(
        &self,
        clock: &SharedClock,
        document: &Value,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let query = if self.url.contains('?') { '&' } else { '?' };
        let span = api::time::go_duration(i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX));
        let url = format!("{}{query}timeout={span}", self.url);
        let named = |error: String| format!("Post {url:?}: {error}");
        let request = Request::post(&url);
        tokio::select! {
            answer = self.client.exchange(request, Some(document), MAX_BYTES) => answer.map_err(named),
            () = clock.sleep(timeout) => Err(named(TOO_LATE.to_owned())),
        }
    }
}

/// The entry of a kubeconfig's list.
fn named(config: &Value, kind: &str, name: &Value) -> Result<Value, String> {
    let list = config[format!("{kind}s")].as_array().into_iter().flatten();
    let found = list.into_iter().find(|entry| entry["name"] == *name && !name.is_null());
    found.map(|entry| entry[kind].clone()).ok_or_else(|| format!("it has no {kind} {name}"))
}

/// A part that stands in the file itself or in another one.
fn content(section: &Value, key: &str, folder: &Path) -> Result<Vec<u8>, String> {
    if let Some(data) = section[format!("{key}-data")].as_str() {
        return STANDARD.decode(data).map_err(|error| format!("{key}-data: {error}"));
    }
    match section[key].as_str() {
        None | Some("") => Ok(Vec::new()),
        Some(path) => read(&folder.join(path)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What is said in `Authorization`: a token, or a name and a password.
fn credentials(user: &Value, folder: &Path) -> Result<Option<HeaderValue>, String> {
    let token = match (user["token"].as_str(), user["tokenFile"].as_str()) {
        (Some(token), _) if !token.is_empty() => Some(token.to_owned()),
        (_, Some(file)) => Some(String::from_utf8_lossy(&read(&folder.join(file))?).trim().to_owned()),
        _ => None,
    };
    let text = match (token, user["username"].as_str()) {
        (Some(token), _) => format!("Bearer {token}"),
        (None, Some(name)) => {
            let password = user["password"].as_str().unwrap_or_default();
            format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
        }
        (None, None) => return Ok(None),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| "its token is no header".to_owned())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(cluster: &str, user: &str) -> Result<Remote, String> {
        let text = format!(
            "clusters: [{{name: c, cluster: {cluster}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
             current-context: x\nusers: [{{name: u, user: {user}}}]"
        );
        Remote::parse(text.as_bytes(), Path::new("/nowhere"))
    }

    #[test]
    fn a_kubeconfig_says_where_and_who() {
        const OPEN: &str = "{server: 'https://h/x', insecure-skip-tls-verify: true}";
        let header = |user: &str| {
            let remote = read_text(OPEN, user).expect(user);
            assert_eq!(remote.url, "https://h/x");
            remote.client.authorization.map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(header("{}"), None);
        assert_eq!(header("{token: t}").as_deref(), Some("Bearer t"));
        assert_eq!(header("{username: u, password: p}").as_deref(), Some("Basic dTpw"));
        for (cluster, user, expected) in [
            ("{}", "{}", "the cluster's server must be an https:// URL"),
            ("{server: 'ftp://h'}", "{}", "the cluster's server must be an https:// URL"),
            ("{server: 'https://h', certificate-authority: ca}", "{}", "/nowhere/ca: No such file"),
            ("{server: 'https://h', certificate-authority-data: '!'}", "{}", "certificate-authority-data: "),
            ("{server: 'https://h', proxy-url: p}", "{}", "proxy-url of a cluster is not supported"),
            (OPEN, "{exec: {command: x}}", "exec of a user is not supported"),
            (OPEN, "{tokenFile: t}", "/nowhere/t: No such file"),
            (OPEN, "{client-certificate-data: eA==, client-key-data: eA==}", "client-key: "),
        ] {
            let problem = read_text(cluster, user).expect_err(cluster);
            assert!(problem.contains(expected), "{cluster} {user}: {problem}");
        }
        for text in ["{}", "clusters: []", "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]"]
        {
            assert!(Remote::parse(text.as_bytes(), Path::new("/")).is_err(), "{text}");
        }
    }
}
