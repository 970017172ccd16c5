//! What reads and writes the bytes of some resources: upstream's prefix transformers.
//!
//! Entry points: [`Chain::seal`], [`Chain::open`], [`Chain::is_current`]. What is sealed begins with
//! `k8s:enc:PROVIDER:VERSION:NAME:`; the first provider writes, all read (`pkg/storage/value/transformer.go`).

use std::sync::Arc;

use component_base::rng::Rng;

use super::ciphers::{Cipher, CipherError, Method};
use super::configuration::{self, Entry, Keys};
use super::kms::Kms;

/// What everything that is sealed begins with. JSON begins with `{`.
pub(super) const SEALED: &[u8] = b"k8s:enc:";

/// Why something was not sealed or opened, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("identity transformer tried to read encrypted data")]
    Identity,
    #[error("no matching prefix found")]
    NoPrefix,
    #[error("no matching key was found for the provided {0} transformer")]
    NoKey(&'static str),
    #[error(transparent)]
    Cipher(#[from] CipherError),
    #[error("{0}")]
    Kms(String),
    #[error("[{0}]")]
    Several(String),
}

/// One provider.
enum Provider {
    Identity,
    Keyed { prefix: &'static str, family: &'static str, keys: Vec<(String, Cipher)> },
    Kms(Arc<Kms>),
}

/// The providers of some resources in order.
pub(super) struct Chain(Vec<Provider>);

impl Provider {
    fn new(provider: &configuration::Provider, kms: &mut dyn FnMut(&configuration::Kms) -> Arc<Kms>) -> Self {
        let keyed = |prefix, family, method, keys: &Keys| {
            let cipher = |key: &configuration::Key| {
                (format!("{}:", key.name), Cipher::new(method, key.bytes().unwrap_or_default()))
            };
            Self::Keyed { prefix, family, keys: keys.keys.iter().map(cipher).collect() }
        };
        match provider {
            configuration::Provider { aesgcm: Some(keys), .. } => {
                keyed("k8s:enc:aesgcm:v1:", "AES", Method::AesGcm, keys)
            }
            configuration::Provider { aescbc: Some(keys), .. } => {
                keyed("k8s:enc:aescbc:v1:", "AES", Method::AesCbc, keys)
            }
            configuration::Provider { secretbox: Some(keys), .. } => {
                keyed("k8s:enc:secretbox:v1:", "Secretbox", Method::Secretbox, keys)
            }
            configuration::Provider { kms: Some(service), .. } => Self::Kms(kms(service)),
            _ => Self::Identity,
        }
    }

    /// What is left of stored bytes for this provider to open.
    fn own<'a>(&self, stored: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Identity => Some(stored),
            Self::Keyed { prefix, .. } => stored.strip_prefix(prefix.as_bytes()),
            Self::Kms(kms) => stored.strip_prefix(kms.prefix().as_bytes()),
        }
    }

    fn open(&self, rest: &[u8], key: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        match self {
            Self::Identity if rest.starts_with(SEALED) => Err(ProviderError::Identity),
            Self::Identity => Ok(None),
            Self::Keyed { family, keys, .. } => {
                let named = keys
                    .iter()
                    .filter_map(|(name, cipher)| Some((cipher, rest.strip_prefix(name.as_bytes())?)));
                let opened = named.map(|(cipher, text)| Ok(cipher.open(text, key.as_bytes())?));
                first_good(opened, ProviderError::NoKey(family)).map(Some)
            }
            Self::Kms(kms) => kms.open(rest, key).map(Some).map_err(ProviderError::Kms),
        }
    }
}

/// The first that succeeds, or what all of them say; `none` when there are none.
fn first_good<T>(
    attempts: impl Iterator<Item = Result<T, ProviderError>>,
    none: ProviderError,
) -> Result<T, ProviderError> {
    let mut failures = Vec::new();
    for attempt in attempts {
        match attempt {
            Ok(good) => return Ok(good),
            Err(failure) => failures.push(failure),
        }
    }
    match failures.len() {
        0 => Err(none),
        1 => Err(failures.remove(0)),
        _ => {
            let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
            Err(ProviderError::Several(texts.join(", ")))
        }
    }
}

