//! `gantry image`: the images of the local node, whether it runs or not.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use component_base::clock::RealClock;
use node_agent::images::{Image, Store};

use crate::config::DEFAULT_DATA_DIR;
use crate::ctl::aligned;
use crate::names::image_dir;
use crate::up::data_dir;

/// What to do with images.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Load images from files: OCI layouts or `docker save` archives, plain, gzip or zstd. A running node knows them at once.
    Load {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        node: Node,
    },
    /// List images.
    List {
        #[command(flatten)]
        node: Node,
    },
    /// Give an image another name.
    Tag {
        /// Its name or id.
        source: String,
        /// The new name.
        target: String,
        #[command(flatten)]
        node: Node,
    },
    /// Remove a name, and the image with its last name.
    Remove {
        /// Names or ids.
        #[arg(required = true)]
        images: Vec<String>,
        #[command(flatten)]
        node: Node,
    },
}

/// Which node.
#[derive(clap::Args)]
pub struct Node {
    /// The cluster's data directory.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
}

impl Node {
    fn store(&self) -> Result<Store> {
        let root = std::path::absolute(&self.data_dir)?;
        // Images may be loaded before the node is started for the first time.
        data_dir::make(&root)?;
        let dir = image_dir(&root);
        Store::open(&dir, RealClock::shared())
            .with_context(|| format!("cannot open the images in {}", dir.display()))
    }
}

/// Runs an image command.
///
/// # Errors
/// When the store or a file cannot be read; the text names it.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Load { files, node } => load(&node.store()?, &files),
        Command::List { node } => {
            print!("{}", table(&node.store()?.list()?));
            Ok(())
        }
        Command::Tag { source, target, node } => Ok(node.store()?.tag(&source, &target)?),
        Command::Remove { images, node } => {
            let store = node.store()?;
            for image in images {
                store.remove(&image)?;
                println!("removed {image}");
            }
            Ok(())
        }
    }
}

fn load(store: &Store, files: &[PathBuf]) -> Result<()> {
    for path in files {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let images = store.load(file, None).with_context(|| format!("cannot load {}", path.display()))?;
        if images.is_empty() {
            bail!("{} holds no image", path.display());
        }
        for loaded in images {
            println!("loaded {}", loaded.shown());
        }
    }
    Ok(())
}

/// One line per name.
fn table(images: &[Image]) -> String {
    let mut lines = vec![["IMAGE", "TAG", "IMAGE ID", "SIZE"].map(str::to_owned).to_vec()];
    for image in images {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        let unnamed = [String::new()];
        let names = if image.repo_tags.is_empty() { &unnamed[..] } else { &image.repo_tags };
        for name in names {
            let (repository, tag) = name.rsplit_once(':').unwrap_or(("<none>", "<none>"));
            lines.push(vec![repository.to_owned(), tag.to_owned(), id.clone(), size(image.size)]);
        }
    }
    aligned(&lines)
}

/// Bytes as people read them, in powers of 1,000.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let exact = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{:.1}kB", exact / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}MB", exact / 1e6),
        _ => format!("{:.2}GB", exact / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [(0, "0B"), (2_500, "2.5kB"), (2_400_000, "2.4MB"), (1_250_000_000, "1.25GB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
