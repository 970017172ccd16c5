//! JSON Web Signatures: compact tokens and the public keys that verify them (RFC 7515, 7517, 7518).
//!
//! Entry points: [`Jws::parse`], [`VerifyingKey`]. A token's algorithm must be one its key is for: `none` and
//! algorithms with shared secrets are for no key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p521::ecdsa::signature::Verifier as _;
use ring::digest::{SHA256, digest};
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

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

/// A token that has been read, not verified.
pub struct Jws<'a> {
    /// `alg`, such as `ES256`.
    pub algorithm: String,
    /// `kid`; empty when the token names no key.
    pub key_id: String,
    /// The claims, which are whatever somebody wrote until [`VerifyingKey::verify`] says otherwise.
    pub claims: Value,
    message: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Reads a token in compact form.
    ///
    /// # Errors
    /// When it is none, or asks for an extension nobody here knows (`crit`).
    pub fn parse(token: &'a str) -> Result<Self, TokenProblem> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenProblem::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenProblem::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenProblem::Malformed);
        let read = |part: &str| -> Result<Value, TokenProblem> {
            let value: Value = serde_json::from_slice(&decode(part)?).map_err(|_| TokenProblem::Malformed)?;
            if value.is_object() { Ok(value) } else { Err(TokenProblem::Malformed) }
        };
        let header = read(header)?;
        if header.get("crit").is_some() {
            return Err(TokenProblem::Malformed);
        }
        let text = |key: &str| header[key].as_str().unwrap_or_default().to_owned();
        let (algorithm, key_id) = (text("alg"), text("kid"));
        Ok(Self { algorithm, key_id, claims: read(claims)?, message, signature: decode(signature)? })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    /// An uncompressed point of a curve: one tag byte, then x and y.
    Point(&'static Curve, Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

/// A curve, and the one algorithm that goes with it.
#[derive(Debug, PartialEq, Eq)]
struct Curve {
    name: &'static str,
    algorithm: &'static str,
    coordinate_length: usize,
}

const CURVES: [Curve; 3] = [
    Curve { name: "P-256", algorithm: "ES256", coordinate_length: 32 },
    Curve { name: "P-384", algorithm: "ES384", coordinate_length: 48 },
    Curve { name: "P-521", algorithm: "ES512", coordinate_length: 66 },
];

/// Algorithms of RSA keys; the first is what a key without `alg` is said to be for.
const RSA_ALGORITHMS: [(&str, &RsaParameters); 6] = [
    ("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
    ("RS384", &signature::RSA_PKCS1_2048_8192_SHA384),
    ("RS512", &signature::RSA_PKCS1_2048_8192_SHA512),
    ("PS256", &signature::RSA_PSS_2048_8192_SHA256),
    ("PS384", &signature::RSA_PSS_2048_8192_SHA384),
    ("PS512", &signature::RSA_PSS_2048_8192_SHA512),
];

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    /// `kid`; may be empty.
    pub id: String,
    material: Material,
}

impl VerifyingKey {
    /// From a JSON Web Key; `None` when it is of a kind that is not known or not for signatures.
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        if jwk["use"].as_str().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let bytes = |key: &str| URL_SAFE_NO_PAD.decode(jwk[key].as_str()?).ok();
        let material = match jwk["kty"].as_str()? {
            "RSA" => Material::Rsa { modulus: bytes("n")?, exponent: bytes("e")? },
            "EC" => {
                let curve = CURVES.iter().find(|curve| jwk["crv"] == curve.name)?;
                Material::Point(curve, [vec![4], bytes("x")?, bytes("y")?].concat())
            }
            _ => return None,
        };
        Some(Self { id: jwk["kid"].as_str().unwrap_or_default().to_owned(), material })
    }

    /// From SubjectPublicKeyInfo in DER; its id is upstream's, the base64url SHA-256 of that DER.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let material = match info.parsed().ok()? {
            PublicKey::RSA(rsa) => {
                let trimmed = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
                Material::Rsa { modulus: trimmed(rsa.modulus), exponent: trimmed(rsa.exponent) }
            }
            PublicKey::EC(point) => {
                let curve =
                    CURVES.iter().find(|curve| point.data().len() == 2 * curve.coordinate_length + 1)?;
                Material::Point(curve, point.data().to_vec())
            }
            _ => return None,
        };
        Some(Self { id: URL_SAFE_NO_PAD.encode(digest(&SHA256, der)), material })
    }

    /// From a `PUBLIC KEY` in PEM.
    pub fn from_pem(pem: &str) -> Option<Self> {
        Self::from_der(&SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?)
    }

    /// The algorithm new tokens of this key have.
    pub fn algorithm(&self) -> &'static str {
        match &self.material {
            Material::Point(curve, _) => curve.algorithm,
            Material::Rsa { .. } => RSA_ALGORITHMS[0].0,
        }
    }

    /// Whether the token is signed by this key, with an algorithm the key is for.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, token: &Jws<'_>) -> Result<(), TokenProblem> {
        let message = token.message.as_bytes();
        let verified = match &self.material {
            Material::Point(curve, point) if token.algorithm == "ES512" && curve.algorithm == "ES512" => {
                return es512(point, message, &token.signature).ok_or(TokenProblem::Signature);
            }
            Material::Point(curve, point) if curve.algorithm == token.algorithm => {
                let algorithm: &dyn VerificationAlgorithm = match curve.algorithm {
                    "ES384" => &signature::ECDSA_P384_SHA384_FIXED,
                    _ => &signature::ECDSA_P256_SHA256_FIXED,
                };
                UnparsedPublicKey::new(algorithm, point).verify(message, &token.signature)
            }
            Material::Rsa { modulus, exponent } => {
                let known = RSA_ALGORITHMS.iter().find(|(name, _)| *name == token.algorithm);
                let (_, parameters) = known.ok_or(TokenProblem::Signature)?;
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                    parameters,
                    message,
                    &token.signature,
                )
            }
            Material::Point(..) => return Err(TokenProblem::Signature),
        };
        verified.map_err(|_| TokenProblem::Signature)
    }

    /// As a JSON Web Key, for `/openid/v1/jwks`.
    pub fn to_jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = json!({"use": "sig", "kid": self.id, "alg": self.algorithm()});
        let fields = match &self.material {
            Material::Point(curve, point) => {
                let (x, y) = point.get(1..).unwrap_or_default().split_at(curve.coordinate_length);
                json!({"kty": "EC", "crv": curve.name, "x": encode(x), "y": encode(y)})
            }
            Material::Rsa { modulus, exponent } => {
                json!({"kty": "RSA", "n": encode(modulus), "e": encode(exponent)})
            }
        };
        if let (Some(all), Value::Object(fields)) = (jwk.as_object_mut(), fields) {
            all.extend(fields);
        }
        jwk
    }
}

