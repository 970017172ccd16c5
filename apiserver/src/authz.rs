//! May they: an ordered table of authorizers, each of which allows, denies or has no opinion.
//!
//! Entry points: [`check`] for a request; [`authorize`] for a decision with its reason, and
//! [`authorize_now`] where nothing may be awaited. The first authorizer with an opinion decides; nobody's
//! opinion is a refusal.

mod attributes;
mod configuration;
pub(crate) mod node;
pub(crate) mod rbac;
pub(crate) mod refusal;
mod webhook;

use std::path::Path;

use api::Status;
use api::rbac::PolicyRule;
use component_base::user::UserInfo;

pub(crate) use attributes::{Attributes, Selectors};

use crate::call::Server;
use crate::followed::Followed;

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

/// Who decides.
enum Authorizer {
    /// Lets members of [`PRIVILEGED_GROUP`] do everything.
    Privileged,
    /// Lets nodes do what is theirs.
    Node,
    /// Lets users do what their roles say.
    Rbac,
    /// Asks a server elsewhere.
    Webhook(Box<webhook::Webhook>),
    /// Says the same to everybody.
    Always(Verdict),
}

/// The authorizers in the order in which they are asked, and what they know.
pub(crate) struct Authorizers {
    table: Vec<Authorizer>,
    pub(crate) rbac: Followed<rbac::Bindings>,
    pub(crate) node: Followed<node::Graph>,
}

impl Authorizers {
    /// Those of a configuration file, or the usual ones (upstream's `--authorization-mode=Node,RBAC`); they
    /// know nothing yet.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn new(configuration: Option<&Path>) -> Result<Self, String> {
        let mut table = vec![Authorizer::Privileged];
        match configuration {
            Some(path) => table.extend(configuration::read(path)?),
            None => table.extend([Authorizer::Node, Authorizer::Rbac]),
        }
        Ok(Self { table, rbac: Followed::new(&rbac::KINDS), node: Followed::new(&node::KINDS) })
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

/// Asks all authorizers in order. Before a wish is refused, what those of this process know is brought up to
/// date: who has just been given a role may use it.
pub(crate) async fn authorize(server: &Server, user: &UserInfo, wish: &Attributes<'_>) -> Decision {
    let mut opinions = Union::default();
    let mut far = false;
    for authorizer in &server.authz.table {
        let decision = match authorizer {
            Authorizer::Webhook(webhook) => {
                far = true;
                webhook.authorize(server, user, wish).await
            }
            known => from_memory(server, known, user, wish).unwrap_or_else(Decision::none),
        };
        if let Some(settled) = opinions.take(decision) {
            return settled;
        }
    }
    if node::node_name(user).is_some() {
        server.authz.node.caught_up().await;
    }
    server.authz.rbac.caught_up().await;
    let again = near(server, user, wish);
    if far && !again.is_allowed() { opinions.nobody() } else { again }
}

/// What the authorizers of this process think together.
fn near(server: &Server, user: &UserInfo, wish: &Attributes<'_>) -> Decision {
    let mut opinions = Union::default();
    let known =
        server.authz.table.iter().filter_map(|authorizer| from_memory(server, authorizer, user, wish));
    for decision in known {
        if let Some(settled) = opinions.take(decision) {
            return settled;
        }
    }
    opinions.nobody()
}

/// The decision if it can be made from what is in memory; `None` when somebody far away must be asked,
/// which [`authorize`] does.
pub(crate) fn authorize_now(server: &Server, user: &UserInfo, wish: &Attributes<'_>) -> Option<Decision> {
    let mut union = Union::default();
    for authorizer in &server.authz.table {
        if let Some(settled) = union.take(from_memory(server, authorizer, user, wish)?) {
            return Some(settled);
        }
    }
    Some(union.nobody())
}

/// What an authorizer of this process thinks.
fn from_memory(
    server: &Server,
    authorizer: &Authorizer,
    user: &UserInfo,
    wish: &Attributes<'_>,
) -> Option<Decision> {
    Some(match authorizer {
        Authorizer::Privileged => privileged(user),
        Authorizer::Node => node::decide(&server.authz.node.read(), user, wish),
        Authorizer::Rbac => rbac::decide(&server.authz.rbac.read(), user, wish),
        Authorizer::Always(Verdict::Allow) => Decision::new(Verdict::Allow, ""),
        Authorizer::Always(verdict) => Decision::new(*verdict, "Everything is forbidden."),
        Authorizer::Webhook(_) => return None,
    })
}

/// What a user may do, as far as authorizers can list it.
pub(crate) struct Listed {
    pub(crate) rules: Vec<PolicyRule>,
    /// Whether there may be more.
    pub(crate) incomplete: bool,
    pub(crate) errors: Vec<String>,
}

/// Lists what a user may do in a namespace.
pub(crate) fn rules_of(server: &Server, user: &UserInfo, namespace: &str) -> Listed {
    let mut listed = Listed { rules: Vec::new(), incomplete: false, errors: Vec::new() };
    for authorizer in &server.authz.table {
        match authorizer {
            Authorizer::Privileged | Authorizer::Always(Verdict::NoOpinion | Verdict::Deny) => {}
            Authorizer::Always(Verdict::Allow) => listed.rules.extend(rbac::everything()),
            Authorizer::Webhook(_) => {
                listed.incomplete = true;
                listed.errors.push("webhook authorizer does not support user rule resolution".to_owned());
            }
            Authorizer::Node => {
                if node::node_name(user).is_some() {
                    listed.incomplete = true;
                    listed.errors.push("node authorizer does not support user rule resolution".to_owned());
                }
            }
            Authorizer::Rbac => {
                let (rules, errors) = rbac::rules_of(&server.authz.rbac.read(), user, namespace);
                listed.rules.extend(rules);
                listed.errors.extend(errors);
            }
        }
    }
    listed
}

/// Lets a wish through or says why not, as requests are answered.
///
/// # Errors
/// 403, or 500 when an authorizer failed.
pub(crate) async fn check(server: &Server, user: &UserInfo, wish: &Attributes<'_>) -> Result<(), Status> {
    let decision = authorize(server, user, wish).await;
    if decision.is_allowed() { Ok(()) } else { Err(refusal::status(user, wish, &decision)) }
}