impl Chain {
    /// The providers of a checked configuration's entry; `kms` finds or starts a service.
    pub(super) fn new(entry: &Entry, kms: &mut dyn FnMut(&configuration::Kms) -> Arc<Kms>) -> Self {
        Self(entry.providers.iter().map(|provider| Provider::new(provider, kms)).collect())
    }

    /// The bytes to store under a key; `None` when they are stored as they are.
    pub(super) fn seal(&self, key: &str, clear: &[u8], rng: &Rng) -> Result<Option<Vec<u8>>, ProviderError> {
        match self.0.first() {
            None | Some(Provider::Identity) => Ok(None),
            Some(Provider::Keyed { prefix, family, keys }) => {
                let (name, cipher) = keys.first().ok_or(ProviderError::NoKey(family))?;
                let sealed = cipher.seal(clear, key.as_bytes(), rng)?;
                Ok(Some([prefix.as_bytes(), name.as_bytes(), &sealed].concat()))
            }
            Some(Provider::Kms(kms)) => {
                let sealed = kms.seal(clear, key, rng).map_err(ProviderError::Kms)?;
                Ok(Some([kms.prefix().as_bytes(), &sealed].concat()))
            }
        }
    }

    /// What was sealed; `None` when it stands there in clear.
    pub(super) fn open(&self, key: &str, stored: &[u8]) -> Result<Option<Vec<u8>>, ProviderError> {
        let able = self.0.iter().filter_map(|provider| Some((provider, provider.own(stored)?)));
        let opened = able.map(|(provider, rest)| provider.open(rest, key));
        // Identity's failure only says that others are asked.
        let opened = opened.filter(|outcome| !matches!(outcome, Err(ProviderError::Identity)));
        first_good(opened, ProviderError::NoPrefix)
    }

    /// Whether what is stored is what would be written now.
    pub(super) fn is_current(&self, stored: &[u8]) -> bool {
        match self.0.first() {
            None | Some(Provider::Identity) => !stored.starts_with(SEALED),
            Some(Provider::Keyed { prefix, keys, .. }) => keys.first().is_some_and(|(name, _)| {
                stored.strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest.starts_with(name.as_bytes()))
            }),
            Some(Provider::Kms(kms)) => {
                stored.strip_prefix(kms.prefix().as_bytes()).is_some_and(|rest| kms.is_current(rest))
            }
        }
    }

    /// Whether a key management service writes.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self.0.first(), Some(Provider::Kms(_)))
    }

    /// Whether writing works now; only a KMS may be unable to.
    pub(super) fn writable(&self) -> Result<(), ProviderError> {
        match self.0.first() {
            Some(Provider::Kms(kms)) => kms.writable().map_err(ProviderError::Kms),
            _ => Ok(()),
        }
    }

    /// The providers and keys by name, in order; the first writes.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.0.iter().flat_map(|provider| match provider {
            Provider::Identity => vec!["identity".to_owned()],
            Provider::Keyed { prefix, keys, .. } => {
                keys.iter().map(|(name, _)| described(&format!("{prefix}{name}"))).collect()
            }
            Provider::Kms(kms) => vec![described(kms.prefix())],
        });
        names.collect()
    }
}

/// `aesgcm key "key1"` for what begins with `k8s:enc:aesgcm:v1:key1:`.
pub(super) fn described(sealed: &str) -> String {
    let mut parts = sealed.split(':').skip(2);
    match (parts.next(), parts.next(), parts.next()) {
        (Some("kms"), _, Some(name)) => format!("kms {name:?}"),
        (Some(provider), _, Some(name)) => format!("{provider} key {name:?}"),
        _ => "an unknown provider".to_owned(),
    }
}

/// Who sealed stored bytes, as far as they tell.
pub(super) fn sealer(stored: &[u8]) -> String {
    let head = &stored[..stored.len().min(512)];
    let end = head.iter().enumerate().filter(|(_, byte)| **byte == b':').nth(4).map_or(0, |(at, _)| at);
    described(&String::from_utf8_lossy(&head[..end]))
}
