//! The store on disk: `refs.json` (the table), `blobs/sha256/` (manifests and configurations), `l/` (unpacked
//! layers, named by 32 hex digits of their chain id: short, because a container's mount line names them all),
//! `tmp/` (work in progress), `lock`.
//!
//! Layers are kept unpacked only: they cannot change a container's view once published, and keeping the archives
//! too would double the space. Readers take no lock; they see the table before or after a change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use component_base::clock::SharedClock;
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::unix::AsyncFd;

use super::collect::{self, Candidate, Disk, Policy};
use super::load::{self, Found};
use super::reference::{Reference, is_digest};
use super::{Image, ImageConfig, ImageError, io_error};
use crate::container_runtime::ContainerRecord;
use crate::shim::records::{self, PodDir};

const TABLE: &str = "refs.json";

/// The table of images.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Table {
    /// Complete reference to image id.
    refs: BTreeMap<String, String>,
    /// By image id.
    images: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    digest: String,
    size: u64,
    /// Names of directories below `l`, lowest first.
    layers: Vec<String>,
    config: ImageConfig,
    loaded: Timestamp,
}

/// What an archive brought.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The image, which may have had names before.
    pub image: Image,
    /// The names this archive gave it.
    pub names: Vec<String>,
}

impl Loaded {
    /// The names that came with it, or else its id.
    pub fn shown(&self) -> String {
        if self.names.is_empty() { self.image.id.clone() } else { self.names.join(", ") }
    }
}

/// The images of a node. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    dir: PathBuf,
    clock: SharedClock,
}

