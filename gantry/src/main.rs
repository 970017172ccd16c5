//! The one binary: a cluster (`up`, `server`), its maintenance (`down`, `image`), and the kubectl-like tool.
//!
//! A pod's shim is this program started again; it must stay single-threaded and small, so `main` hands
//! over to it before anything else is set up.

mod certs;
mod config;
mod ctl;
mod down;
mod image;
mod names;
mod process;
mod snapshot;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

/// Takes an eighth off the processor time of a write, for 1 MiB of an idle server (`bench requests idle`); the
/// store's `SQLite` uses it, too.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// A container orchestrator that speaks the Kubernetes API.
#[derive(Parser)]
#[command(name = "gantry", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    globals: ctl::Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this machine: control plane and node agent in one process.
    Up(config::Flags),
    /// Start the control plane only (the same as `up --no-agent`).
    Server(config::Flags),
    /// Stop the cluster of a data directory and remove every mount, link, rule and cgroup; keeps its objects and images.
    Down(down::Arguments),
    /// Load, list and remove images of the local node.
    #[command(subcommand)]
    Image(image::Command),
    /// Save, restore and verify the store of a data directory.
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// List, renew and replace the certificates of a data directory.
    #[command(subcommand)]
    Certs(certs::Command),
    #[command(flatten)]
    Ctl(Box<ctl::Verb>),
}

fn main() -> ExitCode {
    node_agent::shim::intercept();
    let Cli { globals, command } = parsed();
    match command {
        Command::Up(flags) => report(up::run(flags)),
        Command::Server(flags) => report(up::run(config::Flags { no_agent: true, ..flags })),
        Command::Down(arguments) => report(down::run(&arguments)),
        Command::Image(command) => report(image::run(command)),
        Command::Snapshot(command) => report(snapshot::run(command)),
        Command::Certs(command) => report(certs::run(command)),
        Command::Ctl(verb) => ctl::run(*verb, globals),
    }
}

/// The whole command line's grammar.
fn grammar() -> clap::Command {
    Cli::command()
}

/// The command line; a wrong one ends the process with code 1, as kubectl does.
fn parsed() -> Cli {
    let mut grammar = grammar();
    let arguments = ctl::with_plain_booleans(&grammar, std::env::args_os());
    let parsed =
        grammar.try_get_matches_from_mut(arguments).and_then(|mut m| Cli::from_arg_matches_mut(&mut m));
    parsed.unwrap_or_else(|error| {
        let wrong = error.use_stderr();
        match ctl::usage_error(&error) {
            Some(text) => eprintln!("{text}"),
            None => drop(error.print()),
        }
        std::process::exit(i32::from(wrong))
    })
}

/// Errors end here: printed once, with their causes, exit code 1.
fn report(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line; a cause that the text before already ends with is not repeated.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        known if known.contains(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::with_causes;

    /// Flags that clash, within a verb or with those every verb has, fail here and not at a user's.
    #[test]
    fn the_grammar_is_sound() {
        super::grammar().debug_assert();
    }

    #[test]
    fn causes_are_told_once() {
        let inner = anyhow::anyhow!("no such file");
        assert_eq!(with_causes(&inner), "no such file");
        let outer = Err::<(), _>(inner)
            .context("cannot read a: no such file")
            .context("loading")
            .expect_err("it failed");
        assert_eq!(with_causes(&outer), "loading: cannot read a: no such file");
    }
}
