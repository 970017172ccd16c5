//! House rules as tests: what no compiler checks. A failing rule names the file and what to do.

#![expect(clippy::expect_used, reason = "a test that cannot read the tree fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest source file, tests included: past it nobody keeps the file in mind as a whole.
const MAX_FILE_LINES: usize = 1_000;

/// Who may depend on whom, in the order of DESIGN.md section 2; tools (`bench`, `e2e`, `xtask`) stand outside.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("component-base", &[]),
    ("client", &["api", "component-base"]),
    ("apiserver", &["api", "component-base"]),
    ("controller-manager", &["api", "client", "component-base"]),
    ("scheduler", &["api", "client", "component-base"]),
    ("node-agent", &["api", "client", "component-base"]),
    (
        "gantry",
        &["api", "apiserver", "client", "component-base", "controller-manager", "node-agent", "scheduler"],
    ),
];

/// What a crate's own sources must not contain, and why. Test modules are not looked at.
const ABSENT: &[(&str, &str, &str)] = &[
    ("api", "std::fs", "`api` is pure: no IO"),
    ("api", "tokio", "`api` is pure: no async"),
    ("api", "component_base", "`api` has no clock and no chance"),
    ("controller-manager", "std::fs", "controllers decide from what they observe"),
    ("scheduler", "std::fs", "the scheduler decides from its snapshot"),
];

struct Source {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is below the root").to_owned()
}

fn rust_files(below: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(below) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable source");
            found.push(Source { path, text });
        }
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    rust_files(&root(), &mut found);
    assert!(found.len() > 20, "found only {} sources: the walk is broken", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn report(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

#[test]
fn files_are_short_enough_to_know() {
    let long = sources().into_iter().filter_map(|s| {
        let lines = s.text.lines().count();
        (lines > MAX_FILE_LINES).then(|| format!("{}: {lines} lines", shown(&s.path)))
    });
    report("split these files, each has more than 1,000 lines:", long.collect());
}

#[test]
fn files_open_with_their_purpose() {
    let silent = sources().into_iter().filter(|s| !s.text.trim_start().starts_with("//!"));
    report("these files do not open with a `//!` line of purpose:", silent.map(|s| shown(&s.path)).collect());
}

#[test]
fn no_file_is_a_drawer() {
    let drawers = ["util.rs", "utils.rs", "common.rs", "helpers.rs", "misc.rs", "mod.rs"];
    let found = sources().into_iter().filter(|s| drawers.iter().any(|d| s.path.ends_with(d)));
    report("name these files after what they hold:", found.map(|s| shown(&s.path)).collect());
}

/// A `.rs` file that no `mod` line names is never compiled, and nobody notices.
#[test]
fn every_file_is_compiled() {
    let sources = sources();
    let texts: BTreeMap<&Path, &str> = sources.iter().map(|s| (s.path.as_path(), s.text.as_str())).collect();
    let unreachable = sources.iter().filter(|s| {
        let name = s.path.file_stem().unwrap_or_default().to_string_lossy();
        let dir = s.path.parent().expect("a file has a folder");
        let dir_name = dir.file_name().unwrap_or_default().to_string_lossy();
        let target = ["main", "lib", "build"].contains(&&*name)
            || ["tests", "benches", "examples", "bin", "fuzz_targets"].contains(&&*dir_name);
        let parents = [dir.with_extension("rs"), dir.join("lib.rs"), dir.join("main.rs")];
        let declares = |parent: &PathBuf| {
            texts.get(parent.as_path()).is_some_and(|text| text.contains(&format!("mod {name};")))
        };
        let by_path = format!("#[path = \"{dir_name}/{name}.rs\"]");
        let named = || texts.values().any(|text| text.contains(&by_path));
        !target && !parents.iter().any(declares) && !named()
    });
    report("no `mod` line names these files:", unreachable.map(|s| shown(&s.path)).collect());
}

#[test]
fn dependencies_point_one_way() {
    let ours: BTreeSet<&str> = DEPENDENCIES.iter().map(|(name, _)| *name).collect();
    let mut offences = Vec::new();
    for (name, allowed) in DEPENDENCIES {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
        let normal = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let normal = normal.split("\n[").next().unwrap_or_default();
        for line in normal.lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if ours.contains(dependency) && !allowed.contains(&dependency) {
                offences.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    report("dependencies point one way:", offences);
}

#[test]
fn what_must_be_absent_is_absent() {
    let mut offences = Vec::new();
    for source in sources() {
        let path = shown(&source.path);
        let code = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        for (krate, word, why) in ABSENT {
            let inside = path.starts_with(&format!("{krate}/src/"));
            let used = code.lines().any(|line| line.contains(word) && !line.trim_start().starts_with("//"));
            if inside && used && !path.ends_with("tests.rs") {
                offences.push(format!("{path} mentions `{word}`: {why}"));
            }
        }
    }
    report("invariants of ARCHITECTURE.md:", offences);
}

/// Storage is `apiserver`'s alone.
#[test]
fn only_the_api_server_touches_storage() {
    let allowed = ["apiserver/", "gantry/src/up", "gantry/src/snapshot", "xtask/"];
    let is_test = |path: &str| path.contains("/tests/");
    let offences = sources().into_iter().filter(|s| {
        let path = shown(&s.path);
        s.text.contains("apiserver::storage")
            && !is_test(&path)
            && !allowed.iter().any(|a| path.starts_with(a))
    });
    report("these files reach into storage:", offences.map(|s| shown(&s.path)).collect());
}

/// The map may not name what is not there.
#[test]
fn the_map_is_true() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let named = map.split('`').skip(1).step_by(2).filter(|word| {
        word.contains('/')
            && !word.contains([' ', '*', '<', '{'])
            && !word.starts_with('/')
            && !word.contains("://")
    });
    let known = |word: &str| {
        ["Cargo.toml", ".rs", ".yaml", ".md", ".json", "/"].iter().any(|end| word.ends_with(end))
    };
    let missing = named.filter(|word| known(word) && !root().join(word).exists());
    report("ARCHITECTURE.md names files that do not exist:", missing.map(str::to_owned).collect());
}
