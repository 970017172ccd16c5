//! What fields an object has: the schema model, and the facts table of the built-in kinds.
//!
//! Entry points: [`facts`] for the built-in kinds, then [`Facts::schema`] and [`Schema::field`] to walk.
//! A [`Facts`] is an arena of definitions; the built-in one borrows its strings from text compiled into
//! the program (`facts/v1_36.txt`, made by `cargo xtask schema`), so it costs a few hundred kilobytes.
//! A CRD's schema becomes an arena of its own, and every walk (defaulting, pruning, validation, patches)
//! sees only [`Schema`].

mod parse;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use parse::ParseError;

/// A string constant for built-in kinds, owned for custom ones.
pub type Text = Cow<'static, str>;

/// The facts of Kubernetes 1.36, parsed at first use.
pub fn facts() -> &'static Facts {
    static FACTS: LazyLock<Facts> = LazyLock::new(|| {
        let table = include_str!("../facts/v1_36.txt");
        let defaults = include_str!("../facts/defaults.txt");
        // The table is part of the program and a test parses it: an error here cannot reach a user.
        parse::parse(table, defaults).unwrap_or_default()
    });
    &FACTS
}

/// The facts table compiled in, parsed anew; for tests that want to see the error.
///
/// # Errors
/// When a line of the table or of the curated defaults is malformed.
pub fn parse_embedded() -> Result<Facts, ParseError> {
    parse::parse(include_str!("../facts/v1_36.txt"), include_str!("../facts/defaults.txt"))
}

/// Index of a definition in its arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefId(pub(crate) u32);

/// Index of an interned list or map element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeId(pub(crate) u32);

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// A string.
    String,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A double.
    Number,
    /// A boolean.
    Bool,
    /// Base64 of bytes.
    Bytes,
    /// metav1.Time: RFC 3339, whole seconds.
    Time,
    /// metav1.MicroTime: RFC 3339, six fractional digits.
    MicroTime,
    /// metav1.Duration: Go's duration text, such as `1m30s`.
    Duration,
    /// An int32 or a string.
    IntOrString,
    /// resource.Quantity: a string, numbers are accepted.
    Quantity,
    /// Any JSON; opaque to every walk. The name of the published definition differs by Go type.
    Raw(Raw),
    /// A list.
    List(TypeId),
    /// A map with free keys.
    Map(TypeId),
    /// An object with known fields.
    Object(DefId),
}

/// Go types that hold any JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Raw {
    /// runtime.RawExtension.
    Extension,
    /// metav1.FieldsV1.
    Fields,
    /// apiextensions JSON.
    Json,
    /// apiextensions JSONSchemaPropsOrArray.
    SchemaOrArray,
    /// apiextensions JSONSchemaPropsOrBool.
    SchemaOrBool,
    /// apiextensions JSONSchemaPropsOrStringArray.
    SchemaOrStrings,
}

/// How server-side apply merges a list (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    /// Replaced as a whole; also what an unmarked list is.
    #[default]
    Atomic,
    /// Items found by [`FieldRef::list_map_keys`].
    Map,
    /// Distinct scalars.
    Set,
}

/// `x-kubernetes-patch-strategy`; a list without `merge` is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// Items are merged, by [`FieldRef::patch_merge_key`] or by value.
    pub merge: bool,
    /// A patch names the keys that stay (unions).
    pub retain_keys: bool,
    /// Replaced as a whole, marked so.
    pub replace: bool,
}

/// A group, version and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gvk {
    /// Empty for core.
    pub group: Text,
    /// Version.
    pub version: Text,
    /// Kind.
    pub kind: Text,
}

/// One field of a definition.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: Text,
    pub(crate) ty: Type,
    /// Protobuf tag, 0 if it has none.
    pub(crate) tag: u16,
    pub(crate) bits: u16,
    pub(crate) list_type: Option<ListType>,
    pub(crate) patch_strategy: PatchStrategy,
    pub(crate) patch_merge_key: Option<Text>,
    /// Comma-separated.
    pub(crate) list_map_keys: Text,
    pub(crate) default: Option<Text>,
}

impl Field {
    pub(crate) fn new(name: Text, ty: Type) -> Self {
        Self {
            name,
            ty,
            tag: 0,
            bits: 0,
            list_type: None,
            patch_strategy: PatchStrategy::default(),
            patch_merge_key: None,
            list_map_keys: Text::default(),
            default: None,
        }
    }
}

/// Flags of a field.
pub(crate) mod bits {
    pub(crate) const POINTER: u16 = 1;
    pub(crate) const OMIT_EMPTY: u16 = 2;
    pub(crate) const OMIT_ZERO: u16 = 4;
    pub(crate) const REQUIRED: u16 = 8;
    pub(crate) const ATOMIC: u16 = 16;
    /// A list whose protobuf form is a message with `items = 1` (`Verbs`, `ExtraValue`).
    pub(crate) const WRAPPED: u16 = 32;
}

