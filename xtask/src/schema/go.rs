//! Reads struct declarations out of Go sources: field names, types and tags, nothing else.
//!
//! A line reader, not a parser: the API packages are gofmt-ed and keep one field a line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// A Go type as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoType {
    /// Package path and name; the path is empty for Go's own types.
    Named(String, String),
    /// `*T`.
    Pointer(Box<GoType>),
    /// `[]T`.
    List(Box<GoType>),
    /// `map[K]T`, keys being strings.
    Map(Box<GoType>),
}

impl GoType {
    /// Whether it is, or points to, a type of this name in another package.
    pub fn is_named(&self, wanted: &str) -> bool {
        match self {
            Self::Named(package, name) => !package.is_empty() && name == wanted,
            Self::Pointer(inner) => inner.is_named(wanted),
            _ => false,
        }
    }
}

/// One field.
#[derive(Debug, Clone)]
pub struct GoField {
    pub json: String,
    pub ty: GoType,
    pub inline: bool,
    pub omit_empty: bool,
    pub omit_zero: bool,
    /// Protobuf tag, 0 without.
    pub tag: u16,
    /// Comes from an inlined struct that is a message of its own.
    pub inherited: bool,
    /// `+default=` as JSON.
    pub default: Option<String>,
}

#[derive(Debug, Clone)]
enum Declaration {
    Struct(Vec<GoField>),
    Other(GoType),
}

type Package = BTreeMap<String, Declaration>;

/// Go packages, read when first asked for.
pub struct Sources {
    root: PathBuf,
    packages: BTreeMap<String, Package>,
}

impl Sources {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), packages: BTreeMap::new() }
    }

    /// Fields of the struct behind a definition; empty if it is no struct.
    pub fn structure(&mut self, definition: &str) -> anyhow::Result<Vec<GoField>> {
        let (package, name) = definition.rsplit_once('.').context("no package in the name")?;
        match self.declaration(&go_path(package)?, name)? {
            Some(Declaration::Struct(fields)) => Ok(fields),
            _ => Ok(Vec::new()),
        }
    }

    /// The field of a JSON name, in the struct or in one it inlines.
    pub fn field(&mut self, fields: &[GoField], json: &str) -> anyhow::Result<Option<GoField>> {
        Ok(self.flattened(fields)?.into_iter().find(|f| f.json == json))
    }

    /// Fields with inlined structs flattened, as JSON has them.
    pub fn flattened(&mut self, fields: &[GoField]) -> anyhow::Result<Vec<GoField>> {
        let mut flat = Vec::new();
        for field in fields {
            if !field.inline {
                flat.push(field.clone());
                continue;
            }
            let GoType::Named(package, name) = &field.ty else { bail!("inlined type is not named") };
            if let Some(Declaration::Struct(inner)) = self.declaration(package, name)? {
                for mut field in self.flattened(&inner)? {
                    field.inherited = true;
                    flat.push(field);
                }
            }
        }
        Ok(flat)
    }

    /// The type behind an alias.
    pub fn resolved(&mut self, ty: &GoType) -> anyhow::Result<GoType> {
        let GoType::Named(package, name) = ty else { return Ok(ty.clone()) };
        match self.own_declaration(package, name)? {
            Some(Declaration::Other(GoType::Named(package, name))) if !package.is_empty() => {
                self.resolved(&GoType::Named(package, name))
            }
            _ => Ok(ty.clone()),
        }
    }

    /// Name of the definition of a Go type.
    pub fn definition_name(&self, ty: &GoType) -> Option<String> {
        let GoType::Named(package, name) = ty else { return None };
        let package = package.strip_prefix("k8s.io/")?;
        Some(format!("io.k8s.{}.{name}", package.replace('/', ".")))
    }

    /// Whether the type is a named list, which protobuf wraps into a message.
    pub fn is_wrapped_list(&self, ty: &GoType) -> bool {
        match ty {
            GoType::Named(package, name) => matches!(
                self.packages.get(package).and_then(|p| p.get(name)),
                Some(Declaration::Other(GoType::List(_)))
            ),
            GoType::Map(values) => self.is_wrapped_list(values),
            _ => false,
        }
    }

    /// The facts table's word for a field's type.
    pub fn type_text(&mut self, field: &GoField) -> anyhow::Result<String> {
        let ty = field.ty.clone();
        self.type_word(&ty)
    }

    fn type_word(&mut self, ty: &GoType) -> anyhow::Result<String> {
        Ok(match ty {
            GoType::Pointer(inner) => self.type_word(inner)?,
            GoType::List(inner) if **inner == GoType::Named(String::new(), "byte".to_owned()) => {
                "bytes".to_owned()
            }
            GoType::List(inner) => format!("[]{}", self.type_word(inner)?),
            GoType::Map(inner) => format!("{{}}{}", self.type_word(inner)?),
            GoType::Named(package, name) if package.is_empty() => match name.as_str() {
                "string" | "bool" | "int32" | "int64" => name.clone(),
                "float64" => "double".to_owned(),
                other => bail!("unknown Go type {other}"),
            },
            GoType::Named(_, name) if name == "Duration" => "duration".to_owned(),
            GoType::Named(package, name) => {
                let full = self.definition_name(ty).context("type of a foreign package")?;
                if let Some(scalar) = super::scalar_of(&full) {
                    return Ok(scalar.to_owned());
                }
                match self.declaration(package, name)? {
                    Some(Declaration::Struct(_)) => format!("@{full}"),
                    Some(Declaration::Other(inner)) => self.type_word(&inner)?,
                    None => bail!("{full} is not declared"),
                }
            }
        })
    }

    fn declaration(&mut self, package: &str, name: &str) -> anyhow::Result<Option<Declaration>> {
        match self.resolved(&GoType::Named(package.to_owned(), name.to_owned()))? {
            GoType::Named(package, name) => self.own_declaration(&package, &name),
            _ => Ok(None),
        }
    }

    fn own_declaration(&mut self, package: &str, name: &str) -> anyhow::Result<Option<Declaration>> {
        if !self.packages.contains_key(package) {
            let read = read_package(&self.root, package)?;
            self.packages.insert(package.to_owned(), read);
        }
        Ok(self.packages.get(package).and_then(|p| p.get(name)).cloned())
    }
}

