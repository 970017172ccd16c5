//! Reads the facts table: line-based text, made by `cargo xtask schema`, and the curated defaults.
//!
//! Strings stay borrowed from the text. Forms of a line, `#` starts a comment:
//! ```text
//! d NAME [hidden] [atomic]            a definition; the lines below belong to it
//! g VERSION KIND [GROUP]              a kind it is
//! i NAME TAG                          a message inlined in JSON
//! FIELD TYPE [ATTRIBUTE]...           a field, sorted by name
//! ```
//! A type is a scalar's name, `@definition`, `[]type` or `{}type`. Attributes: `pTAG`, `*` pointer,
//! `o` omitempty, `z` omitzero, `r` required, `a` atomic, `w` wrapped, `l=`list type, `k=`list-map keys,
//! `m=`merge key, `s=`patch strategy, `d=`default.

use super::{
    Condition, DefId, DefaultRule, Definition, Facts, Field, Gvk, Inline, ListType, PatchStrategy, Raw, Text,
    Type, Wanted, bits,
};

/// A line that is not of the table's form.
#[derive(Debug, thiserror::Error)]
#[error("facts, line {line} `{text}`: {problem}")]
pub struct ParseError {
    line: usize,
    text: String,
    problem: &'static str,
}

type Parsed<T> = Result<T, &'static str>;

/// Reads a table and the curated defaults for it.
pub(super) fn parse(table: &'static str, defaults: &'static str) -> Result<Facts, ParseError> {
    let mut facts = Facts::default();
    for (id, name) in (0u32..).zip(lines(table).filter_map(|(_, l)| l.strip_prefix("d "))) {
        let name = name.split(' ').next().unwrap_or_default();
        facts.by_name.insert(Text::Borrowed(name), DefId(id));
    }
    for (number, line) in lines(table) {
        table_line(&mut facts, line).map_err(|problem| failed(number, line, problem))?;
    }
    for (number, line) in lines(defaults) {
        default_line(&mut facts, line).map_err(|problem| failed(number, line, problem))?;
    }
    Ok(facts)
}

