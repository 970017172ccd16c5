//! Roles and bindings in memory, found by who they are for: a decision looks at the bindings of one user
//! and of its groups, never at all of them.
//!
//! Entry points: the [`crate::followed::Index`] that keeps it, and [`Bindings::visit`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use api::rbac::{GROUP, PolicyRule};
use component_base::user::UserInfo;
use serde_json::Value;

use crate::followed::Index;
use crate::storage::Entry;

/// The kinds this index is made of.
pub(crate) const KINDS: [(&str, &str); 4] =
    [(GROUP, "roles"), (GROUP, "clusterroles"), (GROUP, "rolebindings"), (GROUP, "clusterrolebindings")];

/// Who a binding is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    kind: SubjectKind,
    /// As told in the binding.
    name: String,
    /// Of a service account: its own, or that of its binding.
    namespace: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SubjectKind {
    User,
    Group,
    ServiceAccount,
}

impl Subject {
    fn of(subject: &Value, namespace: &str) -> Option<Self> {
        let text = |key: &str| subject[key].as_str().unwrap_or_default();
        let kind = match text("kind") {
            "User" => SubjectKind::User,
            "Group" => SubjectKind::Group,
            "ServiceAccount" => SubjectKind::ServiceAccount,
            _ => return None,
        };
        let own = text("namespace");
        let namespace = if own.is_empty() { namespace } else { own };
        // A service account that lives nowhere is nobody.
        let known = kind != SubjectKind::ServiceAccount || !namespace.is_empty();
        known.then(|| Self { kind, name: text("name").to_owned(), namespace: namespace.to_owned() })
    }

    /// The user's or the group's name in requests.
    fn principal(&self) -> String {
        match self.kind {
            SubjectKind::ServiceAccount => format!("system:serviceaccount:{}:{}", self.namespace, self.name),
            SubjectKind::User | SubjectKind::Group => self.name.clone(),
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self.kind {
            SubjectKind::Group => user.groups.contains(&self.name),
            SubjectKind::User | SubjectKind::ServiceAccount => user.name == self.principal(),
        }
    }

    fn describe(&self) -> String {
        match self.kind {
            SubjectKind::User => format!("User {:?}", self.name),
            SubjectKind::Group => format!("Group {:?}", self.name),
            SubjectKind::ServiceAccount => {
                format!("ServiceAccount {:?}", format!("{}/{}", self.name, self.namespace))
            }
        }
    }
}

/// Names a role: `(namespace, name)`, the namespace empty for a cluster role.
type RoleName = (String, String);

/// Who has which role, where.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Empty for the whole cluster.
    namespace: String,
    name: String,
    /// `None` for a kind of role that does not exist.
    role: Option<RoleName>,
    role_kind: String,
    subjects: Vec<Subject>,
}

impl Binding {
    fn of(object: &Value, namespace: &str, name: &str) -> Self {
        let role = &object["roleRef"];
        let text = |key: &str| role[key].as_str().unwrap_or_default().to_owned();
        let role_kind = text("kind");
        let role_namespace = match role_kind.as_str() {
            "Role" => Some(namespace.to_owned()),
            "ClusterRole" => Some(String::new()),
            _ => None,
        };
        let subjects = object["subjects"].as_array().into_iter().flatten();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            role: role_namespace.map(|namespace| (namespace, text("name"))),
            role_kind,
            subjects: subjects.filter_map(|subject| Subject::of(subject, namespace)).collect(),
        }
    }

    /// As upstream's authorizer says why it allowed something to a user.
    pub(crate) fn describe(&self, user: &UserInfo) -> String {
        let subject = self.subjects.iter().find(|subject| subject.is(user));
        let subject = subject.map(Subject::describe).unwrap_or_default();
        let role = self.role.as_ref().map_or("", |(_, name)| name);
        let (kind, name) = match self.namespace.as_str() {
            "" => ("ClusterRoleBinding", self.name.clone()),
            namespace => ("RoleBinding", format!("{}/{namespace}", self.name)),
        };
        format!("{kind} {name:?} of {} {role:?} to {subject}", self.role_kind)
    }
}

/// The bindings of one user or group: by namespace (empty: everywhere), then by name.
type Grants = BTreeMap<String, BTreeMap<String, Arc<Binding>>>;

/// Roles, and who has them.
#[derive(Default)]
pub(crate) struct Bindings {
    roles: BTreeMap<RoleName, Arc<[PolicyRule]>>,
    /// By storage key, to find what a removed binding was.
    bindings: BTreeMap<String, Arc<Binding>>,
    users: BTreeMap<String, Grants>,
    groups: BTreeMap<String, Grants>,
}