/// `io.k8s.api.core.v1` → `k8s.io/api/core/v1`.
fn go_path(package: &str) -> anyhow::Result<String> {
    let rest = package.strip_prefix("io.k8s.").context("not a Kubernetes package")?;
    Ok(format!("k8s.io/{}", rest.replace('.', "/")))
}

fn read_package(root: &Path, package: &str) -> anyhow::Result<Package> {
    let directory = root.join(package.strip_prefix("k8s.io/").context("foreign package")?);
    let mut declarations = Package::new();
    let entries = std::fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let generated =
            name.starts_with("zz_") || name.starts_with("generated") || name.ends_with("_test.go");
        if name.ends_with(".go") && !generated {
            read_file(&std::fs::read_to_string(&path)?, package, &mut declarations)
                .with_context(|| path.display().to_string())?;
        }
    }
    Ok(declarations)
}

fn read_file(text: &str, package: &str, declarations: &mut Package) -> anyhow::Result<()> {
    let imports = imports(text);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("type ") else { continue };
        let mut words = rest.split_whitespace();
        let (Some(name), Some(what)) = (words.next(), words.find(|w| *w != "=")) else { continue };
        if what == "struct" || what == "struct{}" {
            let body: Vec<_> = if line.ends_with("{}") || line.ends_with('}') {
                Vec::new()
            } else {
                lines.by_ref().take_while(|l| *l != "}").collect()
            };
            declarations.insert(name.to_owned(), Declaration::Struct(fields(&body, package, &imports)));
        } else if let Some(ty) = go_type(what, package, &imports) {
            declarations.insert(name.to_owned(), Declaration::Other(ty));
        }
    }
    Ok(())
}

/// Import paths by the name used in the file.
fn imports(text: &str) -> BTreeMap<String, String> {
    let block = text.split_once("import (").and_then(|(_, rest)| rest.split_once(')'));
    let lines = block.map_or("", |(block, _)| block).lines();
    let single = text.lines().filter_map(|l| l.strip_prefix("import "));
    lines
        .chain(single)
        .filter_map(|line| {
            let (alias, path) = line.trim().split_once('"')?;
            let path = path.trim_end_matches('"');
            let alias = alias.trim();
            let name = if alias.is_empty() { path.rsplit('/').next()? } else { alias };
            Some((name.to_owned(), path.to_owned()))
        })
        .collect()
}

fn fields(body: &[&str], package: &str, imports: &BTreeMap<String, String>) -> Vec<GoField> {
    let mut default = None;
    let mut fields = Vec::new();
    for line in body {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("//") {
            if let Some(value) = comment.trim().strip_prefix("+default=") {
                default = Some(value.to_owned()).filter(|v| !v.starts_with("ref("));
            }
            continue;
        }
        if let Some(mut field) = field(line, package, imports) {
            field.default = default.take();
            fields.push(field);
        }
    }
    fields
}

fn field(line: &str, package: &str, imports: &BTreeMap<String, String>) -> Option<GoField> {
    let (declared, tags) = line.split_once('`')?;
    let words: Vec<_> = declared.split_whitespace().collect();
    let ty = go_type(words.last()?, package, imports)?;
    let json = tag(tags, "json")?;
    let mut parts = json.split(',');
    let name = parts.next().unwrap_or_default();
    let options: Vec<_> = parts.collect();
    let protobuf = tag(tags, "protobuf").and_then(|t| t.split(',').nth(1)?.parse().ok()).unwrap_or(0);
    Some(GoField {
        json: name.to_owned(),
        ty,
        inline: name.is_empty(),
        omit_empty: options.contains(&"omitempty"),
        omit_zero: options.contains(&"omitzero"),
        tag: protobuf,
        inherited: false,
        default: None,
    })
}

/// The value of one key of a struct tag.
fn tag<'a>(tags: &'a str, key: &str) -> Option<&'a str> {
    let at = tags.find(&format!("{key}:\""))?;
    tags.get(at + key.len() + 2..)?.split('"').next()
}

fn go_type(text: &str, package: &str, imports: &BTreeMap<String, String>) -> Option<GoType> {
    if let Some(inner) = text.strip_prefix('*') {
        return Some(GoType::Pointer(Box::new(go_type(inner, package, imports)?)));
    }
    if let Some(inner) = text.strip_prefix("[]") {
        return Some(GoType::List(Box::new(go_type(inner, package, imports)?)));
    }
    if let Some(rest) = text.strip_prefix("map[") {
        let (_, values) = rest.split_once(']')?;
        return Some(GoType::Map(Box::new(go_type(values, package, imports)?)));
    }
    if let Some((alias, name)) = text.split_once('.') {
        return Some(GoType::Named(imports.get(alias)?.clone(), name.to_owned()));
    }
    let own = matches!(text, "string" | "bool" | "int" | "int32" | "int64" | "byte" | "float64");
    let package = if own { String::new() } else { package.to_owned() };
    Some(GoType::Named(package, text.to_owned()))
}
