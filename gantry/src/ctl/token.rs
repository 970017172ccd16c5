//! `gantry token create|list|revoke`: tokens with which machines join, as `kubeadm token` has them.

use api::time::age;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component_base::clock::{RealClock, rfc3339_seconds};
use component_base::rng::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::connection::Connection;
use super::delete::duration;
use super::{Failure, Outcome, aligned};

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// What to do with tokens.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a token and print it.
    Create(Creating),
    /// List tokens.
    List,
    /// Make tokens useless.
    #[command(visible_alias = "delete")]
    Revoke {
        /// Tokens or their first six letters.
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

/// Flags of `token create`.
#[derive(clap::Args)]
pub struct Creating {
    /// The token, of the form `[a-z0-9]{6}.[a-z0-9]{16}`; a random one if none is given.
    token: Option<String>,
    /// How long it is good for; 0 for ever.
    #[arg(long, value_name = "DURATION", default_value = "24h0m0s")]
    ttl: String,
    /// What for.
    #[arg(long, value_name = "USAGES", value_delimiter = ',', default_values = ["signing", "authentication"])]
    usages: Vec<String>,
    /// Groups of whoever has it.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', default_values = [GROUP])]
    groups: Vec<String>,
    /// For people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

/// Makes, lists or removes tokens.
pub async fn run(connection: &Connection, command: Command) -> Outcome {
    match command {
        Command::Create(creating) => create(connection, &creating).await,
        Command::List => list(connection).await,
        Command::Revoke { tokens } => revoke(connection, &tokens).await,
    }
}

async fn create(connection: &Connection, wanted: &Creating) -> Outcome {
    let (id, secret) = match &wanted.token {
        Some(token) => parts(token).ok_or_else(|| {
            let form = r"\A([a-z0-9]{6})\.([a-z0-9]{16})\z";
            Failure::new(format!("the bootstrap token {token:?} was not of the form {form:?}"))
        })?,
        None => (random::<6>(), random::<16>()),
    };
    for usage in &wanted.usages {
        if !["signing", "authentication"].contains(&usage.as_str()) {
            return Err(Failure::new(format!(
                "invalid bootstrap token usage string: {usage:?}, valid usage options: [signing, authentication]"
            )));
        }
    }
    let mut data = json!({"token-id": id, "token-secret": secret});
    for usage in &wanted.usages {
        data[format!("usage-bootstrap-{usage}")] = json!("true");
    }
    if !wanted.groups.is_empty() {
        data["auth-extra-groups"] = json!(wanted.groups.join(","));
    }
    if !wanted.description.is_empty() {
        data["description"] = json!(wanted.description);
    }
    if let Some(life) = duration(&wanted.ttl, "--ttl")? {
        let life = SignedDuration::try_from(life).map_err(Failure::new)?;
        let end = RealClock::shared().now().checked_add(life).map_err(Failure::new)?;
        data["expiration"] = json!(rfc3339_seconds(end));
    }
    let secret_object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": TYPE,
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "stringData": data,
    });
    connection.post(SECRETS, &secret_object).await?;
    println!("{id}.{secret}");
    Ok(())
}

async fn list(connection: &Connection) -> Outcome {
    let path = format!("{SECRETS}?fieldSelector=type%3D{}", super::connection::encoded(TYPE));
    let found = connection.get(&path).await?;
    let title = ["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"].map(str::to_owned);
    let mut rows = vec![title.to_vec()];
    let now = RealClock::shared().now();
    rows.extend(found["items"].as_array().into_iter().flatten().map(|secret| row(secret, now)));
    print!("{}", aligned(&rows));
    Ok(())
}

async fn revoke(connection: &Connection, tokens: &[String]) -> Outcome {
    for token in tokens {
        let id = token.split_once('.').map_or(token.as_str(), |(id, _)| id);
        let path = format!("{SECRETS}/bootstrap-token-{}", super::connection::encoded(id));
        connection.delete(&path, &json!({})).await?;
        println!("bootstrap token {id:?} deleted");
    }
    Ok(())
}

/// A token of the list; whoever may read the secret may see it whole.
fn row(secret: &Value, now: Timestamp) -> Vec<String> {
    let field = |key: &str| {
        let bytes = STANDARD.decode(secret["data"][key].as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
    let (ttl, expires) = match field("expiration").as_str() {
        "" => ("<forever>".to_owned(), "<never>".to_owned()),
        text => match text.parse::<Timestamp>() {
            Ok(end) if end > now => (age(Some(now), end), text.to_owned()),
            _ => ("<invalid>".to_owned(), text.to_owned()),
        },
    };
    let usages = ["authentication", "signing"];
    let usages = usages.iter().filter(|usage| field(&format!("usage-bootstrap-{usage}")) == "true");
    vec![
        format!("{}.{}", field("token-id"), field("token-secret")),
        ttl,
        expires,
        or_none(usages.copied().collect::<Vec<_>>().join(",")),
        or_none(field("description")),
        or_none(field("auth-extra-groups")),
    ]
}

fn parts(token: &str) -> Option<(String, String)> {
    let (id, secret) = token.split_once('.')?;
    let is_plain = |text: &str| text.bytes().all(|byte| LETTERS.contains(&byte));
    (id.len() == 6 && secret.len() == 16 && is_plain(id) && is_plain(secret))
        .then(|| (id.to_owned(), secret.to_owned()))
}

/// Letters and digits, each as likely as any other.
fn random<const LENGTH: usize>() -> String {
    let rng = Rng::from_system();
    let bound = u64::try_from(LETTERS.len()).unwrap_or(1);
    let letter = |_| {
        let at = usize::try_from(rng.below(bound)).unwrap_or_default();
        char::from(LETTERS.get(at).copied().unwrap_or(b'0'))
    };
    (0..LENGTH).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_kubeadm_writes_them() {
        let encoded = |text: &str| STANDARD.encode(text);
        let mut secret = json!({"data": {"token-id": encoded("abcdef"), "token-secret": encoded("0123456789abcdef"),
            "expiration": encoded("2026-01-02T00:00:00Z"), "usage-bootstrap-signing": encoded("true"),
            "usage-bootstrap-authentication": encoded("true")}});
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let token = "abcdef.0123456789abcdef";
        assert_eq!(
            row(&secret, now),
            [token, "23h", "2026-01-02T00:00:00Z", "authentication,signing", "<none>", "<none>"]
        );
        secret["data"]["expiration"] = Value::Null;
        assert_eq!(row(&secret, now)[1..3], ["<forever>", "<never>"]);
        assert_eq!(parts(token), Some(("abcdef".to_owned(), "0123456789abcdef".to_owned())));
        assert_eq!(parts("abcdef.0123456789abcdeF"), None);
        let (id, other) = (random::<6>(), random::<6>());
        assert!(parts(&format!("{id}.0123456789abcdef")).is_some() && id != other);
    }
}
