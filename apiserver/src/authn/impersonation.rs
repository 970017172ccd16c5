//! Acts as somebody else (`kubectl --as`): the user that headers name, if the caller may be that user.
//!
//! Entry point: [`impersonate`]. Rights limited to one sort of user and one sort of request are looked at
//! before the old right to be somebody for everything (KEP-5284). Source: `endpoints/filters/impersonation`.

mod wanted;

use api::Status;
use component_base::user::UserInfo;
use http::HeaderMap;

use super::ANONYMOUS;
use crate::authz::{self, Attributes, PRIVILEGED_GROUP, refusal};
use crate::call::Server;

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// From so many groups or extras on, the right to all of them is asked for first.
const MANY: usize = 4;
/// What a service account's token says of the node its pod runs on.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// What stands for all that a token says, when the node it is on does not matter.
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";

/// One way to be somebody else.
struct Mode {
    /// Empty for the old one, which is not limited to anything.
    name: &'static str,
    /// Whether it is for this sort of user.
    fits: fn(&UserInfo, &UserInfo) -> bool,
}

/// In the order in which they are tried; the first refusal is what the caller hears.
const MODES: [Mode; 5] = [
    Mode { name: "associated-node", fits: is_own_node },
    Mode { name: "arbitrary-node", fits: |wanted, _| only_named(wanted) && node_of(&wanted.name).is_some() },
    Mode { name: "serviceaccount", fits: |wanted, _| only_named(wanted) && account(&wanted.name).is_some() },
    Mode {
        name: "user-info",
        fits: |wanted, _| node_of(&wanted.name).is_none() && account(&wanted.name).is_none(),
    },
    Mode { name: "", fits: |_, _| true },
];

