//! The Pod Security Standards (KEP-2579): which pods a namespace of a level takes.
//!
//! Entry points: [`Policy::of_labels`] for what a namespace asks for, [`evaluate`] for what a pod breaks of it.
//! The controls are the rows of `pod_security/controls.rs`. Source: `k8s.io/pod-security-admission`. Pure.

mod baseline;
mod controls;
mod restricted;

use std::fmt;

use serde_json::Value;

use crate::status::Cause;

pub use controls::Violation;

/// What all labels begin with.
const PREFIX: &str = "pod-security.kubernetes.io/";

/// The newest minor version this server knows controls of; later ones and `latest` mean this one.
const NEWEST_MINOR: u32 = 36;

/// How much a namespace allows, from everything to little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Privileged,
    /// All but known ways to gain privileges.
    Baseline,
    /// What is good practice for hardened pods.
    Restricted,
}

impl Level {
    /// From the label's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Privileged, Self::Baseline, Self::Restricted].into_iter().find(|level| level.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// The release whose controls count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Those of this server.
    Latest,
    /// `v1.N`.
    Minor(u32),
}

impl Version {
    /// From `latest` or `v1.N`.
    pub fn parse(word: &str) -> Option<Self> {
        if word == "latest" {
            return Some(Self::Latest);
        }
        let digits = word.strip_prefix("v1.")?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        if plain { digits.parse().ok().map(Self::Minor) } else { None }
    }

    fn minor(self) -> u32 {
        match self {
            Self::Latest => NEWEST_MINOR,
            Self::Minor(minor) => minor.min(NEWEST_MINOR),
        }
    }
}

/// A level as of a release; shown as `restricted:latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelVersion {
    /// How much is allowed.
    pub level: Level,
    /// By whose controls.
    pub version: Version,
}

impl LevelVersion {
    /// Everything is allowed.
    pub const PRIVILEGED: Self = Self { level: Level::Privileged, version: Version::Latest };

    /// Whether both allow the same.
    fn is_equivalent(self, other: Self) -> bool {
        self == other || (self.level == Level::Privileged && other.level == Level::Privileged)
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::Latest => write!(f, "{}:latest", self.level.word()),
            Version::Minor(minor) => write!(f, "{}:v1.{minor}", self.level.word()),
        }
    }
}

/// What happens to pods that break which level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// They are refused.
    pub enforce: LevelVersion,
    /// They are noted in the audit log.
    pub audit: LevelVersion,
    /// The caller is warned.
    pub warn: LevelVersion,
}

impl Default for Policy {
    /// Everything goes, as upstream's defaults are.
    fn default() -> Self {
        let all = LevelVersion::PRIVILEGED;
        Self { enforce: all, audit: all, warn: all }
    }
}

impl Policy {
    /// What a namespace's labels ask for where they say something, with what is wrong with them. A level that
    /// cannot be read is `restricted` for enforcement and nothing for the rest.
    pub fn of_labels(labels: &Value, defaults: Self) -> (Self, Vec<Cause>) {
        let mut policy = defaults;
        let mut causes = Vec::new();
        for (mode, part) in
            [("enforce", &mut policy.enforce), ("audit", &mut policy.audit), ("warn", &mut policy.warn)]
        {
            if let Some(word) = label(labels, mode, "") {
                let unreadable = if mode == "enforce" { Level::Restricted } else { Level::Privileged };
                part.level = Level::parse(word).unwrap_or_else(|| {
                    causes.push(invalid(mode, "", word, "must be one of privileged, baseline, restricted"));
                    unreadable
                });
            }
            if let Some(word) = label(labels, mode, "-version") {
                part.version = Version::parse(word).unwrap_or_else(|| {
                    causes.push(invalid(mode, "-version", word, "must be \"latest\" or \"v1.x\""));
                    Version::Latest
                });
            }
        }
        let enforced = label(labels, "enforce", "").and_then(Level::parse);
        if label(labels, "warn", "").is_none() && enforced.is_some_and(|level| level > policy.warn.level) {
            policy.warn.level = policy.enforce.level;
            if label(labels, "warn", "-version").is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, causes)
    }

    /// Whether nothing would ever be refused or told.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|part| part.level == Level::Privileged)
    }

    /// Whether both ask for the same.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        self.enforce.is_equivalent(other.enforce)
            && self.audit.is_equivalent(other.audit)
            && self.warn.is_equivalent(other.warn)
    }

    /// The modes that labels set to something, as in `enforce=baseline:latest, warn=…`.
    pub fn explicit(&self, labels: &Value) -> String {
        let parts = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let said = |mode: &str| ["", "-version"].iter().any(|of| label(labels, mode, of).is_some());
        let told = parts.iter().filter(|(mode, part)| part.level != Level::Privileged && said(mode));
        told.map(|(mode, part)| format!("{mode}={part}")).collect::<Vec<_>>().join(", ")
    }
}

fn label<'a>(labels: &'a Value, mode: &str, suffix: &str) -> Option<&'a str> {
    labels.get(format!("{PREFIX}{mode}{suffix}"))?.as_str()
}

fn invalid(mode: &str, suffix: &str, word: &str, detail: &str) -> Cause {
    Cause::invalid(format!("metadata.labels[{PREFIX}{mode}{suffix}]"), &word.into(), detail)
}

/// What a pod, or a pod template, breaks of a level, in upstream's order.
pub fn evaluate(policy: LevelVersion, pod: &Value) -> Vec<Violation> {
    let minor = policy.version.minor();
    let checks = match policy.level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => controls::of(Level::Baseline, minor),
        Level::Restricted => controls::of(Level::Restricted, minor),
    };
    let view = controls::Pod::of(pod);
    checks.filter_map(|check| check(&view)).collect()
}

/// All violations with their details, as a refusal tells them.
pub fn detail(violations: &[Violation]) -> String {
    let text = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.clone(),
        detail => format!("{} ({detail})", violation.reason),
    };
    violations.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// All violations in short, as they are told of many pods.
pub fn reason(violations: &[Violation]) -> String {
    violations.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