/// A message whose fields are this definition's own in JSON (an inlined Go struct).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inline {
    pub(crate) tag: u16,
    pub(crate) definition: DefId,
}

/// A curated default: what a Go defaulting function sets.
#[derive(Debug, Clone)]
pub(crate) struct DefaultRule {
    pub(crate) field: Text,
    /// JSON text, or `$other` for a copy of a sibling.
    pub(crate) value: Text,
    /// Sibling conditions, all must hold.
    pub(crate) when: Vec<Condition>,
}

/// `field=a|b` (has one of these strings), `field` (is set), `!field` (is not set), `^field` (alone is set).
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) field: Text,
    pub(crate) wanted: Wanted,
}

/// What a [`Condition`] asks of its field.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Set,
    Unset,
    /// Nothing but this field is set.
    Only,
    OneOf(Vec<Text>),
}

/// One definition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Definition {
    pub(crate) name: Text,
    pub(crate) gvks: Vec<Gvk>,
    /// Sorted by name.
    pub(crate) fields: Vec<Field>,
    pub(crate) inlines: Vec<Inline>,
    pub(crate) rules: Vec<DefaultRule>,
    /// `x-kubernetes-map-type: atomic`.
    pub(crate) atomic: bool,
    /// Not published (a message only protobuf knows).
    pub(crate) hidden: bool,
    /// Unknown fields stay.
    pub(crate) preserve_unknown: bool,
}

/// An arena of definitions. Cheap to look up, immutable once made.
#[derive(Debug, Default)]
pub struct Facts {
    pub(crate) definitions: Vec<Definition>,
    pub(crate) types: Vec<Type>,
    pub(crate) by_name: BTreeMap<Text, DefId>,
}

impl Facts {
    /// The definition of this name, such as `io.k8s.api.apps.v1.Deployment`.
    pub fn definition(&self, name: &str) -> Option<DefId> {
        self.by_name.get(name).copied()
    }

    /// The schema of the definition of this name.
    pub fn schema(&self, name: &str) -> Option<Schema<'_>> {
        self.definition(name).map(|id| self.of(id))
    }

    /// The schema of a definition.
    pub fn of(&self, id: DefId) -> Schema<'_> {
        Schema { facts: self, ty: Type::Object(id) }
    }

    /// The schema of the definition that carries this group, version and kind.
    pub fn by_gvk(&self, group: &str, version: &str, kind: &str) -> Option<Schema<'_>> {
        let at = self.definitions.iter().position(|d| {
            d.gvks.iter().any(|g| g.group == group && g.version == version && g.kind == kind)
        })?;
        Some(self.of(DefId(u32::try_from(at).ok()?)))
    }

    /// Every published definition, by name.
    pub fn iter(&self) -> impl Iterator<Item = Schema<'_>> {
        self.by_name.values().map(|id| self.of(*id)).filter(|s| !s.is_hidden())
    }

    /// The id of an element type, one for equal types.
    pub(crate) fn intern(&mut self, ty: Type) -> TypeId {
        let at = self.types.iter().position(|t| *t == ty).unwrap_or_else(|| {
            self.types.push(ty);
            self.types.len() - 1
        });
        TypeId(u32::try_from(at).unwrap_or(u32::MAX))
    }

    pub(crate) fn get(&self, id: DefId) -> Option<&Definition> {
        self.definitions.get(id.0 as usize)
    }
}

/// A place in a schema: the one thing every walk sees.
#[derive(Clone, Copy)]
pub struct Schema<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) ty: Type,
}

impl<'a> Schema<'a> {
    /// What a value here is.
    pub fn ty(self) -> Type {
        self.ty
    }

