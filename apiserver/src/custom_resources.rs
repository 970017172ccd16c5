//! Custom resources: definitions become rows of the served table, and objects move between versions.
//!
//! Entry points: [`load`] and [`run`] for definitions; [`adopt`] and [`draft`] for objects on their way out
//! of the store and into it. Everything pure is in `api::custom`.

mod cleanup;
mod conversion;
mod definitions;
mod forms;

pub(crate) use conversion::convert;
pub(crate) use definitions::{Rows, load, run, superseded};
pub(crate) use forms::{adopt, draft, is_outdated};
