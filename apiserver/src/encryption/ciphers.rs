//! One key and what it does to bytes: AES-GCM, AES-CBC and NaCl's secretbox, laid out as upstream stores them.
//!
//! Entry points: [`Cipher::seal`] and [`Cipher::open`]. Layouts (`k8s.io/apiserver/pkg/storage/value/encrypt`):
//! GCM is nonce (12), text, tag (16), with the storage key authenticated; CBC is IV (16) and padded text, which
//! nothing authenticates; secretbox is nonce (24), tag (16), text. Nonces are random, so a GCM key is good for
//! 2³² writes (NIST SP 800-38D).

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, Nonce, Payload};
use aes_gcm::{AesGcm, KeyInit};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use component_base::rng::Rng;
use crypto_secretbox::aead::Aead as _;
use zeroize::Zeroizing;

const GCM_NONCE: usize = 12;
const CBC_IV: usize = 16;
const SECRETBOX_NONCE: usize = 24;

/// What a cipher cannot do, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CipherError {
    #[error("the stored data was shorter than the required size")]
    Short,
    #[error("the stored data is not a multiple of the block size")]
    BlockSize,
    #[error("invalid padding on input")]
    Padding,
    #[error("cipher: message authentication failed")]
    Forged,
    #[error("crypto/aes: invalid key size")]
    KeySize,
}

/// How a key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    AesGcm,
    AesCbc,
    Secretbox,
}

/// A key and its use. The key is wiped from memory when this goes.
pub(super) struct Cipher {
    method: Method,
    key: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Direction {
    Seal,
    Open,
}

impl Cipher {
    /// A key of a length that the method takes; others fail at their first use.
    pub(super) fn new(method: Method, key: Zeroizing<Vec<u8>>) -> Self {
        Self { method, key }
    }

    /// Seals; `authenticated` must be the same when it is opened again.
    pub(super) fn seal(&self, clear: &[u8], authenticated: &[u8], rng: &Rng) -> Result<Vec<u8>, CipherError> {
        match self.method {
            Method::AesGcm => {
                let nonce = rng.bytes::<GCM_NONCE>();
                let sealed =
                    gcm(Direction::Seal, &self.key, &nonce, Payload { msg: clear, aad: authenticated })?;
                Ok([&nonce[..], &sealed].concat())
            }
            Method::AesCbc => {
                let iv = rng.bytes::<CBC_IV>();
                let sealed = match self.key.len() {
                    16 => cbc_seal::<cbc::Encryptor<Aes128>>(&self.key, &iv, clear),
                    24 => cbc_seal::<cbc::Encryptor<Aes192>>(&self.key, &iv, clear),
                    _ => cbc_seal::<cbc::Encryptor<Aes256>>(&self.key, &iv, clear),
                }?;
                Ok([&iv[..], &sealed].concat())
            }
            Method::Secretbox => {
                let nonce = rng.bytes::<SECRETBOX_NONCE>();
                let sealed = self.secretbox()?.encrypt((&nonce).into(), clear);
                Ok([&nonce[..], &sealed.map_err(|_| CipherError::Forged)?].concat())
            }
        }
    }

    /// Opens what [`Self::seal`] made.
    pub(super) fn open(&self, sealed: &[u8], authenticated: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self.method {
            Method::AesGcm => {
                let (nonce, text) = sealed.split_at_checked(GCM_NONCE).ok_or(CipherError::Short)?;
                gcm(Direction::Open, &self.key, nonce, Payload { msg: text, aad: authenticated })
            }
            Method::AesCbc => {
                let (iv, text) = sealed.split_at_checked(CBC_IV).ok_or(CipherError::Short)?;
                if text.len() % CBC_IV != 0 {
                    return Err(CipherError::BlockSize);
                }
                match self.key.len() {
                    16 => cbc_open::<cbc::Decryptor<Aes128>>(&self.key, iv, text),
                    24 => cbc_open::<cbc::Decryptor<Aes192>>(&self.key, iv, text),
                    _ => cbc_open::<cbc::Decryptor<Aes256>>(&self.key, iv, text),
                }
            }
            Method::Secretbox => {
                let (nonce, text) = sealed.split_at_checked(SECRETBOX_NONCE).ok_or(CipherError::Short)?;
                self.secretbox()?.decrypt(nonce.into(), text).map_err(|_| CipherError::Forged)
            }
        }
    }

