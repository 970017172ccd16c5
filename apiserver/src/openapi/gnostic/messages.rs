//! The messages OpenAPI documents are made of, from `apiserver/facts/gnostic.txt` (`cargo xtask schema`).
//!
//! Entry point: [`Messages::of`]. Lines of the table, `#` starts a comment:
//! ```text
//! p PACKAGE                  messages of this package follow
//! m NAME [one]               a message; with `one`, one of its fields is set
//! NUMBER FIELD TYPE[*]       a field of it; `*` for many
//! ```

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::Dialect;

static TABLE: LazyLock<[Messages; 2]> = LazyLock::new(|| {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/facts/gnostic.txt"));
    ["openapi.v2", "openapi.v3"].map(|package| Messages::read(text, package))
});

/// The messages of a package by name.
#[derive(Default)]
pub(super) struct Messages(BTreeMap<&'static str, Message>);

pub(super) struct Message {
    /// One field is set, whichever fits.
    pub(super) is_choice: bool,
    /// Name and value, as entries of maps are written.
    pub(super) is_entry: bool,
    /// By number.
    pub(super) fields: Vec<Field>,
}

pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
    /// Its name in JSON.
    pub(super) key: String,
    pub(super) ty: Type,
    pub(super) is_repeated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Flag,
    Integer,
    Double,
    Message(&'static str),
}

impl Messages {
    /// Those of a dialect.
    pub(super) fn of(dialect: Dialect) -> &'static Self {
        let [v2, v3] = &*TABLE;
        match dialect {
            Dialect::V2 => v2,
            Dialect::V3 => v3,
        }
    }

    fn read(text: &'static str, package: &str) -> Self {
        let mut messages = Self::default();
        let (mut is_wanted, mut current) = (false, "");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["p", name] => is_wanted = *name == package,
                _ if !is_wanted => {}
                ["m", name, marks @ ..] => {
                    let is_entry = name.starts_with("Named");
                    let message = Message { is_choice: marks.contains(&"one"), is_entry, fields: Vec::new() };
                    messages.0.insert(name, message);
                    current = name;
                }
                [number, name, ty] => {
                    let message = messages.0.get_mut(current);
                    let field = number.parse().map(|number| Field::new(number, name, ty));
                    message.into_iter().zip(field).for_each(|(message, field)| message.fields.push(field));
                }
                _ => {}
            }
        }
        messages.0.values_mut().for_each(|message| message.fields.sort_by_key(|field| field.number));
        messages
    }

    pub(super) fn get(&self, name: &str) -> Option<&Message> {
        self.0.get(name)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.0.values()
    }
}

impl Message {
    /// The field of this name.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The only field, if there is one that repeats: the message stands for a list.
    pub(super) fn list(&self, messages: &Messages) -> Option<&Field> {
        let [field] = self.fields.as_slice() else { return None };
        Some(field).filter(|field| field.is_repeated && !field.is_map(messages))
    }

    /// The field that takes a key of an object which no other field has the name of.
    pub(super) fn field_of_key(&self, key: &str, messages: &Messages) -> Option<&Field> {
        let own = self.fields.iter().find(|field| field.key == key && !field.is_map(messages));
        let is_extension = key.starts_with("x-") && self.fields.iter().any(Field::is_extension);
        let fits = |field: &&Field| field.is_map(messages) && field.is_extension() == is_extension;
        own.or_else(|| self.fields.iter().find(fits))
    }
}

impl Field {
    fn new(number: u32, name: &'static str, ty: &'static str) -> Self {
        let (ty, is_repeated) = ty.strip_suffix('*').map_or((ty, false), |ty| (ty, true));
        let ty = match ty {
            "string" => Type::Text,
            "bool" => Type::Flag,
            "int64" => Type::Integer,
            "double" => Type::Double,
            ty => Type::Message(ty),
        };
        Self { number, name, key: key(name), ty, is_repeated }
    }

    /// Whether it takes what has no field: entries of a map.
    pub(super) fn is_map(&self, messages: &Messages) -> bool {
        let message = match self.ty {
            Type::Message(name) => messages.get(name),
            _ => None,
        };
        self.is_repeated && message.is_some_and(|message| message.is_entry)
    }

    /// Whether it takes what begins with `x-`.
    fn is_extension(&self) -> bool {
        matches!(self.name, "vendor_extension" | "specification_extension")
    }
}

/// `additional_properties` is `additionalProperties` in JSON, `_ref` is `$ref`.
fn key(name: &str) -> String {
    if let Some(name) = name.strip_prefix('_') {
        return format!("${name}");
    }
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |key, word| key + &crate::openapi::paths::capitalised(word))
}
