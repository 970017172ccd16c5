//! Programs that others wrote for Kubernetes work unmodified: the Python client, schemathesis.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::Cluster;
use e2e::command::{Output, run};

/// A program of the Python environment that `cargo xtask test` makes.
fn python_program(name: &str) -> Result<PathBuf> {
    let bin = std::env::var("GANTRY_PYTHON").context("GANTRY_PYTHON; use `cargo xtask test`")?;
    Ok(Path::new(&bin).join(name))
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

#[test]
fn the_python_client() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut command = Command::new(python_program("python")?);
    command.arg(clients().join("python_client.py")).arg(cluster.kubeconfig());
    let said = run(&mut command, "")?.success()?;
    ensure!(said.contains("all as on Kubernetes"), "{said}");
    Ok(())
}

/// Answers never are server errors, and are what our own OpenAPI documents promise.
#[test]
fn schemathesis() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut proxy = cluster.kubectl_stream(&["proxy", "--port=0", "--reject-paths=^$"])?;
    let line = proxy.line()?;
    let address = line.rsplit(' ').next().context("kubectl proxy says where it listens")?;
    let base = format!("http://{address}");
    for document in ["apis/apps/v1", "apis/coordination.k8s.io/v1"] {
        let output = ask(&base, document)?;
        ensure!(output.code == 0, "{document}: {}\n{}", output.stdout, output.stderr);
        ensure!(output.stdout.contains("passed"), "{document}: nothing was asked\n{}", output.stdout);
    }
    Ok(())
}

fn ask(base: &str, document: &str) -> Result<Output> {
    let checks = "not_a_server_error,content_type_conformance,response_schema_conformance";
    let mut command = Command::new(python_program("schemathesis")?);
    command
        .current_dir(clients())
        .env("PYTHONPATH", ".")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .args(["run", &format!("{base}/openapi/v3/{document}"), "--url", base, "--checks", checks])
        .args(["--phases", "fuzzing", "--max-examples", "4", "--generation-deterministic"])
        .args(["--request-timeout", "20", "--no-color"]);
    run(&mut command, "")
}
