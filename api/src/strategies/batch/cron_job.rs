//! Rules of cron jobs.

use serde_json::{Value, json};

use super::super::pod;
use crate::strategy::{Context, Strategy};

/// Starts jobs by the clock.
pub struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        pod::default_template_at(object, "/spec/jobTemplate/spec/template/spec");
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }
}
