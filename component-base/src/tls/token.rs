//! Signed service-account tokens: JSON Web Tokens with ES256 (RFC 7515, RFC 7518 section 3.4).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde_json::{Value, json};

use super::{TlsError, read, write_private};

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// Not three dot-separated base64url parts of JSON.
    #[error("not a JSON Web Token")]
    Malformed,
    /// Signed by another key or with another algorithm.
    #[error("the signature does not verify")]
    Signature,
}

/// A P-256 key that signs and verifies tokens.
pub struct TokenKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    id: String,
}

impl TokenKey {
    /// Reads the key from `path`, or makes one there.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub(super) fn open(path: &Path) -> Result<Self, TlsError> {
        if !path.exists() {
            let fresh = rcgen::KeyPair::generate()
                .map_err(|source| TlsError::Sign { subject: "service-account".to_owned(), source })?;
            write_private(path, fresh.serialize_pem().as_bytes())?;
        }
        let unusable = |detail: String| TlsError::Unusable { path: path.to_owned(), detail };
        let der =
            rcgen::KeyPair::from_pem(&read(path)?).map_err(|e| unusable(e.to_string()))?.serialize_der();
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
            .map_err(|e| unusable(e.to_string()))?;
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, pair.public_key().as_ref()));
        Ok(Self { pair, random, id })
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn sign(&self, claims: &Value) -> Result<String, TlsError> {
        let header = json!({"alg": "ES256", "kid": self.id, "typ": "JWT"});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(claims));
        let signature = self
            .pair
            .sign(&self.random, message.as_bytes())
            .map_err(|_| TlsError::Config("the system gives no randomness to sign with".to_owned()))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token this key signed. Says nothing about expiry, audience or binding.
    ///
    /// # Errors
    /// When it is not such a token.
    pub fn verify(&self, token: &str) -> Result<Value, TokenProblem> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenProblem::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenProblem::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenProblem::Malformed);
        let parse = |bytes: Vec<u8>| -> Result<Value, TokenProblem> {
            serde_json::from_slice(&bytes).map_err(|_| TokenProblem::Malformed)
        };
        if parse(decode(header)?)?["alg"] != "ES256" {
            return Err(TokenProblem::Signature);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(message.as_bytes(), &decode(signature)?)
            .map_err(|_| TokenProblem::Signature)?;
        parse(decode(claims)?)
    }

    /// The public half as a JSON Web Key, for `/openid/v1/jwks`.
    pub fn public_jwk(&self) -> Value {
        // An uncompressed point: one tag byte, then 32 bytes each of x and y.
        let point = self.pair.public_key().as_ref();
        let part =
            |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
        json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
               "x": part(1..33), "y": part(33..65)})
    }
}
