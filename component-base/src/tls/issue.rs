//! Certificates in DER (RFC 5280): what an authority signs for somebody's public key.
//!
//! Entry point: [`Draft::sign`]. Subjects may name several organisations, one per group of a user, which
//! rcgen cannot express; names and keys of signing requests go into the certificate byte for byte.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, tz::TimeZone};
use rcgen::{KeyPair, SigningKey as _};
use ring::digest::{SHA256, digest};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq, Tag};

const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
const SUBJECT_KEY_ID: &[u64] = &[2, 5, 29, 14];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];

/// Bytes of a key identifier.
const KEY_ID_LENGTH: usize = 20;
/// Bytes of a serial number; RFC 5280 allows 20.
const SERIAL_LENGTH: usize = 16;
/// UTCTime cannot say more; later years take GeneralizedTime.
const LAST_UTC_YEAR: i16 = 2049;

/// What a usage of `certificates.k8s.io` is in a certificate.
enum Usage {
    /// A bit of `keyUsage`.
    Key(u8),
    /// A purpose of `extendedKeyUsage`.
    Purpose(&'static [u64]),
}

/// Every usage of `certificates.k8s.io/v1 KeyUsage`.
const USAGES: [(&str, Usage); 23] = [
    ("signing", Usage::Key(0)),
    ("digital signature", Usage::Key(0)),
    ("content commitment", Usage::Key(1)),
    ("key encipherment", Usage::Key(2)),
    ("data encipherment", Usage::Key(3)),
    ("key agreement", Usage::Key(4)),
    ("cert sign", Usage::Key(5)),
    ("crl sign", Usage::Key(6)),
    ("encipher only", Usage::Key(7)),
    ("decipher only", Usage::Key(8)),
    ("any", Usage::Purpose(&[2, 5, 29, 37, 0])),
    ("server auth", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 1])),
    ("client auth", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 2])),
    ("code signing", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 3])),
    ("email protection", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 4])),
    ("s/mime", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 4])),
    ("ipsec end system", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 5])),
    ("ipsec tunnel", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 6])),
    ("ipsec user", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 7])),
    ("timestamping", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 8])),
    ("ocsp signing", Usage::Purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 9])),
    ("microsoft sgc", Usage::Purpose(&[1, 3, 6, 1, 4, 1, 311, 10, 3, 3])),
    ("netscape sgc", Usage::Purpose(&[2, 16, 840, 1, 113_730, 4, 1])),
];

/// A name beside the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    /// A host.
    Dns(String),
    /// An address.
    Address(IpAddr),
    /// A mailbox.
    Email(String),
    /// A URI.
    Uri(String),
}

/// A certificate to be.
pub(super) struct Draft<'a> {
    /// The subject in DER, as [`subject`] or a request has it.
    pub(super) subject: &'a [u8],
    /// SubjectPublicKeyInfo in DER.
    pub(super) public_key: &'a [u8],
    /// Names beside the subject.
    pub(super) alternative: &'a [AlternativeName],
    /// Words of `certificates.k8s.io/v1 KeyUsage`.
    pub(super) usages: &'a [String],
    /// Whether it may sign others.
    pub(super) authority: bool,
    /// First second of validity.
    pub(super) from: Timestamp,
    /// Last second of validity.
    pub(super) until: Timestamp,
}

/// Whose signature it is.
pub(super) struct Signer<'a> {
    /// The subject of the authority in DER.
    pub(super) name: &'a [u8],
    /// Its key identifier.
    pub(super) key_id: &'a [u8],
    /// Its key.
    pub(super) key: &'a KeyPair,
}