impl Store {
    /// Opens the store in `dir` (such as `DIR/node/images`), making it if absent. Which images are in use is read
    /// from the containers beside it, in `dir/../run`.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open(dir: &Path, clock: SharedClock) -> Result<Self, ImageError> {
        let act = || io_error(format!("make image store {}", dir.display()));
        for part in ["blobs/sha256", "l", "tmp"] {
            fs::create_dir_all(dir.join(part)).map_err(act())?;
        }
        Ok(Self { dir: dir.canonicalize().map_err(act())?, clock })
    }

    /// Every image, by id.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let table = self.table()?;
        Ok(table.images.iter().map(|(id, entry)| self.image(&table, id, entry)).collect())
    }

    /// The image of that name, digest or id, if it is here.
    ///
    /// # Errors
    /// [`ImageError::InvalidReference`], or when the table cannot be read.
    pub fn get(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let table = self.table()?;
        let id = find(&table, reference)?;
        Ok(id.and_then(|id| table.images.get_key_value(&id)).map(|(id, entry)| self.image(&table, id, entry)))
    }

    /// Adds the images of an archive: docker-archive or OCI layout, plain, gzip or zstd. Of several platforms this
    /// machine's is taken. `name` is for archives that name nothing themselves.
    ///
    /// # Errors
    /// When the archive is damaged or incomplete, a digest does not match, or the disk is full.
    pub fn load(&self, archive: impl Read, name: Option<&str>) -> Result<Vec<Loaded>, ImageError> {
        let name = name.map(Reference::parse).transpose()?;
        let _lock = self.lock()?;
        let tmp = self.dir.join("tmp");
        // Under the lock everything in it is an interrupted load's.
        records::remove_tree(&tmp).and_then(|()| fs::create_dir_all(&tmp)).map_err(io_error("clear tmp"))?;
        let outcome = self.load_locked(archive, name.as_ref(), &tmp);
        // Also the next load clears it.
        let _left = records::remove_tree(&tmp).and_then(|()| fs::create_dir_all(&tmp));
        outcome
    }

    fn load_locked(
        &self,
        archive: impl Read,
        name: Option<&Reference>,
        tmp: &Path,
    ) -> Result<Vec<Loaded>, ImageError> {
        let mut table = self.table()?;
        let mut added = Vec::new();
        for found in load::read(archive, tmp)? {
            let own = found.references.iter().chain(name.filter(|_| found.references.is_empty()));
            let names: Vec<String> = own.map(Reference::to_string).collect();
            added.push((self.add(&mut table, &found, &names, tmp)?, names));
        }
        self.publish(&table)?;
        let loaded = added.into_iter().filter_map(|(id, names)| {
            let image = table.images.get(&id).map(|entry| self.image(&table, &id, entry))?;
            Some(Loaded { image, names })
        });
        Ok(loaded.collect())
    }

    fn add(
        &self,
        table: &mut Table,
        found: &Found,
        names: &[String],
        tmp: &Path,
    ) -> Result<String, ImageError> {
        let id = sha256(&found.config_bytes);
        let mut layers: Vec<String> = Vec::new();
        let mut size = 0;
        for (index, layer) in found.layers.iter().enumerate() {
            let below: Vec<PathBuf> = layers.iter().map(|name| self.layer(name)).collect();
            let directory: String = layer.chain_id.trim_start_matches("sha256:").chars().take(32).collect();
            size += load::size_of(layer)?;
            if !self.layer(&directory).exists() {
                let fresh = tmp.join(format!("layer-{index}"));
                records::remove_tree(&fresh)
                    .and_then(|()| fs::create_dir(&fresh))
                    .map_err(io_error("make layer directory"))?;
                load::unpack_layer(layer, &fresh, &below)?;
                sync(&fresh).map_err(io_error("write layer to disk"))?;
                fs::rename(&fresh, self.layer(&directory)).map_err(io_error("publish layer"))?;
            }
            layers.push(directory);
        }
        self.write_blob(&found.config_bytes)?;
        let digest = self.write_blob(&found.manifest_bytes)?;
        for name in names {
            table.refs.insert(name.clone(), id.clone());
        }
        let entry = Entry { digest, size, layers, config: found.config.clone(), loaded: self.clock.now() };
        table.images.insert(id.clone(), entry);
        Ok(id)
    }

    /// Gives an image another name; a name it had before moves.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] for the source, [`ImageError::InvalidReference`] for the target.
    pub fn tag(&self, source: &str, target: &str) -> Result<(), ImageError> {
        let target = Reference::parse(target)?;
        if target.digest.is_some() {
            return Err(ImageError::InvalidReference(target.to_string()));
        }
        let _lock = self.lock()?;
        let mut table = self.table()?;
        let id = find(&table, source)?.ok_or_else(|| ImageError::NotFound(source.to_owned()))?;
        table.refs.insert(target.to_string(), id);
        self.publish(&table)
    }

    /// Removes a name; with the last one, or by id, the image with the layers nobody else needs.
    ///
    /// # Errors
    /// [`ImageError::NotFound`]; [`ImageError::InUse`] when a container has it mounted.
    pub fn remove(&self, reference: &str) -> Result<(), ImageError> {
        let _lock = self.lock()?;
        let mut table = self.table()?;
        let id = find(&table, reference)?.ok_or_else(|| ImageError::NotFound(reference.to_owned()))?;
        // An id reads as a name too (`sha256` with a tag), but is not meant as one.
        if let Ok(name) = Reference::parse(reference)
            && table.refs.remove(&name.to_string()).is_some()
            && table.refs.values().any(|other| *other == id)
        {
            return self.publish(&table);
        }
        let layers = table.images.get(&id).map(|entry| entry.layers.clone()).unwrap_or_default();
        if let Some(container) = self.user_of(&layers) {
            return Err(ImageError::InUse { reference: reference.to_owned(), container });
        }
        table.refs.retain(|_, other| *other != id);
        table.images.remove(&id);
        self.publish(&table)?;
        self.sweep(&table)
    }

    /// Frees space as kubelet does: above the policy's high watermark the images not used for longest go.
    /// `last_used` is what the caller has seen, by image id. Answers what was removed.
    ///
    /// # Errors
    /// When the disk or the table cannot be read.
    pub fn collect(
        &self,
        policy: &Policy,
        last_used: &BTreeMap<String, Timestamp>,
    ) -> Result<Vec<String>, ImageError> {
        let disk = self.disk()?;
        let table = self.table()?;
        let candidate = |(id, entry): (&String, &Entry)| Candidate {
            id: id.clone(),
            size: entry.size,
            in_use: self.user_of(&entry.layers).is_some(),
            last_used: last_used.get(id).copied().unwrap_or(entry.loaded),
            loaded: entry.loaded,
        };
        let candidates: Vec<Candidate> = table.images.iter().map(candidate).collect();
        let mut removed = Vec::new();
        for id in collect::decide(policy, disk, &candidates, self.clock.now()) {
            match self.remove(&id) {
                Ok(()) => removed.push(id),
                // A container took it meanwhile, or another process removed it.
                Err(ImageError::InUse { .. } | ImageError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Size and room of the disk that holds the store.
    ///
    /// # Errors
    /// As `statvfs(2)`.
    pub fn disk(&self) -> Result<Disk, ImageError> {
        let stat = nix::sys::statvfs::statvfs(&self.dir)
            .map_err(|error| io_error("measure the disk of the image store")(error.into()))?;
        let unit = stat.fragment_size();
        Ok(Disk { capacity: stat.blocks() * unit, available: stat.blocks_available() * unit })
    }

    /// Tells every change of the table from now on, whichever process makes it.
    ///
    /// # Errors
    /// When the kernel gives no watch.
    pub fn changed(&self) -> Result<Changes, ImageError> {
        let watch = || -> io::Result<AsyncFd<OwnedFd>> {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            inotify.add_watch(&self.dir, AddWatchFlags::IN_MOVED_TO)?;
            // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives.
            Ok(unsafe { AsyncFd::register(OwnedFd::from(inotify)) }?)
        };
        Ok(Changes { watch: watch().map_err(io_error("watch the image store"))? })
    }

    fn image(&self, table: &Table, id: &str, entry: &Entry) -> Image {
        Image {
            id: id.to_owned(),
            digest: entry.digest.clone(),
            repo_tags: table.refs.iter().filter(|(_, of)| *of == id).map(|(name, _)| name.clone()).collect(),
            size: entry.size,
            layers: entry.layers.iter().map(|name| self.layer(name)).collect(),
            config: entry.config.clone(),
        }
    }

    fn layer(&self, name: &str) -> PathBuf {
        self.dir.join("l").join(name)
    }

    fn table(&self) -> Result<Table, ImageError> {
        let path = self.dir.join(TABLE);
        match records::read_json(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Table::default()),
            other => other.map_err(io_error("read the table of images")),
        }
    }

    fn publish(&self, table: &Table) -> Result<(), ImageError> {
        let act = || -> io::Result<()> {
            records::write_json(&self.dir.join(TABLE), table)?;
            // Unlike a pod, an image outlives the machine's restart.
            sync(&self.dir)
        };
        act().map_err(io_error("write the table of images"))
    }

    fn lock(&self) -> Result<Flock<File>, ImageError> {
        let act = || -> io::Result<Flock<File>> {
            let file = fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(self.dir.join("lock"))?;
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
        };
        act().map_err(io_error("lock the image store"))
    }

    fn write_blob(&self, bytes: &[u8]) -> Result<String, ImageError> {
        let digest = sha256(bytes);
        let path = self.dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        let next = self.dir.join("tmp").join("blob");
        fs::write(&next, bytes).and_then(|()| fs::rename(&next, path)).map_err(io_error("write blob"))?;
        Ok(digest)
    }

    /// A container that has one of these layers mounted.
    fn user_of(&self, layers: &[String]) -> Option<String> {
        let paths: BTreeSet<PathBuf> = layers.iter().map(|name| self.layer(name)).collect();
        let node = self.dir.parent()?;
        PodDir::all(node).iter().find_map(|pod| {
            pod.container_ids().into_iter().find(|id| {
                // Half-written or just removed: not mounted.
                let record = records::read_json::<ContainerRecord>(&pod.record(id)).ok();
                record.is_some_and(|record| record.config.layers.iter().any(|layer| paths.contains(layer)))
            })
        })
    }

    /// Removes layers and blobs that no image names. Under the lock.
    fn sweep(&self, table: &Table) -> Result<(), ImageError> {
        let layers: BTreeSet<&str> =
            table.images.values().flat_map(|entry| &entry.layers).map(String::as_str).collect();
        let digests: BTreeSet<&str> = table
            .images
            .iter()
            .flat_map(|(id, entry)| [id.as_str(), entry.digest.as_str()])
            .map(|digest| digest.trim_start_matches("sha256:"))
            .collect();
        for (part, kept) in [("l", layers), ("blobs/sha256", digests)] {
            let entries = fs::read_dir(self.dir.join(part)).map_err(io_error("list the image store"))?;
            for entry in entries.flatten() {
                if entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
                    continue;
                }
                let path = entry.path();
                let outcome =
                    if path.is_dir() { records::remove_tree(&path) } else { fs::remove_file(&path) };
                outcome.map_err(io_error(format!("remove {}", path.display())))?;
            }
        }
        Ok(())
    }
}

/// Changes of a store.
pub struct Changes {
    watch: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Waits for the next change; several at once count as one.
    ///
    /// # Errors
    /// When the watch cannot be read any more.
    pub async fn next(&mut self) -> io::Result<()> {
        // One event is some dozens of bytes.
        let mut buffer = vec![0; 4096];
        loop {
            let mut guard = self.watch.readable().await?;
            let read = guard.try_io(|fd| Ok(nix::unistd::read(fd.get_ref().as_fd(), &mut buffer)?));
            if let Ok(count) = read {
                // Temporary names of the table are also moved about in this directory, but never to it.
                if buffer[..count?].windows(TABLE.len()).any(|window| window == TABLE.as_bytes()) {
                    return Ok(());
                }
            }
        }
    }
}

fn find(table: &Table, reference: &str) -> Result<Option<String>, ImageError> {
    let bare = reference.trim_start_matches("sha256:");
    let id = format!("sha256:{bare}");
    if is_digest(&id) {
        return Ok(table.images.contains_key(&id).then_some(id));
    }
    let name = Reference::parse(reference)?;
    let Some(digest) = &name.digest else { return Ok(table.refs.get(&name.to_string()).cloned()) };
    let repository = format!("{}:", name.repository());
    let named = |id: &String| table.refs.iter().any(|(name, of)| of == id && name.starts_with(&repository));
    let found = table.images.iter().find(|(id, entry)| entry.digest == *digest && named(id));
    Ok(found.map(|(id, _)| id.clone()))
}

/// `sha256:` and the hex digest.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Everything written to the file system of this directory reaches the disk.
fn sync(directory: &Path) -> io::Result<()> {
    let handle = File::open(directory)?;
    // SAFETY: one integer, an open descriptor.
    let result = unsafe { libc::syncfs(std::os::fd::AsRawFd::as_raw_fd(&handle)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests;