/// A rule that somebody has, or why a binding gives none.
pub(crate) type Found<'a> = Result<(&'a Binding, &'a PolicyRule), String>;

impl Bindings {
    /// Shows every rule a user has in a namespace (empty: only those for the whole cluster), until told to stop.
    pub(crate) fn visit<'a>(
        &'a self,
        user: &UserInfo,
        namespace: &str,
        mut visitor: impl FnMut(Found<'a>) -> ControlFlow<()>,
    ) {
        let everywhere = [""];
        let both = ["", namespace];
        let scopes: &[&str] = if namespace.is_empty() { &everywhere } else { &both };
        for scope in scopes {
            let own = self.users.get(&user.name).into_iter();
            let of_groups = user.groups.iter().filter_map(|group| self.groups.get(group));
            let bindings =
                own.chain(of_groups).filter_map(|grants| grants.get(*scope)).flat_map(BTreeMap::values);
            for binding in bindings {
                if self.visit_binding(binding, &mut visitor).is_break() {
                    return;
                }
            }
        }
    }

    fn visit_binding<'a>(
        &'a self,
        binding: &'a Binding,
        visitor: &mut impl FnMut(Found<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(role) = &binding.role else {
            return visitor(Err(format!("unsupported role reference kind: {:?}", binding.role_kind)));
        };
        match self.roles.get(role) {
            Some(rules) => rules.iter().try_for_each(|rule| visitor(Ok((binding, rule)))),
            None => {
                visitor(Err(format!("{}.{GROUP} {:?} not found", binding.role_kind.to_lowercase(), role.1)))
            }
        }
    }

    fn enter(&mut self, key: &str, binding: Binding) {
        self.leave(key);
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            let grants = self.grants(subject).entry(subject.principal()).or_default();
            let scope = grants.entry(binding.namespace.clone()).or_default();
            scope.insert(binding.name.clone(), Arc::clone(&binding));
        }
        self.bindings.insert(key.to_owned(), binding);
    }

    fn leave(&mut self, key: &str) {
        let Some(binding) = self.bindings.remove(key) else { return };
        for subject in &binding.subjects {
            let principal = subject.principal();
            let all = self.grants(subject);
            let Some(grants) = all.get_mut(&principal) else { continue };
            if let Some(scope) = grants.get_mut(&binding.namespace) {
                scope.remove(&binding.name);
                if scope.is_empty() {
                    grants.remove(&binding.namespace);
                }
            }
            if grants.is_empty() {
                all.remove(&principal);
            }
        }
    }

    fn grants(&mut self, subject: &Subject) -> &mut BTreeMap<String, Grants> {
        match subject.kind {
            SubjectKind::Group => &mut self.groups,
            SubjectKind::User | SubjectKind::ServiceAccount => &mut self.users,
        }
    }

    /// Takes in an object of one of [`KINDS`].
    fn put_object(&mut self, key: &str, object: &Value) {
        let Some((plural, namespace, name)) = place(key) else { return };
        match plural {
            "roles" | "clusterroles" => {
                let rules = PolicyRule::all_of(object).into();
                self.roles.insert((namespace.to_owned(), name.to_owned()), rules);
            }
            _ => self.enter(key, Binding::of(object, namespace, name)),
        }
    }
}

/// Plural, namespace (empty if cluster-wide) and name in a storage key.
fn place(key: &str) -> Option<(&str, &str, &str)> {
    let (plural, rest) = key.split_once(&format!("/{GROUP}/"))?.1.split_once('/')?;
    Some(match plural {
        "roles" | "rolebindings" => {
            rest.split_once('/').map(|(namespace, name)| (plural, namespace, name))?
        }
        _ => (plural, "", rest),
    })
}

impl Index for Bindings {
    fn put(&mut self, entry: &Entry) {
        match serde_json::from_slice::<Value>(&entry.bytes) {
            Ok(object) => self.put_object(&entry.key, &object),
            Err(error) => tracing::error!(%error, key = %entry.key, "a stored object is not JSON"),
        }
    }

    fn remove(&mut self, key: &str) {
        match place(key) {
            Some(("roles" | "clusterroles", namespace, name)) => {
                self.roles.remove(&(namespace.to_owned(), name.to_owned()));
            }
            _ => self.leave(key),
        }
    }
}

#[cfg(test)]
pub(crate) fn of_objects(objects: &[Value]) -> Bindings {
    let mut bindings = Bindings::default();
    for object in objects {
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase() + "s";
        let namespace = Some(api::object::namespace(object)).filter(|namespace| !namespace.is_empty());
        let key = api::names::storage_key(GROUP, &kind, namespace, api::object::name(object));
        bindings.put_object(&key, object);
    }
    bindings
}
