//! Rules of cron jobs.

use serde_json::{Value, json};

use super::super::check::{self, text};
use super::super::pod;
use super::job;
use crate::cron::{self, Schedule};
use crate::object;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// Names of jobs are those of their cron job and eleven characters of time.
const MAX_NAME_BYTES: usize = 63 - 11;
/// Longest part of a time zone's name.
const MAX_ZONE_PART: usize = 14;

/// Starts jobs by the clock.
pub struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        pod::default_template_at(object, "/spec/jobTemplate/spec/template/spec");
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        if text(spec, "schedule").is_empty() {
            causes.push(Cause::required("spec.schedule", ""));
        } else if let Err(error) = Schedule::parse(text(spec, "schedule")) {
            causes.push(Cause::invalid("spec.schedule", &spec["schedule"], &error));
        }
        let counts = ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
        check::none_negative(&mut causes, "spec", spec, &counts);
        time_zone(&mut causes, &spec["timeZone"]);
        let policies = ["Allow", "Forbid", "Replace"];
        check::one_of(&mut causes, "spec.concurrencyPolicy", &spec["concurrencyPolicy"], &policies);
        let template = &spec["jobTemplate"]["spec"];
        job::validate_spec(&mut causes, template, "spec.jobTemplate.spec");
        if !template["selector"].is_null() {
            let field = "spec.jobTemplate.spec.selector";
            causes.push(Cause::invalid(field, &template["selector"], "`selector` will be auto-generated"));
        }
        if template["manualSelector"] == true {
            let field = "spec.jobTemplate.spec.manualSelector";
            causes.push(Cause::not_supported(field, &json!(true), &["nil", "false"]));
        }
        let name = object::name(object);
        if name.len() > MAX_NAME_BYTES {
            let detail = format!("must be no more than {MAX_NAME_BYTES} bytes");
            causes.push(Cause::invalid("metadata.name", &json!(name), &detail));
        }
        if object["metadata"]["resourceVersion"].is_null() {
            zone_in_schedule(&mut causes, spec, false);
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        zone_in_schedule(&mut causes, &object["spec"], text(&old["spec"], "schedule").contains("TZ"));
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource == "status" { Vec::new() } else { self.validate_update(object, old) }
    }
}

/// Zones have a field of their own; schedules that had one before there was that field may keep it.
fn zone_in_schedule(causes: &mut Vec<Cause>, spec: &Value, allowed: bool) {
    if !text(spec, "schedule").contains("TZ") {
        return;
    }
    let detail = match (allowed, spec["timeZone"].is_null()) {
        (true, false) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        (false, _) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        (true, true) => return,
    };
    causes.push(Cause::invalid("spec.schedule", &spec["schedule"], detail));
}

fn time_zone(causes: &mut Vec<Cause>, zone: &Value) {
    let Some(name) = zone.as_str() else { return };
    let field = "spec.timeZone";
    if name.is_empty() {
        causes.push(Cause::invalid(field, zone, "timeZone must be nil or non-empty string"));
        return;
    }
    let unknown = format!("unknown time zone {name}");
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
    let well_formed = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.len() <= MAX_ZONE_PART
            && part.chars().all(allowed)
    };
    if !name.split('/').all(well_formed) {
        causes.push(Cause::invalid(field, zone, &unknown));
        return;
    }
    if name.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        causes.push(Cause::invalid(field, zone, detail));
    }
    // Go knows the zone of its machine by this name.
    if name != "Local" && !cron::zone_exists(name) {
        causes.push(Cause::invalid(field, zone, &unknown));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::trial::Trial;

    fn cron_job() -> Trial {
        Trial::of(
            "cj",
            json!({"metadata": {"name": "c"}, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec":
                {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}),
        )
    }

    fn spec(fields: Value) -> Value {
        json!({ "spec": fields })
    }

    #[test]
    fn a_minimal_cron_job_is_filled_in() {
        let spec = &cron_job().created(json!({}))["spec"];
        assert_eq!((&spec["concurrencyPolicy"], &spec["suspend"]), (&json!("Allow"), &json!(false)));
        assert_eq!(
            (&spec["successfulJobsHistoryLimit"], &spec["failedJobsHistoryLimit"]),
            (&json!(3), &json!(1))
        );
        let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(spec["jobTemplate"]["spec"]["backoffLimit"], Value::Null);
    }

    #[test]
    fn schedules() {
        let cron = cron_job();
        cron.refuses(spec(json!({"schedule": ""})), &["spec.schedule: Required value"]);
        cron.refuses(spec(json!({"schedule": "@every 30s"})), &[]);
        cron.refuses(
            spec(json!({"schedule": "60 * * * *"})),
            &["spec.schedule: Invalid value: \"60 * * * *\": end of range (60) above maximum (59): 60"],
        );
        let zoned = "TZ=UTC 0 0 * * *";
        let refused = format!(
            "spec.schedule: Invalid value: \"{zoned}\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        );
        cron.refuses(spec(json!({"schedule": zoned})), &[&refused]);
        cron.refuses_update(spec(json!({"schedule": zoned})), &[&refused]);
        let old = spec(json!({"schedule": zoned}));
        cron.refuses_change(old.clone(), spec(json!({"suspend": true})), "", &[]);
        cron.refuses_change(
            old,
            spec(json!({"timeZone": "UTC"})),
            "",
            &[&format!(
                "spec.schedule: Invalid value: \"{zoned}\": cannot use both timeZone field and TZ or CRON_TZ in schedule"
            )],
        );
    }

    #[test]
    fn zones() {
        let cron = cron_job();
        for (zone, expect) in [
            ("Europe/Berlin", ""),
            ("UTC", ""),
            ("", "timeZone must be nil or non-empty string"),
            ("europe/berlin", "unknown time zone europe/berlin"),
            ("Mars/Olympus", "unknown time zone Mars/Olympus"),
            ("../etc", "unknown time zone ../etc"),
            ("Local", "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"),
        ] {
            let text = format!("spec.timeZone: Invalid value: {zone:?}: {expect}");
            let expect: &[&str] = if expect.is_empty() { &[] } else { &[&text] };
            cron.refuses(spec(json!({ "timeZone": zone })), expect);
        }
    }

    #[test]
    fn the_rest() {
        let cron = cron_job();
        cron.refuses(
            json!({"metadata": {"name": "c".repeat(53)}, "spec": {"concurrencyPolicy": "Queue",
                "startingDeadlineSeconds": -1}}),
            &[
                "spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.concurrencyPolicy: Unsupported value: \"Queue\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                &format!("metadata.name: Invalid value: \"{}\": must be no more than 52 bytes", "c".repeat(53)),
            ],
        );
        cron.refuses(
            spec(json!({"jobTemplate": {"spec": {"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}}}})),
            &[
                "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            ],
        );
    }
}
