//! Volumes of a pod: makes their directories, keeps their content current, removes them.
//!
//! Entry points: [`set_up`], [`refresh`], [`mounts_of`], [`tear_down`]. Plain directories live below
//! `PODS/<uid>/volumes/<type>/<name>`; secrets and tokens below the node's one tmpfs `MEMORY/<uid>/<name>`, so
//! they never reach a disk and need no mount per pod. All mounts happen before the pod's shim starts (it has its
//! own mount namespace), outlive the agent, and [`tear_down`] finds them in `/proc/self/mountinfo`.

pub mod downward_api;
pub mod empty_dir;
pub mod host_path;
pub mod keyed;
pub mod payload;
pub mod projected;
mod trust_bundle;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, Volume};

use self::keyed::Keyed;
use crate::container_runtime::Mount;
use crate::environment::{Lookups, expand};

/// Where volumes live.
#[derive(Debug, Clone)]
pub struct Locations {
    /// `DIR/node/pods`.
    pub pods: PathBuf,
    /// A tmpfs of the node for what must not reach a disk.
    pub memory: PathBuf,
    /// Mount tmpfs for `medium: Memory`; tests without privileges use directories.
    pub mount_tmpfs: bool,
}

impl Locations {
    /// The pod's directory.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods.join(uid)
    }

    fn volume(&self, uid: &str, volume: &Volume) -> PathBuf {
        if let Some(host) = &volume.host_path {
            return PathBuf::from(&host.path);
        }
        if volume.secret.is_some() || volume.projected.is_some() {
            return self.memory.join(uid).join(&volume.name);
        }
        let kind = if volume.empty_dir.is_some() {
            "empty-dir"
        } else if volume.config_map.is_some() {
            "configmap"
        } else {
            "downward-api"
        };
        self.pod(uid).join("volumes").join(kind).join(&volume.name)
    }
}

/// A token for a projected volume, fetched before the volume is written.
pub type Tokens = BTreeMap<(String, String), String>;

/// What volumes are filled from.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// ConfigMaps, Secrets and facts of the pod.
    pub lookups: Lookups,
    /// Service-account tokens by (volume, path in the volume).
    pub tokens: Tokens,
}

/// Why a volume cannot be mounted; the text goes into a `FailedMount` event.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Something it is made from is missing or wrong.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {reason}")]
    SetUp {
        /// The volume's name.
        volume: String,
        /// For people.
        reason: String,
    },
    /// A file or mount operation failed.
    #[error("{act} {path}: {source}")]
    Io {
        /// What was being done.
        act: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A container's mount cannot be resolved.
    #[error("{0}")]
    Mount(String),
}

impl VolumeError {
    fn set_up(volume: &str, reason: impl ToString) -> Self {
        Self::SetUp { volume: volume.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }
}

/// Makes every volume of the pod. Idempotent.
///
/// # Errors
/// The first volume that cannot be made.
pub fn set_up(pod: &Pod, locations: &Locations, contents: &Contents) -> Result<(), VolumeError> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let fs_group = spec.security_context.as_ref().and_then(|context| context.fs_group);
    for volume in spec.volumes.iter().flatten() {
        let dir = locations.volume(uid, volume);
        if let Some(source) = &volume.empty_dir {
            empty_dir::set_up(&dir, source, fs_group, locations.mount_tmpfs)?;
        } else if let Some(source) = &volume.host_path {
            host_path::set_up(&volume.name, source)?;
        } else {
            write_content(pod, volume, &dir, contents, fs_group)?;
        }
    }
    Ok(())
}

/// Brings configMap, secret, projected and downwardAPI volumes up to date; the rest is left alone.
///
/// # Errors
/// The first volume that cannot be written; the others keep what they have.
pub fn refresh(pod: &Pod, locations: &Locations, contents: &Contents) -> Result<(), VolumeError> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let fs_group = spec.security_context.as_ref().and_then(|context| context.fs_group);
    for volume in spec.volumes.iter().flatten() {
        if volume.empty_dir.is_none() && volume.host_path.is_none() {
            write_content(pod, volume, &locations.volume(uid, volume), contents, fs_group)?;
        }
    }
    Ok(())
}

