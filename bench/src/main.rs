//! Gantry's figures, each beside the limit it is measured against in the same run.
//!
//! `cargo xtask bench` builds the release binary and the images and calls this with names of [`Section`]s;
//! without a name all of them run, in their order. Nothing here asserts a time: a figure is a reading.

mod access;
mod admission;
mod api;
mod authorization;
mod cluster;
mod etcd;
mod idle;
mod limits;
mod lists;
mod load;
mod objects;
mod pods;
mod quota;
mod requests;
mod start;
mod usage;
mod watch;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use cluster::Engine;

/// Prints a table of measurements.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    /// What to measure; everything when absent.
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// Seconds per measured span.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Pods in the largest list and in a full store.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..))]
    objects: u32,
    /// Engines to measure; all when absent.
    #[arg(long = "engine", value_enum)]
    engines: Vec<Engine>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Section {
    /// From exec to the first successful request on an empty disk.
    Start,
    /// Memory and CPU of everything Gantry runs, with 0 and with 10 pods.
    Idle,
    /// From apply to Ready.
    Pods,
    /// Durable creates and updates, and GETs, per second over TLS.
    Requests,
    /// LIST of 1,000, 10,000 and 100,000 pods as JSON and as Table.
    Lists,
    /// Events to 1,000 watchers: how many per second, and how late.
    Watch,
    /// 100,000 pods: memory for each, and a restart.
    Objects,
    /// Durable creates in a namespace with a ResourceQuota.
    Quota,
    /// Access reviews with 10,000 role bindings.
    Authorization,
    /// Certificates, tokens and new connections.
    Access,
    /// Authentication, authorization and admission of a create.
    Admission,
}

/// One line of the table.
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The reading, with its unit.
    pub reading: String,
    /// What it is held against, from the same run or from DESIGN.md's goals.
    pub against: String,
}

impl Row {
    /// A row of three texts.
    pub fn new(what: impl Into<String>, reading: impl Into<String>, against: impl Into<String>) -> Self {
        Self { what: what.into(), reading: reading.into(), against: against.into() }
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if std::env::args().nth(1).is_some_and(|first| first == limits::BARE_SERVER) {
        return runtime.block_on(limits::serve_bare());
    }
    let mut cli = Cli::parse();
    raise_open_files()?;
    if cli.engines.is_empty() {
        cli.engines = Engine::value_variants().to_vec();
    }
    let sections = match cli.sections.as_slice() {
        [] => Section::value_variants().to_vec(),
        some => some.to_vec(),
    };
    println!("{:<52} {:>28}   against", "what", "reading");
    for section in sections {
        let rows = runtime.block_on(measure(section, &cli))?;
        for row in rows {
            println!("{:<52} {:>28}   {}", row.what, row.reading, row.against);
        }
    }
    Ok(())
}

async fn measure(section: Section, cli: &Cli) -> Result<Vec<Row>> {
    let (engines, seconds, objects) = (&cli.engines[..], cli.seconds, cli.objects as usize);
    match section {
        Section::Start => start::measure().await,
        Section::Idle => idle::measure(seconds).await,
        Section::Pods => pods::measure().await,
        Section::Requests => requests::measure(engines, seconds).await,
        Section::Lists => lists::measure(engines, objects).await,
        Section::Watch => watch::measure(engines, seconds).await,
        Section::Objects => objects::measure(engines, objects).await,
        Section::Quota => quota::measure(engines, seconds).await,
        Section::Authorization => authorization::measure(seconds).await,
        Section::Access => access::measure(seconds).await,
        Section::Admission => admission::measure(seconds).await,
    }
}

/// A thousand watchers are as many sockets, here and in the server started from here.
fn raise_open_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot raise the limit of open files")
}

/// The value at `share` (0 to 1) of sorted readings; 0 for none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into at most millions of readings"
    )]
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}