    /// The field of this name, if values here are objects that have it.
    pub fn field(self, name: &str) -> Option<FieldRef<'a>> {
        let fields = &self.def()?.fields;
        let at = fields.binary_search_by(|f| f.name.as_ref().cmp(name)).ok()?;
        Some(FieldRef { facts: self.facts, field: fields.get(at)? })
    }

    /// The field that `path` (`spec.template.spec`) leads to; lists and maps are passed through.
    pub fn at(self, path: &str) -> Option<FieldRef<'a>> {
        let (head, rest) = path.split_once('.').unwrap_or((path, ""));
        let field = self.field(head)?;
        if rest.is_empty() { Some(field) } else { field.schema().innermost().at(rest) }
    }

    /// All fields, by name; none unless values here are objects with known fields.
    pub fn fields(self) -> impl Iterator<Item = FieldRef<'a>> {
        let facts = self.facts;
        self.def().map_or(&[][..], |d| &d.fields[..]).iter().map(move |field| FieldRef { facts, field })
    }

    /// Schema of a list's items.
    pub fn items(self) -> Option<Schema<'a>> {
        match self.ty {
            Type::List(id) => self.element(id),
            _ => None,
        }
    }

    /// Schema of a map's values.
    pub fn values(self) -> Option<Schema<'a>> {
        match self.ty {
            Type::Map(id) => self.element(id),
            _ => None,
        }
    }

    /// Items or values, as deep as they go; itself for anything else.
    pub fn innermost(self) -> Schema<'a> {
        self.items().or_else(|| self.values()).map_or(self, Schema::innermost)
    }

    /// Name of the definition, such as `io.k8s.api.core.v1.PodSpec`; empty for anything else.
    pub fn name(self) -> &'a str {
        self.def().map_or("", |d| d.name.as_ref())
    }

    /// Go's name of the type: `PodSpec`.
    pub fn short_name(self) -> &'a str {
        self.name().rsplit('.').next().unwrap_or_default()
    }

    /// Kinds that this definition is.
    pub fn gvks(self) -> &'a [Gvk] {
        self.def().map_or(&[], |d| &d.gvks)
    }

    /// Whether apply and merge treat the object as one value (`x-kubernetes-map-type: atomic`).
    pub fn is_atomic(self) -> bool {
        self.def().is_some_and(|d| d.atomic)
    }

    /// Whether the definition is unknown to published documents.
    pub fn is_hidden(self) -> bool {
        self.def().is_some_and(|d| d.hidden)
    }

    /// Whether unknown fields stay (a CRD may say so; opaque values always do).
    pub fn preserves_unknown(self) -> bool {
        matches!(self.ty, Type::Raw(_)) || self.def().is_some_and(|d| d.preserve_unknown)
    }

    /// The message inlined under a protobuf tag.
    pub(crate) fn inlined(self, tag: u32) -> Option<Schema<'a>> {
        let inline = self.def()?.inlines.iter().find(|inline| u32::from(inline.tag) == tag)?;
        Some(self.facts.of(inline.definition))
    }

    pub(crate) fn def(self) -> Option<&'a Definition> {
        match self.ty {
            Type::Object(id) => self.facts.get(id),
            _ => None,
        }
    }

    fn element(self, id: TypeId) -> Option<Schema<'a>> {
        let ty = *self.facts.types.get(id.0 as usize)?;
        Some(Schema { facts: self.facts, ty })
    }
}

impl std::fmt::Debug for Schema<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.def() {
            Some(definition) => f.write_str(&definition.name),
            None => self.ty.fmt(f),
        }
    }
}

/// A field and what is known about it.
#[derive(Clone, Copy)]
pub struct FieldRef<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) field: &'a Field,
}

impl<'a> FieldRef<'a> {
    /// JSON name.
    pub fn name(self) -> &'a str {
        &self.field.name
    }

    /// Schema of its value.
    pub fn schema(self) -> Schema<'a> {
        Schema { facts: self.facts, ty: self.field.ty }
    }

    /// `x-kubernetes-patch-merge-key`: items of the list are matched by this field in a strategic patch.
    pub fn patch_merge_key(self) -> Option<&'a str> {
        self.field.patch_merge_key.as_deref()
    }

    /// `x-kubernetes-patch-strategy`.
    pub fn patch_strategy(self) -> PatchStrategy {
        self.field.patch_strategy
    }

    /// How apply merges the list; `Atomic` where unmarked.
    pub fn list_type(self) -> ListType {
        self.field.list_type.unwrap_or_default()
    }

    /// `x-kubernetes-list-type` as marked, if it is.
    pub fn marked_list_type(self) -> Option<ListType> {
        self.field.list_type
    }

    /// `x-kubernetes-list-map-keys`, in order.
    pub fn list_map_keys(self) -> impl Iterator<Item = &'a str> {
        self.field.list_map_keys.split(',').filter(|key| !key.is_empty())
    }

    /// Whether apply treats the value (list, map or object) as one: marked on the field or on its type.
    pub fn is_atomic(self) -> bool {
        let listed = matches!(self.field.ty, Type::List(_)) && self.list_type() == ListType::Atomic;
        listed || self.is_marked_atomic() || self.schema().is_atomic()
    }

    /// `x-kubernetes-map-type: atomic` on the field itself.
    pub fn is_marked_atomic(self) -> bool {
        self.has(bits::ATOMIC)
    }

    /// The published default as JSON text.
    pub fn default(self) -> Option<&'a str> {
        self.field.default.as_deref()
    }

    /// Whether the published schema requires the field.
    pub fn required(self) -> bool {
        self.has(bits::REQUIRED)
    }

    /// Whether Go holds a pointer: zero and absent differ.
    pub fn is_pointer(self) -> bool {
        self.has(bits::POINTER)
    }

    /// Whether an empty value is left out when written (`omitempty`; no effect on structs).
    pub fn omits_empty(self) -> bool {
        self.has(bits::OMIT_EMPTY)
    }

    /// Whether a zero struct is left out when written (`omitzero`).
    pub fn omits_zero(self) -> bool {
        self.has(bits::OMIT_ZERO)
    }

    /// Protobuf tag, where known.
    pub fn tag(self) -> Option<u16> {
        (self.field.tag != 0).then_some(self.field.tag)
    }

    pub(crate) fn has(self, bit: u16) -> bool {
        self.field.bits & bit != 0
    }
}

#[cfg(test)]
mod tests;
