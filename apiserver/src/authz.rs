//! May they: an ordered table of authorizers, each of which allows, denies or has no opinion.
//!
//! Entry points: [`check`] for a request; [`authorize`] for a decision with its reason, and
//! [`authorize_now`] where nothing may be awaited. The first authorizer with an opinion decides; nobody's
//! opinion is a refusal.

mod attributes;
mod builtin;
mod refusal;

use api::Status;
use component_base::user::UserInfo;

pub(crate) use attributes::{Attributes, Selectors};
pub(crate) use builtin::rules_for;

use crate::call::Server;

/// Members may do everything; the group cannot be limited (upstream's `user.SystemPrivilegedGroup`).
pub(crate) const PRIVILEGED_GROUP: &str = "system:masters";

/// What an authorizer thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Yes, whatever others say.
    Allow,
    /// No, whatever others say.
    Deny,
    /// Somebody else may allow it.
    NoOpinion,
}

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    /// For whoever asked; may be empty.
    pub(crate) reason: String,
    /// What went wrong meanwhile; a request that is not allowed then gets a 500.
    pub(crate) error: Option<String>,
}

impl Decision {
    pub(crate) fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into(), error: None }
    }

    /// Nobody said anything.
    pub(crate) fn none() -> Self {
        Self::new(Verdict::NoOpinion, "")
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}

/// Who decides. The order is that in which they are asked.
enum Authorizer {
    /// Lets members of [`PRIVILEGED_GROUP`] do everything.
    Privileged,
    /// The rules this server has from the start.
    Builtin,
}

const TABLE: &[Authorizer] = &[Authorizer::Privileged, Authorizer::Builtin];

impl Authorizer {
    fn decide(&self, user: &UserInfo, wish: &Attributes<'_>) -> Decision {
        match self {
            Self::Privileged => privileged(user),
            Self::Builtin => builtin::decide(user, wish),
        }
    }
}

fn privileged(user: &UserInfo) -> Decision {
    let member = user.groups.iter().any(|group| group == PRIVILEGED_GROUP);
    if member { Decision::new(Verdict::Allow, "") } else { Decision::none() }
}

/// Puts opinions together, as upstream's `union` does.
#[derive(Default)]
struct Union {
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Union {
    /// Takes an opinion in; answers with it when it settles the question.
    fn take(&mut self, decision: Decision) -> Option<Decision> {
        if decision.verdict != Verdict::NoOpinion {
            return Some(decision);
        }
        self.reasons.extend((!decision.reason.is_empty()).then_some(decision.reason));
        self.errors.extend(decision.error);
        None
    }

    fn nobody(self) -> Decision {
        let error = (!self.errors.is_empty()).then(|| aggregate(&self.errors));
        Decision { verdict: Verdict::NoOpinion, reason: self.reasons.join("\n"), error }
    }
}

/// Several errors as Go's `Aggregate` writes them: each once, one alone without brackets.
pub(crate) fn aggregate(errors: &[String]) -> String {
    let mut different: Vec<&str> = Vec::new();
    for error in errors {
        if !different.contains(&error.as_str()) {
            different.push(error);
        }
    }
    if let [one] = different[..] { one.to_owned() } else { format!("[{}]", different.join(", ")) }
}

/// Asks all authorizers in order.
pub(crate) async fn authorize(server: &Server, user: &UserInfo, wish: &Attributes<'_>) -> Decision {
    // What answers from memory needs no waiting.
    authorize_now(server, user, wish).unwrap_or_else(Decision::none)
}

/// The decision if it can be made from what is in memory; `None` when somebody far away must be asked,
/// which [`authorize`] does.
pub(crate) fn authorize_now(_server: &Server, user: &UserInfo, wish: &Attributes<'_>) -> Option<Decision> {
    let mut union = Union::default();
    for authorizer in TABLE {
        if let Some(settled) = union.take(authorizer.decide(user, wish)) {
            return Some(settled);
        }
    }
    Some(union.nobody())
}

/// Lets a wish through or says why not, as requests are answered.
///
/// # Errors
/// 403, or 500 when an authorizer failed.
pub(crate) async fn check(server: &Server, user: &UserInfo, wish: &Attributes<'_>) -> Result<(), Status> {
    let decision = authorize(server, user, wish).await;
    if decision.is_allowed() { Ok(()) } else { Err(refusal::status(user, wish, &decision)) }
}
