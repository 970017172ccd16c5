//! The forms an object is served in, for webhooks and policies that know another one than the request's.
//!
//! Entry points: [`rows`] for a request, [`Row::show`] and [`Row::take`] for the way there and back.

use std::sync::Arc;

use api::codec::{Expected, Tree, check_tree};
use api::patch::typed::Typing;
use api::pruning::FieldValidation;
use api::schema::facts;
use api::{Kind, Status};
use serde_json::Value;

use crate::admission::{Attributes, ObjectKind};
use crate::call::Call;
use crate::{custom_resources, registry};

/// A resource of a request, and the kind of its object.
#[derive(Clone)]
pub(crate) struct Row {
    kind: Arc<Kind>,
    /// Of the object, which on a subresource may be another one's.
    pub(crate) object: ObjectKind,
    /// Whether objects are of the row's own kind, and so in one of several forms.
    own: bool,
}

/// The request's own resource, then others that show the same objects.
pub(crate) fn rows(attributes: &Attributes<'_>) -> Vec<Row> {
    let call = attributes.call;
    let kind = &call.kind;
    let own = attributes.kind.kind == kind.kind && attributes.kind.group == kind.group;
    let mut rows = vec![Row { kind: Arc::clone(kind), object: attributes.kind.clone(), own }];
    if !kind.is_stored() {
        return rows;
    }
    let subresource = attributes.resource().2;
    let place = kind.prefix(None);
    for other in call.server.kinds().iter() {
        // All forms of an object have one name, which is quickly compared.
        let same = other.kind == kind.kind && !Arc::ptr_eq(other, kind) && other.is_stored();
        let same = same && other.prefix(None) == place;
        if !same || (!subresource.is_empty() && other.subresource(subresource).is_none()) {
            continue;
        }
        let shown = ObjectKind::new((&other.group, &other.version, &other.kind));
        let object = if own { shown } else { attributes.kind.clone() };
        rows.push(Row { kind: Arc::clone(other), object, own });
    }
    rows
}

impl Row {
    pub(crate) fn group(&self) -> &str {
        &self.kind.group
    }

    pub(crate) fn version(&self) -> &str {
        &self.kind.version
    }

    pub(crate) fn plural(&self) -> &str {
        &self.kind.plural
    }

    /// Whether two rows show objects in the same form.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kind, &other.kind)
    }

    /// An object in the stored form of the call, as this row shows it.
    ///
    /// # Errors
    /// When a custom resource's conversion fails.
    pub(crate) async fn show(&self, call: &Call, object: &Value) -> Result<Value, Status> {
        let mut shown = object.clone();
        if !self.own {
            return Ok(shown);
        }
        if let Some(converted) = self.kind.converted() {
            (converted.from_storage)(&mut shown);
        }
        self.custom(call, shown, &self.kind).await
    }

    /// An object this row shows, in the stored form of the call, with what decoding and defaults do to it.
    ///
    /// # Errors
    /// When it is no object of its kind, or a custom resource's conversion fails.
    pub(crate) async fn take(
        &self,
        call: &Call,
        object: Value,
        strictness: FieldValidation,
    ) -> Result<Value, Status> {
        let mut object = self.checked(object, strictness)?;
        if !self.own {
            return Ok(object);
        }
        if let Some(converted) = self.kind.converted() {
            (converted.to_storage)(&mut object);
        }
        let mut object = self.custom(call, object, &call.kind).await?;
        if call.kind.is_custom() && !Arc::ptr_eq(&call.kind, &self.kind) {
            let tree = Tree::from(object);
            object = check_tree(&Expected::row(&call.kind), tree, strictness)?.object;
        }
        registry::default(call, &mut object);
        Ok(object)
    }

    /// What the kind's types, or a custom kind's schema, allow.
    fn checked(&self, object: Value, strictness: FieldValidation) -> Result<Value, Status> {
        let ObjectKind { group, version, kind } = &self.object;
        let expected =
            if self.own { Expected::row(&self.kind) } else { Expected::builtin(group, version, kind) };
        Ok(check_tree(&expected, Tree::from(object), strictness)?.object)
    }

    /// Between versions of a custom resource.
    async fn custom(&self, call: &Call, mut object: Value, wanted: &Kind) -> Result<Value, Status> {
        let Some(custom) = &self.kind.custom else { return Ok(object) };
        let version = wanted.api_version();
        if object["apiVersion"] == version {
            return Ok(object);
        }
        if custom.resource.converts_by_name() {
            object["apiVersion"] = version.into();
            return Ok(object);
        }
        let converted =
            custom_resources::convert(&call.server, &custom.resource, vec![object], &version).await?;
        converted.into_iter().next().ok_or_else(|| Status::internal("a conversion gave no object"))
    }

    /// How objects of this form are merged.
    pub(crate) fn typing(&self) -> Typing<'_> {
        let ObjectKind { group, version, kind } = &self.object;
        Typing::of(if self.own { self.kind.schema() } else { facts().by_gvk(group, version, kind) })
    }
}

/// The objects of a request in the form of a row.
pub(crate) struct Shown {
    pub(crate) row: Row,
    pub(crate) object: Option<Value>,
    pub(crate) old: Option<Value>,
}
