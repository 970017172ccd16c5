//! The sample images, as OCI layouts in tar files: busybox from Debian, and our web server in versions.
//!
//! Names start with `gantry.local/`: nothing is ever pulled from there, they are loaded from the files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::machine::run;

/// One image: its reference and what is in it.
struct Image {
    reference: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    links: Vec<(String, &'static str)>,
    config: Value,
}

/// Builds every image into `target/images/*.tar` and returns the files.
pub fn build() -> Result<Vec<PathBuf>> {
    let out = crate::target_dir()?.join("images");
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let busybox =
        std::fs::read("/bin/busybox").context("cannot read /bin/busybox; run `cargo xtask setup`")?;
    let web = std::fs::read(build_web()?).context("cannot read the web server")?;
    let mut written = Vec::new();
    for image in images(&busybox, &web)? {
        let name = image.reference.trim_start_matches("gantry.local/").replace(':', "-");
        let file = out.join(format!("{name}.tar"));
        write(&image, &file).with_context(|| format!("cannot write {}", file.display()))?;
        written.push(file);
    }
    Ok(written)
}

/// Builds the web server as a static binary, so that it runs in an image with nothing else in it.
fn build_web() -> Result<PathBuf> {
    const TRIPLE: &str = "x86_64-unknown-linux-gnu";
    let target = crate::target_dir()?.join("web");
    run(Command::new(env!("CARGO"))
        .current_dir(crate::root()?)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", &target)
        .args(["build", "--quiet", "--release", "--package", "web", "--target", TRIPLE]))?;
    Ok(target.join(TRIPLE).join("release/web"))
}

fn images(busybox: &[u8], web: &[u8]) -> Result<Vec<Image>> {
    let applets = Command::new("/bin/busybox").arg("--list").output().context("cannot run busybox")?;
    let applets: Vec<(String, &'static str)> = String::from_utf8_lossy(&applets.stdout)
        .lines()
        .filter(|applet| *applet != "busybox")
        .map(|applet| (format!("bin/{applet}"), "busybox"))
        .collect();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let passwd: (&'static str, Vec<u8>) =
        ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n".to_vec());
    let web_image = |reference, version: &str, entrypoint: &str| Image {
        reference,
        files: vec![("bin/busybox", busybox.to_vec()), ("bin/web", web.to_vec()), passwd.clone()],
        links: applets.clone(),
        config: json!({
            "Entrypoint": [entrypoint], "Env": [path, format!("VERSION={version}")],
            "ExposedPorts": {"8080/tcp": {}}, "WorkingDir": "/",
        }),
    };
    Ok(vec![
        Image {
            reference: "gantry.local/busybox:1",
            files: vec![("bin/busybox", busybox.to_vec()), passwd.clone()],
            links: applets.clone(),
            config: json!({"Cmd": ["sh"], "Env": [path], "WorkingDir": "/"}),
        },
        web_image("gantry.local/web:v1", "v1", "/bin/web"),
        web_image("gantry.local/web:v2", "v2", "/bin/web"),
        // Its program does not exist: a rollout to it must leave the old pods serving.
        web_image("gantry.local/web:broken", "broken", "/bin/no-such-program"),
    ])
}

/// Writes one image as an OCI layout (image-spec v1) in a tar file.
fn write(image: &Image, file: &Path) -> Result<()> {
    let layer = layer(image)?;
    let layer_digest = digest(&layer);
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64", "os": "linux", "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({
        "org.opencontainers.image.ref.name": image.reference, "io.containerd.image.name": image.reference,
    });
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;
    let mut archive = tar::Builder::new(std::fs::File::create(file)?);
    append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    append(&mut archive, "index.json", &index, 0o644)?;
    for blob in [&config, &manifest, &layer] {
        append(&mut archive, &format!("blobs/{}", digest(blob).replace(':', "/")), blob, 0o644)?;
    }
    archive.into_inner()?.sync_all()?;
    Ok(())
}

/// The image's only layer; times are fixed so that the same content has the same digest.
fn layer(image: &Image) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for directory in ["bin", "etc", "tmp", "root", "var"] {
        let mut header = header(0, if directory == "tmp" { 0o1777 } else { 0o755 });
        header.set_entry_type(tar::EntryType::Directory);
        archive.append_data(&mut header, format!("{directory}/"), std::io::empty())?;
    }
    for (path, bytes) in &image.files {
        append(&mut archive, path, bytes, if path.starts_with("bin/") { 0o755 } else { 0o644 })?;
    }
    for (path, to) in &image.links {
        let mut header = header(0, 0o777);
        header.set_entry_type(tar::EntryType::Symlink);
        archive.append_link(&mut header, path, to)?;
    }
    Ok(archive.into_inner()?)
}

fn append<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    bytes: &[u8],
    mode: u32,
) -> Result<()> {
    let mut header = header(bytes.len() as u64, mode);
    archive.append_data(&mut header, path, bytes)?;
    Ok(())
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
