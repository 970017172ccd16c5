//! Gantry's figures, each beside the limit it is measured against in the same run.
//!
//! `cargo xtask bench` builds the release binary and the images and calls this. Sections: `start`,
//! `idle`, `pods`, `requests`; without an argument all of them run, in that order. Nothing here
//! asserts a time: a figure is a reading.

mod api;
mod cluster;
mod idle;
mod limits;
mod pods;
mod requests;
mod start;

use anyhow::Result;
use clap::{Parser, ValueEnum};

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
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Section {
    /// From exec to the first successful request on an empty disk.
    Start,
    /// Memory and CPU of everything Gantry runs, with 0 and with 10 pods.
    Idle,
    /// From apply to Ready.
    Pods,
    /// Durable creates and GETs per second over TLS, beside their limits.
    Requests,
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
    let cli = Cli::parse();
    let all = [Section::Start, Section::Idle, Section::Pods, Section::Requests];
    let sections = if cli.sections.is_empty() { all.to_vec() } else { cli.sections };
    println!("{:<52} {:>28}   against", "what", "reading");
    for section in sections {
        let rows = runtime.block_on(measure(section, cli.seconds))?;
        for row in rows {
            println!("{:<52} {:>28}   {}", row.what, row.reading, row.against);
        }
    }
    Ok(())
}

async fn measure(section: Section, seconds: u64) -> Result<Vec<Row>> {
    match section {
        Section::Start => start::measure().await,
        Section::Idle => idle::measure(seconds).await,
        Section::Pods => pods::measure().await,
        Section::Requests => requests::measure(seconds).await,
    }
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
