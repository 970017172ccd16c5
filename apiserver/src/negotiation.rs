//! What a caller can read: `Accept`, `Accept-Encoding` and the wish for indented JSON.
//!
//! Entry points: [`negotiate`] for an answer about a kind, [`Reader`] for what is written last in the
//! chain. Mirrors upstream's `negotiation` package, the order of its sort included.

use api::{Kind, Reason, Status};
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// The object itself.
    #[default]
    Object,
    /// `as=Table`.
    Table,
    /// `as=PartialObjectMetadata`.
    Metadata,
    /// `as=PartialObjectMetadataList`.
    MetadataList,
}

/// The encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Media {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

impl Media {
    /// In the order the server prefers them, which is also the order errors name them in.
    const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    /// Media type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => api::codec::protobuf::MEDIA_TYPE,
        }
    }
}

/// The form and encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accepted {
    /// What.
    pub(crate) form: Form,
    /// How.
    pub(crate) media: Media,
    /// Whether forms of `meta.k8s.io` are wanted in `v1beta1` (old clients).
    pub(crate) beta: bool,
    /// Indented, as far as the encoding allows.
    pub(crate) pretty: bool,
}

impl Accepted {
    /// `apiVersion` of what the form is.
    pub(crate) fn meta_version(self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }

    /// Whether stored JSON can go out as it is.
    pub(crate) fn is_plain(self) -> bool {
        self.form == Form::Object && self.media == Media::Json && !self.pretty
    }
}

/// Chooses the form of an answer about objects of a kind.
///
/// # Errors
/// 406 when nothing the caller accepts can be served.
pub(crate) fn negotiate(kind: &Kind, headers: &HeaderMap) -> Result<Accepted, Status> {
    let protobuf = || api::codec::protobuf::knows(&kind.group, &kind.version, &kind.kind);
    let found = accepted(headers, |media, form| match (media, form) {
        (Media::Protobuf, Form::Table) => false,
        // What is only ever answered to whoever posts it has no columns.
        (_, Form::Table) => !matches!(&*kind.group, "authentication.k8s.io" | "authorization.k8s.io"),
        (Media::Protobuf, Form::Object) => protobuf(),
        _ => true,
    });
    found.ok_or_else(|| not_acceptable(&Media::ALL.map(Media::name)))
}

/// Chooses the form of a watch, which cannot be YAML.
///
/// # Errors
/// As [`negotiate`].
pub(crate) fn negotiate_stream(kind: &Kind, headers: &HeaderMap) -> Result<Accepted, Status> {
    let accepted = negotiate(kind, headers)?;
    if accepted.media == Media::Yaml {
        let streams = [Media::Json, Media::Protobuf].map(|media| format!("{};stream=watch", media.name()));
        return Err(not_acceptable(&streams));
    }
    Ok(accepted)
}

/// Chooses the form of a discovery document: whether it is the aggregated one (where there is one), and its
/// encoding.
///
/// # Errors
/// As [`negotiate`].
pub(crate) fn negotiate_discovery(headers: &HeaderMap, aggregates: bool) -> Result<(bool, Media), Status> {
    let header = text(headers, &ACCEPT);
    if header.is_empty() {
        return Ok((false, Media::Json));
    }
    let found = ranges(header).iter().find_map(|range| {
        let is_aggregated = aggregates && range.wants_aggregated_discovery();
        if !is_aggregated && range.form() != Some((Form::Object, false)) {
            return None;
        }
        let serves = |media: &Media| range.covers(media.name()) && range.streams(*media);
        Media::ALL.into_iter().find(serves).map(|media| (is_aggregated, media))
    });
    found.ok_or_else(|| not_acceptable(&Media::ALL.map(Media::name)))
}

/// What of these (by media type, in the order of preference) a caller wants most; `None` if nothing. Parameters of
/// ranges say nothing here.
pub(crate) fn choose<T: Copy>(headers: &HeaderMap, offered: &[(&str, T)]) -> Option<T> {
    let header = Some(text(headers, &ACCEPT)).filter(|header| !header.is_empty()).unwrap_or("*/*");
    ranges(header)
        .iter()
        .find_map(|range| offered.iter().find(|(media, _)| range.covers(media)))
        .map(|(_, chosen)| *chosen)
}

fn not_acceptable<T: AsRef<str>>(types: &[T]) -> Status {
    let types: Vec<&str> = types.iter().map(AsRef::as_ref).collect();
    Status::new(
        Reason::NotAcceptable,
        format!("only the following media types are accepted: {}", types.join(", ")),
    )
}

