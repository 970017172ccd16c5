//! The file of the server's own keys: an `EncryptionConfiguration` that only its owner may read.
//!
//! Entry points: [`make_if_missing`], [`read`], [`add_key`], [`keep_first_key`]. It is in upstream's form, so it can be given to
//! `--encryption-provider-config` elsewhere. Keys have names of their own time, so that a lost one is told
//! from the present one. A file is replaced as a whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use zeroize::Zeroizing;

use super::{EncryptionError, configuration};

/// Bytes of a key: AES-256.
const KEY: usize = 32;

const HEAD: &str = "\
# Keys of what is encrypted in the store: the first one writes, all read. Without this file secrets in the store,
# and in its snapshots, cannot be read. Keep a copy, apart from theirs. Made by gantry; `gantry encryption rotate`
# changes it.
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aesgcm:
      keys:
";

/// Objects from before there was encryption stay readable.
const TAIL: &str = "  - identity: {}\n";

fn failed(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> EncryptionError {
    let path = path.to_owned();
    move |source| EncryptionError::File { act, path, source }
}

/// The file's text.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, EncryptionError> {
    std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(failed("reading the encryption provider configuration file", path))
}

/// Makes a file with one new key unless there is a file.
pub(super) fn make_if_missing(path: &Path, clock: &SharedClock, rng: &Rng) -> Result<(), EncryptionError> {
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => {
            if let Some(directory) = path.parent() {
                let private = DirBuilder::new().recursive(true).mode(0o700).create(directory);
                private.map_err(failed("making the directory of", path))?;
            }
            write(path, &[new_key(clock, rng)])
        }
        Err(error) => Err(failed("looking for", path)(error)),
    }
}

/// Puts a new key first.
pub(super) fn add_key(path: &Path, clock: &SharedClock, rng: &Rng) -> Result<(), EncryptionError> {
    let mut lines = vec![new_key(clock, rng)];
    lines.extend(keys(path)?);
    write(path, &lines)
}

/// Forgets all keys but the first; whether there were others.
pub(super) fn keep_first_key(path: &Path) -> Result<bool, EncryptionError> {
    let mut keys = keys(path)?;
    let several = keys.len() > 1;
    if several {
        keys.truncate(1);
        write(path, &keys)?;
    }
    Ok(several)
}

/// The lines of the keys in a file of ours.
fn keys(path: &Path) -> Result<Vec<Zeroizing<String>>, EncryptionError> {
    let text = read(path)?;
    let configuration = configuration::parse(&text)
        .map_err(|why| EncryptionError::Configuration { path: path.to_owned(), why })?;
    let ours = configuration.resources.first().and_then(|entry| entry.providers.first());
    let ours = ours.and_then(|provider| provider.aesgcm.as_ref()).ok_or_else(|| {
        EncryptionError::NotOurs(format!(
            "{} was changed by hand: change its keys by hand, too",
            path.display()
        ))
    })?;
    Ok(ours.keys.iter().map(|key| line(&key.name, &key.bytes().unwrap_or_default())).collect())
}

fn new_key(clock: &SharedClock, rng: &Rng) -> Zeroizing<String> {
    let key = Zeroizing::new(rng.bytes::<KEY>());
    let day = clock.now().strftime("%Y%m%d");
    line(&format!("key-{day}-{}", rng.name_suffix(5)), &key[..])
}

fn line(name: &str, key: &[u8]) -> Zeroizing<String> {
    let secret = Zeroizing::new(BASE64_STANDARD.encode(key));
    Zeroizing::new(format!("      - {{name: {name}, secret: {}}}\n", *secret))
}

fn write(path: &Path, keys: &[Zeroizing<String>]) -> Result<(), EncryptionError> {
    let partial = path.with_extension("new");
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(failed("replacing", &partial)(error));
        }
        _ => {}
    }
    let put = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        file.write_all(HEAD.as_bytes())?;
        keys.iter().try_for_each(|key| file.write_all(key.as_bytes()))?;
        file.write_all(TAIL.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&partial, path)?;
        // What is sealed with a key that a crash takes away is lost: the name must be durable, too.
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    put().map_err(failed("writing", path))
}
