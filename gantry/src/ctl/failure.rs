//! Why a verb fails: the text kubectl would write, and the exit code.

use std::fmt;

use kube::core::Status;

/// What a verb returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a verb failed; decides text and exit code.
#[derive(Debug)]
pub enum Failure {
    /// The server refused; shown as kubectl shows it.
    Server(Box<Status>),
    /// Anything else.
    Other(anyhow::Error),
    /// A command in a container ended with this code; it has said itself why.
    ExitCode(u8),
    /// Everything is said already; only the code is left.
    Silent(u8),
    /// A text that stands for itself, without `error:`.
    Plain(String),
    /// Several, each on its own line.
    Many(Vec<Failure>),
    /// One with an exit code of its own.
    Coded(u8, Box<Failure>),
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(status) if status.reason == "Invalid" => f.write_str(&invalid(status)),
            Self::Server(status) => f.write_str(&refusal(status)),
            Self::Other(error) => write!(f, "error: {}", crate::with_causes(error)),
            Self::ExitCode(code) => write!(f, "command terminated with exit code {code}"),
            Self::Silent(_) => Ok(()),
            Self::Plain(text) => f.write_str(text),
            Self::Coded(_, failure) => failure.fmt(f),
            Self::Many(all) => {
                // kubectl writes `error:` only before one that stands alone.
                let texts = all.iter().map(|failure| match failure {
                    Self::Other(error) => crate::with_causes(error),
                    Self::Server(status) => refusal(status),
                    other => other.to_string(),
                });
                let texts: Vec<String> = texts.collect();
                f.write_str(&texts.join("\n"))
            }
        }
    }
}

impl Failure {
    /// `error: …`.
    pub fn new(text: impl fmt::Display) -> Self {
        Self::Other(anyhow::anyhow!("{text}"))
    }

    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::ExitCode(code) | Self::Silent(code) | Self::Coded(code, _) => *code,
            _ => 1,
        }
    }

    /// The same failure with another exit code.
    #[must_use]
    pub fn with_code(self, code: u8) -> Self {
        Self::Coded(code, Box::new(self))
    }

    /// Whether the server has no such object.
    pub fn is_not_found(&self) -> bool {
        self.is(404, "NotFound")
    }

    /// Whether the server refused with this code and reason.
    pub fn is(&self, code: u16, reason: &str) -> bool {
        matches!(self, Self::Server(status) if status.code == code && status.reason == reason)
    }

    /// What was being done with which file, before the server's message.
    #[must_use]
    pub fn during(self, verb: &str, source: &str) -> Self {
        match self {
            Self::Server(mut status) if !source.is_empty() => {
                status.message = format!("error when {verb} {source:?}: {}", status.message);
                Self::Server(status)
            }
            other => other,
        }
    }

    /// Nothing, the one, or all of them.
    ///
    /// # Errors
    /// When there is any.
    pub fn all(mut failures: Vec<Self>) -> Outcome {
        match failures.len() {
            0 => Ok(()),
            1 => failures.pop().map_or(Ok(()), Err),
            _ => Err(Self::Many(failures)),
        }
    }
}

fn refusal(status: &Status) -> String {
    match status.reason.as_str() {
        "" => format!("Error from server: {}", status.message),
        reason => format!("Error from server ({reason}): {}", status.message),
    }
}

/// Field errors, one a line when there are several.
fn invalid(status: &Status) -> String {
    let Some(details) = &status.details else {
        return format!("The request is invalid: {}", status.message);
    };
    let mut head = match (details.kind.as_str(), details.name.as_str()) {
        ("", "") if details.causes.is_empty() && !status.message.is_empty() => {
            return format!("The request is invalid: {}", status.message);
        }
        ("", "") => "The request is invalid".to_owned(),
        (kind, name) => format!("The {kind} {name:?} is invalid"),
    };
    let causes: Vec<String> = details.causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
    match causes.as_slice() {
        [] => {}
        [one] => head.push_str(&format!(": {one}")),
        many => {
            head.push_str(": ");
            many.iter().for_each(|cause| head.push_str(&format!("\n* {cause}")));
        }
    }
    head
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Server(status),
            other => Self::Other(anyhow::Error::new(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(status: Value, expect: &str) {
        let status: Status = serde_json::from_value(status).expect("a Status");
        assert_eq!(Failure::Server(Box::new(status)).to_string(), expect);
    }

    #[test]
    fn refusals_read_as_kubectl_writes_them() {
        check(
            json!({"code": 404, "reason": "NotFound", "message": "pods \"x\" not found"}),
            "Error from server (NotFound): pods \"x\" not found",
        );
        let causes = |n: usize| {
            let all: Vec<Value> =
                (0..n).map(|i| json!({"field": format!("spec.f{i}"), "message": "bad"})).collect();
            json!({"code": 422, "reason": "Invalid", "message": "m",
                "details": {"kind": "Pod", "name": "p", "causes": all}})
        };
        check(causes(1), "The Pod \"p\" is invalid: spec.f0: bad");
        check(causes(2), "The Pod \"p\" is invalid: \n* spec.f0: bad\n* spec.f1: bad");
        check(json!({"code": 500, "message": "m"}), "Error from server: m");
    }

    #[test]
    fn several_failures_are_a_line_each() {
        let failure = Failure::all(vec![Failure::new("a"), Failure::new("b")]).expect_err("two");
        assert_eq!(failure.to_string(), "a\nb");
        assert!(Failure::all(Vec::new()).is_ok());
    }
}