impl Draft<'_> {
    /// The signed certificate in DER.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub(super) fn sign(&self, signer: &Signer<'_>) -> Result<Vec<u8>, rcgen::Error> {
        let body = yasna::construct_der(|writer| writer.write_sequence(|fields| self.body(fields, signer)));
        let signature = signer.key.sign(&body)?;
        Ok(yasna::construct_der(|writer| {
            writer.write_sequence(|fields| {
                fields.next().write_der(&body);
                algorithm(fields.next(), signer.key);
                fields.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        }))
    }

    fn body(&self, fields: &mut DERWriterSeq<'_>, signer: &Signer<'_>) {
        let version_3 = 2;
        fields.next().write_tagged(Tag::context(0), |writer| writer.write_u8(version_3));
        fields.next().write_bigint_bytes(&self.serial(), true);
        algorithm(fields.next(), signer.key);
        fields.next().write_der(signer.name);
        fields.next().write_sequence(|validity| {
            time(validity.next(), self.from);
            time(validity.next(), self.until);
        });
        fields.next().write_der(self.subject);
        fields.next().write_der(self.public_key);
        fields.next().write_tagged(Tag::context(3), |writer| {
            writer.write_sequence(|extensions| self.extensions(extensions, signer));
        });
    }

    /// Never the same for two certificates of an authority: another key, subject or validity is another number.
    fn serial(&self) -> [u8; SERIAL_LENGTH] {
        let mut seen = self.public_key.to_vec();
        seen.extend_from_slice(self.subject);
        for at in [self.from, self.until] {
            seen.extend_from_slice(&at.as_second().to_be_bytes());
        }
        let mut serial = [0; SERIAL_LENGTH];
        serial.iter_mut().zip(digest(&SHA256, &seen).as_ref()).for_each(|(to, from)| *to = *from);
        // Positive and of full length.
        serial[0] = serial[0] & 0x7f | 0x40;
        serial
    }

    fn extensions(&self, extensions: &mut DERWriterSeq<'_>, signer: &Signer<'_>) {
        let bits = self.key_usage_bits();
        if bits != [0, 0] {
            extension(extensions, KEY_USAGE, true, |writer| {
                let bits = u16::from_be_bytes(bits);
                let length = 16 - usize::try_from(bits.trailing_zeros()).unwrap_or(0);
                writer.write_bitvec_bytes(&bits.to_be_bytes()[..length.div_ceil(8)], length);
            });
        }
        let purposes: Vec<&[u64]> = self.purposes();
        if !purposes.is_empty() {
            extension(extensions, EXTENDED_KEY_USAGE, false, |writer| {
                writer.write_sequence(|list| purposes.iter().for_each(|oid| write_oid(list.next(), oid)));
            });
        }
        extension(extensions, BASIC_CONSTRAINTS, true, |writer| {
            writer.write_sequence(|fields| {
                if self.authority {
                    fields.next().write_bool(true);
                }
            });
        });
        if self.authority {
            let id = key_id(self.public_key);
            extension(extensions, SUBJECT_KEY_ID, false, |writer| writer.write_bytes(&id));
        }
        extension(extensions, AUTHORITY_KEY_ID, false, |writer| {
            writer.write_sequence(|fields| {
                fields
                    .next()
                    .write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(signer.key_id));
            });
        });
        if !self.alternative.is_empty() {
            // Whoever has no other name must be known by these.
            let critical = self.subject == subject("", &[]);
            extension(extensions, ALTERNATIVE_NAMES, critical, |writer| {
                alternative_names(writer, self.alternative);
            });
        }
    }

    fn key_usage_bits(&self) -> [u8; 2] {
        let mut bits = [0_u8; 2];
        for usage in self.known_usages() {
            if let Usage::Key(bit) = usage
                && let Some(byte) = bits.get_mut(usize::from(bit / 8))
            {
                *byte |= 0x80 >> (bit % 8);
            }
        }
        bits
    }

    fn purposes(&self) -> Vec<&'static [u64]> {
        let mut purposes: Vec<&[u64]> = Vec::new();
        for usage in self.known_usages() {
            match usage {
                Usage::Purpose(oid) if !purposes.contains(oid) => purposes.push(oid),
                Usage::Purpose(_) | Usage::Key(_) => {}
            }
        }
        purposes
    }

    fn known_usages(&self) -> impl Iterator<Item = &'static Usage> {
        self.usages
            .iter()
            .filter_map(|word| USAGES.iter().find(|(known, _)| known == word).map(|(_, usage)| usage))
    }
}

/// A subject in DER: the organisations in order, then the common name, as Go writes them. Empty parts are left out.
pub fn subject(common_name: &str, organizations: &[&str]) -> Vec<u8> {
    let organizations = organizations.iter().map(|text| (ORGANIZATION, *text));
    let parts = organizations.chain([(COMMON_NAME, common_name)]).filter(|(_, text)| !text.is_empty());
    yasna::construct_der(|writer| {
        writer.write_sequence(|names| {
            for (oid, text) in parts {
                names.next().write_set(|set| {
                    set.next().write_sequence(|pair| {
                        write_oid(pair.next(), oid);
                        pair.next().write_utf8_string(text);
                    });
                });
            }
        });
    })
}