/// The user a request is made as: the one that headers name, or the caller.
///
/// # Errors
/// 403 when the caller may not be that user, 400 for headers without a user's name.
pub(crate) async fn impersonate(
    server: &Server,
    user: UserInfo,
    wish: &Attributes<'_>,
    headers: &mut HeaderMap,
) -> Result<UserInfo, Status> {
    let Some(wanted) = wanted::take(headers)? else { return Ok(user) };
    let mut first = None;
    for mode in MODES.iter().filter(|mode| (mode.fits)(&wanted, &user)) {
        match (Attempt { server, user: &user, wanted: &wanted, mode }).make(wish).await {
            Ok(other) => {
                tracing::info!(user = user.name, other = other.name, mode = mode.name, "impersonates");
                return Ok(other);
            }
            Err(status) => _ = first.get_or_insert(status),
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

fn only_named(wanted: &UserInfo) -> bool {
    wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty()
}

fn node_of(name: &str) -> Option<&str> {
    let node = name.strip_prefix("system:node:")?;
    api::names::dns1123_subdomain(node).is_empty().then_some(node)
}

/// Namespace and name of a service account.
fn account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid =
        api::names::dns1123_label(namespace).is_empty() && api::names::dns1123_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

/// A service account wants to be the node that its pod runs on.
fn is_own_node(wanted: &UserInfo, user: &UserInfo) -> bool {
    let Some(node) = node_of(&wanted.name) else { return false };
    only_named(wanted)
        && account(&user.name).is_some()
        && user.extra.get(NODE_NAME).is_some_and(|values| values.as_slice() == [node])
}

struct Attempt<'a> {
    server: &'a Server,
    user: &'a UserInfo,
    wanted: &'a UserInfo,
    mode: &'a Mode,
}

impl Attempt<'_> {
    async fn make(&self, wish: &Attributes<'_>) -> Result<UserInfo, Status> {
        if self.is_limited() {
            let verb = format!("impersonate-on:{}:{}", self.mode.name, wish.verb);
            self.demand(&Attributes { verb: &verb, ..*wish }).await?;
        }
        let verb = if self.is_limited() {
            format!("impersonate:{}", self.mode.name)
        } else {
            "impersonate".to_owned()
        };
        let mut other = self.wanted.clone();
        other.groups = self.name_and_groups(&verb).await?;
        self.uid(&verb).await?;
        self.groups(&verb).await?;
        self.extra(&verb).await?;
        let has = |group: &str| other.groups.iter().any(|own| own == group);
        let group = if other.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !has(group) && !has(UNAUTHENTICATED) {
            other.groups.push(group.to_owned());
        }
        Ok(other)
    }

    fn is_limited(&self) -> bool {
        !self.mode.name.is_empty()
    }

    /// The question about one part of the wanted user.
    fn part<'a>(&self, verb: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
        let group = "authentication.k8s.io";
        Attributes { verb, group, version: "v1", resource, name, is_resource: true, ..Attributes::default() }
    }

    /// The old right knows users, groups and service accounts in the core group.
    fn named<'a>(&self, verb: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
        let part = self.part(verb, resource, name);
        if self.is_limited() { part } else { Attributes { group: "", ..part } }
    }

    /// Asks for the name; answers with the groups such a user has.
    async fn name_and_groups(&self, verb: &str) -> Result<Vec<String>, Status> {
        let mut groups = self.wanted.groups.clone();
        let mut wish = self.named(verb, "users", &self.wanted.name);
        if let Some((namespace, name)) = account(&self.wanted.name) {
            wish = Attributes { namespace, ..self.named(verb, "serviceaccounts", name) };
            if groups.is_empty() {
                groups =
                    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            }
        } else if self.is_limited()
            && let Some(node) = node_of(&self.wanted.name)
        {
            // Which node it is does not matter to who is on it.
            let name = if self.mode.name == "associated-node" { "*" } else { node };
            wish = self.named(verb, "nodes", name);
            groups = vec!["system:nodes".to_owned()];
        }
        self.demand(&wish).await?;
        Ok(groups)
    }

    async fn uid(&self, verb: &str) -> Result<(), Status> {
        match self.wanted.uid.as_str() {
            "" => Ok(()),
            uid => self.demand(&self.part(verb, "uids", uid)).await,
        }
    }

    async fn groups(&self, verb: &str) -> Result<(), Status> {
        let groups = &self.wanted.groups;
        if self.is_limited() {
            let refuse = |name: &str, why: &str| Err(self.refusal(&self.named(verb, "groups", name), why));
            if groups.iter().any(String::is_empty) {
                return refuse("", "impersonating the empty string group is not allowed");
            }
            if groups.iter().any(|group| group == PRIVILEGED_GROUP) {
                return refuse(PRIVILEGED_GROUP, "impersonating the system:masters group is not allowed");
            }
            if groups.len() >= MANY && self.demand(&self.named(verb, "groups", "*")).await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.demand(&self.named(verb, "groups", group)).await?;
        }
        Ok(())
    }

    async fn extra(&self, verb: &str) -> Result<(), Status> {
        let extra = &self.wanted.extra;
        let wish = self.part(verb, "userextras", "");
        if self.is_limited() {
            wanted::check_extra(extra).map_err(|why| self.refusal(&wish, &why))?;
            let count: usize = extra.values().map(Vec::len).sum();
            let all = Attributes { subresource: "*", name: "*", ..wish };
            if count.max(extra.len()) >= MANY && self.demand(&all).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.demand(&Attributes { subresource: key, name: value, ..wish }).await?;
            }
        }
        Ok(())
    }

    async fn demand(&self, wish: &Attributes<'_>) -> Result<(), Status> {
        let mut asks = self.user.clone();
        if self.mode.name == "associated-node" {
            let keys = asks.extra.keys().cloned().collect();
            asks.extra = [(NODE_KEYS.to_owned(), keys)].into();
        }
        let decision = authz::authorize(self.server, &asks, wish).await;
        if decision.is_allowed() {
            return Ok(());
        }
        let words =
            decision.error.into_iter().chain(Some(decision.reason).filter(|reason| !reason.is_empty()));
        Err(self.refusal(wish, &words.collect::<Vec<_>>().join(": ")))
    }

    fn refusal(&self, wish: &Attributes<'_>, why: &str) -> Status {
        refusal::forbidden(self.user, wish, why)
    }
}
