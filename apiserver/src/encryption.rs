//! Encryption at rest: stored bytes are sealed on their way out of the process and opened on their way in.
//!
//! Entry points: [`Encryption::own`] and [`Encryption::given`] (who holds the keys), [`Encryption::seal`] and
//! [`Encryption::open`] (the storage engines, where an object becomes a row or a value of etcd), [`upkeep`]
//! (writing again what is sealed otherwise). What is sealed is bound to its storage key, so it cannot be moved.
//! Names, labels' keys in etcd and who made a change stay readable; values do not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

mod ciphers;
mod configuration;
mod key_file;
mod kms;
mod providers;
pub(crate) mod upkeep;

use configuration::group_resource;
use kms::Kms;
use providers::{Chain, ProviderError, SEALED, sealer};

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// The file cannot be read or written.
    #[error("{act} {path}: {source}", path = path.display())]
    File {
        /// What was done with it.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The file's text is wrong.
    #[error("{path}: {why}", path = path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// In upstream's words.
        why: String,
    },
    /// The keys are not this server's to change.
    #[error("{0}")]
    NotOurs(String),
}

/// Why an object was not sealed or opened; names the key that is missing and the file it should be in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SealError(String);

/// What is done with some resources.
struct Rule {
    /// Group and resource each.
    resources: Vec<(String, String)>,
    chain: Chain,
}

impl Rule {
    fn names(&self, group: &str, resource: &str) -> bool {
        self.resources.iter().any(|(g, r)| g == group && r == resource)
    }
}

/// A file's rules; more exact names win, then earlier ones.
struct Rules(Vec<Rule>);

impl Rules {
    fn chain(&self, key: &str) -> Option<&Chain> {
        let (group, resource) = resource_of(key)?;
        let named = |group: &str, resource: &str| self.0.iter().find(|rule| rule.names(group, resource));
        let rule = named(group, resource).or_else(|| named(group, "*")).or_else(|| named("*", "*"))?;
        Some(&rule.chain)
    }
}

/// Group and resource of a storage key, `/registry/GROUP/RESOURCE/…`.
fn resource_of(key: &str) -> Option<(&str, &str)> {
    let mut parts = key.split('/').skip(2);
    let (group, resource) = (parts.next()?, parts.next()?);
    Some((if group == "core" { "" } else { group }, resource))
}

/// Whose keys they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The server made them and may change them.
    Server,
    /// The server made them; others that share the store need the same.
    Shared,
    /// The user's; with `follow` their file is looked at while running.
    User { follow: bool },
}

struct Shared {
    file: PathBuf,
    owner: Owner,
    clock: SharedClock,
    rng: Rng,
    rules: RwLock<Arc<Rules>>,
    /// Something was met that could not be opened.
    locked: AtomicBool,
    /// Told when the rules have changed.
    changed: Notify,
    progress: Mutex<upkeep::Progress>,
}

/// What seals and opens. Clones share their keys; the default one leaves everything as it is.
#[derive(Clone, Default)]
pub struct Encryption(Option<Arc<Shared>>);

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = self.0.as_ref().map(|shared| &shared.file);
        f.debug_struct("Encryption").field("file", &file).finish_non_exhaustive()
    }
}

impl Encryption {
    /// Seals secrets with AES-256-GCM by keys of the server's own in `file`, which is made if there is none.
    /// With `shared_store`, other servers use the same store and must have the same file.
    ///
    /// # Errors
    /// When the file cannot be read, made or understood.
    pub fn own(
        file: &Path,
        shared_store: bool,
        clock: SharedClock,
        rng: Rng,
    ) -> Result<Self, EncryptionError> {
        key_file::make_if_missing(file, &clock, &rng)?;
        Self::load(file, if shared_store { Owner::Shared } else { Owner::Server }, clock, rng)
    }

    /// Seals as an `EncryptionConfiguration` says (upstream's `--encryption-provider-config`). With `follow`
    /// changes of the file count while running (`--encryption-provider-config-automatic-reload`).
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn given(file: &Path, follow: bool, clock: SharedClock, rng: Rng) -> Result<Self, EncryptionError> {
        Self::load(file, Owner::User { follow }, clock, rng)
    }

    fn load(file: &Path, owner: Owner, clock: SharedClock, rng: Rng) -> Result<Self, EncryptionError> {
        let rules = RwLock::new(Arc::new(rules(file, &clock, &rng)?));
        Ok(Self(Some(Arc::new(Shared {
            file: file.to_owned(),
            owner,
            clock,
            rng,
            rules,
            locked: AtomicBool::new(false),
            changed: Notify::new(),
            progress: Mutex::default(),
        }))))
    }

