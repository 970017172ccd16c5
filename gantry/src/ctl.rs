//! The kubectl-like tool: same words, same output, same exit codes as kubectl wherever it has a word.
//!
//! Entry point: [`run`]. A verb is a file below `ctl/`; all talk to the server through
//! [`connection::Connection`], name things through [`resources::Resources`], choose objects through
//! [`selection::Choice`], change them through [`change::Sender`] and print them as [`output`] says.

mod command_line;
mod connection;
mod failure;
mod globals;
mod manifest;
mod output;
mod pods;
mod resources;
mod selection;
mod tabs;

mod apply;
mod attach;
mod audit;
mod auth;
mod catalogue;
mod certificate;
mod change;
mod config;
mod copy;
mod create;
mod delete;
mod describe;
mod diff;
mod drain;
mod edit;
mod encryption;
mod events;
mod exec;
mod explain;
mod expose;
mod get;
mod history;
mod kubeconfig;
mod labels;
mod logs;
mod nodes;
mod patch;
mod port_forward;
mod proxy;
mod replace;
mod rollout;
mod run;
mod scale;
mod set;
mod token;
mod top;
mod undelete;
mod undo;
mod wait;

pub use command_line::{usage_error, with_plain_booleans};
pub use failure::{Failure, Outcome};
pub use globals::Globals;
pub use tabs::aligned;

use std::pin::Pin;
use std::process::ExitCode;

use clap::Subcommand;
use connection::Connection;

/// Verbs that talk to a cluster.
#[derive(Subcommand)]
pub enum Verb {
    /// Create or change objects so that they are as files say.
    Apply(apply::Arguments),
    /// Create objects from files, or from flags.
    Create(create::Arguments),
    /// Show objects.
    Get(get::Arguments),
    /// Show everything about objects, their events included.
    Describe(describe::Arguments),
    /// Delete objects.
    Delete(delete::Arguments),
    /// Change an object in an editor.
    Edit(edit::Arguments),
    /// Change fields of an object.
    Patch(patch::Arguments),
    /// Put objects of files in the place of those that stand there.
    Replace(replace::Arguments),
    /// Set and remove labels.
    Label(labels::Arguments),
    /// Set and remove annotations.
    Annotate(labels::Arguments),
    /// Print what a container wrote.
    Logs(logs::Arguments),
    /// Run a command in a container.
    Exec(exec::Arguments),
    /// Take up the streams of a container that runs.
    Attach(attach::Arguments),
    /// Run one pod.
    Run(run::Arguments),
    /// Make a service for an object.
    Expose(expose::Exposing),
    /// Make an autoscaler for a workload.
    Autoscale(expose::Autoscaling),
    /// Set one part of an object.
    #[command(subcommand)]
    Set(set::Command),
    /// Who one is, and what one may do.
    #[command(subcommand)]
    Auth(auth::Command),
    /// Close nodes to new pods.
    Cordon(nodes::Cordoning),
    /// Open nodes to new pods.
    Uncordon(nodes::Cordoning),
    /// Close nodes and evict their pods.
    Drain(drain::Arguments),
    /// Set and remove nodes' taints.
    Taint(nodes::Tainting),
    /// Show what applying files would change.
    Diff(diff::Arguments),
    /// Explain a kind's fields.
    Explain(explain::Arguments),
    /// Show what happened.
    Events(events::Arguments),
    /// Show what pods and nodes use.
    #[command(subcommand)]
    Top(top::Command),
    /// Approve and deny requests for certificates.
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Make a kubeconfig for somebody.
    Kubeconfig(kubeconfig::Arguments),
    /// Make, list and revoke tokens with which machines join.
    #[command(subcommand)]
    Token(token::Command),
    /// List the resources the server has.
    ApiResources(catalogue::ResourceArguments),
    /// List the groups and versions the server has.
    ApiVersions,
    /// Show where the control plane is.
    ClusterInfo(catalogue::ClusterArguments),
    /// Show versions.
    Version(catalogue::VersionArguments),
    /// List the flags every verb has.
    Options,
    /// Copy files to and from containers.
    Cp(copy::Arguments),
    /// Lead local ports to a pod's.
    PortForward(port_forward::Arguments),
    /// Serve the API server on a local port.
    Proxy(proxy::Arguments),
    /// Show and change the kubeconfig.
    #[command(subcommand)]
    Config(config::Command),
    /// Print a shell's completion script.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Set how many replicas a workload has.
    Scale(scale::Arguments),
    /// Watch, pause, restart and take back roll-outs.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Show who changed an object, when, and what.
    History(history::Arguments),
    /// Take back changes: write an object as it was at an earlier revision.
    Undo(undo::Arguments),
    /// Bring back an object that was deleted, with everything that went with it.
    Undelete(undelete::Arguments),
    /// Ask the audit log who did what.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show and change the keys of what is encrypted in the store.
    #[command(subcommand)]
    Encryption(encryption::Command),
    /// Wait until objects have a condition or a value, exist, or are gone.
    Wait(wait::Arguments),
}

/// Which namespace a verb works in: the global flag `-n`, read by [`Connection::namespace`].
#[derive(clap::Args, Clone, Default)]
pub struct Scope {}