fn write_content(
    pod: &Pod,
    volume: &Volume,
    dir: &Path,
    contents: &Contents,
    fs_group: Option<i64>,
) -> Result<(), VolumeError> {
    let files = if let Some(source) = &volume.config_map {
        Keyed::from(source).files(&contents.lookups)
    } else if let Some(source) = &volume.secret {
        Keyed::from(source).files(&contents.lookups)
    } else if let Some(source) = &volume.downward_api {
        downward_api::payload(source, pod, &contents.lookups.facts)
    } else if let Some(source) = &volume.projected {
        projected::payload(&volume.name, source, pod, contents)
    } else {
        Err("this volume type is not supported by this node".to_owned())
    };
    let files = files.map_err(|reason| VolumeError::set_up(&volume.name, reason))?;
    payload::write(dir, &files, fs_group)
}

/// The bind mounts of one container.
///
/// # Errors
/// When a mount names an unknown volume or its subPath leaves the volume.
pub fn mounts_of(
    pod: &Pod,
    container: &Container,
    locations: &Locations,
    env: &BTreeMap<String, String>,
) -> Result<Vec<Mount>, VolumeError> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let by_name: BTreeMap<&str, &Volume> = volumes.map(|volume| (volume.name.as_str(), volume)).collect();
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = by_name.get(mount.name.as_str()).ok_or_else(|| {
            VolumeError::Mount(format!(
                "cannot find volume \"{}\" to mount into container \"{}\"",
                mount.name, container.name
            ))
        })?;
        let root = locations.volume(uid, volume);
        let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            (_, Some(expression)) if !expression.is_empty() => Some(expand_sub_path(expression, env)?),
            _ => None,
        };
        let source = match sub_path {
            Some(path) => resolve_sub_path(&root, &path, &mount.name)?,
            None => root,
        };
        let content = volume.empty_dir.is_none() && volume.host_path.is_none();
        mounts.push(Mount {
            source,
            destination: PathBuf::from(&mount.mount_path),
            read_only: mount.read_only.unwrap_or(false) || content,
        });
    }
    Ok(mounts)
}

fn expand_sub_path(expression: &str, env: &BTreeMap<String, String>) -> Result<String, VolumeError> {
    let missing = std::cell::Cell::new(false);
    let path = expand(expression, |name| {
        let value = env.get(name).cloned();
        missing.set(missing.get() || value.is_none());
        value
    });
    if missing.get() {
        return Err(VolumeError::Mount(format!("missing value for \"{expression}\"")));
    }
    if path.contains('`') {
        return Err(VolumeError::Mount(format!("subPath \"{path}\" must not contain backticks")));
    }
    Ok(path)
}

/// The host path behind `subPath`, made as a directory when it does not exist, never outside the volume.
fn resolve_sub_path(root: &Path, sub_path: &str, volume: &str) -> Result<PathBuf, VolumeError> {
    let relative = Path::new(sub_path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain {
        let text =
            format!("subPath \"{sub_path}\" of volume \"{volume}\" must be relative and without \"..\"");
        return Err(VolumeError::Mount(text));
    }
    let real_root = root.canonicalize().map_err(VolumeError::io("resolve", root))?;
    let wanted = real_root.join(relative);
    if !wanted.exists() {
        make_inside(&real_root, relative)?;
    }
    let real = wanted.canonicalize().map_err(VolumeError::io("resolve", &wanted))?;
    if !real.starts_with(&real_root) {
        return Err(VolumeError::Mount(format!("subPath \"{sub_path}\" leaves volume \"{volume}\"")));
    }
    Ok(real)
}

/// Makes missing directories one by one, refusing to walk through a link that leads out.
fn make_inside(root: &Path, relative: &Path) -> Result<(), VolumeError> {
    let mut at = root.to_owned();
    for part in relative.components() {
        at.push(part);
        if !at.exists() {
            std::fs::create_dir(&at).map_err(VolumeError::io("create directory", &at))?;
            payload::set_mode(&at, 0o750)?;
        }
        let real = at.canonicalize().map_err(VolumeError::io("resolve", &at))?;
        if !real.starts_with(root) {
            return Err(VolumeError::Mount(format!("{} leaves its volume", at.display())));
        }
    }
    Ok(())
}

/// Unmounts and removes everything the pod had on this node, except what `hostPath` points to. Idempotent;
/// needs nothing but the disk.
///
/// # Errors
/// When a mount or directory does not go away.
pub fn tear_down(uid: &str, locations: &Locations) -> Result<(), VolumeError> {
    for dir in [locations.pod(uid), locations.memory.join(uid)] {
        unmount_below(&dir)?;
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(VolumeError::io("remove", &dir)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Unmounts everything at or below `dir`, innermost first.
///
/// # Errors
/// When the kernel refuses.
pub fn unmount_below(dir: &Path) -> Result<(), VolumeError> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(table).map_err(VolumeError::io("read", table))?;
    let mut targets: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| path.starts_with(dir))
        .collect();
    targets.sort();
    for target in targets.iter().rev() {
        nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH)
            .map_err(|errno| VolumeError::io("unmount", target)(errno.into()))?;
    }
    Ok(())
}

/// mountinfo writes blanks and backslashes as octal.
fn unescape(path: &str) -> String {
    let mut out = path.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        out = out.replace(code, plain);
    }
    out
}

