//! Keys kept by a key management service (KEP-3299, KMS v2): the service seals one seed, from which every write
//! derives a key of its own.
//!
//! Entry points: [`Kms::start`], [`Kms::seal`], [`Kms::open`]. One thread per service ([`service`]) asks for its
//! status and opens seeds not seen yet; everything else is done here without it. Writes go on for three minutes
//! after the service's last good answer, reads of known seeds for ever. Stored form: the protobuf message
//! `EncryptedObject`, whose data is 32 random bytes and what AES-GCM made with the key HKDF expands from seed and
//! those bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component_base::clock::SharedClock;
use component_base::rng::Rng;
use hkdf::Hkdf;
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ciphers::{Cipher, Method};

mod service;

use service::Line;

/// Bytes of a seed, of what is expanded with it, and of the keys that result.
const SEED: usize = 32;
/// Seeds kept; an API server makes one at each start and each change of the service's key.
const MAX_SEEDS: usize = 4_096;
/// Bytes that a key's id, and a sealed seed, may have.
const MAX_ID: usize = 1_024;
/// Bytes of all annotations.
const MAX_ANNOTATIONS: usize = 32 * 1_024;
/// How long a seed may be written with after the service was last well.
const WRITE_LIMIT: Duration = Duration::from_mins(3);

/// `sealed_seed` is a key itself.
const AES_GCM_KEY: i32 = 0;
/// `sealed_seed` is a seed.
const HKDF_SEED: i32 = 1;

/// What is stored (`pkg/storage/value/encrypt/envelope/kmsv2/v2/api.proto`).
#[derive(Clone, PartialEq, prost::Message)]
struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    sealed_seed: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    seed_type: i32,
}

impl EncryptedObject {
    fn check(&self) -> Result<(), String> {
        if ![AES_GCM_KEY, HKDF_SEED].contains(&self.seed_type) {
            return Err(format!("unknown encryptedDEKSourceType: {}", self.seed_type));
        }
        if self.data.is_empty() {
            return Err("encrypted data is empty".to_owned());
        }
        check_seed(&self.sealed_seed, &self.key_id, &self.annotations)
    }

    /// What tells one seed from another.
    fn seed_id(&self) -> Vec<u8> {
        Self { data: Vec::new(), ..self.clone() }.encode_to_vec()
    }
}

fn check_seed(sealed: &[u8], key_id: &str, annotations: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    if sealed.is_empty() {
        return Err("failed to validate encrypted DEK source: encrypted DEK source is empty".to_owned());
    }
    if sealed.len() > MAX_ID {
        return Err(format!(
            "failed to validate encrypted DEK source: encrypted DEK source is {} bytes, which exceeds the max size of {MAX_ID}",
            sealed.len()
        ));
    }
    check_key_id(key_id).map_err(|why| format!("failed to validate key id: {why}"))?;
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        return Err(format!(
            "failed to validate annotations: total size of annotations is {size}, which exceeds the max size of {MAX_ANNOTATIONS}"
        ));
    }
    Ok(())
}

fn check_key_id(key_id: &str) -> Result<(), String> {
    match key_id.len() {
        0 => Err("keyID is empty".to_owned()),
        length if length > MAX_ID => {
            Err(format!("keyID is {length} bytes, which exceeds the max size of {MAX_ID}"))
        }
        _ => Ok(()),
    }
}

/// A seed, or a key, in clear.
struct Seed {
    kind: i32,
    bytes: Zeroizing<Vec<u8>>,
}

impl Seed {
    /// The key for data, and what of the data it opens.
    fn key<'a>(&self, data: &'a [u8]) -> Result<(Cipher, &'a [u8]), String> {
        if self.kind == AES_GCM_KEY {
            return Ok((Cipher::new(Method::AesGcm, self.bytes.clone()), data));
        }
        let (info, rest) =
            data.split_at_checked(SEED).ok_or("the stored data was shorter than the required size")?;
        Ok((self.expand(info)?, rest))
    }

    fn expand(&self, info: &[u8]) -> Result<Cipher, String> {
        let mut key = Zeroizing::new(vec![0; SEED]);
        let expanded =
            Hkdf::<Sha256>::from_prk(&self.bytes).is_ok_and(|kdf| kdf.expand(info, &mut key).is_ok());
        if !expanded {
            return Err(format!("invalid seed length {} used for key generation", self.bytes.len()));
        }
        Ok(Cipher::new(Method::AesGcm, key))
    }
}