/// Runs a verb to its end.
pub fn run(verb: Verb, globals: Globals) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(dispatch(verb, globals));
    // A read of standard input that is still under way must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                eprintln!("{text}");
            }
            ExitCode::from(failure.code())
        }
    }
}

/// A verb at work.
type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// Does what needs no cluster; gives the verb back when it needs one.
async fn local(verb: Verb, globals: &Globals) -> Result<Outcome, Verb> {
    match verb {
        Verb::Config(command) => Ok(config::run(globals, command)),
        Verb::Completion { shell } => {
            clap_complete::generate(shell, &mut crate::grammar(), "gantry", &mut std::io::stdout());
            Ok(Ok(()))
        }
        Verb::Options => {
            catalogue::options();
            Ok(Ok(()))
        }
        Verb::Version(arguments) if arguments.client => Ok(catalogue::version(None, &arguments).await),
        verb => Err(verb),
    }
}

async fn dispatch(verb: Verb, mut globals: Globals) -> Outcome {
    let verb = match local(verb, &globals).await {
        Ok(outcome) => return outcome,
        Err(verb) => verb,
    };
    if let Verb::Encryption(command) = &verb {
        globals.kubeconfig = command.kubeconfig().or(globals.kubeconfig);
    }
    let connection = &Connection::open(globals).await?;
    let running: Running<'_> = match verb {
        Verb::Apply(arguments) => Box::pin(apply::run(connection, arguments)),
        Verb::Create(arguments) => Box::pin(create::run(connection, arguments)),
        Verb::Get(arguments) => Box::pin(get::run(connection, arguments)),
        Verb::Describe(arguments) => Box::pin(describe::run(connection, arguments)),
        Verb::Delete(arguments) => Box::pin(delete::run(connection, arguments)),
        Verb::Edit(arguments) => Box::pin(edit::run(connection, arguments)),
        Verb::Patch(arguments) => Box::pin(patch::run(connection, arguments)),
        Verb::Replace(arguments) => Box::pin(replace::run(connection, arguments)),
        Verb::Label(arguments) => Box::pin(labels::run(connection, arguments, labels::Part::Labels)),
        Verb::Annotate(arguments) => Box::pin(labels::run(connection, arguments, labels::Part::Annotations)),
        Verb::Logs(arguments) => Box::pin(logs::run(connection, arguments)),
        Verb::Exec(arguments) => Box::pin(exec::run(connection, arguments)),
        Verb::Attach(arguments) => Box::pin(attach::run(connection, arguments)),
        Verb::Run(arguments) => Box::pin(run::run(connection, arguments)),
        Verb::Expose(arguments) => Box::pin(expose::run(connection, arguments)),
        Verb::Autoscale(arguments) => Box::pin(expose::autoscale(connection, arguments)),
        Verb::Set(command) => Box::pin(set::run(connection, command)),
        Verb::Auth(command) => Box::pin(auth::run(connection, command)),
        Verb::Cordon(arguments) => Box::pin(nodes::cordon(connection, arguments, true)),
        Verb::Uncordon(arguments) => Box::pin(nodes::cordon(connection, arguments, false)),
        Verb::Drain(arguments) => Box::pin(drain::run(connection, arguments)),
        Verb::Taint(arguments) => Box::pin(nodes::taint(connection, arguments)),
        Verb::Diff(arguments) => Box::pin(diff::run(connection, arguments)),
        Verb::Explain(arguments) => Box::pin(explain::run(connection, arguments)),
        Verb::Events(arguments) => Box::pin(events::run(connection, arguments)),
        Verb::Top(command) => Box::pin(top::run(connection, command)),
        Verb::Certificate(command) => Box::pin(certificate::run(connection, command)),
        Verb::Kubeconfig(arguments) => Box::pin(kubeconfig::run(connection, arguments)),
        Verb::Token(command) => Box::pin(token::run(connection, command)),
        Verb::ApiResources(arguments) => Box::pin(catalogue::resources(connection, arguments)),
        Verb::ApiVersions => Box::pin(catalogue::versions(connection)),
        Verb::ClusterInfo(arguments) => Box::pin(catalogue::cluster(connection, arguments)),
        Verb::Version(arguments) => {
            Box::pin(async move { catalogue::version(Some(connection), &arguments).await })
        }
        Verb::Cp(arguments) => Box::pin(copy::run(connection, arguments)),
        Verb::Proxy(arguments) => Box::pin(proxy::run(connection, arguments)),
        Verb::PortForward(arguments) => Box::pin(port_forward::run(connection, arguments)),
        Verb::Options | Verb::Config(_) | Verb::Completion { .. } => Box::pin(async { Ok(()) }),
        Verb::Scale(arguments) => Box::pin(scale::run(connection, arguments)),
        Verb::Rollout(command) => Box::pin(rollout::run(connection, command)),
        Verb::History(arguments) => Box::pin(history::run(connection, arguments)),
        Verb::Undo(arguments) => Box::pin(undo::run(connection, arguments)),
        Verb::Undelete(arguments) => Box::pin(undelete::run(connection, arguments)),
        Verb::Audit(command) => Box::pin(audit::run(connection, command)),
        Verb::Encryption(command) => Box::pin(encryption::run(connection, command)),
        Verb::Wait(arguments) => Box::pin(wait::run(connection, arguments)),
    };
    running.await
}
