//! `gantry cp`: files to and from a container, by the container's own `tar`.

use std::io::{Seek as _, Write as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, anyhow};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use tokio::io::AsyncWriteExt as _;

use super::connection::Connection;
use super::exec::outcome;
use super::pods::choose_container;
use super::{Failure, Outcome};

/// Flags of `cp`.
#[derive(clap::Args)]
pub struct Arguments {
    /// [[NAMESPACE/]POD:]PATH
    source: String,
    /// [[NAMESPACE/]POD:]PATH
    target: String,
    /// The container.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Do not keep owners and modes.
    #[arg(long)]
    no_preserve: bool,
    /// How often to try again when a copy breaks off; it is tried once.
    #[arg(
        long = "retries",
        value_name = "COUNT",
        default_value_t = 0,
        allow_negative_numbers = true,
        hide = true
    )]
    _retries: i64,
}

/// A place: a pod's or this machine's.
#[derive(Debug, PartialEq)]
struct Place {
    namespace: Option<String>,
    pod: Option<String>,
    path: String,
}

fn place(text: &str) -> Outcome<Place> {
    let local = |path: &str| Place { namespace: None, pod: None, path: path.to_owned() };
    let Some((pod, path)) = text.split_once(':') else { return Ok(local(text)) };
    if pod.starts_with(['.', '/']) {
        return Ok(local(text));
    }
    match pod.split('/').collect::<Vec<_>>().as_slice() {
        [""] | [_, ""] | [_, _, _, ..] => {
            Err(Failure::new("filespec must match the canonical format: [[namespace/]pod:]file/path"))
        }
        [namespace, pod] => Ok(Place {
            namespace: Some((*namespace).to_owned()),
            pod: Some((*pod).to_owned()),
            path: path.to_owned(),
        }),
        _ => Ok(Place { namespace: None, pod: Some(pod.to_owned()), path: path.to_owned() }),
    }
}

/// Copies.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let (source, target) = (place(&arguments.source)?, place(&arguments.target)?);
    if source.path.is_empty() || target.path.is_empty() {
        return Err(Failure::new("filepath can not be empty"));
    }
    match (&source.pod, &target.pod) {
        (Some(_), Some(_)) => Err(Failure::new("one of src or dest must be a local file specification")),
        (None, None) => Err(Failure::new("one of src or dest must be a remote file specification")),
        (Some(pod), None) => {
            let remote = Remote::open(connection, &source, pod, &arguments).await?;
            remote.download(&source.path, Path::new(&target.path)).await
        }
        (None, Some(pod)) => {
            let remote = Remote::open(connection, &target, pod, &arguments).await?;
            remote.upload(Path::new(&source.path), &target.path, arguments.no_preserve).await
        }
    }
}

/// A container to run `tar` in.
struct Remote {
    pods: Api<Pod>,
    pod: String,
    container: String,
}

