//! The sample web server of our test images: says who it is, and misbehaves on demand.
//!
//! Plain threads, so that the static binary stays small. Paths:
//! `/` version, pod and request count; `/healthz`, `/readyz` probes; `/fail/{live,ready}` and
//! `/heal/{live,ready}` switch them; `/burn?millis=N` spends CPU time; `/exit?code=N` ends the process;
//! `/env?name=X`, `/file?path=X` show what the pod was given; `/headers` echoes the request head.
//! A POST is a review for a webhook (`review`).
//!
//! Environment: `PORT` (8080), `VERSION`, `HOSTNAME`, `START_DELAY_MILLIS` (readiness after that long),
//! `TLS_DIR` (a folder with `tls.crt` and `tls.key`, such as a mounted Secret; without it there is no TLS).

mod review;

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The longest review that is read.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// What all connections share.
struct Server {
    tls: Option<Arc<ServerConfig>>,
    version: String,
    pod: String,
    requests: AtomicU64,
    live: AtomicBool,
    ready: AtomicBool,
    started: Instant,
    start_delay: Duration,
}

/// An answer: HTTP status and text.
type Answer = (u16, String);

impl Server {
    fn answer(&self, target: &str, head: &str) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        match path {
            "/healthz" => probe(self.live.load(Ordering::Relaxed)),
            "/readyz" => {
                probe(self.ready.load(Ordering::Relaxed) && self.started.elapsed() >= self.start_delay)
            }
            "/fail/live" => switch(&self.live, false),
            "/heal/live" => switch(&self.live, true),
            "/fail/ready" => switch(&self.ready, false),
            "/heal/ready" => switch(&self.ready, true),
            "/burn" => burn(parameter("millis").parse().unwrap_or(100)),
            "/exit" => std::process::exit(parameter("code").parse().unwrap_or(1)),
            "/env" => match std::env::var(parameter("name")) {
                Ok(value) => (200, value),
                Err(error) => (404, error.to_string()),
            },
            "/file" => match std::fs::read_to_string(parameter("path")) {
                Ok(text) => (200, text),
                Err(error) => (404, error.to_string()),
            },
            "/headers" => (200, head.to_owned()),
            "/" => {
                let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
                (200, format!("version={} pod={} requests={count}\n", self.version, self.pod))
            }
            _ => (404, format!("no page {path}\n")),
        }
    }

    fn accept(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        match &self.tls {
            None => self.serve(stream),
            Some(tls) => {
                let connection = ServerConnection::new(Arc::clone(tls)).map_err(std::io::Error::other)?;
                self.serve(StreamOwned::new(connection, stream))
            }
        }
    }

    fn serve(&self, stream: impl Read + Write) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && head.len() < 16 * 1024 {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let target = head.split(' ').nth(1).unwrap_or("/").to_owned();
            let keep_alive =
                !head.to_ascii_lowercase().contains("connection: close") && head.contains("HTTP/1.1");
            let (status, body) = match head.starts_with("POST ") {
                true => {
                    let mut sent = vec![0; content_length(&head).min(MAX_BODY)];
                    reader.read_exact(&mut sent)?;
                    review::answer(target.split('?').next().unwrap_or_default(), &sent)
                }
                false => self.answer(&target, &head),
            };
            let reason = if status == 200 { "OK" } else { "Error" };
            let connection = if keep_alive { "keep-alive" } else { "close" };
            // In one piece: every write is a TLS record.
            let answer = format!(
                "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
                body.len()
            );
            let writer = reader.get_mut();
            writer.write_all(answer.as_bytes())?;
            writer.flush()?;
            println!("{status} {target}");
            if !keep_alive {
                return Ok(());
            }
        }
    }
}

fn content_length(head: &str) -> usize {
    let named = |line: &str| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
    };
    head.lines().find_map(named).unwrap_or_default()
}

/// TLS with the certificate and the key of a folder.
fn tls(folder: &Path) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let chain = CertificateDer::pem_file_iter(folder.join("tls.crt"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_no_client_auth().with_single_cert(chain, key)?))
}

fn probe(good: bool) -> Answer {
    if good { (200, "ok\n".to_owned()) } else { (500, "failing as told\n".to_owned()) }
}

fn switch(flag: &AtomicBool, to: bool) -> Answer {
    flag.store(to, Ordering::Relaxed);
    (200, "done\n".to_owned())
}

fn burn(millis: u64) -> Answer {
    let until = Instant::now() + Duration::from_millis(millis);
    let mut sum = 0_u64;
    while Instant::now() < until {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
    }
    (200, format!("burnt {millis} ms\n"))
}

extern "C" fn stop(_signal: libc::c_int) {
    // SAFETY: _exit is async-signal-safe and never returns.
    unsafe { libc::_exit(0) }
}

fn variable(name: &str, fallback: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| fallback.to_owned())
}

fn main() -> ExitCode {
    // The first process of a pid namespace ignores signals it has no handler for.
    // SAFETY: the handler only calls an async-signal-safe function.
    unsafe { libc::signal(libc::SIGTERM, stop as *const () as libc::sighandler_t) };
    let address = format!("0.0.0.0:{}", variable("PORT", "8080"));
    let listener = match TcpListener::bind(&address) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let tls = match std::env::var("TLS_DIR").map(|folder| tls(Path::new(&folder))) {
        Err(_) => None,
        Ok(Ok(tls)) => Some(tls),
        Ok(Err(error)) => {
            eprintln!("cannot serve TLS: {error}");
            return ExitCode::FAILURE;
        }
    };
    let server = Arc::new(Server {
        tls,
        version: variable("VERSION", "unknown"),
        pod: variable("HOSTNAME", "unknown"),
        requests: AtomicU64::new(0),
        live: AtomicBool::new(true),
        ready: AtomicBool::new(true),
        started: Instant::now(),
        start_delay: Duration::from_millis(variable("START_DELAY_MILLIS", "0").parse().unwrap_or(0)),
    });
    println!("version {} listening on {address}", server.version);
    for stream in listener.incoming().flatten() {
        let server = Arc::clone(&server);
        // A client that goes away mid-request is its own business.
        std::thread::spawn(move || drop(server.accept(stream)));
    }
    ExitCode::SUCCESS
}
