//! A control plane of its own for one test, and both tools to ask it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// `gantry up --no-agent` on a free port; ends with the test.
pub struct Server {
    folder: tempfile::TempDir,
    process: Child,
}

impl Server {
    /// Starts one and waits for its ready line.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("gt").tempdir_in("/tmp").expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let log = std::fs::File::create(folder.path().join("up.log")).expect("a log");
        let mut process = Command::new(env!("CARGO_BIN_EXE_gantry"))
            .args([
                "up",
                "--no-agent",
                "--store",
                "memory",
                "--bind",
                &format!("127.0.0.1:{port}"),
                "--data-dir",
            ])
            .arg(folder.path().join("d"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("gantry starts");
        let stdout = process.stdout.take().expect("a pipe");
        let ready =
            BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line.contains("KUBECONFIG="));
        let server = Self { folder, process };
        assert!(ready, "{}", server.log());
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", self.folder.path().join("d/admin.kubeconfig"))
            .env("KUBECACHEDIR", self.folder.path().join("cache"))
            .env("HOME", self.folder.path());
        command
    }

    /// Applies YAML with our tool, and waits until the Deployment's pods are there.
    pub fn apply(&self, yaml: &str) {
        let gantry = env!("CARGO_BIN_EXE_gantry");
        let mut command = self.command(gantry);
        let mut child =
            command.args(["apply", "-f", "-"]).stdin(Stdio::piped()).spawn().expect("our tool starts");
        child.stdin.take().expect("a pipe").write_all(yaml.as_bytes()).expect("written");
        assert!(child.wait().expect("ended").success(), "{}", self.log());
        let wait = ["wait", "deploy/web", "--for=jsonpath={.status.replicas}=2", "--timeout=60s"];
        assert!(self.command(gantry).args(wait).status().expect("ended").success(), "{}", self.log());
    }

    /// What our tool prints for a command line that must succeed; words are separated by single spaces.
    pub fn ok(&self, line: &str) -> String {
        let gantry = env!("CARGO_BIN_EXE_gantry");
        let output = self.command(gantry).args(line.split(' ')).stdin(Stdio::null()).output();
        let output = output.expect("our tool runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {complaint}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What our tool complains of for a command line that must fail.
    pub fn refused(&self, line: &str) -> String {
        let output = self.command(env!("CARGO_BIN_EXE_gantry")).args(line.split(' ')).output();
        let output = output.expect("our tool runs");
        assert!(!output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What differs between the tools' outputs for a command line; words are separated by single spaces.
    pub fn difference(&self, line: &str) -> Option<String> {
        let run = |program: &str| {
            let output = self.command(program).args(line.split(' ')).stdin(Stdio::null()).output();
            let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
            let text = |bytes: &[u8]| normalised(&String::from_utf8_lossy(bytes));
            format!(
                "{}--- stderr\n{}--- exit code {:?}\n",
                text(&output.stdout),
                text(&output.stderr),
                output.status.code()
            )
        };
        let (ours, theirs) = (run(env!("CARGO_BIN_EXE_gantry")), run("kubectl"));
        (ours != theirs).then(|| format!("=== {line}\nours:\n{ours}kubectl's:\n{theirs}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Ages become `AGE`, and what follows them one space; colours go, and what newer kubectls no longer print.
fn normalised(text: &str) -> String {
    let mut out = String::new();
    let mut in_events = false;
    for line in text.lines() {
        in_events |= line.starts_with("Events:");
        // Events' columns are as wide as their ages, which grow between two calls.
        let line =
            if in_events { line.split_whitespace().collect::<Vec<_>>().join(" ") } else { line.to_owned() };
        if line.trim() == "creationTimestamp: null" {
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let mut after_age = false;
        let mut shown = Vec::new();
        for word in words {
            if after_age && word.is_empty() {
                continue;
            }
            after_age = is_age(word);
            shown.push(if after_age { "AGE" } else { word });
        }
        out.push_str(shown.join(" ").trim_end());
        out.push('\n');
    }
    out
}

/// `5s`, `2m`, `2m5s`.
fn is_age(word: &str) -> bool {
    let word = word.trim_end_matches(')');
    let word = word.strip_suffix('s').or_else(|| word.strip_suffix('m')).unwrap_or_default();
    !word.is_empty()
        && word.split('m').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
}
