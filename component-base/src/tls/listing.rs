//! What is in a pki directory, for people; nothing is made or changed.
//!
//! Entry point: [`list`].

use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::authority::Role;
use super::certificate::Facts;
use super::files::read;
use super::{TlsError, leaf};

/// A certificate of the directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its file, without the ending.
    pub name: String,
    /// Whether it signs others.
    pub is_authority: bool,
    /// What it says.
    pub facts: Facts,
    /// When it is replaced; authorities are not, unasked.
    pub renewed_at: Option<Timestamp>,
}

/// Every certificate of a directory, authorities first.
///
/// # Errors
/// When the directory or a file cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Listed>, TlsError> {
    let fail = |source| TlsError::File { act: "reading", path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".crt")) else {
            continue;
        };
        let text = read(&path)?;
        let authority = Role::ALL.iter().position(|role| name.split('.').next() == Some(role.file()));
        for der in CertificateDer::pem_slice_iter(text.as_bytes()).flatten() {
            let Some(facts) = Facts::of_der(&der) else { continue };
            let renewed_at = authority.is_none().then(|| leaf::renewed_at(&facts, &der));
            let listed =
                Listed { name: name.to_owned(), is_authority: authority.is_some(), facts, renewed_at };
            found.push((authority.unwrap_or(Role::ALL.len()), listed));
        }
    }
    found.sort_by(|(a, left), (b, right)| (a, &left.name).cmp(&(b, &right.name)));
    Ok(found.into_iter().map(|(_, listed)| listed).collect())
}
