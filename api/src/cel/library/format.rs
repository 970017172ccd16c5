//! Named formats: `format.dns1123Label().validate(x)`, `format.named('uuid')`.
//! Source: `apiserver/pkg/cel/library/format.go`.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use regex::Regex;

use super::{Args, Run, url};
use crate::cel::extension::Extension;
use crate::cel::instant::Instant;
use crate::cel::value::{Eval, Value};
use crate::names;

/// A format values may be checked against.
#[derive(Debug)]
pub struct Format {
    /// In expressions.
    pub(crate) name: &'static str,
    /// How long a regular expression for it is: what validation is charged as.
    pub(crate) regex_size: u64,
    check: fn(&str) -> Vec<String>,
}

const DATE_TIME_PATTERN_SIZE: u64 = 96;

static FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", regex_size: 30, check: names::dns1123_label },
    Format { name: "dns1123Subdomain", regex_size: 60, check: names::dns1123_subdomain },
    Format { name: "dns1035Label", regex_size: 30, check: names::dns1035_label },
    Format { name: "qualifiedName", regex_size: 60, check: names::qualified_name },
    Format {
        name: "dns1123LabelPrefix",
        regex_size: 30,
        check: |text| names::dns1123_label(&unprefixed(text)),
    },
    Format {
        name: "dns1123SubdomainPrefix",
        regex_size: 60,
        check: |text| names::dns1123_subdomain(&unprefixed(text)),
    },
    Format {
        name: "dns1035LabelPrefix",
        regex_size: 30,
        check: |text| names::dns1035_label(&unprefixed(text)),
    },
    Format { name: "labelValue", regex_size: 40, check: names::label_value },
    Format {
        name: "uri",
        regex_size: 1_103,
        check: |text| url::parse_request_uri(text).err().into_iter().collect(),
    },
    Format {
        name: "uuid",
        regex_size: 61,
        check: |text| refuse_unless(is_uuid(text), "does not match the UUID format"),
    },
    Format {
        name: "byte",
        regex_size: 84,
        check: |text| {
            let decodes = base64::engine::general_purpose::STANDARD.decode(text).is_ok();
            refuse_unless(decodes && !text.is_empty(), "invalid base64")
        },
    },
    Format {
        name: "date",
        regex_size: DATE_TIME_PATTERN_SIZE,
        check: |text| refuse_unless(Instant::parse_date(text).is_some(), "invalid date"),
    },
    Format {
        name: "datetime",
        regex_size: DATE_TIME_PATTERN_SIZE,
        check: |text| refuse_unless(Instant::parse(text, true).is_ok(), "invalid datetime"),
    },
];

fn refuse_unless(valid: bool, why: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![why.to_owned()] }
}

/// The name that a prefix may become: one that ends in `-` gets a suffix.
fn unprefixed(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(head) => format!("{head}a"),
        None => text.to_owned(),
    }
}

fn is_uuid(text: &str) -> bool {
    static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$").ok()
    });
    PATTERN.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "format.named" => named,
        "validate" => validate,
        name if FORMATS.iter().any(|format| name.strip_prefix("format.") == Some(format.name)) => constant,
        _ => return None,
    })
}

fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

fn wrap<'a>(format: &'static Format) -> Value<'a> {
    Value::Extension(Extension::Format(format))
}

fn constant<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    args.name.strip_prefix("format.").and_then(find).map_or_else(|| args.refuse(), |format| Ok(wrap(format)))
}

fn named<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [name] = args.texts()?;
    Ok(Value::Optional(find(name).map(|format| Arc::new(wrap(format)))))
}

fn validate<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::Extension(Extension::Format(format)), Value::String(text)] = &args.values[..] else {
        return args.refuse();
    };
    let errors = (format.check)(text);
    if errors.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(errors.into_iter().map(Value::text).collect())))
}