    fn secretbox(&self) -> Result<crypto_secretbox::XSalsa20Poly1305, CipherError> {
        crypto_secretbox::KeyInit::new_from_slice(&self.key).map_err(|_| CipherError::KeySize)
    }
}

fn gcm(
    direction: Direction,
    key: &[u8],
    nonce: &[u8],
    payload: Payload<'_, '_>,
) -> Result<Vec<u8>, CipherError> {
    match key.len() {
        16 => aead::<AesGcm<Aes128, U12>>(direction, key, nonce, payload),
        24 => aead::<AesGcm<Aes192, U12>>(direction, key, nonce, payload),
        _ => aead::<AesGcm<Aes256, U12>>(direction, key, nonce, payload),
    }
}

fn aead<A: Aead + KeyInit>(
    direction: Direction,
    key: &[u8],
    nonce: &[u8],
    payload: Payload<'_, '_>,
) -> Result<Vec<u8>, CipherError> {
    let cipher = A::new_from_slice(key).map_err(|_| CipherError::KeySize)?;
    let nonce = Nonce::<A>::try_from(nonce).map_err(|_| CipherError::Short)?;
    let done = match direction {
        Direction::Seal => cipher.encrypt(&nonce, payload),
        Direction::Open => cipher.decrypt(&nonce, payload),
    };
    done.map_err(|_| CipherError::Forged)
}

fn cbc_seal<C: BlockModeEncrypt + KeyIvInit>(
    key: &[u8],
    iv: &[u8],
    clear: &[u8],
) -> Result<Vec<u8>, CipherError> {
    let cipher = C::new_from_slices(key, iv).map_err(|_| CipherError::KeySize)?;
    Ok(cipher.encrypt_padded_vec::<Pkcs7>(clear))
}

fn cbc_open<C: BlockModeDecrypt + KeyIvInit>(
    key: &[u8],
    iv: &[u8],
    text: &[u8],
) -> Result<Vec<u8>, CipherError> {
    let cipher = C::new_from_slices(key, iv).map_err(|_| CipherError::KeySize)?;
    cipher.decrypt_padded_vec::<Pkcs7>(text).map_err(|_| CipherError::Padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"{\"kind\":\"Secret\"}";

    fn cipher(method: Method, length: usize) -> Cipher {
        Cipher::new(method, vec![7; length].into())
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_in_the_same_place() {
        let rng = Rng::seeded(1);
        for (method, length) in [
            (Method::AesGcm, 16),
            (Method::AesGcm, 24),
            (Method::AesGcm, 32),
            (Method::AesCbc, 16),
            (Method::AesCbc, 24),
            (Method::AesCbc, 32),
            (Method::Secretbox, 32),
        ] {
            let key = cipher(method, length);
            let sealed = key.seal(TEXT, b"/registry/a", &rng).expect("sealed");
            assert!(!sealed.windows(6).any(|part| part == b"Secret"), "{method:?}");
            assert_eq!(key.open(&sealed, b"/registry/a").as_deref(), Ok(TEXT), "{method:?} {length}");
            assert_ne!(sealed, key.seal(TEXT, b"/registry/a", &rng).expect("sealed"), "a nonce is used once");
            assert_eq!(key.open(&sealed[..10], b"/registry/a"), Err(CipherError::Short));
            if method == Method::AesGcm {
                assert_eq!(key.open(&sealed, b"/registry/b"), Err(CipherError::Forged), "another place");
            }
            if method != Method::AesCbc {
                let mut turned = sealed.clone();
                *turned.last_mut().expect("a byte") ^= 1;
                assert_eq!(key.open(&turned, b"/registry/a"), Err(CipherError::Forged));
            }
        }
    }

    /// AES-GCM's test case 16 (McGrew and Viega) and NaCl's own example of `secretbox`.
    #[test]
    fn published_vectors_open() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2)
                .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
                .collect()
        };
        for (method, key, authenticated, sealed, clear) in [
            (
                Method::AesGcm,
                "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
                "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                "cafebabefacedbaddecaf888522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            ),
            (
                Method::Secretbox,
                "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389",
                "",
                "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5",
                "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705",
            ),
        ] {
            let opened = Cipher::new(method, hex(key).into()).open(&hex(sealed), &hex(authenticated));
            assert_eq!(opened, Ok(hex(clear)), "{method:?}");
        }
    }
}
