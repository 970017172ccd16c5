//! The thread that talks to a key management service over its unix socket (gRPC, `v2.KeyManagementService`).
//!
//! Entry points: [`Line::open`] and [`Line::open_seed`]. A thread with a runtime of its own: bytes are opened
//! where nothing may wait for a runtime, such as in the store's writer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

use super::{EncryptedObject, HKDF_SEED, SEED, Seed, State, WRITE_LIMIT, Writing, check_key_id, check_seed};

/// Between questions for the status while the service is well …
const WELL: Duration = Duration::from_mins(1);
/// … and while it is not.
const UNWELL: Duration = Duration::from_secs(10);
/// How long a start waits for the first answer; the service may start after the server.
const START_LIMIT: Duration = Duration::from_secs(5);
/// Seeds that may wait to be opened.
const QUEUE: usize = 64;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusResponse {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(string, tag = "2")]
    pub(super) healthz: String,
    #[prost(string, tag = "3")]
    pub(super) key_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
}

/// A seed to open, and where the answer goes.
struct Job {
    request: DecryptRequest,
    answer: blocking::SyncSender<Result<Zeroizing<Vec<u8>>, String>>,
}

/// The way to the thread; dropping it ends the thread.
pub(super) struct Line(mpsc::Sender<Job>);

impl Line {
    /// Starts the thread and waits, no longer than [`START_LIMIT`], for the service's first answer.
    pub(super) fn open(name: &str, endpoint: &str, timeout: Duration, state: Arc<State>) -> Self {
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let (first, asked) = blocking::sync_channel(1);
        let path = endpoint.trim_start_matches("unix:").trim_start_matches("//");
        let caller = Caller { name: name.to_owned(), path: path.into(), timeout, state };
        let thread =
            std::thread::Builder::new().name("kms".to_owned()).spawn(move || caller.run(receiver, &first));
        match thread {
            // Whether it answered or not: what is sealed with its key is served as soon as it does.
            Ok(_) => drop(asked.recv_timeout(START_LIMIT)),
            Err(error) => tracing::error!(%error, name, "cannot talk to the key service"),
        }
        Self(jobs)
    }

    /// Asks the service to open a seed. Blocks for as long as an answer may take.
    pub(super) fn open_seed(&self, object: &EncryptedObject) -> Result<Zeroizing<Vec<u8>>, String> {
        let (answer, outcome) = blocking::sync_channel(1);
        let request = DecryptRequest {
            ciphertext: object.sealed_seed.clone(),
            uid: String::new(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        self.0
            .try_send(Job { request, answer })
            .map_err(|_| "too many keys wait for the key service".to_owned())?;
        outcome.recv().unwrap_or_else(|_| Err("the key service is not talked to any more".to_owned()))
    }
}

/// The thread's own.
struct Caller {
    name: String,
    path: PathBuf,
    timeout: Duration,
    state: Arc<State>,
}

impl Caller {
    fn run(self, mut jobs: mpsc::Receiver<Job>, first: &blocking::SyncSender<()>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, name = self.name, "cannot talk to the key service"),
        };
        runtime.block_on(async {
            loop {
                let pause = self.look().await;
                // Nobody waits for the second look.
                let _unheard = first.try_send(());
                let next = self.state.clock.sleep(pause);
                tokio::pin!(next);
                loop {
                    tokio::select! {
                        () = &mut next => break,
                        job = jobs.recv() => match job {
                            Some(Job { request, answer }) => {
                                // Who stopped waiting asks again.
                                let _unheard = answer.send(self.open_seed(request).await);
                            }
                            None => return,
                        },
                    }
                }
            }
        });
    }

    async fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, String>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let told = |error: &dyn std::error::Error| {
            let mut text = error.to_string();
            if let Some(cause) = error.source() {
                text = format!("{text}: {cause}");
            }
            format!("{}: {text}", self.path.display())
        };
        let path = self.path.clone();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        let endpoint =
            Endpoint::from_static("http://localhost").timeout(self.timeout).connect_timeout(self.timeout);
        let channel: Channel =
            endpoint.connect_with_connector(connector).await.map_err(|error| told(&error))?;
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| told(&error))?;
        let codec: ProstCodec<Q, A> = ProstCodec::new();
        let answer =
            client.unary(tonic::Request::new(request), PathAndQuery::from_static(method), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
    }

    async fn open_seed(&self, mut request: DecryptRequest) -> Result<Zeroizing<Vec<u8>>, String> {
        request.uid = self.state.rng.uid();
        let answer: DecryptResponse = self.call("/v2.KeyManagementService/Decrypt", request).await?;
        Ok(Zeroizing::new(answer.plaintext))
    }

    /// Asks how the service is and keeps a seed of its present key; when to ask again.
    async fn look(&self) -> Duration {
        // Begun before the question: the limit is an upper one.
        let until = self.state.clock.monotonic() + WRITE_LIMIT;
        match self.keep_seed(until).await {
            Ok(()) => WELL,
            Err(why) => {
                let why = format!("kmsv2 Provider {} is not healthy, error: {why}", self.name);
                tracing::warn!(why, "asking again in {} s", UNWELL.as_secs());
                let mut writing = self.state.writing.write();
                if writing.is_err() {
                    *writing = Err(why);
                }
                UNWELL
            }
        }
    }

    async fn keep_seed(&self, until: Duration) -> Result<(), String> {
        let status: StatusResponse = self.call("/v2.KeyManagementService/Status", StatusRequest {}).await?;
        if status.healthz != "ok" {
            return Err(format!("got unexpected healthz status: {}", status.healthz));
        }
        if !["v2", "v2beta1"].contains(&status.version.as_str()) {
            return Err(format!("expected KMSv2 API version v2, got {}", status.version));
        }
        check_key_id(&status.key_id)?;
        if let Ok(writing) = &mut *self.state.writing.write()
            && writing.frame.key_id == status.key_id
        {
            writing.until = until;
            return Ok(());
        }
        let seed = Seed { kind: HKDF_SEED, bytes: self.state.rng.bytes::<SEED>().to_vec().into() };
        let request = EncryptRequest { plaintext: seed.bytes.to_vec(), uid: self.state.rng.uid() };
        let sealed: EncryptResponse = self.call("/v2.KeyManagementService/Encrypt", request).await?;
        check_seed(&sealed.ciphertext, &sealed.key_id, &sealed.annotations)?;
        if sealed.key_id != status.key_id {
            return Err("the service names another key when it seals than in its status".to_owned());
        }
        let frame = EncryptedObject {
            data: Vec::new(),
            key_id: sealed.key_id,
            sealed_seed: sealed.ciphertext,
            annotations: sealed.annotations,
            seed_type: HKDF_SEED,
        };
        let seed = Arc::new(seed);
        self.state.remember(frame.seed_id(), &seed);
        *self.state.writing.write() = Ok(Writing { seed, frame, until });
        Ok(())
    }
}
