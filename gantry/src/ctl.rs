//! The kubectl-like tool: same words, same output, same exit codes as kubectl wherever it has a word.
//!
//! Entry point: [`run`]. A verb is a file below `ctl/`; all talk to the server through
//! [`connection::Connection`] and name things through [`resources::Resources`].

mod apply;
mod connection;
mod delete;
mod describe;
mod exec;
mod get;
mod logs;
mod manifest;
mod resources;
mod rollout;
mod scale;

pub use get::aligned;

use std::process::ExitCode;

use clap::Subcommand;

/// Verbs that talk to a cluster.
#[derive(Subcommand)]
pub enum Verb {
    /// Create or change objects so that they are as files say.
    Apply(apply::Arguments),
    /// Show objects.
    Get(get::Arguments),
    /// Show everything about objects, their events included.
    Describe(describe::Arguments),
    /// Print what a container wrote.
    Logs(logs::Arguments),
    /// Run a command in a container.
    Exec(exec::Arguments),
    /// Set how many replicas a workload has.
    Scale(scale::Arguments),
    /// Watch, pause, restart and take back roll-outs.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Delete objects.
    Delete(delete::Arguments),
}

/// Which namespace a verb works in.
#[derive(clap::Args, Clone, Default)]
pub struct Scope {
    /// The namespace [default: that of the kubeconfig].
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// Why a verb failed; decides text and exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server refused; shown as kubectl shows it.
    #[error("Error from server{}: {}", reason_of(.0), .0.message)]
    Server(Box<kube::core::Status>),
    /// Anything else.
    #[error("error: {}", crate::with_causes(.0))]
    Other(#[from] anyhow::Error),
    /// A command in a container ended with this code; it has said itself why.
    #[error("command terminated with exit code {0}")]
    ExitCode(u8),
}

fn reason_of(status: &kube::core::Status) -> String {
    match status.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Server(status),
            other => Self::Other(anyhow::Error::new(other)),
        }
    }
}

/// What a verb returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Runs a verb to its end.
pub fn run(verb: Verb) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(verb)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            match failure {
                Failure::ExitCode(code) => ExitCode::from(code),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn dispatch(verb: Verb) -> Outcome {
    let connection = connection::Connection::open().await?;
    match verb {
        Verb::Apply(arguments) => apply::run(&connection, arguments).await,
        Verb::Get(arguments) => get::run(&connection, arguments).await,
        Verb::Describe(arguments) => describe::run(&connection, arguments).await,
        Verb::Logs(arguments) => logs::run(&connection, arguments).await,
        Verb::Exec(arguments) => exec::run(&connection, arguments).await,
        Verb::Scale(arguments) => scale::run(&connection, arguments).await,
        Verb::Rollout(command) => rollout::run(&connection, command).await,
        Verb::Delete(arguments) => delete::run(&connection, arguments).await,
    }
}