/// Mounts the node's tmpfs for secrets unless it is there already.
///
/// # Errors
/// When the directory or the mount cannot be made.
pub fn prepare_memory(locations: &Locations) -> Result<(), VolumeError> {
    std::fs::create_dir_all(&locations.memory).map_err(VolumeError::io("create", &locations.memory))?;
    if locations.mount_tmpfs && !empty_dir::is_mount_point(&locations.memory) {
        empty_dir::mount_tmpfs(&locations.memory, None, 0o711)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locations(dir: &Path) -> Locations {
        Locations { pods: dir.join("pods"), memory: dir.join("memory"), mount_tmpfs: false }
    }

    fn pod(volumes: &str, mounts: &str) -> Pod {
        serde_yaml::from_str(&format!(
            "{{metadata: {{name: p, namespace: n, uid: u, labels: {{a: b}}}}, spec: {{volumes: {volumes},
               containers: [{{name: c, volumeMounts: {mounts}}}]}}}}"
        ))
        .expect("a pod")
    }

    #[test]
    fn mounts_and_sub_paths() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = locations(dir.path());
        let pod = pod(
            "[{name: e, emptyDir: {}}, {name: d, downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}]}}]",
            "[{name: e, mountPath: /e}, {name: e, mountPath: /s, subPath: x/y}, {name: d, mountPath: /d},
              {name: e, mountPath: /v, subPathExpr: $(POD)}]",
        );
        set_up(&pod, &at, &Contents::default()).expect("volumes");
        let container = &pod.spec.as_ref().expect("spec").containers[0];
        let env = BTreeMap::from([("POD".to_owned(), "p".to_owned())]);
        let mounts = mounts_of(&pod, container, &at, &env).expect("mounts");
        let tail = |mount: &Mount| {
            let root = dir.path().canonicalize().expect("root");
            let source = mount.source.canonicalize().expect("source");
            (source.strip_prefix(root).expect("inside").display().to_string(), mount.read_only)
        };
        assert_eq!(
            mounts.iter().map(tail).collect::<Vec<_>>(),
            [
                ("pods/u/volumes/empty-dir/e".to_owned(), false),
                ("pods/u/volumes/empty-dir/e/x/y".to_owned(), false),
                ("pods/u/volumes/downward-api/d".to_owned(), true),
                ("pods/u/volumes/empty-dir/e/p".to_owned(), false),
            ]
        );
        tear_down("u", &at).expect("removed");
        assert!(!dir.path().join("pods/u").exists());
        tear_down("u", &at).expect("removing twice is fine");
    }

    #[test]
    fn sub_paths_stay_inside() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("v");
        std::fs::create_dir_all(&root).expect("root");
        std::os::unix::fs::symlink("/etc", root.join("out")).expect("a link");
        for path in ["../x", "/etc", "out", "out/new"] {
            assert!(resolve_sub_path(&root, path, "v").is_err(), "{path}");
        }
        assert!(resolve_sub_path(&root, "a/b", "v").is_ok());
        let none = BTreeMap::new();
        assert!(expand_sub_path("$(X)", &none).is_err());
    }

    #[test]
    fn unsupported_and_missing() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = locations(dir.path());
        for (volume, text) in [
            (
                "{name: v, nfs: {server: s, path: /}}",
                "MountVolume.SetUp failed for volume \"v\" : this volume type is not supported by this node",
            ),
            (
                "{name: v, configMap: {name: gone}}",
                "MountVolume.SetUp failed for volume \"v\" : configmap \"gone\" not found",
            ),
            (
                "{name: v, secret: {secretName: gone}}",
                "MountVolume.SetUp failed for volume \"v\" : secret \"gone\" not found",
            ),
        ] {
            let error =
                set_up(&pod(&format!("[{volume}]"), "[]"), &at, &Contents::default()).expect_err("fails");
            assert_eq!(error.to_string(), text);
        }
        let optional = pod("[{name: v, configMap: {name: gone, optional: true}}]", "[]");
        set_up(&optional, &at, &Contents::default()).expect("an empty volume");
    }
}
