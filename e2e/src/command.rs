//! Running programs and reading what they print.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What a program printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub line: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
}

impl Output {
    /// Standard output of a program that must succeed.
    ///
    /// # Errors
    /// When the exit code is not 0; the text shows everything it printed.
    pub fn success(self) -> Result<String> {
        if self.code != 0 {
            bail!(
                "`{}` ended with {}\nstdout: {}\nstderr: {}",
                self.line,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self.stdout)
    }

    /// Standard error of a program that must fail.
    ///
    /// # Errors
    /// When it succeeded.
    pub fn failure(self) -> Result<String> {
        if self.code == 0 {
            bail!("`{}` succeeded but must not\nstdout: {}", self.line, self.stdout);
        }
        Ok(self.stderr)
    }
}

/// Runs a program to its end, feeding it `input`.
///
/// # Errors
/// When it cannot be started or its output is not UTF-8.
pub fn run(command: &mut Command, input: &str) -> Result<Output> {
    let line = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {line}"))?;
    let mut stdin = child.stdin.take().context("a piped stdin")?;
    let input = input.to_owned();
    // A program that does not read its input ends the pipe; that is not this function's business.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {line}"))?;
    drop(feeder.join());
    Ok(Output {
        line,
        stdout: String::from_utf8(output.stdout).context("stdout is not UTF-8")?,
        stderr: String::from_utf8(output.stderr).context("stderr is not UTF-8")?,
        code: output.status.code().unwrap_or(-1),
    })
}