/// Verifies what ring cannot: it has no curve P-521.
fn es512(point: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    key.verify(message, &p521::ecdsa::Signature::from_slice(signature).ok()?).ok()
}

/// Signs a text with a bootstrap token (HS256), without repeating the text (RFC 7515 appendix F).
pub fn sign_detached(content: &str, token_id: &str, token_secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": token_id}).to_string());
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, token_secret.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with openssl.
    const ES512: &str = "eyJhbGciOiJFUzUxMiJ9.eyJpc3MiOiJodHRwczovL2kifQ.\
        AYR7tDEm96yUzHXcb_9j8L9B_ep7zpByLvXqhq5pMGbR0hH165PQgZ4nqIFlUX5dyGDPO_YJp29It9urR0UTznIwAaUl9Ksb7H3YcWtMYd1J\
        GL5Xt5Xx1z_nVQjHLlCrVs10NGyIAcdpSeP5Sv7MmtIsfDZdqXYqd7jIoE7Ncr4Jidsr";

    #[test]
    fn a_token_of_the_largest_curve() {
        let jwk = json!({"kty": "EC", "crv": "P-521",
            "x": "AaMv5xyTKIiJ8r5nKnJORBYzKRgVqKB3lUwwkd-ruQ2JqU-CXqNfPXpSpK9aNk_3kXacYvkqKHg_RxkmAU2Isz6A",
            "y": "ATnGDbxVfiAskSaHnSXOsB0yZzbRYFvXes97Vpbdg9-xFYvcEfTdLN6keoVOoHzXS-AUagw3u_-qw7CaLEhPrf-u"});
        let key = VerifyingKey::from_jwk(&jwk).expect("a key");
        assert_eq!(key.algorithm(), "ES512");
        let verify = |token: &str| Jws::parse(token).and_then(|jws| key.verify(&jws));
        assert_eq!(verify(ES512), Ok(()));
        let other = ES512.replacen("eyJpc3MiOiJodHRwczovL2kifQ", "eyJpc3MiOiJodHRwczovL2oifQ", 1);
        let lesser = ES512.replacen("eyJhbGciOiJFUzUxMiJ9", "eyJhbGciOiJFUzM4NCJ9", 1);
        let (short, _) = ES512.split_at(ES512.len() - 4);
        for wrong in [other.as_str(), &lesser, short, &format!("{short}AAAA")] {
            assert_eq!(verify(wrong), Err(TokenProblem::Signature), "{wrong}");
        }
    }

    #[test]
    fn a_point_that_is_not_on_the_curve_verifies_nothing() {
        let one = URL_SAFE_NO_PAD.encode([1; 66]);
        let jwk = json!({"kty": "EC", "crv": "P-521", "x": one, "y": one});
        let key = VerifyingKey::from_jwk(&jwk).expect("a key");
        let token = Jws::parse(ES512).expect("a token");
        assert_eq!(key.verify(&token), Err(TokenProblem::Signature));
    }
}
