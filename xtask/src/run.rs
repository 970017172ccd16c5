//! The chores that build and run Gantry itself.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::machine::{self, run};

/// Where property tests start. Whether a change may go in must not depend on luck, so the whole run always takes
/// the same histories; `cargo nextest run` alone, or another seed here, explores new ones.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// Tests that clusters on etcd go through as well: every verb of a client, a crash, controllers at work and a
/// kind of somebody's own.
const ON_ETCD: &[&str] = &[
    "old_kubectl_reads_and_writes",
    "a_crash_loses_nothing_and_restarts_nothing",
    "a_rolling_update_keeps_pods_ready_and_undo_brings_the_old_template_back",
    "an_operator_with_its_own_kind",
];

/// Tests of `e2e` that drive a cluster with programs out of the Python environment.
const FROM_PYTHON: [&str; 4] = ["the_python_client", "schemathesis", "helm", "a_kopf_operator"];

/// Starts a cluster on this machine and stays with it until it ends.
pub fn up(arguments: &[String]) -> Result<()> {
    machine::install_packages()?;
    let gantry = build_release()?;
    let mut load = Command::new(&gantry);
    load.args(["image", "load"]).args(crate::images::build()?);
    if let Some(dir) = flag(arguments, "--data-dir") {
        load.args(["--data-dir", &dir]);
    }
    run(&mut load)?;
    run(Command::new(&gantry).arg("up").args(arguments))
}

/// Runs every test; `e2e` says whether those with real containers are among them.
pub fn test(e2e: bool) -> Result<()> {
    machine::install_packages()?;
    cargo(&["fmt", "--all", "--check"])?;
    supply_chain()?;
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let tests: &[&str] = if nextest() { &["nextest", "run"] } else { &["test"] };
    println!("cargo {} --workspace --exclude e2e", tests.join(" "));
    let mut units = Command::new(env!("CARGO"));
    units.current_dir(crate::root()?).args(tests).args(["--workspace", "--exclude", "e2e"]);
    if std::env::var_os(PROPERTY_SEED).is_none() {
        units.env(PROPERTY_SEED, "1");
    }
    run(&mut units)?;
    if !e2e {
        return Ok(());
    }
    let gantry = build_release()?;
    let images = crate::images::build()?;
    let tools = crate::target_dir()?.join("tools");
    let old_kubectl = machine::old_kubectl(&tools)?;
    let python = machine::python(&tools, &crate::root()?.join("e2e/clients/requirements.txt"));
    let image_dir = images.first().and_then(|file| file.parent()).context("no image was built")?;
    let root = crate::root()?;
    let e2e = |store: &str, filters: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(&root).args(tests).args(["--package", "e2e", "--"]).args(filters);
        if !nextest() {
            command.arg("--test-threads=1");
        }
        if let Ok(programs) = &python {
            command.env("GANTRY_PYTHON", programs);
        }
        println!("e2e with the {store} store");
        run(command
            .env("GANTRY_E2E_STORE", store)
            .env("GANTRY_BINARY", &gantry)
            .env("GANTRY_IMAGES", image_dir)
            .env("GANTRY_OLD_KUBECTL", &old_kubectl))
    };
    let left_out = match &python {
        Ok(_) => Vec::new(),
        Err(error) => {
            println!("no Python packages, so the tests with programs from there are left out: {error:#}");
            FROM_PYTHON.iter().flat_map(|test| ["--skip", test]).collect()
        }
    };
    e2e("embedded", &left_out)?;
    e2e("etcd", ON_ETCD)
}

/// Licences, sources and banned crates. Advisories need a database that is fetched from the internet, so they are
/// left to a machine that has it (`cargo deny check advisories`).
fn supply_chain() -> Result<()> {
    let there = Command::new(env!("CARGO")).args(["deny", "--version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        cargo(&["install", "--quiet", "--locked", "cargo-deny"])?;
    }
    cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])
}

/// Prints the table of figures.
pub fn bench(arguments: &[String]) -> Result<()> {
    machine::install_packages()?;
    let gantry = build_release()?;
    let images = crate::images::build()?;
    let image_dir = images.first().and_then(|file| file.parent()).context("no image was built")?;
    cargo(&["build", "--quiet", "--release", "--package", "bench"])?;
    run(Command::new(crate::target_dir()?.join("release/bench"))
        .args(arguments)
        .env("GANTRY_BINARY", &gantry)
        .env("GANTRY_IMAGES", image_dir))
}

/// Builds the one binary. It is linked at a fixed address: a shim is this binary started again, and
/// relocations would make pages of it private to every pod.
fn build_release() -> Result<PathBuf> {
    let mut command = cargo_command(&[
        "rustc",
        "--quiet",
        "--release",
        "--package",
        "gantry",
        "--bin",
        "gantry",
        "--",
        "-C",
        "relocation-model=static",
    ])?;
    if let Some(commit) = git(&["rev-parse", "HEAD"])? {
        let changes = git(&["status", "--porcelain"])?;
        let state = if changes.is_some_and(|changes| changes.is_empty()) { "clean" } else { "dirty" };
        command.env("GANTRY_COMMIT", commit).env("GANTRY_TREE_STATE", state);
    }
    run(&mut command)?;
    Ok(crate::target_dir()?.join("release/gantry"))
}

/// What git says of this checkout, for `kubectl version` to show; `None` where this is no repository.
fn git(arguments: &[&str]) -> Result<Option<String>> {
    let answer = Command::new("git").current_dir(crate::root()?).args(arguments).output();
    let answer = answer.ok().filter(|answer| answer.status.success());
    Ok(answer.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned()))
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run(&mut cargo_command(arguments)?)
}

fn cargo_command(arguments: &[&str]) -> Result<Command> {
    println!("cargo {}", arguments.join(" "));
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(crate::root()?).args(arguments);
    Ok(command)
}

fn nextest() -> bool {
    Command::new(env!("CARGO"))
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The value of `--name VALUE` or `--name=VALUE` among arguments meant for another program.
fn flag(arguments: &[String], name: &str) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == name {
            return rest.next().cloned();
        }
        if let Some(value) = argument.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value.to_owned());
        }
    }
    None
}