/// What a caller reads, for answers that have one form only: failures, `Status`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reader {
    /// `None`: nothing fits, and indented JSON is what is left.
    pub(crate) media: Option<Media>,
    pub(crate) pretty: bool,
    pub(crate) gzip: bool,
}

impl Reader {
    /// From a request's headers and query.
    pub(crate) fn of(headers: &HeaderMap, query: &str) -> Self {
        let found = accepted(headers, |_, form| form == Form::Object);
        let asked = query.split('&').find_map(|pair| pair.strip_prefix("pretty=")).filter(|v| !v.is_empty());
        Self {
            media: found.map(|accepted| accepted.media),
            pretty: asked.map_or_else(|| is_person(headers), truth) || found.is_some_and(|a| a.pretty),
            // Upstream reads no weights here.
            gzip: text(headers, &ACCEPT_ENCODING).split(',').any(|token| token.trim() == "gzip"),
        }
    }
}

/// Go's `ParseBool`.
fn truth(word: &str) -> bool {
    matches!(word, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Programs people look through get indented answers.
fn is_person(headers: &HeaderMap) -> bool {
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| text(headers, &USER_AGENT).starts_with(name))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The first range something is served for.
fn accepted(headers: &HeaderMap, serves: impl Fn(Media, Form) -> bool) -> Option<Accepted> {
    let header = text(headers, &ACCEPT);
    if header.is_empty() {
        return Some(Accepted::default());
    }
    ranges(header).iter().find_map(|range| {
        let (form, beta) = range.form()?;
        let mut fitting = Media::ALL.into_iter().filter(|media| range.covers(media.name()));
        let media = fitting.find(|media| serves(*media, form) && range.streams(*media))?;
        Some(Accepted { form, media, beta, pretty: range.parameter("pretty") == Some("1") })
    })
}

#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    weight: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.trim().split(';');
        let media = parts.next()?;
        let (kind, subtype) = match media.split_once('/') {
            Some((kind, subtype)) => (kind.trim(), subtype.trim()),
            None if media.trim() == "*" => ("*", "*"),
            None => return None,
        };
        if subtype.contains('/') {
            return None;
        }
        let mut range = Self { kind, subtype, weight: 1.0, parameters: Vec::new() };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "q" => range.weight = value.parse().unwrap_or(0.0),
                key => range.parameters.push((key, value.trim())),
            }
        }
        Some(range)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn covers(&self, media: &str) -> bool {
        let name = media.split_once('/').unwrap_or_default();
        match (self.kind, self.subtype) {
            ("*", "*") => true,
            (kind, "*") => kind == name.0,
            both => both == name,
        }
    }

    fn streams(&self, media: Media) -> bool {
        match self.parameter("stream") {
            None | Some("") => true,
            Some("watch") => media != Media::Yaml,
            Some(_) => false,
        }
    }

    /// The form asked for and whether of `v1beta1`; `None` if there is no such form.
    fn form(&self) -> Option<(Form, bool)> {
        let (form, group, version) = (self.parameter("as"), self.parameter("g"), self.parameter("v"));
        if (form, group, version) == (None, None, None) {
            return Some((Form::Object, false));
        }
        let beta = match (group, version) {
            (Some("meta.k8s.io"), Some("v1")) => false,
            (Some("meta.k8s.io"), Some("v1beta1")) => true,
            _ => return None,
        };
        let form = match form {
            Some("Table") => Form::Table,
            Some("PartialObjectMetadata") => Form::Metadata,
            Some("PartialObjectMetadataList") => Form::MetadataList,
            _ => return None,
        };
        Some((form, beta))
    }

    fn wants_aggregated_discovery(&self) -> bool {
        ["as", "g", "v"].map(|name| self.parameter(name))
            == [Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")]
    }

    /// Upstream's order, which looks at wildcards even where weights differ.
    fn goes_before(&self, other: &Self) -> bool {
        self.weight > other.weight
            || (self.kind != "*" && other.kind == "*")
            || (self.subtype != "*" && other.subtype == "*")
    }
}

/// The ranges of a header, most wanted first.
fn ranges(header: &str) -> Vec<Range<'_>> {
    let mut sorted: Vec<Range<'_>> = Vec::new();
    for range in header.split(',').filter_map(Range::parse) {
        // An insertion sort, as Go's is for so few: the relation is no order, so the steps matter.
        let behind = sorted.iter().rev().take_while(|earlier| range.goes_before(earlier)).count();
        sorted.insert(sorted.len() - behind, range);
    }
    sorted
}

#[cfg(test)]
mod tests;
