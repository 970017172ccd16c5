//! Stores in temporary directories, fed with archives made here.

use super::*;
use component_base::clock::FakeClock;
use serde_json::{Value, json};
use std::io::Write as _;

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn config_of(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/web"], "Entrypoint": null, "Env": ["A=b"], "ExposedPorts": {"80/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    config.to_string().into_bytes()
}

fn layers() -> Vec<Vec<u8>> {
    vec![tar_of(&[("bin/web", b"one")]), tar_of(&[("etc/conf", b"two")])]
}

fn docker_archive(tag: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let config = config_of(layers);
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    let manifest = json!([{"Config": "c.json", "RepoTags": [tag], "Layers": names}]).to_string();
    let mut files: Vec<(&str, &[u8])> = vec![("c.json", &config)];
    files.extend(names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice)));
    files.push(("manifest.json", manifest.as_bytes()));
    tar_of(&files)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout with an index of two platforms; `spoil` may change blobs before they are written.
fn oci_archive(layers: &[Vec<u8>], spoil: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
    let mut blob = |bytes: Vec<u8>, kind: &str| -> Value {
        let digest = sha256(&bytes);
        blobs.push((digest.replace("sha256:", "blobs/sha256/"), bytes.clone()));
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": bytes.len()})
    };
    let config = blob(config_of(layers), "config.v1+json");
    let packed: Vec<Value> = layers.iter().map(|layer| blob(gzip(layer), "layer.v1.tar+gzip")).collect();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": packed}).to_string().into_bytes();
    let mut ours = blob(manifest, "manifest.v1+json");
    ours["platform"] = json!({"os": "linux", "architecture": load::architecture()});
    let mut other = ours.clone();
    other["digest"] = sha256(b"not here").into();
    other["platform"]["architecture"] = "s390x".into();
    let index = json!({"schemaVersion": 2, "manifests": [other, ours]}).to_string().into_bytes();
    let mut top = blob(index, "index.v1+json");
    top["annotations"] = json!({"org.opencontainers.image.ref.name": "example.com/team/web:v1"});
    let top = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
    let mut last = blobs.len() - 3;
    for (name, bytes) in &mut blobs {
        if name.contains("blobs") && last == 0 {
            spoil(bytes);
        }
        last = last.wrapping_sub(1);
    }
    let mut files: Vec<(&str, &[u8])> = vec![("oci-layout", b"{}"), ("index.json", top.as_bytes())];
    files.extend(blobs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    tar_of(&files)
}

fn store() -> (tempfile::TempDir, Store) {
    let node = tempfile::tempdir().unwrap();
    let clock = FakeClock::at(Timestamp::UNIX_EPOCH);
    let store = Store::open(&node.path().join("images"), clock).unwrap();
    (node, store)
}

fn root_only() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn docker_archives_in_every_wrapping() {
    if !root_only() {
        return;
    }
    let plain = docker_archive("web:v1", &layers());
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for archive in [gzip(&plain), zstd, plain] {
        let (_node, store) = store();
        let loaded = store.load(archive.as_slice(), None).unwrap();
        assert_eq!(loaded[0].image.repo_tags, ["docker.io/library/web:v1"]);
        let found = store.get("web:v1").unwrap().unwrap();
        assert_eq!(found, loaded[0].image);
        assert_eq!(found.config.cmd, ["/bin/web"]);
        assert!(found.config.entrypoint.is_empty());
        assert_eq!(fs::read(found.layers[0].join("bin/web")).unwrap(), b"one");
        assert_eq!(fs::read(found.layers[1].join("etc/conf")).unwrap(), b"two");
        assert_eq!(store.get(&found.id).unwrap().unwrap().id, found.id);
        assert_eq!(store.get(&format!("web@{}", found.digest)).unwrap().unwrap().id, found.id);
        assert_eq!(store.get("web").unwrap(), None);
        assert_eq!(store.get(&format!("other@{}", found.digest)).unwrap(), None);
    }
}

#[test]
fn oci_layouts_choose_the_platform_and_check_digests() {
    if !root_only() {
        return;
    }
    let (_node, store) = store();
    let loaded = store.load(oci_archive(&layers(), |_| {}).as_slice(), None).unwrap();
    assert_eq!(loaded[0].image.repo_tags, ["example.com/team/web:v1"]);
    assert_eq!(fs::read(loaded[0].image.layers[1].join("etc/conf")).unwrap(), b"two");
    let spoilt = oci_archive(&layers(), |bytes| bytes[20] ^= 1);
    assert!(matches!(store.load(spoilt.as_slice(), None), Err(ImageError::Digest { .. })));
}

#[test]
fn a_layer_that_is_not_its_diff_id_is_refused() {
    if !root_only() {
        return;
    }
    let (_node, store) = store();
    let honest = layers();
    let archive = docker_archive("web", &honest);
    let at = archive.windows(3).position(|window| window == b"one").unwrap();
    let mut changed = archive;
    changed[at] = b'O';
    assert!(matches!(store.load(changed.as_slice(), None), Err(ImageError::Digest { .. })));
    assert!(store.list().unwrap().is_empty());
    assert_eq!(fs::read_dir(store.dir.join("l")).unwrap().count(), 0);
    assert!(matches!(store.load(tar_of(&[("x", b"y")]).as_slice(), None), Err(ImageError::Archive(_))));
}

#[test]
fn layers_are_shared_and_go_with_the_last_image() {
    if !root_only() {
        return;
    }
    let (_node, store) = store();
    let base = layers();
    let more = [base.clone(), vec![tar_of(&[("x", b"3")])]].concat();
    let first = store.load(docker_archive("base", &base).as_slice(), None).unwrap().remove(0).image;
    let second = store.load(docker_archive("more", &more).as_slice(), None).unwrap().remove(0).image;
    assert_eq!(first.layers, second.layers[..2]);
    store.tag("base", "example.com/b:1").unwrap();
    store.remove("base").unwrap();
    assert_eq!(store.get("example.com/b:1").unwrap().unwrap().id, first.id);
    store.remove(&first.id).unwrap();
    assert!(second.layers.iter().all(|layer| layer.exists()));
    store.remove("more").unwrap();
    assert!(second.layers.iter().all(|layer| !layer.exists()));
    assert_eq!(fs::read_dir(store.dir.join("blobs/sha256")).unwrap().count(), 0);
    assert!(matches!(store.remove("more"), Err(ImageError::NotFound(_))));
}

#[test]
fn a_load_tells_the_names_it_brought() {
    if !root_only() {
        return;
    }
    let (_node, store) = store();
    let load =
        |name: &str| store.load(docker_archive(name, &layers()).as_slice(), None).unwrap().remove(0).shown();
    assert_eq!(load("a:1"), "docker.io/library/a:1");
    assert_eq!(load("b:2"), "docker.io/library/b:2", "not that of the first load of the same image");
}

#[test]
fn images_of_containers_stay() {
    if !root_only() {
        return;
    }
    let (node, store) = store();
    let image = store.load(docker_archive("web", &layers()).as_slice(), None).unwrap().remove(0).image;
    let pod = PodDir::of(node.path(), "uid");
    fs::create_dir_all(pod.container("c-0")).unwrap();
    let record = ContainerRecord {
        config: crate::container_runtime::ContainerConfig { layers: image.layers, ..Default::default() },
        pid: 1,
        created_at: Timestamp::UNIX_EPOCH,
        started_at: None,
        exit: None,
    };
    records::write_json(&pod.record("c-0"), &record).unwrap();
    let text = store.remove("web").unwrap_err().to_string();
    assert_eq!(text, "image web is in use by container c-0");
    assert!(store.get("web").unwrap().is_some());
}

#[tokio::test]
async fn another_process_change_is_told() {
    if !root_only() {
        return;
    }
    let (_node, store) = store();
    let mut changes = store.changed().unwrap();
    let other = Store::open(&store.dir, FakeClock::at(Timestamp::UNIX_EPOCH)).unwrap();
    tokio::task::spawn_blocking(move || other.load(docker_archive("web", &layers()).as_slice(), None))
        .await
        .unwrap()
        .unwrap();
    changes.next().await.unwrap();
    assert!(store.get("web").unwrap().is_some());
}