    /// Reads the file again; what it says counts from now on. A file that is wrong changes nothing.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn reload(&self) -> Result<(), EncryptionError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let rules = rules(&shared.file, &shared.clock, &shared.rng)?;
        *shared.rules.write() = Arc::new(rules);
        shared.changed.notify_one();
        Ok(())
    }

    /// The bytes to store for a key; `None` when they are stored as they are.
    ///
    /// # Errors
    /// When a key management service cannot be had.
    pub(crate) fn seal(&self, key: &str, clear: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        let Some(shared) = &self.0 else { return Ok(None) };
        let rules = shared.rules();
        let sealed = rules.chain(key).map_or(Ok(None), |chain| chain.seal(key, clear, &shared.rng));
        sealed.map_err(|error| SealError(format!("unable to transform key {key:?}: {error}")))
    }

    /// Whether [`Self::seal`] can work now.
    ///
    /// # Errors
    /// As it would fail.
    pub(crate) fn writable(&self, key: &str) -> Result<(), SealError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let able = shared.rules().chain(key).map_or(Ok(()), Chain::writable);
        able.map_err(|error| SealError(format!("unable to transform key {key:?}: {error}")))
    }

    /// Whether all key management services that write can do so now; `None` when there are none.
    pub(crate) fn services_write(&self) -> Option<bool> {
        let rules = self.0.as_ref()?.rules();
        let mut services = rules.0.iter().filter(|rule| rule.chain.is_remote()).peekable();
        services.peek()?;
        Some(services.all(|rule| rule.chain.writable().is_ok()))
    }

    /// What was stored under a key, in clear.
    ///
    /// # Errors
    /// When no key opens it. From then on [`Self::is_locked`].
    pub(crate) fn open(&self, key: &str, stored: Bytes) -> Result<Bytes, SealError> {
        let opened = match self.0.as_ref().map(|shared| shared.rules()) {
            Some(rules) => match rules.chain(key) {
                Some(chain) => chain.open(key, &stored),
                None => unsealed(&stored),
            },
            None => unsealed(&stored),
        };
        match opened {
            Ok(None) => Ok(stored),
            Ok(Some(clear)) => Ok(clear.into()),
            Err(error) => {
                if let Some(shared) = &self.0 {
                    shared.locked.store(true, Ordering::Relaxed);
                }
                Err(self.explain(key, &stored, &error))
            }
        }
    }

    /// Whether something was met that could not be opened.
    pub(crate) fn is_locked(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.locked.load(Ordering::Relaxed))
    }

    /// The bytes to store instead of those that are there; `None` when they are as they should be.
    ///
    /// # Errors
    /// When no key opens them, or they cannot be sealed.
    pub(crate) fn reseal(&self, key: &str, stored: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        let Some(shared) = &self.0 else { return Ok(None) };
        let rules = shared.rules();
        let Some(chain) = rules.chain(key) else { return Ok(None) };
        if chain.is_current(stored) {
            return Ok(None);
        }
        let opened = chain.open(key, stored).map_err(|error| self.explain(key, stored, &error))?;
        let clear = opened.as_deref().unwrap_or(stored);
        // Moving away from encryption, the clear bytes are what is to be stored.
        Ok(Some(self.seal(key, clear)?.unwrap_or_else(|| clear.to_vec())))
    }

    /// Beginnings of the storage keys of everything that rules name.
    pub(crate) fn prefixes(&self) -> Vec<String> {
        let Some(shared) = &self.0 else { return Vec::new() };
        let rules = shared.rules();
        let names = rules.0.iter().flat_map(|rule| &rule.resources);
        let prefixes = names.map(|(group, resource)| match (group.as_str(), resource.as_str()) {
            ("*", "*") => "/registry/".to_owned(),
            ("", "*") => "/registry/core/".to_owned(),
            (group, "*") => format!("/registry/{group}/"),
            (group, resource) => api::names::storage_prefix(group, resource, None),
        });
        prefixes.collect()
    }

    fn explain(&self, key: &str, stored: &[u8], error: &ProviderError) -> SealError {
        let text = format!("unable to transform key {key:?}: {error}");
        if !stored.starts_with(SEALED) {
            return SealError(text);
        }
        let place = match &self.0 {
            Some(shared) => format!("keys are read from {}", shared.file.display()),
            None => "no keys are configured".to_owned(),
        };
        SealError(format!("{text} (it is sealed with {}; {place})", sealer(stored)))
    }
}

impl Shared {
    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }
}

/// Whether bytes are sealed. An object is JSON, which begins otherwise.
pub(crate) fn is_sealed(stored: &[u8]) -> bool {
    stored.starts_with(SEALED)
}

/// What is stored of a resource that no rule names.
fn unsealed(stored: &[u8]) -> Result<Option<Vec<u8>>, ProviderError> {
    if is_sealed(stored) { Err(ProviderError::Identity) } else { Ok(None) }
}

fn rules(file: &Path, clock: &SharedClock, rng: &Rng) -> Result<Rules, EncryptionError> {
    let text = key_file::read(file)?;
    let configuration = configuration::parse(&text)
        .map_err(|why| EncryptionError::Configuration { path: file.to_owned(), why })?;
    let mut start = |kms: &configuration::Kms| {
        let timeout = kms.timeout().unwrap_or_default();
        Arc::new(Kms::start(&kms.name, &kms.endpoint, timeout, clock, rng))
    };
    let rules = configuration.resources.iter().map(|entry| Rule {
        resources: entry.resources.iter().map(|name| group_resource(name)).map(owned).collect(),
        chain: Chain::new(entry, &mut start),
    });
    Ok(Rules(rules.collect()))
}

fn owned((group, resource): (&str, &str)) -> (String, String) {
    (group.to_owned(), resource.to_owned())
}

#[cfg(test)]
mod tests;