/// What writes use.
struct Writing {
    seed: Arc<Seed>,
    /// All of the stored message but the data.
    frame: EncryptedObject,
    /// On the clock that only goes forward.
    until: Duration,
}

/// What the service's thread and requests share.
struct State {
    clock: SharedClock,
    rng: Rng,
    /// What writes use, or why there is nothing.
    writing: RwLock<Result<Writing, String>>,
    seeds: Mutex<BTreeMap<Vec<u8>, Arc<Seed>>>,
}

impl State {
    fn remember(&self, id: Vec<u8>, seed: &Arc<Seed>) {
        let mut seeds = self.seeds.lock();
        if seeds.len() >= MAX_SEEDS {
            seeds.clear();
        }
        seeds.insert(id, Arc::clone(seed));
    }
}

/// A service.
pub(super) struct Kms {
    prefix: String,
    state: Arc<State>,
    line: Line,
}

impl Kms {
    /// Begins to talk to the service at a `unix://` endpoint; waits for its first answer, or that there is none.
    pub(super) fn start(
        name: &str,
        endpoint: &str,
        timeout: Duration,
        clock: &SharedClock,
        rng: &Rng,
    ) -> Self {
        let state = Arc::new(State {
            clock: Arc::clone(clock),
            rng: rng.clone(),
            writing: RwLock::new(Err("got unexpected nil transformer".to_owned())),
            seeds: Mutex::default(),
        });
        let line = Line::open(name, endpoint, timeout, Arc::clone(&state));
        Self { prefix: format!("k8s:enc:kms:v2:{name}:"), state, line }
    }

    /// What everything begins with that it seals.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether there is a seed that may be written with.
    pub(super) fn writable(&self) -> Result<(), String> {
        match &*self.state.writing.read() {
            Ok(writing) if self.state.clock.monotonic() <= writing.until => Ok(()),
            Ok(_) => Err(format!(
                "the key service has not been well for {} s, so nothing is written with its key",
                WRITE_LIMIT.as_secs()
            )),
            Err(why) => Err(why.clone()),
        }
    }

    /// Whether stored bytes are sealed with the service's present key.
    pub(super) fn is_current(&self, stored: &[u8]) -> bool {
        let writing = self.state.writing.read();
        let (Ok(writing), Ok(object)) = (&*writing, EncryptedObject::decode(stored)) else { return false };
        object.key_id == writing.frame.key_id && object.seed_type == writing.frame.seed_type
    }

    /// Seals.
    pub(super) fn seal(&self, clear: &[u8], key: &str, rng: &Rng) -> Result<Vec<u8>, String> {
        self.writable()?;
        let writing = self.state.writing.read();
        let writing = writing.as_ref().map_err(Clone::clone)?;
        let info = rng.bytes::<SEED>();
        let sealed =
            writing.seed.expand(&info)?.seal(clear, key.as_bytes(), rng).map_err(|e| e.to_string())?;
        let object = EncryptedObject { data: [&info[..], &sealed].concat(), ..writing.frame.clone() };
        Ok(object.encode_to_vec())
    }

    /// Opens; asks the service if the seed was not seen yet.
    pub(super) fn open(&self, stored: &[u8], key: &str) -> Result<Vec<u8>, String> {
        let object = EncryptedObject::decode(stored).map_err(|error| error.to_string())?;
        object.check()?;
        let id = object.seed_id();
        let known = self.state.seeds.lock().get(&id).cloned();
        let seed = match known {
            Some(seed) => seed,
            None => {
                let bytes = self
                    .line
                    .open_seed(&object)
                    .map_err(|why| format!("failed to decrypt DEK, error: {why}"))?;
                let seed = Arc::new(Seed { kind: object.seed_type, bytes });
                self.state.remember(id, &seed);
                seed
            }
        };
        let (cipher, rest) = seed.key(&object.data)?;
        cipher.open(rest, key.as_bytes()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
