//! Probes of containers: when to ask, how to ask, and when enough answers make a verdict.
//!
//! Entry points: [`watch`] runs one probe of one container until it is dropped; [`Tally`] is the pure part.
//! Texts of failures are upstream's, since users and tests read them.

mod http_get;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use component_base::clock::SharedClock;
use component_base::rng::Rng;
use k8s_openapi::api::core::v1::{Container, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::container_runtime::{ContainerRuntime, ExecRequest};
use crate::exec_output;
use crate::observed::ProbeKind;

pub use http_get::get;

/// Waits between the quick looks for a first success; doubles up to the probe's period.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// The answer to one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Healthy.
    Success,
    /// Not healthy, and why.
    Failure(String),
    /// The probe could not be carried out; counts as a failure.
    Error(String),
}

/// Counts answers against thresholds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    success_threshold: i32,
    failure_threshold: i32,
    /// Equal answers in a row: positive for successes, negative for failures.
    run: i32,
}

impl Tally {
    /// With the probe's thresholds (defaults 1 and 3).
    pub fn new(probe: &Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3).max(1),
            run: 0,
        }
    }

    /// Counts one answer; a verdict once there are enough equal ones in a row.
    pub fn count(&mut self, success: bool) -> Option<bool> {
        if success {
            self.run = self.run.max(0).saturating_add(1);
            (self.run >= self.success_threshold).then_some(true)
        } else {
            self.run = self.run.min(0).saturating_sub(1);
            (-self.run >= self.failure_threshold).then_some(false)
        }
    }
}

/// What is probed.
#[derive(Debug, Clone)]
pub struct Target {
    /// The pod's uid.
    pub pod_uid: String,
    /// The attempt.
    pub container_id: String,
    /// Named ports are looked up here.
    pub container: Container,
    /// The pod's address.
    pub address: Option<IpAddr>,
}

/// What one [`watch`] reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Enough equal answers.
    Verdict(bool),
    /// One answer that users should see as an event.
    Complaint(String),
}

/// The things a probe needs.
#[derive(Clone)]
pub struct Prober {
    /// Executes commands.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Measures periods.
    pub clock: SharedClock,
    /// Spreads probes after a restart of the agent.
    pub rng: Rng,
}

/// Runs one probe for ever; drop the future to stop. `already` is how long the container has been running.
pub async fn watch(
    prober: Prober,
    kind: ProbeKind,
    probe: Probe,
    target: Target,
    adopted: bool,
    already: Duration,
    report: impl Fn(Report) + Send,
) {
    let clock = prober.clock.clone();
    let period = seconds(probe.period_seconds, 10);
    let delay = seconds_or_zero(probe.initial_delay_seconds).saturating_sub(already);
    // After a restart of the agent all containers would be probed at once; upstream spreads them over a period.
    let spread = if adopted { prober.rng.jitter(period, 1.0).saturating_sub(period) } else { Duration::ZERO };
    clock.sleep(delay + spread).await;
    let mut tally = Tally::new(&probe);
    if kind != ProbeKind::Liveness && !adopted {
        first_success(&prober, &probe, &target, period).await;
    }
    let mut last = None;
    loop {
        let answer = ask(&prober, &probe, &target).await;
        if let Some(text) = complaint(kind, &answer) {
            report(Report::Complaint(text));
        }
        let verdict = tally.count(answer == Answer::Success);
        // A failed liveness probe is repeated, since the container may be another one's by now.
        if verdict.is_some() && verdict != last {
            last = verdict;
            report(Report::Verdict(verdict == Some(true)));
        }
        if kind == ProbeKind::Startup && verdict == Some(true) {
            return;
        }
        clock.sleep(period).await;
    }
}

/// Looks often until the first success, but not longer than one period, so that a container that is ready
/// after 20 ms does not wait for the second regular probe. Looks are free: they count for nothing. Commands
/// are too dear for it.
async fn first_success(prober: &Prober, probe: &Probe, target: &Target, period: Duration) {
    if probe.exec.is_some() {
        return;
    }
    let end = prober.clock.monotonic() + period;
    let mut wait = FIRST_LOOK;
    while prober.clock.monotonic() + wait < end && ask(prober, probe, target).await != Answer::Success {
        prober.clock.sleep(wait).await;
        wait *= 2;
    }
}

/// The text of an `Unhealthy` event.
fn complaint(kind: ProbeKind, answer: &Answer) -> Option<String> {
    let name = match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Readiness => "Readiness",
    };
    match answer {
        Answer::Success => None,
        Answer::Failure(text) => Some(format!("{name} probe failed: {text}")),
        Answer::Error(text) => Some(format!("{name} probe errored and resulted in unknown state: {text}")),
    }
}

