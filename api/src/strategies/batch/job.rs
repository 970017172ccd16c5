//! Rules of jobs.

use serde_json::{Value, json};

use super::super::pod;
use crate::strategy::{Context, Strategy};

/// Runs pods until enough of them succeeded.
pub struct Job;

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        pod::default_template(object);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }
}
