//! Custom resources: definitions become rows of the served table, and objects move between versions.
//!
//! Entry points: [`adopt`] and [`draft`] on the way out of the store and into it.

mod conversion;
mod forms;

pub(crate) use forms::{adopt, draft, is_outdated};
