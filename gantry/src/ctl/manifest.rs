//! Objects from files: YAML or JSON, several documents, folders, standard input, `List`s unfolded.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use api::codec::yaml;
use serde_json::Value;

/// Reads every object of every file, in order. `-` is standard input; a folder means its `.yaml`, `.yml`
/// and `.json` files by name.
///
/// # Errors
/// When a file cannot be read or parsed; the text names it.
pub fn read(files: &[PathBuf]) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for file in files {
        for (name, text) in texts(file)? {
            let documents = yaml::decode_all(&text).map_err(|e| anyhow!("error parsing {name}: {e}"))?;
            for document in documents {
                unfold(document, &name, &mut objects)?;
            }
        }
    }
    if objects.is_empty() {
        bail!("no objects passed to apply");
    }
    Ok(objects)
}

fn texts(file: &Path) -> Result<Vec<(String, String)>> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(vec![("STDIN".to_owned(), text)]);
    }
    let name = file.display().to_string();
    let metadata = std::fs::metadata(file).with_context(|| format!("the path {name:?} does not exist"))?;
    if !metadata.is_dir() {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        return Ok(vec![(name, text)]);
    }
    let mut inside: Vec<PathBuf> = std::fs::read_dir(file)
        .with_context(|| format!("cannot read {name}"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|k| e == *k)))
        .collect();
    inside.sort();
    let mut found = Vec::new();
    for path in inside {
        found.extend(texts(&path)?);
    }
    Ok(found)
}

fn unfold(object: Value, name: &str, objects: &mut Vec<Value>) -> Result<()> {
    if object.is_null() {
        return Ok(());
    }
    for field in ["apiVersion", "kind"] {
        if !object[field].is_string() {
            bail!("error validating {name:?}: error validating data: {field} not set");
        }
    }
    let is_list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match object.get("items").and_then(Value::as_array) {
        Some(items) if is_list => {
            for item in items {
                unfold(item.clone(), name, objects)?;
            }
        }
        _ => objects.push(object),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists() {
        let text = "apiVersion: v1\nkind: A\nmode: 0644\n---\n---\napiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: B}]\n";
        let mut objects = Vec::new();
        for document in yaml::decode_all(text).expect("YAML") {
            unfold(document, "f", &mut objects).expect("objects");
        }
        let kinds: Vec<_> = objects.iter().map(|o| o["kind"].as_str().unwrap_or_default()).collect();
        assert_eq!(kinds, ["A", "B"]);
        assert_eq!(objects[0]["mode"], 420);
    }

    #[test]
    fn a_document_without_kind_is_refused() {
        let error =
            unfold(serde_json::json!({"apiVersion": "v1"}), "f.yaml", &mut Vec::new()).expect_err("no kind");
        assert!(error.to_string().contains("kind not set"), "{error}");
    }
}
