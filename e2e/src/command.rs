//! Running programs and reading what they print.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

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

/// A program that is read while it runs; dropped, it is killed.
pub struct Lines {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Lines {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn of(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = BufReader::new(child.stdout.take().context("a piped stdout")?);
        Ok(Self { child, stdout })
    }

    /// The next line it prints, without its end; empty once it has ended.
    ///
    /// # Errors
    /// When it prints no UTF-8.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).context("cannot read the program's output")?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill().is_err();
        let _reaped = self.child.wait().is_err();
    }
}
