//! `-o`: how objects are printed.
//!
//! Entry points: [`Format::parse`], [`Format::print`] for one object, [`Report`] for verbs that change
//! objects one after the other.

mod columns;
mod go_template;
mod sorting;

use anyhow::anyhow;
use api::jsonpath::Template;
use serde_json::Value;

pub use columns::Columns;
use go_template::GoTemplate;
pub use sorting::sort_by;

use super::manifest::text_of;
use super::resources::Resource;
use super::{Failure, Outcome};

/// Flags of verbs that change objects.
#[derive(clap::Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// `json`, `yaml`, `name`, `jsonpath=TEMPLATE`, `go-template=TEMPLATE`, …
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    pub output: String,
    /// The template of `-o go-template` or `-o jsonpath`, or the file of `-o go-template-file`.
    #[arg(long, value_name = "TEMPLATE", default_value = "")]
    pub template: String,
    /// Show who manages which field.
    #[arg(long)]
    pub show_managed_fields: bool,
    /// A template's missing fields are empty.
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    pub allow_missing_template_keys: bool,
}

/// How objects are printed.
pub enum Format {
    /// A table for `get`, a line for verbs that change objects.
    Human {
        /// With the columns of lower priority.
        wide: bool,
    },
    /// Indented by four spaces.
    Json,
    /// Documents separated by `---`.
    Yaml,
    /// `pod/web`.
    Name,
    /// A JSONPath template.
    JsonPath {
        /// What to print.
        template: Template,
        /// The values as a JSON list.
        as_json: bool,
        /// Missing fields are empty.
        lenient: bool,
    },
    /// A template of Go's.
    GoTemplate(GoTemplate),
    /// A table of the user's columns.
    Columns(Columns),
}

/// The formats of verbs that change objects.
const WHOLE: &str = "go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,yaml";
/// The formats of `get`.
const SHOWN: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,wide,yaml";

impl Format {
    /// Reads `-o` and `--template`; `shows` is whether the verb prints tables.
    ///
    /// # Errors
    /// In kubectl's words.
    pub fn parse(flags: &Flags, shows: bool) -> Outcome<Self> {
        let (word, inline) = flags.output.split_once('=').unwrap_or((flags.output.as_str(), ""));
        let text = if inline.is_empty() { flags.template.as_str() } else { inline };
        let lenient = flags.allow_missing_template_keys;
        let from_file =
            |file: &str| text_of(file).map_err(|e| anyhow!("error reading --template {file}, {e}"));
        Ok(match word {
            "" if !flags.template.is_empty() => Self::GoTemplate(GoTemplate::parse(text, lenient)?),
            "" => Self::Human { wide: false },
            "wide" if shows => Self::Human { wide: true },
            "yaml" => Self::Yaml,
            "json" => Self::Json,
            "name" => Self::Name,
            "jsonpath" | "jsonpath-as-json" | "jsonpath-file" | "go-template" | "go-template-file"
            | "template" | "templatefile"
                if text.is_empty() =>
            {
                return Err(Failure::new("template format specified but no template given"));
            }
            "jsonpath" => jsonpath(text, false, lenient)?,
            "jsonpath-as-json" => jsonpath(text, true, lenient)?,
            "jsonpath-file" => jsonpath(&from_file(text)?, false, lenient)?,
            "custom-columns" if shows => Self::Columns(Columns::parse(text)?),
            "custom-columns-file" if shows => Self::Columns(Columns::parse_file(&text_of(text)?)?),
            "go-template" | "template" => Self::GoTemplate(GoTemplate::parse(text, lenient)?),
            "go-template-file" | "templatefile" => {
                Self::GoTemplate(GoTemplate::parse(&from_file(text)?, lenient)?)
            }
            _ => {
                let allowed = if shows { SHOWN } else { WHOLE };
                return Err(Failure::new(format!(
                    "unable to match a printer suitable for the output format {:?}, allowed formats are: {allowed}",
                    flags.output
                )));
            }
        })
    }

    /// Whether a table or line is printed instead of the object.
    pub fn is_human(&self) -> bool {
        matches!(self, Self::Human { .. })
    }

    /// Prints one object, or a list as one.
    ///
    /// # Errors
    /// When a template asks for what is not there.
    pub fn print(&self, object: &Value) -> Outcome {
        match self {
            Self::Json => print!("{}", json_text(object)),
            Self::Yaml => print!("{}", api::codec::yaml::emit(object)),
            Self::JsonPath { template, as_json: true, .. } => {
                let values = Value::Array(template.values(object).into_iter().cloned().collect());
                print!("{}", json_text(&values));
            }
            Self::JsonPath { template, lenient, .. } => {
                let text = template
                    .render(object, *lenient)
                    .map_err(|e| anyhow!("error executing jsonpath: {e}"))?;
                print!("{text}");
            }
            Self::GoTemplate(template) => print!("{}", template.render(object)?),
            Self::Columns(columns) => print!("{}", columns.table(&items_of(object), true)),
            Self::Name | Self::Human { .. } => {}
        }
        Ok(())
    }
}

