//! Keys of service-account tokens: one signs (ES256), it and all former ones verify.
//!
//! Entry points: [`TokenKeys::open`], [`TokenKeys::rotate`]. `service-account.key` signs; public keys in
//! `service-account.*.pub` verify until somebody removes them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::PublicKeyData as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::TlsError;
use super::files::{read, restrict, write_private};
pub use crate::jws::TokenProblem;
use crate::jws::{Jws, VerifyingKey};

const NAME: &str = "service-account";

/// A P-256 key that signs tokens.
pub struct TokenKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    public: VerifyingKey,
    public_pem: String,
}

impl TokenKey {
    /// Reads the key from `path`, or makes one there.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub(super) fn open(path: &Path) -> Result<Self, TlsError> {
        if !path.exists() {
            write_private(path, super::new_key(NAME)?.serialize_pem().as_bytes())?;
        }
        restrict(path)?;
        let unusable = |detail: String| TlsError::Unusable { path: path.to_owned(), detail };
        let key = rcgen::KeyPair::from_pem(&read(path)?).map_err(|e| unusable(e.to_string()))?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random)
            .map_err(|e| unusable(e.to_string()))?;
        let public = VerifyingKey::from_der(&key.subject_public_key_info())
            .ok_or_else(|| unusable("it is no P-256 key".to_owned()))?;
        Ok(Self { pair, random, public, public_pem: key.public_key_pem() })
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn sign(&self, claims: &Value) -> Result<String, TlsError> {
        let header = json!({"alg": self.public.algorithm(), "kid": self.public.id});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(claims));
        let signature = self
            .pair
            .sign(&self.random, message.as_bytes())
            .map_err(|_| TlsError::Config("the system gives no randomness to sign with".to_owned()))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The key that signs, and all that verify.
pub struct TokenKeys {
    signing: TokenKey,
    /// The signing one first.
    verifying: Vec<VerifyingKey>,
}

impl TokenKeys {
    /// Reads the keys of a directory; makes one to sign with when there is none.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else.
    pub(super) fn open(dir: &Path) -> Result<Self, TlsError> {
        let signing = TokenKey::open(&dir.join(format!("{NAME}.key")))?;
        let mut verifying = vec![signing.public.clone()];
        let fail = |source| TlsError::File { act: "reading", path: dir.to_owned(), source };
        let mut former = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(NAME) && name.ends_with(".pub") {
                former.push(path);
            }
        }
        former.sort();
        for path in former {
            let detail = "it holds no public key".to_owned();
            let key = VerifyingKey::from_pem(&read(&path)?).ok_or(TlsError::Unusable { path, detail })?;
            verifying.push(key);
        }
        Ok(Self { signing, verifying })
    }

    /// Puts a new key in the place of the one that signs, which goes on verifying.
    pub(super) fn rotate(dir: &Path) -> Result<(), TlsError> {
        let path = dir.join(format!("{NAME}.key"));
        let former = TokenKey::open(&path)?;
        let id: String = former.public.id.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        write_private(&dir.join(format!("{NAME}.{id}.pub")), former.public_pem.as_bytes())?;
        write_private(&path, super::new_key(NAME)?.serialize_pem().as_bytes())
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn sign(&self, claims: &Value) -> Result<String, TlsError> {
        self.signing.sign(claims)
    }

    /// The claims of a token one of these keys signed. Says nothing about expiry, audience or binding.
    ///
    /// # Errors
    /// When it is not such a token.
    pub fn verify(&self, token: &str) -> Result<Value, TokenProblem> {
        let token = Jws::parse(token)?;
        let named = self.verifying.iter().filter(|key| key.id == token.key_id);
        // The name is a hint: tokens of earlier versions name their key in another way.
        let others = self.verifying.iter().filter(|key| key.id != token.key_id);
        match named.chain(others).any(|key| key.verify(&token).is_ok()) {
            true => Ok(token.claims),
            false => Err(TokenProblem::Signature),
        }
    }

    /// The public halves, the signing one first.
    pub fn public(&self) -> &[VerifyingKey] {
        &self.verifying
    }

    /// Names of the keys.
    pub(super) fn ids(&self) -> impl Iterator<Item = String> {
        self.verifying.iter().map(|key| key.id.clone())
    }
}
