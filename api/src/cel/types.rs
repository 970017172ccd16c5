//! Types of expressions, and when one can stand for another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Of an expression that has an error in it.
    Error,
    /// Anything; checked when evaluated.
    Dyn,
    /// `null`.
    Null,
    /// A boolean.
    Bool,
    /// A signed 64-bit integer.
    Int,
    /// An unsigned 64-bit integer.
    Uint,
    /// A double.
    Double,
    /// A string.
    String,
    /// Bytes.
    Bytes,
    /// A length of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// A list.
    List(Arc<Type>),
    /// A map.
    Map(Arc<Type>, Arc<Type>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// A type as a value; of which type, where known.
    Type(Option<Arc<Type>>),
    /// A placeholder in a signature.
    Param(Arc<str>),
    /// An object with declared fields, or a Kubernetes library's type, by name.
    Object(Arc<str>),
    /// A library's type without fields.
    Opaque(Arc<str>),
}

impl Type {
    /// A list of these.
    pub fn list(items: Self) -> Self {
        Self::List(Arc::new(items))
    }

    /// A map of these.
    pub fn map(keys: Self, values: Self) -> Self {
        Self::Map(Arc::new(keys), Arc::new(values))
    }

    /// This or nothing.
    pub fn optional(inner: Self) -> Self {
        Self::Optional(Arc::new(inner))
    }

    pub(crate) fn param(name: &str) -> Self {
        Self::Param(name.into())
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// The type that an optional holds, and whether it is one.
    pub(crate) fn unwrapped(&self) -> (&Self, bool) {
        match self {
            Self::Optional(inner) => (inner, true),
            other => (other, false),
        }
    }

    /// Whether every value has the same size.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Bool | Self::Int | Self::Uint | Self::Double | Self::Duration | Self::Timestamp => true,
            Self::Optional(inner) => inner.is_scalar(),
            _ => false,
        }
    }

    /// The same type with other types inside.
    fn map_params(&self, with: &mut dyn FnMut(&Self) -> Self) -> Self {
        match self {
            Self::List(items) => Self::list(with(items)),
            Self::Map(keys, values) => Self::map(with(keys), with(values)),
            Self::Optional(inner) => Self::optional(with(inner)),
            Self::Type(Some(inner)) => Self::Type(Some(Arc::new(with(inner)))),
            other => other.clone(),
        }
    }

    /// The type of this name in an expression.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "google.protobuf.Timestamp" => Self::Timestamp,
            "google.protobuf.Duration" => Self::Duration,
            "null_type" => Self::Null,
            "list" => Self::list(Self::Dyn),
            "map" => Self::map(Self::Dyn, Self::Dyn),
            "optional_type" => Self::optional(Self::Dyn),
            "type" => Self::Type(None),
            "bool" | "int" | "uint" | "double" | "string" | "bytes" | "dyn" => Self::parse(name),
            "net.IP" | "net.CIDR" => Self::Opaque(name.into()),
            "kubernetes.Quantity" | "kubernetes.URL" | "kubernetes.Semver" | "kubernetes.NamedFormat" => {
                Self::Object(name.into())
            }
            _ => return None,
        })
    }

    /// The placeholders in it.
    pub(crate) fn variables(&self, names: &mut BTreeSet<Arc<str>>) {
        match self {
            Self::Param(name) => {
                names.insert(name.clone());
            }
            Self::List(inner) | Self::Optional(inner) | Self::Type(Some(inner)) => inner.variables(names),
            Self::Map(keys, values) => {
                keys.variables(names);
                values.variables(names);
            }
            _ => {}
        }
    }

    /// Parses what signatures in [`super::functions`] are written in.
    pub(crate) fn parse(text: &str) -> Self {
        let inside = |prefix: &str| text.strip_prefix(prefix)?.strip_suffix(')');
        if let Some(items) = inside("list(") {
            return Self::list(Self::parse(items));
        }
        if let Some((keys, values)) = inside("map(").and_then(|inner| inner.split_once(' ')) {
            return Self::map(Self::parse(keys), Self::parse(values));
        }
        if let Some(inner) = inside("optional(") {
            return Self::optional(Self::parse(inner));
        }
        if let Some(inner) = inside("type(") {
            return Self::Type(Some(Arc::new(Self::parse(inner))));
        }
        match text {
            "dyn" => Self::Dyn,
            "null" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "duration" => Self::Duration,
            "timestamp" => Self::Timestamp,
            name if name.starts_with("net.") => Self::Opaque(name.into()),
            name if name.starts_with("kubernetes.") => Self::Object(name.into()),
            name => Self::param(name),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("!error!"),
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(items) => write!(f, "list({items})"),
            Self::Map(keys, values) => write!(f, "map({keys}, {values})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Type(None) => f.write_str("type"),
            Self::Type(Some(inner)) => write!(f, "type({inner})"),
            Self::Param(name) | Self::Object(name) | Self::Opaque(name) => f.write_str(name),
        }
    }
}