/// A signing request (RFC 2986, PKCS #10) in PEM for a key.
///
/// # Errors
/// When the key cannot sign.
pub fn signing_request(key: &KeyPair, subject: &[u8]) -> Result<String, rcgen::Error> {
    use rcgen::PublicKeyData as _;
    let info = yasna::construct_der(|writer| {
        writer.write_sequence(|fields| {
            let version_1 = 0;
            fields.next().write_u8(version_1);
            fields.next().write_der(subject);
            fields.next().write_der(&key.subject_public_key_info());
            fields.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_set(|_| {}));
        });
    });
    let signature = key.sign(&info)?;
    let request = yasna::construct_der(|writer| {
        writer.write_sequence(|fields| {
            fields.next().write_der(&info);
            algorithm(fields.next(), key);
            fields.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    });
    Ok(pem("CERTIFICATE REQUEST", &request))
}

/// Identifies a public key (SubjectPublicKeyInfo in DER).
pub(super) fn key_id(public_key: &[u8]) -> Vec<u8> {
    digest(&SHA256, public_key).as_ref().iter().copied().take(KEY_ID_LENGTH).collect()
}

/// RFC 7468.
pub(super) fn pem(kind: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {kind}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + &format!("-----END {kind}-----\n")
}

fn write_oid(writer: DERWriter<'_>, oid: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(oid));
}

fn extension(
    extensions: &mut DERWriterSeq<'_>,
    oid: &[u64],
    critical: bool,
    value: impl FnOnce(DERWriter<'_>),
) {
    extensions.next().write_sequence(|fields| {
        write_oid(fields.next(), oid);
        if critical {
            fields.next().write_bool(true);
        }
        fields.next().write_bytes(&yasna::construct_der(value));
    });
}

fn alternative_names(writer: DERWriter<'_>, names: &[AlternativeName]) {
    writer.write_sequence(|list| {
        for name in names {
            let (tag, bytes) = match name {
                AlternativeName::Email(text) => (1, text.as_bytes().to_vec()),
                AlternativeName::Dns(text) => (2, text.as_bytes().to_vec()),
                AlternativeName::Uri(text) => (6, text.as_bytes().to_vec()),
                AlternativeName::Address(IpAddr::V4(address)) => (7, address.octets().to_vec()),
                AlternativeName::Address(IpAddr::V6(address)) => (7, address.octets().to_vec()),
            };
            list.next().write_tagged_implicit(Tag::context(tag), |writer| writer.write_bytes(&bytes));
        }
    });
}

/// The signature algorithm that goes with a key.
fn algorithm(writer: DERWriter<'_>, key: &KeyPair) {
    let (oid, has_null): (&[u64], bool) = match key.algorithm() {
        rsa if *rsa == rcgen::PKCS_RSA_SHA256 => (&[1, 2, 840, 113_549, 1, 1, 11], true),
        ed if *ed == rcgen::PKCS_ED25519 => (&[1, 3, 101, 112], false),
        p384 if *p384 == rcgen::PKCS_ECDSA_P384_SHA384 => (&[1, 2, 840, 10_045, 4, 3, 3], false),
        _p256 => (&[1, 2, 840, 10_045, 4, 3, 2], false),
    };
    writer.write_sequence(|fields| {
        write_oid(fields.next(), oid);
        if has_null {
            fields.next().write_null();
        }
    });
}

fn time(writer: DERWriter<'_>, at: Timestamp) {
    const UTC_TIME: u64 = 23;
    const GENERALIZED_TIME: u64 = 24;
    let at = at.to_zoned(TimeZone::UTC);
    let (tag, form) = if at.year() <= LAST_UTC_YEAR {
        (UTC_TIME, "%y%m%d%H%M%SZ")
    } else {
        (GENERALIZED_TIME, "%Y%m%d%H%M%SZ")
    };
    let text = at.strftime(form).to_string();
    let tag = Tag { tag_class: yasna::TagClass::Universal, tag_number: tag };
    writer.write_tagged_implicit(tag, |writer| writer.write_bytes(text.as_bytes()));
}
