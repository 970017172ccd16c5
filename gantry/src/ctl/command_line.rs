//! Command lines as kubectl's users write them, made ready for clap.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command};

/// `--all=true` as `--all`, and `--all=false` left out, for flags that take no value here.
pub fn with_plain_booleans(root: &Command, arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut command = root;
    let mut out: Vec<OsString> = Vec::new();
    let mut over = false;
    for (at, argument) in arguments.enumerate() {
        let text = argument.to_str().unwrap_or_default();
        over |= text == "--";
        if at == 0 || over {
            out.push(argument);
            continue;
        }
        if let Some(inner) = command.find_subcommand(text) {
            command = inner;
        }
        let flag = text.strip_prefix("--").and_then(|text| text.split_once('='));
        let is_switch = |name: &str| {
            let named = |arg: &&clap::Arg| arg.get_long() == Some(name);
            let found = command.get_arguments().find(named).or_else(|| root.get_arguments().find(named));
            found.is_some_and(|arg| matches!(arg.get_action(), ArgAction::SetTrue))
        };
        match flag {
            Some((name, "true" | "1" | "t" | "T" | "True" | "TRUE")) if is_switch(name) => {
                out.push(format!("--{name}").into());
            }
            Some((name, "false" | "0" | "f" | "F" | "False" | "FALSE")) if is_switch(name) => {}
            _ => out.push(argument),
        }
    }
    out
}

/// A wrong command line in kubectl's words, where it has some.
pub fn usage_error(error: &clap::Error) -> Option<String> {
    let words = |kind: ContextKind| -> Vec<String> {
        match error.get(kind) {
            Some(ContextValue::String(word)) => vec![word.clone()],
            Some(ContextValue::Strings(words)) => words.clone(),
            _ => Vec::new(),
        }
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let words = words(ContextKind::InvalidArg);
            let flag = words.first().filter(|word| word.starts_with('-'))?;
            Some(match flag.strip_prefix("--") {
                Some(_) => format!("error: unknown flag: {flag}\nSee --help for usage."),
                None => {
                    let letter = flag.trim_start_matches('-');
                    format!("error: unknown shorthand flag: '{letter}' in -{letter}\nSee --help for usage.")
                }
            })
        }
        ErrorKind::MissingRequiredArgument => {
            let all = words(ContextKind::InvalidArg);
            let flags = all.iter().filter_map(|word| word.strip_prefix("--"));
            let names: Vec<String> =
                flags.map(|flag| format!("{:?}", flag.split([' ', '=']).next().unwrap_or(flag))).collect();
            (!names.is_empty()).then(|| format!("error: required flag(s) {} not set", names.join(", ")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn switches_take_values_as_go_s_do() {
        let all = Arg::new("all").long("all").action(ArgAction::SetTrue);
        let value = Arg::new("value").long("value");
        let root = Command::new("x").subcommand(Command::new("get").arg(all).arg(value));
        let line = |text: &str| -> String {
            let words = text.split(' ').map(OsString::from);
            let out = with_plain_booleans(&root, words);
            out.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("x get --all=true --value=true"), "x get --all --value=true");
        assert_eq!(line("x get --all=false a"), "x get a");
        assert_eq!(line("x get -- --all=true"), "x get -- --all=true");
    }
}
