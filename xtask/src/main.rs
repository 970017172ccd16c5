//! `cargo xtask …`: everything a contributor or a new user runs.
//!
//! `up` gives a cluster, `test` runs every test, `bench` prints the figures; each first installs what
//! it needs. `images` builds the sample images, `schema` imports the facts table.

mod images;
mod machine;
mod run;
mod schema;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Gantry's chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what is needed, build, load the sample images, start a cluster on this machine.
    Up {
        /// Passed on to `gantry up`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Install what is needed, build, run every test including `e2e`.
    Test {
        /// Leave out the tests that start real containers.
        #[arg(long)]
        no_e2e: bool,
    },
    /// Print the performance table.
    Bench {
        /// Passed on to the bench program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the sample images into `target/images`.
    Images,
    /// Install Debian packages this project needs.
    Setup,
    /// Import the facts table of a Kubernetes version.
    Schema(schema::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Up { arguments } => run::up(&arguments),
        Chore::Test { no_e2e } => run::test(!no_e2e),
        Chore::Bench { arguments } => run::bench(&arguments),
        Chore::Images => images::build().map(|files| {
            for file in files {
                println!("{}", file.display());
            }
        }),
        Chore::Setup => machine::install_packages(),
        Chore::Schema(arguments) => schema::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root directory.
fn root() -> Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .map(PathBuf::from)
        .ok_or_else(|| anyhow::anyhow!("{} has no parent", manifest.display()))
}

/// Where cargo puts its output.
fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => Ok(root()?.join("target")),
    }
}