fn jsonpath(text: &str, as_json: bool, lenient: bool) -> Outcome<Format> {
    let template = Template::parse(text).map_err(|e| anyhow!("error parsing jsonpath {text}, {e}"))?;
    Ok(Format::JsonPath { template, as_json, lenient })
}

/// The items of a list, or the object itself.
fn items_of(object: &Value) -> Vec<&Value> {
    match object.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        None => vec![object],
    }
}

/// JSON as Go writes it: four spaces, `<`, `>` and `&` escaped, a newline at the end.
pub fn json_text(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing to memory fails for nothing a Value can hold.
    if serde::Serialize::serialize(value, &mut writer).is_err() {
        return String::new();
    }
    escape_html(&String::from_utf8_lossy(&bytes)) + "\n"
}

/// `<`, `>` and `&` of JSON text as Go escapes them.
pub fn escape_html(text: &str) -> String {
    text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// Takes `managedFields` off an object or the items of a list.
pub fn hide_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(hide_managed_fields);
}

/// Whether a change is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DryRun {
    /// It is.
    #[default]
    None,
    /// Nothing is sent.
    Client,
    /// The server does everything but keep it.
    Server,
}

/// The flag `--dry-run`.
#[derive(clap::Args, Clone, Default)]
pub struct DryRunFlag {
    /// `none`, `client` (send nothing), or `server` (check without keeping anything).
    #[arg(long, value_name = "WHERE", default_value = "none", default_missing_value = "unchanged", num_args = 0..=1, require_equals = true)]
    pub dry_run: String,
}

impl DryRunFlag {
    /// Reads the flag.
    ///
    /// # Errors
    /// In kubectl's words.
    pub fn parse(&self) -> Outcome<DryRun> {
        match self.dry_run.as_str() {
            "none" | "" | "false" => Ok(DryRun::None),
            "client" => Ok(DryRun::Client),
            "server" => Ok(DryRun::Server),
            "unchanged" | "true" => Err(Failure::new(
                "Invalid dry-run value (unchanged). Must be \"none\", \"server\", or \"client\".",
            )),
            other => Err(Failure::new(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }
}

impl DryRun {
    /// The query's value.
    pub fn parameter(self) -> &'static str {
        if self == Self::Server { "All" } else { "" }
    }

    /// What is added to a line.
    pub fn note(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// Tells of each object that a verb has changed.
pub struct Report {
    format: Format,
    dry_run: DryRun,
    managed_fields: bool,
    printed: std::cell::Cell<bool>,
}

impl Report {
    /// As the flags say.
    ///
    /// # Errors
    /// When `-o` is unknown.
    pub fn new(flags: &Flags, dry_run: DryRun) -> Outcome<Self> {
        let format = Format::parse(flags, false)?;
        Ok(Self { format, dry_run, managed_fields: flags.show_managed_fields, printed: false.into() })
    }

    /// Whether the dry run stays here.
    pub fn sends(&self) -> bool {
        self.dry_run != DryRun::Client
    }

    /// The dry run asked for.
    pub fn dry_run(&self) -> DryRun {
        self.dry_run
    }

    /// Whether a line is printed instead of the object.
    pub fn is_human(&self) -> bool {
        self.format.is_human()
    }

    /// `deployment.apps/web labeled`, or the object as `-o` says.
    ///
    /// # Errors
    /// When a template fails.
    pub fn tell(&self, resource: &Resource, object: &Value, what: &str) -> Outcome {
        let name = format!("{}/{}", resource.singular_name(), api::object::name(object));
        match &self.format {
            Format::Human { .. } => println!("{name} {what}{}", self.dry_run.note()),
            Format::Name => println!("{name}"),
            format => {
                let mut shown = object.clone();
                if !self.managed_fields {
                    hide_managed_fields(&mut shown);
                }
                if matches!(format, Format::Yaml) && self.printed.replace(true) {
                    println!("---");
                }
                format.print(&shown)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(output: &str, shows: bool) -> Result<Format, String> {
        let flags = Flags { output: output.to_owned(), ..Flags::default() };
        Format::parse(&flags, shows).map_err(|e| e.to_string())
    }

    #[test]
    fn formats() {
        assert!(matches!(parsed("wide", true), Ok(Format::Human { wide: true })));
        assert!(matches!(parsed("jsonpath={.a}", false), Ok(Format::JsonPath { .. })));
        for (output, shows) in [("paper", true), ("wide", false), ("custom-columns=A:.a", false)] {
            let error = parsed(output, shows).err().unwrap_or_default();
            assert!(error.starts_with("error: unable to match a printer suitable"), "{output}: {error}");
        }
    }

    #[test]
    fn json_is_go_s() {
        assert_eq!(json_text(&json!({"a": "<&>"})), "{\n    \"a\": \"\\u003c\\u0026\\u003e\"\n}\n");
    }
}
