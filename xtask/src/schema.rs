//! Imports the facts table.

use anyhow::{Result, bail};

/// Regenerates `api/facts`.
pub fn import() -> Result<()> {
    bail!("not written yet")
}