/// What type variables stand for, as far as known.
#[derive(Debug, Default)]
pub(crate) struct Substitution {
    known: BTreeMap<Arc<str>, Type>,
    /// What was there before each change of the attempt under way, to undo it.
    undo: Vec<(Arc<str>, Option<Type>)>,
}

impl Substitution {
    /// The type with variables replaced; unknown ones become `dyn` if asked.
    pub(crate) fn apply(&self, ty: &Type, unknown_to_dyn: bool) -> Type {
        match ty {
            Type::Param(name) => match self.known.get(name) {
                Some(found) => self.apply(found, unknown_to_dyn),
                None if unknown_to_dyn => Type::Dyn,
                None => ty.clone(),
            },
            other => other.map_params(&mut |inner| self.apply(inner, unknown_to_dyn)),
        }
    }

    /// Whether values of one type can be taken for the other; remembers what this says of variables.
    pub(crate) fn assign(&mut self, from: &Type, to: &Type) -> bool {
        self.assign_all(std::slice::from_ref(from), std::slice::from_ref(to))
    }

    /// As [`Self::assign`], for argument lists.
    pub(crate) fn assign_all(&mut self, from: &[Type], to: &[Type]) -> bool {
        self.undo.clear();
        let fits = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| self.unify(from, to));
        if !fits {
            while let Some((name, before)) = self.undo.pop() {
                match before {
                    Some(ty) => self.known.insert(name, ty),
                    None => self.known.remove(&name),
                };
            }
        }
        fits
    }

    fn set(&mut self, name: &Arc<str>, ty: Type) {
        let before = self.known.insert(name.clone(), ty);
        self.undo.push((name.clone(), before));
    }

    fn unify(&mut self, from: &Type, to: &Type) -> bool {
        if let Type::Param(name) = to {
            match self.bind(from, name) {
                Bound::Yes => return true,
                Bound::Conflict => return false,
                Bound::Occurs => {}
            }
        }
        if let Type::Param(name) = from {
            return self.bind(to, name) == Bound::Yes;
        }
        if from.is_dyn_or_error() || to.is_dyn_or_error() {
            return true;
        }
        match (from, to) {
            (Type::Null, other) | (other, Type::Null) => is_nullable(other),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.unify(a, c) && self.unify(b, d),
            (Type::Type(_), Type::Type(_)) => true,
            _ => from == to,
        }
    }

    /// Whether `ty` can be what the variable stands for.
    fn bind(&mut self, ty: &Type, name: &Arc<str>) -> Bound {
        if matches!(ty, Type::Param(other) if other == name) {
            return Bound::Yes;
        }
        if let Some(known) = self.known.get(name).cloned() {
            if *ty == known {
                return Bound::Yes;
            }
            if !self.unify(ty, &known) {
                return Bound::Conflict;
            }
            let general = most_general(ty, &known).clone();
            if !self.occurs(name, &general) {
                self.set(name, general);
            }
            return Bound::Yes;
        }
        if self.occurs(name, ty) {
            return Bound::Occurs;
        }
        self.set(name, ty.clone());
        Bound::Yes
    }

    fn occurs(&self, name: &Arc<str>, ty: &Type) -> bool {
        match ty {
            Type::Param(other) if other == name => true,
            Type::Param(other) => self.known.get(other).is_some_and(|known| self.occurs(name, known)),
            Type::List(inner) | Type::Optional(inner) | Type::Type(Some(inner)) => self.occurs(name, inner),
            Type::Map(keys, values) => self.occurs(name, keys) || self.occurs(name, values),
            _ => false,
        }
    }
}

#[derive(PartialEq)]
enum Bound {
    Yes,
    /// The variable already stands for something else.
    Conflict,
    /// The variable is inside the type.
    Occurs,
}

/// Types that `null` can be compared with.
fn is_nullable(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Null | Type::Optional(_) | Type::Object(_) | Type::Opaque(_) | Type::Duration | Type::Timestamp
    )
}

/// The more general of two types that unify.
pub(crate) fn most_general<'t>(a: &'t Type, b: &'t Type) -> &'t Type {
    if is_equal_or_less_specific(a, b) { a } else { b }
}

fn is_equal_or_less_specific(a: &Type, b: &Type) -> bool {
    if matches!(a, Type::Dyn | Type::Param(_)) {
        return true;
    }
    if matches!(b, Type::Dyn | Type::Param(_)) {
        return false;
    }
    match (a, b) {
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
            is_equal_or_less_specific(a, b)
        }
        (Type::Map(a, b), Type::Map(c, d)) => {
            is_equal_or_less_specific(a, c) && is_equal_or_less_specific(b, d)
        }
        (Type::Type(_), Type::Type(_)) => true,
        _ => a == b,
    }
}