/// Asks once.
pub async fn ask(prober: &Prober, probe: &Probe, target: &Target) -> Answer {
    let timeout = seconds(probe.timeout_seconds, 1);
    if let Some(action) = &probe.exec {
        let command = action.command.clone().unwrap_or_default();
        return ask_exec(prober, target, command, timeout).await;
    }
    let Some(address) = target.address else { return Answer::Error("the pod has no address".to_owned()) };
    if let Some(action) = &probe.http_get {
        return match get(action, &target.container, address, timeout, &prober.clock, "kube-probe/1.36").await
        {
            Ok(status) if (200..400).contains(&status) => Answer::Success,
            Ok(status) => Answer::Failure(format!("HTTP probe failed with statuscode: {status}")),
            Err(text) => Answer::Failure(text),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        return ask_tcp(prober, action, &target.container, address, timeout).await;
    }
    if probe.grpc.is_some() {
        return Answer::Error("gRPC probes are not supported by this node".to_owned());
    }
    Answer::Error("missing probe handler".to_owned())
}

async fn ask_exec(prober: &Prober, target: &Target, command: Vec<String>, timeout: Duration) -> Answer {
    let shown = command.join(" ");
    let request = ExecRequest {
        pod_uid: target.pod_uid.clone(),
        container_id: target.container_id.clone(),
        command,
        tty: false,
        stdin: false,
    };
    let run = exec_output::run(&*prober.runtime, request);
    tokio::select! {
        result = run => match result {
            Ok((0, _)) => Answer::Success,
            Ok((_, output)) => Answer::Failure(output),
            Err(error) => Answer::Error(error.to_string()),
        },
        () = prober.clock.sleep(timeout) => {
            Answer::Failure(format!("command timed out: \"{shown}\" timed out after {}s", timeout.as_secs()))
        }
    }
}

async fn ask_tcp(
    prober: &Prober,
    action: &TCPSocketAction,
    container: &Container,
    address: IpAddr,
    timeout: Duration,
) -> Answer {
    let Some(port) = port_number(&action.port, container) else {
        return Answer::Error(format!("couldn't find port: {}", port_text(&action.port)));
    };
    let host = action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| address.to_string());
    let shown = join_host_port(&host, port);
    tokio::select! {
        result = TcpStream::connect((host.as_str(), port)) => match result {
            Ok(_) => Answer::Success,
            Err(error) => Answer::Failure(format!("dial tcp {shown}: connect: {}", io_text(&error))),
        },
        () = prober.clock.sleep(timeout) => Answer::Failure(format!("dial tcp {shown}: i/o timeout")),
    }
}

/// `host:port`, brackets around IPv6.
pub(crate) fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What Go says where Rust adds `(os error 111)`.
pub(crate) fn io_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        _ => error.to_string(),
    }
}

/// A port by number or by the name of a container port.
pub fn port_number(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let named = ports.clone().find(|port| port.name.as_deref() == Some(name.as_str()));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)
}

fn port_text(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        value.and_then(|value| u64::try_from(value).ok()).filter(|v| *v > 0).unwrap_or(default),
    )
}

fn seconds_or_zero(value: Option<i32>) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let probe: Probe =
            serde_yaml::from_str("{successThreshold: 2, failureThreshold: 3}").expect("a probe");
        let mut tally = Tally::new(&probe);
        let answers = [true, true, true, false, false, true, false, false, false, false, true];
        let verdicts: Vec<Option<bool>> = answers.into_iter().map(|answer| tally.count(answer)).collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(verdicts, [None, yes, yes, None, None, None, None, None, no, no, None]);
    }

    #[test]
    fn ports_by_name() {
        let container: Container =
            serde_yaml::from_str("{name: c, ports: [{name: web, containerPort: 80}]}").expect("a container");
        for (port, number) in [
            (IntOrString::Int(8080), Some(8080)),
            (IntOrString::String("web".to_owned()), Some(80)),
            (IntOrString::String("81".to_owned()), Some(81)),
            (IntOrString::String("none".to_owned()), None),
            (IntOrString::Int(70_000), None),
        ] {
            assert_eq!(port_number(&port, &container), number);
        }
    }

    #[test]
    fn event_texts() {
        let failed = Answer::Failure("HTTP probe failed with statuscode: 500".to_owned());
        assert_eq!(
            complaint(ProbeKind::Readiness, &failed).as_deref(),
            Some("Readiness probe failed: HTTP probe failed with statuscode: 500")
        );
        assert_eq!(complaint(ProbeKind::Liveness, &Answer::Success), None);
    }
}
