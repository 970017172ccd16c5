//! What a plugin is told of a request.

use api::pruning::FieldValidation;
use api::{Kind, Status, object};
use component_base::user::UserInfo;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::webhook::reinvocation::Rounds;
use crate::call::{Call, parse, store_status};
use crate::deletion::DeleteOptions;
use crate::storage;

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    /// A stream to a pod, or a proxied request.
    Connect,
}

impl Operation {
    /// The API's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Group, version and kind of the object that is judged: on a subresource it need not be the resource's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectKind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

impl ObjectKind {
    pub(crate) fn new((group, version, kind): (&str, &str, &str)) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    fn of(row: &Kind) -> Self {
        Self::new((&row.group, &row.version, &row.kind))
    }
}

/// Whether plugins that came before a change want to see the object again.
#[derive(Debug, Default)]
pub(crate) struct Reinvocation {
    /// A plugin changed the object and others may want another look.
    pub(crate) asked: bool,
    /// This is the second round.
    pub(crate) again: bool,
    pub(crate) webhooks: Rounds,
    pub(crate) policies: Rounds,
}

/// What is committed together with what was admitted, or with it fails.
pub(crate) type Conditions = Vec<storage::Operation>;

/// One admission: the request, the object before, and what the plugins ask for.
pub(crate) struct Attributes<'a> {
    pub(crate) call: &'a Call,
    pub(crate) operation: Operation,
    pub(crate) kind: ObjectKind,
    /// The name in the path or in the sent object; empty while the server is to generate it.
    pub(crate) name: String,
    /// The stored object, for updates and deletions.
    pub(crate) old: Option<&'a Value>,
    /// What a deletion asks for.
    pub(crate) deletion: Option<&'a DeleteOptions>,
    pub(crate) reinvocation: Mutex<Reinvocation>,
    conditions: Mutex<Conditions>,
}

impl<'a> Attributes<'a> {
    fn new(call: &'a Call, operation: Operation, old: Option<&'a Value>) -> Self {
        Self {
            call,
            operation,
            kind: ObjectKind::of(&call.kind),
            name: call.info.name.clone(),
            old,
            deletion: None,
            reinvocation: Mutex::default(),
            conditions: Mutex::default(),
        }
    }

    /// An object that is to be created.
    pub(crate) fn create(call: &'a Call, object: &Value) -> Self {
        let mut attributes = Self::new(call, Operation::Create, None);
        if attributes.name.is_empty() {
            object::name(object).clone_into(&mut attributes.name);
        }
        attributes
    }

    /// An object that is to be changed.
    pub(crate) fn update(call: &'a Call, old: &'a Value) -> Self {
        Self::new(call, Operation::Update, Some(old))
    }

    /// An object that is to be deleted.
    pub(crate) fn delete(call: &'a Call, old: &'a Value, options: &'a DeleteOptions) -> Self {
        Self { deletion: Some(options), ..Self::new(call, Operation::Delete, Some(old)) }
    }

    /// A stream or a proxied request.
    pub(crate) fn connect(call: &'a Call) -> Self {
        Self::new(call, Operation::Connect, None)
    }

    /// The same for an object of another kind than the resource's.
    pub(crate) fn with_kind(mut self, kind: ObjectKind) -> Self {
        self.kind = kind;
        self
    }

    /// Group, plural and subresource.
    pub(crate) fn resource(&self) -> (&str, &str, &str) {
        (&self.call.kind.group, &self.call.kind.plural, &self.call.info.subresource)
    }

    /// Whether it is about objects of a resource themselves.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.resource() == (group, plural, "")
    }

    /// The namespace, which of a namespace is its own name; empty for what is in none.
    pub(crate) fn namespace(&self) -> &str {
        if self.call.kind.group.is_empty() && self.call.kind.plural == "namespaces" {
            return &self.name;
        }
        &self.call.info.namespace
    }

    /// Who asks.
    pub(crate) fn user(&self) -> &'a UserInfo {
        &self.call.user
    }

    /// Whether nothing will be written.
    pub(crate) fn dry_run(&self) -> bool {
        self.deletion.map_or(self.call.options.dry_run, |options| options.dry_run)
    }

    /// `CreateOptions`, `UpdateOptions` or `DeleteOptions`; null for a connection.
    pub(crate) fn options(&self) -> Value {
        let options = &self.call.options;
        let (mut value, manager) = match (self.operation, self.deletion) {
            (Operation::Connect, _) => return Value::Null,
            (Operation::Delete, Some(deletion)) => (deletion.to_json(), ""),
            (Operation::Create, _) => (json!({"kind": "CreateOptions"}), options.field_manager.as_str()),
            _ => (json!({"kind": "UpdateOptions"}), options.field_manager.as_str()),
        };
        value["apiVersion"] = "meta.k8s.io/v1".into();
        if self.dry_run() {
            value["dryRun"] = json!(["All"]);
        }
        if !manager.is_empty() {
            value["fieldManager"] = manager.into();
        }
        // What is not said is `Warn`.
        if self.operation != Operation::Delete && options.field_validation != FieldValidation::Warn {
            let strict = options.field_validation == FieldValidation::Strict;
            value["fieldValidation"] = if strict { "Strict" } else { "Ignore" }.into();
        }
        value
    }

    /// 403 in the words of upstream's `admission.NewForbidden`.
    pub(crate) fn forbidden(&self, object: &Value, detail: &str) -> Status {
        let name = match (self.name.as_str(), object::name(object), object::meta_str(object, "generateName"))
        {
            ("", "", "") => "Unknown",
            ("", "", base) => base,
            ("", name, _) | (name, ..) => name,
        };
        Status::forbidden(&self.call.kind.group, &self.call.kind.plural, name, detail)
    }

    /// Makes the write conditional on an operation: a check, or a change that goes along with it.
    pub(crate) fn require(&self, operation: storage::Operation) {
        self.conditions.lock().push(operation);
    }

    /// What the plugins asked for.
    pub(crate) fn conditions(&self) -> Conditions {
        std::mem::take(&mut self.conditions.lock())
    }

    /// A stored object of a kind, as upstream's informers have it.
    pub(crate) async fn stored(
        &self,
        (group, plural): (&str, &str),
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        let key = api::names::storage_key(group, plural, namespace, name);
        let found = self.call.server.heard(&key).await.map_err(store_status)?;
        found.map(|entry| parse(&entry.bytes)).transpose()
    }

    /// All stored objects of a kind, of one namespace or of all.
    pub(crate) async fn stored_all(
        &self,
        (group, plural): (&str, &str),
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, Status> {
        let prefix = api::names::storage_prefix(group, plural, namespace);
        let entries = self.call.server.heard_all(&prefix).await.map_err(store_status)?;
        entries.iter().map(|entry| parse(&entry.bytes)).collect()
    }
}
