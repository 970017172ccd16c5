//! Rows of `batch`.

use crate::strategies::batch::{CronJob, Job};

use super::{Kind, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    use Scope::Namespaced;
    vec![
        plain("batch", "v1", "CronJob", "cronjobs", Namespaced)
            .short(&["cj"])
            .in_all()
            .status()
            .rules(CronJob)
            .printed(columns::cron_job()),
        plain("batch", "v1", "Job", "jobs", Namespaced)
            .in_all()
            .status()
            .fields(&["status.succeeded"])
            .aliases(&[("status.successful", "status.succeeded")])
            .rules(Job)
            .printed(columns::job()),
    ]
}
