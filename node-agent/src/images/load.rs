//! Reads image archives: what `docker save`, `podman save`, `skopeo copy` and `buildah push` write. The archive is
//! spooled first, because its table of contents may come last.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

use super::reference::{Reference, is_digest};
use super::store::sha256;
use super::unpack::unpack;
use super::{ImageConfig, ImageError, io_error};
use crate::os::in_root;

/// Manifests and configurations are small; anything larger is not one.
const MAX_DOCUMENT: u64 = 16 << 20;

/// An index may name indexes; deeper than this is a trick.
const MAX_DEPTH: u32 = 4;

/// One image of an archive.
#[derive(Debug)]
pub struct Found {
    /// How the archive calls it.
    pub references: Vec<Reference>,
    /// Its configuration as it is hashed.
    pub config_bytes: Vec<u8>,
    /// Its manifest as it is hashed; made up for docker-archives, which have none.
    pub manifest_bytes: Vec<u8>,
    /// What containers inherit.
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
}

/// One layer of an image.
#[derive(Debug)]
pub struct Layer {
    /// Digest of its uncompressed archive.
    pub diff_id: String,
    /// Digest of it and everything below.
    pub chain_id: String,
    /// The spooled archive, perhaps compressed.
    pub file: PathBuf,
}

#[derive(Deserialize)]
struct ConfigDocument {
    #[serde(default)]
    config: Option<ImageConfig>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Deserialize)]
