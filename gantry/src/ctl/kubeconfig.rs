//! `gantry kubeconfig`: a kubeconfig for somebody, with a client certificate the cluster signs for the name and
//! groups. It needs an administrator, who asks, approves and hands over; the key never leaves this machine.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component_base::clock::{RealClock, rfc3339_seconds};
use component_base::tls::{self, Identity, KeyPair};
use serde_json::{Value, json};

use super::connection::Connection;
use super::delete::duration;
use super::{Failure, Outcome};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// What every pod trusts is what people are to trust.
const AUTHORITY: &str = "/api/v1/namespaces/kube-public/configmaps/kube-root-ca.crt";

/// Flags of `kubeconfig`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Who it is for.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A group of theirs; may be repeated.
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// How long it is good for; at least ten minutes, at most a year.
    #[arg(long, value_name = "DURATION", default_value = "8760h")]
    ttl: String,
    /// Where to write it, for its owner's eyes only [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Makes a kubeconfig.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let groups: Vec<&str> = arguments.group.iter().map(String::as_str).collect();
    let key = KeyPair::generate().map_err(Failure::new)?;
    let request =
        tls::signing_request(&key, &tls::subject(&arguments.user, &groups)).map_err(Failure::new)?;
    let mut wanted = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "kubeconfig-"},
        "spec": {"request": STANDARD.encode(request), "signerName": "kubernetes.io/kube-apiserver-client",
                 "usages": ["client auth", "digital signature"]},
    });
    if let Some(life) = duration(&arguments.ttl, "--ttl")? {
        wanted["spec"]["expirationSeconds"] = json!(life.as_secs());
    }
    let asked = connection.post(REQUESTS, &wanted).await?;
    let certificate_pem = signed(connection, approved(connection, asked).await?).await?;
    let authority = connection.get(AUTHORITY).await?;
    let authority = authority["data"]["ca.crt"].as_str().unwrap_or_default();
    let identity = Identity { certificate_pem, key_pem: key.serialize_pem() };
    let text = tls::kubeconfig(connection.address(), authority, &identity);
    match arguments.out {
        Some(path) => {
            tls::write_private(&path, text.as_bytes()).map_err(Failure::new)?;
            println!("{} written for user {:?}", path.display(), arguments.user);
        }
        None => print!("{text}"),
    }
    Ok(())
}

async fn approved(connection: &Connection, mut request: Value) -> Outcome<Value> {
    let now = rfc3339_seconds(RealClock::shared().now());
    request["status"]["conditions"] = json!([{
        "type": "Approved", "status": "True", "reason": "KubeconfigIssued",
        "message": "An administrator asked for it with gantry kubeconfig.", "lastUpdateTime": now,
    }]);
    let path = format!("{REQUESTS}/{}/approval", name(&request));
    connection.put(&path, &request).await
}

/// Waits for the certificate.
async fn signed(connection: &Connection, request: Value) -> Outcome<String> {
    let version = request["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let path = format!(
        "{REQUESTS}?watch=true&timeoutSeconds=30&fieldSelector=metadata.name%3D{}&resourceVersion={version}",
        name(&request)
    );
    let mut certificate = None;
    connection
        .watch(&path, "application/json", |event| {
            let status = &event["object"]["status"];
            if let Some(encoded) = status["certificate"].as_str() {
                let bytes = STANDARD.decode(encoded).map_err(Failure::new)?;
                certificate = Some(String::from_utf8(bytes).map_err(Failure::new)?);
            }
            let conditions = status["conditions"].as_array();
            match conditions.into_iter().flatten().find(|condition| condition["type"] == "Failed") {
                Some(failed) => {
                    let why = failed["message"].as_str().unwrap_or_default();
                    Err(Failure::new(format!("the certificate was not signed: {why}")))
                }
                None => Ok(certificate.is_none()),
            }
        })
        .await?;
    certificate.ok_or_else(|| Failure::new("no certificate came within 30 s; are the controllers running?"))
}

fn name(request: &Value) -> &str {
    request["metadata"]["name"].as_str().unwrap_or_default()
}
