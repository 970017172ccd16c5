//! May they: an ordered table of authorizers, each of which allows, denies or has no opinion.
//!
//! Entry points: [`authorize`] for a decision with its reason, [`Decision::permit`] for what a request hears of it, and
//! [`authorize_now`] where nothing may be awaited. The first authorizer with an opinion decides; nobody's
//! opinion is a refusal.

mod attributes;
mod configuration;
pub(crate) mod node;
pub(crate) mod rbac;
pub(crate) mod refusal;
mod webhook;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use api::Status;
use api::rbac::PolicyRule;
use component_base::metrics::{self, IntCounter, IntCounterVec};
use component_base::user::UserInfo;
use parking_lot::RwLock;

pub(crate) use attributes::{Attributes, Selectors};

use crate::call::Server;
use crate::followed::Followed;
use crate::followed_file::{Look, What, follow};

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

    /// Lets a wish through or says why not, as requests are answered.
    ///
    /// # Errors
    /// 403, or 500 when an authorizer failed.
    pub(crate) fn permit(&self, user: &UserInfo, wish: &Attributes<'_>) -> Result<(), Status> {
        if self.is_allowed() { Ok(()) } else { Err(refusal::status(user, wish, self)) }
    }
}

/// An authorizer of the table.
struct Entry {
    authorizer: Authorizer,
    allowed: IntCounter,
    denied: IntCounter,
}

impl Entry {
    /// With upstream's name of its sort, and its own.
    fn new(authorizer: Authorizer, kind: &str, name: &str) -> Self {
        let counter = |decision: &str| DECISIONS.with_label_values(&[kind, name, decision]);
        Self { authorizer, allowed: counter("allowed"), denied: counter("denied") }
    }

    fn counted(&self, decision: Decision) -> Decision {
        match decision.verdict {
            Verdict::Allow => self.allowed.inc(),
            Verdict::Deny => self.denied.inc(),
            Verdict::NoOpinion => {}
        }
        decision
    }
}

static DECISIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Decisions that settled a request, by authorizer.";
    metrics::counter("apiserver_authorization_decisions_total", help, &["type", "name", "decision"])
});

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
    configuration: Option<PathBuf>,
    loaded: RwLock<Arc<Loaded>>,
    pub(crate) rbac: Followed<rbac::Bindings>,
    pub(crate) node: Followed<node::Graph>,
}

/// What a configuration says.
struct Loaded {
    table: Vec<Entry>,
    /// The files it was read from.
    files: Vec<PathBuf>,
    /// What stood in them.
    contents: Vec<Option<Vec<u8>>>,
}

impl Loaded {
    fn read(configuration: Option<&Path>) -> Result<Self, String> {
        let mut table = vec![Entry::new(Authorizer::Privileged, "SystemMasters", "system-masters")];
        let mut files = Vec::new();
        match configuration {
            Some(path) => {
                let read = configuration::read(path)?;
                table.extend(read.table);
                files = read.files;
            }
            None => table.extend([
                Entry::new(Authorizer::Node, "Node", "node"),
                Entry::new(Authorizer::Rbac, "RBAC", "rbac"),
            ]),
        }
        let contents = contents(&files);
        Ok(Self { table, files, contents })
    }
}

fn contents(files: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    files.iter().map(|file| std::fs::read(file).ok()).collect()
}

impl Authorizers {
    /// Those of a configuration file, or the usual ones (upstream's `--authorization-mode=Node,RBAC`); they
    /// know nothing yet.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn new(configuration: Option<&Path>) -> Result<Self, String> {
        Ok(Self {
            configuration: configuration.map(Path::to_owned),
            loaded: RwLock::new(Arc::new(Loaded::read(configuration)?)),
            rbac: Followed::new(&rbac::KINDS),
            node: Followed::new(&node::KINDS),
        })
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read())
    }

    fn look(&self) -> Look {
        let known = self.loaded();
        if contents(&known.files) == known.contents {
            return Look::Same;
        }
        match Loaded::read(self.configuration.as_deref()) {
            Ok(loaded) => {
                *self.loaded.write() = Arc::new(loaded);
                Look::Taken
            }
            Err(problem) => Look::Refused(problem),
        }
    }
}

/// Follows the configuration and the kubeconfigs it names, as long as the server lives.
pub(crate) async fn keep(server: Arc<Server>) {
    if server.authz.configuration.is_none() {
        return;
    }
    let (clock, known) = (Arc::clone(&server.clock), Arc::clone(&server));
    let look = move || server.authz.look();
    follow(What::Authorization, clock, move || known.authz.loaded().files.clone(), look).await;
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
    for entry in &server.authz.loaded().table {
        let decision = match &entry.authorizer {
            Authorizer::Webhook(webhook) => {
                far = true;
                webhook.authorize(server, user, wish).await
            }
            known => from_memory(server, known, user, wish).unwrap_or_else(Decision::none),
        };
        if let Some(settled) = opinions.take(entry.counted(decision)) {
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
    for entry in &server.authz.loaded().table {
        if let Some(decision) = from_memory(server, &entry.authorizer, user, wish)
            && let Some(settled) = opinions.take(entry.counted(decision))
        {
            return settled;
        }
    }
    opinions.nobody()
}

/// The decision if it can be made from what is in memory; `None` when somebody far away must be asked,
/// which [`authorize`] does.
pub(crate) fn authorize_now(server: &Server, user: &UserInfo, wish: &Attributes<'_>) -> Option<Decision> {
    let mut union = Union::default();
    for entry in &server.authz.loaded().table {
        if let Some(settled) = union.take(entry.counted(from_memory(server, &entry.authorizer, user, wish)?))
        {
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
    for entry in &server.authz.loaded().table {
        match &entry.authorizer {
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
