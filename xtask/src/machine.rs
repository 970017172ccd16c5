//! What a fresh Debian machine needs before Gantry builds and its tests run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Build- and run-time packages: `(package, a file that shows it is there)`.
///
/// protobuf is for etcd-client's build script, libseccomp for libcontainer, busybox for the images,
/// iproute2 and nftables for the tests that look at what the agent did (the agent itself runs neither),
/// etcd for the tests of the store that lives in one.
const PACKAGES: &[(&str, &str)] = &[
    ("protobuf-compiler", "/usr/bin/protoc"),
    ("libprotobuf-dev", "/usr/include/google/protobuf/descriptor.proto"),
    ("libseccomp-dev", "/usr/include/seccomp.h"),
    ("pkg-config", "/usr/bin/pkg-config"),
    ("busybox-static", "/bin/busybox"),
    ("iproute2", "/sbin/ip"),
    ("nftables", "/usr/sbin/nft"),
    ("etcd-server", "/usr/bin/etcd"),
];

/// Runs a command that must succeed; its output goes to ours.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Whether a program is on the PATH.
fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn apt(arguments: &[&str]) -> Result<()> {
    run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(arguments))
}

/// Installs the packages that are missing, and a `kubectl` if there is none.
pub fn install_packages() -> Result<()> {
    let mut missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, proof)| !Path::new(proof).exists()).map(|(name, _)| *name).collect();
    if !on_path("kubectl") {
        missing.push("kubernetes-client");
    }
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    apt(&["update"])?;
    let arguments: Vec<&str> =
        ["install", "-y", "--no-install-recommends"].into_iter().chain(missing).collect();
    apt(&arguments)
}

/// Debian's own kubectl (1.20 on Debian 12), unpacked below `dir` and not installed, so that the old and
/// the new client can both be tested.
pub fn old_kubectl(dir: &Path) -> Result<PathBuf> {
    let binary = dir.join("kubernetes-client/usr/bin/kubectl");
    if binary.is_file() {
        return Ok(binary);
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    apt(&["update"])?;
    run(Command::new("apt-get").current_dir(dir).args(["-qq", "download", "kubernetes-client"]))?;
    let package = std::fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .context("apt-get download left no package")?;
    run(Command::new("dpkg").arg("-x").arg(&package).arg(dir.join("kubernetes-client")))?;
    if !binary.is_file() {
        bail!("{} holds no kubectl", package.display());
    }
    Ok(binary)
}

/// A Python environment below `dir` with the packages of a requirements file; returns its folder of programs.
pub fn python(dir: &Path, requirements: &Path) -> Result<PathBuf> {
    let (environment, wanted) = (dir.join("python"), std::fs::read_to_string(requirements));
    let wanted = wanted.with_context(|| format!("cannot read {}", requirements.display()))?;
    let (bin, done) = (environment.join("bin"), environment.join("installed.txt"));
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(bin);
    }
    let make = || run(Command::new("python3").args(["-m", "venv"]).arg(&environment));
    if make().is_err() {
        // Debian's Python comes without it.
        apt(&["update"])?;
        apt(&["install", "-y", "--no-install-recommends", "python3", "python3-venv"])?;
        make()?;
    }
    run(Command::new(bin.join("pip")).args(["install", "--quiet", "--requirement"]).arg(requirements))?;
    std::fs::write(&done, wanted).with_context(|| format!("cannot write {}", done.display()))?;
    Ok(bin)
}