fn lines(text: &'static str) -> impl Iterator<Item = (usize, &'static str)> {
    (1usize..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn failed(line: usize, text: &str, problem: &'static str) -> ParseError {
    ParseError { line, text: text.to_owned(), problem }
}

fn table_line(facts: &mut Facts, line: &'static str) -> Parsed<()> {
    let mut words = line.split(' ');
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match first {
        "d" => {
            let mut definition = Definition { name: Text::Borrowed(second), ..Definition::default() };
            for word in words {
                match word {
                    "hidden" => definition.hidden = true,
                    "atomic" => definition.atomic = true,
                    _ => return Err("unknown mark of a definition"),
                }
            }
            facts.definitions.push(definition);
        }
        "g" => {
            let kind = words.next().ok_or("no kind")?;
            let group = words.next().unwrap_or_default();
            let gvk = Gvk { group: group.into(), version: second.into(), kind: kind.into() };
            current(facts)?.gvks.push(gvk);
        }
        "i" => {
            let definition = facts.definition(second).ok_or("no such definition")?;
            let tag = words.next().and_then(|t| t.parse().ok()).ok_or("no tag")?;
            current(facts)?.inlines.push(Inline { tag, definition });
        }
        name => {
            let ty = type_of(facts, second)?;
            let field = field(name, ty, words)?;
            let fields = &mut current(facts)?.fields;
            if fields.last().is_some_and(|last| last.name >= field.name) {
                return Err("fields are not sorted");
            }
            fields.push(field);
        }
    }
    Ok(())
}

fn current(facts: &mut Facts) -> Parsed<&mut Definition> {
    facts.definitions.last_mut().ok_or("before any definition")
}

fn type_of(facts: &mut Facts, text: &'static str) -> Parsed<Type> {
    if let Some(items) = text.strip_prefix("[]") {
        let items = type_of(facts, items)?;
        return Ok(Type::List(facts.intern(items)));
    }
    if let Some(values) = text.strip_prefix("{}") {
        let values = type_of(facts, values)?;
        return Ok(Type::Map(facts.intern(values)));
    }
    if let Some(name) = text.strip_prefix('@') {
        return facts.definition(name).map(Type::Object).ok_or("no such definition");
    }
    Ok(match text {
        "string" => Type::String,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "double" => Type::Number,
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "duration" => Type::Duration,
        "int-or-string" => Type::IntOrString,
        "quantity" => Type::Quantity,
        "extension" => Type::Raw(Raw::Extension),
        "fields" => Type::Raw(Raw::Fields),
        "json" => Type::Raw(Raw::Json),
        "schema-or-array" => Type::Raw(Raw::SchemaOrArray),
        "schema-or-bool" => Type::Raw(Raw::SchemaOrBool),
        "schema-or-strings" => Type::Raw(Raw::SchemaOrStrings),
        _ => return Err("unknown type"),
    })
}

fn field(name: &'static str, ty: Type, words: impl Iterator<Item = &'static str>) -> Parsed<Field> {
    let mut field = Field::new(name.into(), ty);
    for word in words {
        attribute(&mut field, word)?;
    }
    Ok(field)
}

fn attribute(field: &mut Field, word: &'static str) -> Parsed<()> {
    match word {
        "*" => field.bits |= bits::POINTER,
        "o" => field.bits |= bits::OMIT_EMPTY,
        "z" => field.bits |= bits::OMIT_ZERO,
        "r" => field.bits |= bits::REQUIRED,
        "a" => field.bits |= bits::ATOMIC,
        "w" => field.bits |= bits::WRAPPED,
        _ => match (word.split_once('='), word.strip_prefix('p')) {
            (Some((key, value)), _) => keyed_attribute(field, key, value)?,
            (None, Some(tag)) => field.tag = tag.parse().map_err(|_| "bad tag")?,
            (None, None) => return Err("unknown attribute"),
        },
    }
    Ok(())
}

fn keyed_attribute(field: &mut Field, key: &str, value: &'static str) -> Parsed<()> {
    match key {
        "l" => {
            field.list_type = Some(match value {
                "map" => ListType::Map,
                "set" => ListType::Set,
                "atomic" => ListType::Atomic,
                _ => return Err("unknown list type"),
            });
        }
        "k" => field.list_map_keys = value.into(),
        "m" => field.patch_merge_key = Some(value.into()),
        "s" => {
            let has = |word| value.split(',').any(|v| v == word);
            field.patch_strategy = PatchStrategy {
                merge: has("merge"),
                retain_keys: has("retainKeys"),
                replace: has("replace"),
            };
        }
        "d" => field.default = Some(value.into()),
        _ => return Err("unknown attribute"),
    }
    Ok(())
}

/// `DEFINITION FIELD VALUE [when CONDITION...]`, the value being JSON without spaces or `$sibling`.
fn default_line(facts: &mut Facts, line: &'static str) -> Parsed<()> {
    let mut words = line.split_ascii_whitespace();
    let mut word = || words.next().ok_or("too few words");
    let (name, field, value) = (word()?, word()?, word()?);
    let id = facts.definition(name).ok_or("no such definition")?;
    if facts.of(id).at(field).is_none() {
        return Err("no such field");
    }
    let when = match words.next() {
        None => Vec::new(),
        Some("when") => words.map(condition).collect(),
        Some(_) => return Err("expected `when`"),
    };
    let rule = DefaultRule { field: field.into(), value: value.into(), when };
    let definition = facts.definitions.get_mut(id.0 as usize).ok_or("no such definition")?;
    definition.rules.push(rule);
    Ok(())
}

fn condition(text: &'static str) -> Condition {
    let (field, wanted) = if let Some((field, values)) = text.split_once('=') {
        (field, Wanted::OneOf(values.split('|').map(Text::Borrowed).collect()))
    } else if let Some(field) = text.strip_prefix('!') {
        (field, Wanted::Unset)
    } else if let Some(field) = text.strip_prefix('^') {
        (field, Wanted::Only)
    } else {
        (text, Wanted::Set)
    };
    Condition { field: field.into(), wanted }
}
