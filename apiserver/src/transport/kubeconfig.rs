//! A server that a kubeconfig names: its current context says where it is, whom to believe there and what to show.
//! Files that it names are looked at again while the server runs, as client-go does: tokens and certificates in them
//! are renewed by others.
//!
//! Entry points: [`Remote::read`], [`Remote::post`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use component_base::clock::SharedClock;
use component_base::tls::any_server;
use http::{HeaderValue, Request, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::Value;

use super::{Client, Shown, TOO_LATE, tls_with, verifier};

/// The largest answer read: upstream's limit for webhooks is that of a request body.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Ways to get credentials, and to a server, that need another program or server first.
const REFUSED: [(&str, &str); 3] = [("user", "exec"), ("user", "auth-provider"), ("cluster", "proxy-url")];

/// Between looks at files (client-go's for tokens).
const LOOK: Duration = Duration::from_mins(1);

/// A server and how it is spoken to.
#[derive(Debug)]
pub(crate) struct Remote {
    url: String,
    sections: Sections,
    current: Mutex<Current>,
}

/// What a kubeconfig says of the server and of who speaks to it.
#[derive(Debug)]
struct Sections {
    cluster: Value,
    user: Value,
    /// Where files are whose paths do not begin at the root.
    folder: PathBuf,
}

/// What stands in the sections or in the files they name.
#[derive(PartialEq)]
struct Material {
    authority: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorization: Option<HeaderValue>,
}

/// How the server is spoken to at the moment.
struct Current {
    material: Material,
    client: Client,
    /// When the files were looked at, by the monotonic clock.
    looked: Option<Duration>,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("looked", &self.looked).finish_non_exhaustive()
    }
}

impl Sections {
    fn material(&self) -> Result<Material, String> {
        let file = |section: &Value, key: &str| content(section, key, &self.folder);
        Ok(Material {
            authority: file(&self.cluster, "certificate-authority")?,
            certificate: file(&self.user, "client-certificate")?,
            key: file(&self.user, "client-key")?,
            authorization: credentials(&self.user, &self.folder)?,
        })
    }

    fn client(&self, material: &Material) -> Result<Client, String> {
        let judge = match self.cluster["insecure-skip-tls-verify"] == true {
            true => any_server(),
            false => verifier(&material.authority)?,
        };
        let Material { certificate, key, authorization, .. } = material;
        let shown = (!certificate.is_empty()).then_some(Shown { certificate, key });
        let name = self.cluster["tls-server-name"].as_str().map(str::to_owned);
        Ok(Client::new(tls_with(judge, shown)?, name).authorized(authorization.clone()))
    }
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
        let url = url.to_owned();
        let sections = Sections { cluster, user, folder: folder.to_owned() };
        let material = sections.material()?;
        let client = sections.client(&material)?;
        Ok(Self { url, sections, current: Mutex::new(Current { material, client, looked: None }) })
    }

    /// How the server is spoken to now. What cannot be used in a changed file leaves all as it was.
    fn client(&self, now: Duration) -> Client {
        let mut current = self.current.lock();
        if current.looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK) {
            current.looked = Some(now);
            match self.sections.material() {
                Ok(material) if material == current.material => {}
                Ok(material) => match self.sections.client(&material) {
                    Ok(client) => (current.material, current.client) = (material, client),
                    Err(problem) => self.unusable(&problem),
                },
                Err(problem) => self.unusable(&problem),
            }
        }
        current.client.clone()
    }

    fn unusable(&self, problem: &str) {
        tracing::warn!(
            url = self.url,
            problem,
            "a file that its kubeconfig names is not usable; the former content stays"
        );
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
        let client = self.client(clock.monotonic());
        tokio::select! {
            answer = client.exchange(request, Some(document), MAX_BYTES) => answer.map_err(named),
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
    fn files_are_looked_at_again() {
        let folder = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        let identity = || {
            let made = rcgen::generate_simple_self_signed(vec!["me".to_owned()]).expect("a certificate");
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        let (certificate, key) = identity();
        write("crt", &certificate);
        write("key", &key);
        write("token", "one\n");
        let text = "{clusters: [{name: c, cluster: {server: 'https://h', insecure-skip-tls-verify: true}}], current-context: x, \
             contexts: [{name: x, context: {cluster: c, user: u}}], \
             users: [{name: u, user: {tokenFile: token, client-certificate: crt, client-key: key}}]}";
        let remote = Remote::parse(text.as_bytes(), folder.path()).expect("a kubeconfig");
        let at = |seconds: u64| {
            let client = remote.client(Duration::from_secs(seconds));
            let token = client.authorization.expect("a token").to_str().expect("text").to_owned();
            (token, remote.current.lock().material.certificate.clone())
        };
        let first = ("Bearer one".to_owned(), certificate.into_bytes());
        assert_eq!(at(100), first);
        write("token", "two");
        assert_eq!(at(159), first, "not before a minute is over");
        assert_eq!(at(160).0, "Bearer two");
        let (certificate, key) = identity();
        write("crt", &certificate);
        write("key", "half of a k");
        assert_eq!(at(220).1, first.1, "what cannot be used changes nothing");
        write("key", &key);
        assert_eq!(at(280).1, certificate.as_bytes());
        std::fs::remove_file(folder.path().join("token")).expect("gone");
        assert_eq!(at(340).0, "Bearer two");
    }

    #[test]
    fn a_kubeconfig_says_where_and_who() {
        const OPEN: &str = "{server: 'https://h/x', insecure-skip-tls-verify: true}";
        let header = |user: &str| {
            let remote = read_text(OPEN, user).expect(user);
            assert_eq!(remote.url, "https://h/x");
            let client = remote.client(Duration::ZERO);
            client.authorization.map(|value| value.to_str().expect("text").to_owned())
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