/// An archive between its making and its use, gone in the end.
fn spool() -> Outcome<std::fs::File> {
    let path = std::env::temp_dir().join(format!("gantry-cp-{}.tar", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

impl Remote {
    async fn open(connection: &Connection, place: &Place, pod: &str, arguments: &Arguments) -> Outcome<Self> {
        let namespace = place.namespace.clone().unwrap_or_else(|| connection.default_namespace());
        let object = connection.get(&format!("/api/v1/namespaces/{namespace}/pods/{pod}")).await?;
        let phase = object["status"]["phase"].as_str().unwrap_or_default();
        if ["Succeeded", "Failed"].contains(&phase) {
            return Err(Failure::new(format!(
                "cannot exec into a container in a completed pod; current phase is {phase}"
            )));
        }
        let container = choose_container(&object, arguments.container.as_deref(), true)?;
        Ok(Self { pods: Api::namespaced(connection.client(), &namespace), pod: pod.to_owned(), container })
    }

    /// Runs a command, with a file as its input or its output.
    async fn exec(
        &self,
        command: &[&str],
        input: Option<std::fs::File>,
        output: Option<std::fs::File>,
    ) -> Outcome {
        let parameters = AttachParams {
            container: Some(self.container.clone()),
            stdin: input.is_some(),
            stdout: output.is_some(),
            stderr: true,
            ..AttachParams::default()
        };
        let mut process = self.pods.exec(&self.pod, command.iter().copied(), &parameters).await?;
        let status = process.take_status().context("no status stream")?;
        let (mut stdin, mut stdout, mut stderr) = (process.stdin(), process.stdout(), process.stderr());
        let send = async {
            if let (Some(file), Some(stdin)) = (input, &mut stdin) {
                tokio::io::copy(&mut tokio::fs::File::from_std(file), stdin).await?;
                stdin.shutdown().await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let receive = async {
            if let (Some(file), Some(stdout)) = (output, &mut stdout) {
                let mut file = tokio::fs::File::from_std(file);
                tokio::io::copy(stdout, &mut file).await?;
                file.flush().await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let complain = async {
            match &mut stderr {
                Some(stderr) => tokio::io::copy(stderr, &mut tokio::io::stderr()).await.map(drop),
                None => Ok(()),
            }
        };
        let (sent, received, complained, status) = tokio::join!(send, receive, complain, status);
        outcome(status)?;
        sent.and(received).and(complained).context("cannot copy the archive")?;
        Ok(())
    }

    async fn download(&self, source: &str, target: &Path) -> Outcome {
        let file = spool()?;
        self.exec(&["tar", "cf", "-", source], None, Some(file.try_clone()?)).await?;
        unpack(file, source, target)
    }

    async fn upload(&self, source: &Path, target: &str, no_preserve: bool) -> Outcome {
        if !source.exists() {
            return Err(Failure::new(format!("{} doesn't exist in local filesystem", source.display())));
        }
        let name = source.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| anyhow!("{} has no name", source.display()))?;
        let trimmed = target.trim_end_matches('/');
        let is_folder = self
            .exec(&["test", "-d", if trimmed.is_empty() { "/" } else { trimmed }], None, None)
            .await
            .is_ok();
        let whole = if is_folder { format!("{trimmed}/{name}") } else { trimmed.to_owned() };
        let (folder, base) = whole.rsplit_once('/').map_or((".", whole.as_str()), |(folder, base)| {
            (if folder.is_empty() { "/" } else { folder }, base)
        });
        let mut file = spool()?;
        let mut archive = tar::Builder::new(file.try_clone()?);
        archive.follow_symlinks(false);
        match source.is_dir() {
            true => archive.append_dir_all(base, source),
            false => archive.append_path_with_name(source, base),
        }
        .and_then(|()| archive.finish())
        .with_context(|| format!("cannot read {}", source.display()))?;
        file.flush()?;
        file.rewind()?;
        let mut command = vec!["tar", "-xmf", "-", "-C", folder];
        if no_preserve {
            command.splice(1..1, ["--no-same-permissions", "--no-same-owner"]);
        }
        self.exec(&command, Some(file), None).await
    }
}

/// Unpacks what stands below `source` in the archive to `target`, or into it when it is a folder.
fn unpack(mut file: std::fs::File, source: &str, target: &Path) -> Outcome {
    file.rewind()?;
    let prefix: PathBuf =
        Path::new(source).components().filter(|c| matches!(c, Component::Normal(_))).collect();
    let base = match target.is_dir() {
        true => target.join(prefix.file_name().unwrap_or_default()),
        false => target.to_owned(),
    };
    let mut archive = tar::Archive::new(file);
    archive.set_preserve_permissions(false);
    let mut any = false;
    for entry in archive.entries().context("the container's tar sent no archive")? {
        let mut entry = entry.context("the archive is damaged")?;
        any = true;
        let path = entry.path().context("a name in the archive")?.into_owned();
        let inside: PathBuf = path.components().filter(|c| matches!(c, Component::Normal(_))).collect();
        let escapes = path.components().any(|c| matches!(c, Component::ParentDir));
        let Ok(rest) = inside.strip_prefix(&prefix) else {
            return Err(Failure::new(format!(
                "tar contents corrupted: {} is not below {source}",
                path.display()
            )));
        };
        if escapes {
            eprintln!(
                "warning: path {:?} is outside target destination, skipping",
                path.display().to_string()
            );
            continue;
        }
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            eprintln!("warning: skipping symlink: {:?}", base.join(rest).display().to_string());
            continue;
        }
        let to = if rest.as_os_str().is_empty() { base.clone() } else { base.join(rest) };
        if kind.is_dir() {
            std::fs::create_dir_all(&to)?;
            continue;
        }
        if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        entry.unpack(&to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    if any { Ok(()) } else { Err(Failure::new(format!("{source} no such file or directory"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let check = |text: &str, namespace: Option<&str>, pod: Option<&str>, path: &str| {
            let expect = Place {
                namespace: namespace.map(str::to_owned),
                pod: pod.map(str::to_owned),
                path: path.to_owned(),
            };
            assert_eq!(place(text).expect("a place"), expect, "{text}");
        };
        check("/a/b", None, None, "/a/b");
        check("pod:/a", None, Some("pod"), "/a");
        check("ns/pod:a", Some("ns"), Some("pod"), "a");
        check("./x:y", None, None, "./x:y");
        assert!(place("a/b/c:d").is_err() && place(":d").is_err());
    }

    #[test]
    fn an_archive_is_unpacked_below_its_target() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = spool().expect("a file");
        let mut archive = tar::Builder::new(file.try_clone().expect("a handle"));
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        archive.append_data(&mut header, "etc/x/hosts", &b"hi"[..]).expect("appended");
        archive.finish().expect("finished");
        file.flush().expect("flushed");
        unpack(file, "/etc/x", &folder.path().join("out")).expect("unpacked");
        let text = std::fs::read_to_string(folder.path().join("out/hosts")).expect("the file");
        assert_eq!(text, "hi");
    }
}