struct DockerImage {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

#[derive(Clone, Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// A manifest or an index, told apart by what it has.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// The images of an archive, its files spooled below `tmp`.
///
/// # Errors
/// When it is no image archive, is damaged, or has nothing for this platform.
pub fn read(archive: impl Read, tmp: &Path) -> Result<Vec<Found>, ImageError> {
    let spool = Spool::fill(archive, tmp)?;
    // Newer `docker save` writes both tables; only this one has complete names.
    if spool.files.contains_key(Path::new("manifest.json")) {
        return spool.docker_images();
    }
    if spool.files.contains_key(Path::new("index.json")) {
        return spool.oci_images();
    }
    Err(bad("neither manifest.json nor index.json is in it"))
}

/// Unpacks a layer and checks its digest.
///
/// # Errors
/// When the archive is damaged, is not what its diff id says, or wants to leave `target`.
pub fn unpack_layer(layer: &Layer, target: &Path, lower: &[PathBuf]) -> Result<(), ImageError> {
    let act = || io_error(format!("unpack layer {}", layer.diff_id));
    let file = File::open(&layer.file).map_err(act())?;
    let mut hashing = Hashing { inner: decompress(file).map_err(act())?, hash: Sha256::new() };
    unpack(&mut hashing, target, lower).map_err(act())?;
    // The digest covers also what comes after the end mark.
    io::copy(&mut hashing, &mut io::sink()).map_err(act())?;
    expect_digest("layer", &layer.diff_id, &hashing.digest())
}

/// Bytes of a layer as it came.
///
/// # Errors
/// When the spooled file has gone.
pub fn size_of(layer: &Layer) -> Result<u64, ImageError> {
    Ok(fs::metadata(&layer.file).map_err(io_error("measure layer"))?.len())
}

fn decompress(source: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut source = BufReader::with_capacity(128 << 10, source);
    let head = source.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(source)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(zstd::Decoder::with_buffer(source)?))
    } else {
        Ok(Box::new(source))
    }
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R> Hashing<R> {
    fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(self.hash.clone().finalize()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// The files of an archive by their path in it.
struct Spool {
    files: BTreeMap<PathBuf, PathBuf>,
}

impl Spool {
    fn fill(archive: impl Read, tmp: &Path) -> Result<Self, ImageError> {
        let act = || io_error("read archive");
        let mut source = BufReader::with_capacity(128 << 10, archive);
        let head = source.fill_buf().map_err(act())?;
        let mut spool = Self { files: BTreeMap::new() };
        let mut links = Vec::new();
        if head.starts_with(&[0x1f, 0x8b]) {
            spool.take(flate2::bufread::MultiGzDecoder::new(source), tmp, &mut links)?;
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            spool.take(zstd::Decoder::with_buffer(source).map_err(act())?, tmp, &mut links)?;
        } else {
            spool.take(source, tmp, &mut links)?;
        }
        // Older docker-archives name one layer several times by links.
        for (path, target) in links {
            if let Some(file) = spool.files.get(&target).cloned() {
                spool.files.insert(path, file);
            }
        }
        Ok(spool)
    }

    fn take(
        &mut self,
        source: impl Read,
        tmp: &Path,
        links: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<(), ImageError> {
        let mut archive = Archive::new(source);
        for entry in archive.entries().map_err(io_error("read archive"))? {
            let mut entry = entry.map_err(unreadable)?;
            let path = plain(&entry.path().map_err(io_error("read archive"))?)?;
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    let file = tmp.join(format!("file-{}", self.files.len()));
                    spool_file(&mut entry, &path, &file)?;
                    self.files.insert(path, file);
                }
                EntryType::Symlink | EntryType::Link => {
                    if let Some(target) = entry.link_name().map_err(io_error("read archive"))? {
                        let hard = entry.header().entry_type() == EntryType::Link;
                        let base = if hard { None } else { path.parent() };
                        links.push((path.clone(), resolve(base, &target)));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn docker_images(&self) -> Result<Vec<Found>, ImageError> {
        let listed: Vec<DockerImage> = self.document(Path::new("manifest.json"))?;
        listed.iter().map(|image| self.docker_image(image)).collect()
    }

    fn docker_image(&self, image: &DockerImage) -> Result<Found, ImageError> {
        let config_bytes = self.bytes(Path::new(&image.config))?;
        let names = image.repo_tags.iter().flatten();
        let references = names.map(|name| Reference::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let files = image
            .layers
            .iter()
            .map(|layer| self.file(Path::new(layer)).cloned())
            .collect::<Result<Vec<_>, _>>()?;
        let (config, layers) = describe(&config_bytes, files)?;
        let described: Vec<_> = layers
            .iter()
            .map(|layer| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.diff_id}))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": sha256(&config_bytes),
                "size": config_bytes.len(),
            },
            "layers": described,
        });
        let manifest_bytes = manifest.to_string().into_bytes();
        Ok(Found { references, config_bytes, manifest_bytes, config, layers })
    }

    fn oci_images(&self) -> Result<Vec<Found>, ImageError> {
        let index: Document = self.document(Path::new("index.json"))?;
        let listed = index.manifests.unwrap_or_default();
        // With one entry per platform at the top, only ours counts.
        let ours: Vec<&Descriptor> = listed.iter().filter(|descriptor| suits(descriptor)).collect();
        if ours.is_empty() {
            return Err(bad("it has nothing for this platform"));
        }
        ours.into_iter().map(|descriptor| self.oci_image(descriptor)).collect()
    }

    fn oci_image(&self, top: &Descriptor) -> Result<Found, ImageError> {
        let references = named(top)?;
        let mut descriptor = top.clone();
        for _ in 0..MAX_DEPTH {
            let manifest_bytes = self.blob(&descriptor.digest)?;
            let document: Document = parse(&manifest_bytes, &descriptor.digest)?;
            match (document.manifests, document.config) {
                (Some(choices), _) => {
                    let ours = choices.into_iter().find(suits);
                    descriptor = ours.ok_or_else(|| bad("it has nothing for this platform"))?;
                }
                (None, Some(config)) => {
                    let config_bytes = self.blob(&config.digest)?;
                    let files = document
                        .layers
                        .iter()
                        .map(|layer| self.file(&blob_path(&layer.digest)?).cloned())
                        .collect::<Result<Vec<_>, _>>()?;
                    let (config, layers) = describe(&config_bytes, files)?;
                    return Ok(Found { references, config_bytes, manifest_bytes, config, layers });
                }
                (None, None) => return Err(bad(&format!("{} is no image manifest", descriptor.digest))),
            }
        }
        Err(bad("its indexes are nested too deeply"))
    }

    fn file(&self, path: &Path) -> Result<&PathBuf, ImageError> {
        let path = plain(path)?;
        self.files.get(&path).ok_or_else(|| bad(&format!("{} is missing", path.display())))
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>, ImageError> {
        let file = self.file(path)?;
        let act = || io_error(format!("read {}", path.display()));
        if fs::metadata(file).map_err(act())?.len() > MAX_DOCUMENT {
            return Err(bad(&format!("{} is too large", path.display())));
        }
        fs::read(file).map_err(act())
    }

    fn blob(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        self.bytes(&blob_path(digest)?)
    }

    fn document<T: for<'de> Deserialize<'de>>(&self, path: &Path) -> Result<T, ImageError> {
        parse(&self.bytes(path)?, &path.display().to_string())
    }
}

fn spool_file(entry: &mut impl Read, path: &Path, file: &Path) -> Result<(), ImageError> {
    let act = || io_error(format!("spool {}", path.display()));
    let mut out = BufWriter::new(File::create(file).map_err(act())?);
    let Some(expected) = path.strip_prefix("blobs/sha256").ok().and_then(Path::to_str) else {
        io::copy(entry, &mut out).map_err(act())?;
        return out.flush().map_err(act());
    };
    let mut hashing = Hashing { inner: entry, hash: Sha256::new() };
    io::copy(&mut hashing, &mut out).map_err(act())?;
    out.flush().map_err(act())?;
    expect_digest(&path.display().to_string(), &format!("sha256:{expected}"), &hashing.digest())
}

/// Configuration and layers of an image, the files in the order of the layers.
fn describe(config_bytes: &[u8], files: Vec<PathBuf>) -> Result<(ImageConfig, Vec<Layer>), ImageError> {
    let document: ConfigDocument = parse(config_bytes, "image configuration")?;
    let diff_ids = document.rootfs.diff_ids;
    if diff_ids.len() != files.len() {
        return Err(bad(&format!("{} layers for {} diff ids", files.len(), diff_ids.len())));
    }
    let mut layers: Vec<Layer> = Vec::new();
    for (diff_id, file) in diff_ids.into_iter().zip(files) {
        if !is_digest(&diff_id) {
            return Err(bad(&format!("{diff_id:?} is no digest")));
        }
        let chain_id = match layers.last() {
            None => diff_id.clone(),
            Some(below) => sha256(format!("{} {diff_id}", below.chain_id).as_bytes()),
        };
        layers.push(Layer { diff_id, chain_id, file });
    }
    Ok((document.config.unwrap_or_default(), layers))
}

/// How an OCI layout calls an image; a bare tag or another note that names no repository counts as no name.
fn named(descriptor: &Descriptor) -> Result<Vec<Reference>, ImageError> {
    let Some(annotations) = &descriptor.annotations else { return Ok(Vec::new()) };
    if let Some(name) = annotations.get("io.containerd.image.name") {
        return Ok(vec![Reference::parse(name)?]);
    }
    let name = annotations.get("org.opencontainers.image.ref.name");
    let name = name.filter(|name| name.contains(['/', ':']));
    Ok(name.and_then(|name| Reference::parse(name).ok()).into_iter().collect())
}

fn suits(descriptor: &Descriptor) -> bool {
    let known = descriptor.media_type.is_empty()
        || descriptor.media_type.contains("manifest")
        || descriptor.media_type.contains("index");
    let ours = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture();
    known && descriptor.platform.as_ref().is_none_or(ours)
}

/// This machine as image indexes call it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn blob_path(digest: &str) -> Result<PathBuf, ImageError> {
    if !is_digest(digest) {
        return Err(bad(&format!("{digest:?} is no digest")));
    }
    Ok(Path::new("blobs/sha256").join(digest.trim_start_matches("sha256:")))
}

fn plain(path: &Path) -> Result<PathBuf, ImageError> {
    let names = in_root::normal_components(path).map_err(|error| bad(&error.to_string()))?;
    Ok(names.into_iter().collect())
}

/// Where a link points, without leaving the archive.
fn resolve(base: Option<&Path>, target: &Path) -> PathBuf {
    let mut path = base.map(Path::to_path_buf).unwrap_or_default();
    for component in target.components() {
        match component {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8], what: &str) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| bad(&format!("{what}: {error}")))
}

fn expect_digest(what: &str, expected: &str, found: &str) -> Result<(), ImageError> {
    if expected == found {
        return Ok(());
    }
    Err(ImageError::Digest { what: what.to_owned(), expected: expected.to_owned(), found: found.to_owned() })
}

/// The tar reader's own text quotes the file's bytes, which may be anybody's.
fn unreadable(error: io::Error) -> ImageError {
    match error.raw_os_error() {
        Some(_) => io_error("read archive")(error),
        None => bad("it is damaged, or not a tar file (plain, gzip or zstd)"),
    }
}

fn bad(text: &str) -> ImageError {
    ImageError::Archive(text.to_owned())
}
