//! Reads message declarations out of a .proto file: names, numbers and types of fields, nothing else.
//!
//! Entry point: [`messages`]. A line reader, as [`super::go`]: one declaration a line, as the files are written.

use std::fmt::Write as _;

use anyhow::{Context, ensure};

/// The messages of a file as text, one line per message and field; the form is described in
/// `apiserver/src/openapi/gnostic/messages.rs`.
pub fn messages(source: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut depth = 0;
    for line in source.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
        let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || c == ';').collect();
        match words.as_slice() {
            ["package", package, ..] => writeln!(text, "p {package}")?,
            ["message", name, "{"] => {
                depth += 1;
                writeln!(text, "m {name}")?;
            }
            ["oneof", _, "{"] => {
                depth += 1;
                ensure!(text.pop() == Some('\n'), "a choice outside of messages");
                text.push_str(" one\n");
            }
            ["}"] => depth -= 1,
            ["repeated", ty, name, "=", number, ..] if depth > 0 => field(&mut text, number, name, ty, "*")?,
            [ty, name, "=", number, ..] if depth > 0 => field(&mut text, number, name, ty, "")?,
            _ => ensure!(depth == 0 || line.is_empty(), "unknown declaration {line}"),
        }
    }
    Ok(text)
}

fn field(text: &mut String, number: &str, name: &str, ty: &str, many: &str) -> anyhow::Result<()> {
    let number: u32 = number.parse().context("number of a field")?;
    Ok(writeln!(text, "{number} {name} {ty}{many}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_lines() {
        let source = "syntax = \"proto3\";\npackage a.b;\noption x = \"y\";\n\
                      message One {\n  oneof oneof {\n    Two two = 1; // why\n    bool is = 2;\n  }\n}\n\
                      message Two {\n  // why\n  repeated string _ref = 3;\n\n  a.C c = 4;\n}\n";
        let expect = "p a.b\nm One one\n1 two Two\n2 is bool\nm Two\n3 _ref string*\n4 c a.C\n";
        assert_eq!(messages(source).unwrap(), expect);
        assert!(messages("message A {\n  reserved 1 to 3;\n}\n").is_err());
    }
}
