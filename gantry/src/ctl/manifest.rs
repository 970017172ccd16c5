//! Objects from files: YAML or JSON, several documents, folders, standard input, `List`s unfolded.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use api::codec::yaml;
use serde_json::Value;

/// The flags that name files.
#[derive(clap::Args, Clone, Default)]
pub struct Files {
    /// Files, folders, or `-` for standard input.
    #[arg(short, long = "filename", value_name = "FILE", value_delimiter = ',')]
    pub filename: Vec<String>,
    /// Folders with all their folders.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// A kustomization's folder; not supported.
    #[arg(short = 'k', long, value_name = "DIR")]
    pub kustomize: Option<String>,
}

/// An object and where it is from.
#[derive(Debug, Clone)]
pub struct Item {
    /// As the file has it.
    pub object: Value,
    /// The file's name, `STDIN` for standard input.
    pub source: String,
}

impl Files {
    /// Whether no file is named.
    pub fn is_empty(&self) -> bool {
        self.filename.is_empty() && self.kustomize.is_none()
    }

    /// Reads every object of every file, in order. A folder means its `.yaml`, `.yml` and `.json` files by
    /// name.
    ///
    /// # Errors
    /// When a file cannot be read or parsed; the text names it.
    pub fn read(&self) -> Result<Vec<Item>> {
        if self.kustomize.is_some() {
            bail!("-k: this version does not build kustomizations; build it with kustomize and use -f -");
        }
        let mut items = Vec::new();
        for file in &self.filename {
            if file.starts_with("http://") || file.starts_with("https://") {
                bail!("-f {file}: this version reads no URLs; fetch the file first and use -f -");
            }
            for (name, text) in texts(Path::new(file), self.recursive, true)? {
                parse(&text, &name, &mut items)?;
            }
        }
        Ok(items)
    }
}

/// The objects of one text.
///
/// # Errors
/// When it is no YAML, or a document lacks its kind.
pub fn parse(text: &str, source: &str, items: &mut Vec<Item>) -> Result<()> {
    let documents = yaml::decode_all(text).map_err(|error| anyhow!("error parsing {source}: {error}"))?;
    documents.into_iter().try_for_each(|document| unfold(document, source, items))
}

/// The text of a file, or of standard input for `-`.
///
/// # Errors
/// When it cannot be read.
pub fn text_of(file: &str) -> Result<String> {
    if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(|error| anyhow!("open {file}: {}", reason(&error)))
}

/// An operating system's error in Go's words.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn texts(file: &Path, recursive: bool, named: bool) -> Result<Vec<(String, String)>> {
    if file == Path::new("-") {
        return Ok(vec![("STDIN".to_owned(), text_of("-")?)]);
    }
    let name = file.display().to_string();
    let metadata = std::fs::metadata(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow!("the path {name:?} does not exist"),
        _ => anyhow!("the path {name:?} cannot be accessed: stat {name}: {}", reason(&error)),
    })?;
    if !metadata.is_dir() {
        return Ok(vec![(name.clone(), text_of(&name)?)]);
    }
    let mut inside: Vec<PathBuf> = std::fs::read_dir(file)
        .with_context(|| format!("cannot read {name}"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let known = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|k| e == *k));
            if path.is_dir() { recursive } else { known }
        })
        .collect();
    inside.sort();
    let mut found = Vec::new();
    for path in inside {
        found.extend(texts(&path, recursive, false)?);
    }
    if found.is_empty() && named {
        bail!("error reading [{name}]: recognized file extensions are [.json .yaml .yml]");
    }
    Ok(found)
}

fn unfold(object: Value, source: &str, items: &mut Vec<Item>) -> Result<()> {
    if object.is_null() {
        return Ok(());
    }
    let missing: Vec<String> = ["apiVersion", "kind"]
        .iter()
        .filter(|field| object[**field].as_str().is_none_or(str::is_empty))
        .map(|field| format!("{field} not set"))
        .collect();
    if !missing.is_empty() {
        let what =
            if let [one] = missing.as_slice() { one.clone() } else { format!("[{}]", missing.join(", ")) };
        bail!(
            "error validating {source:?}: error validating data: {what}; if you choose to ignore these errors, turn validation off with --validate=false"
        );
    }
    let is_list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match object.get("items").and_then(Value::as_array) {
        Some(inner) if is_list => inner.iter().try_for_each(|item| unfold(item.clone(), source, items)),
        _ => {
            items.push(Item { object, source: source.to_owned() });
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists() {
        let text = "apiVersion: v1\nkind: A\nmode: 0644\n---\n---\napiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: B}]\n";
        let mut items = Vec::new();
        parse(text, "f", &mut items).expect("objects");
        let kinds: Vec<_> = items.iter().map(|i| i.object["kind"].as_str().unwrap_or_default()).collect();
        assert_eq!(kinds, ["A", "B"]);
        assert_eq!(items[0].object["mode"], 420);
    }

    #[test]
    fn a_document_without_kind_is_refused() {
        let error = parse("apiVersion: v1", "f.yaml", &mut Vec::new()).expect_err("no kind");
        assert!(error.to_string().contains("data: kind not set; if"), "{error}");
    }

    #[test]
    fn missing_files_are_named() {
        let files = Files { filename: vec!["/does/not/exist.yaml".to_owned()], ..Files::default() };
        let error = files.read().expect_err("no file").to_string();
        assert_eq!(error, "the path \"/does/not/exist.yaml\" does not exist");
    }
}
