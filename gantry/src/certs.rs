//! `gantry certs`: certificates and keys of a data directory, whether its cluster runs or not; a running one
//! takes up changes at once.
//!
//! Entry point: [`run`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use component_base::clock::{RealClock, rfc3339_seconds};
use component_base::tls::{self, AlternativeName, Listed, Role, Step};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config::DEFAULT_DATA_DIR;
use crate::ctl::aligned;
use crate::up::running;

/// What to do with certificates.
#[derive(Subcommand)]
pub enum Command {
    /// Show every certificate, whom it is for, and when it ends.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Issue certificates anew, long before they would be: all, or those named.
    Renew {
        /// Names as `list` shows them.
        names: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Replace the authorities, step by step: trust new ones, let them sign, stop trusting the old.
    RotateCa {
        /// Which: `ca`, `client-ca`, `front-proxy-ca`, or `service-account` for the key of tokens.
        #[arg(value_name = "AUTHORITY", default_values = ["ca", "client-ca", "front-proxy-ca"])]
        authorities: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
}

/// Whose certificates.
#[derive(clap::Args)]
pub struct Place {
    /// The cluster's data directory.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
}

impl Place {
    fn pki(&self) -> Result<PathBuf> {
        let pki = self.data_dir.join("pki");
        if pki.exists() { Ok(pki) } else { bail!("{} holds no cluster", self.data_dir.display()) }
    }

    /// Tells the cluster of this directory that its files have changed.
    fn tell(&self) -> Result<&'static str> {
        let Some(pid) = running(&self.data_dir)? else { return Ok("they take effect at the next start") };
        kill(Pid::from_raw(pid), Signal::SIGUSR1)
            .with_context(|| format!("cannot tell process {pid}, which runs the cluster"))?;
        Ok("the running cluster takes them up now")
    }
}

/// Lists or changes certificates.
///
/// # Errors
/// When the directory holds no cluster, or files cannot be read or written.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::List { place } => print!("{}", table(&tls::list(&place.pki()?)?)),
        Command::Renew { names, place } => {
            let pki = place.pki()?;
            let known = tls::list(&pki)?;
            let is_leaf =
                |name: &String| known.iter().any(|listed| !listed.is_authority && listed.name == *name);
            if let Some(name) = names.iter().find(|name| !is_leaf(name)) {
                bail!("no certificate is named {name:?}; `gantry certs list` shows their names");
            }
            let expired = tls::expire(&pki, &names)?;
            println!("{} will be issued anew; {}", expired.join(", "), place.tell()?);
        }
        Command::RotateCa { authorities, place } => rotate(&authorities, &place)?,
    }
    Ok(())
}

fn rotate(authorities: &[String], place: &Place) -> Result<()> {
    let pki = place.pki()?;
    let now = RealClock::shared().now();
    for name in authorities {
        if name == "service-account" {
            tls::rotate_token_key(&pki)?;
            println!(
                "{name}: a new key signs tokens; the former one still verifies, until {} is removed",
                former(&pki)
            );
            continue;
        }
        let role = Role::ALL.into_iter().find(|role| role.file() == name);
        let role = role.with_context(|| format!("no authority is named {name:?}"))?;
        let told = match tls::rotate_authority(&pki, role, now)? {
            Step::Trusted => {
                "a new one is trusted beside the old, which still signs; give clients the new admin.kubeconfig, then run this again"
            }
            Step::Signing => {
                "the new one signs; the old is still trusted; when nobody uses what it signed, run this again"
            }
            Step::Done => "the old one is not trusted any more",
        };
        println!("{name}: {told}");
    }
    println!("{}", place.tell()?);
    Ok(())
}

fn former(pki: &Path) -> String {
    pki.join("service-account.*.pub").display().to_string()
}

fn table(all: &[Listed]) -> String {
    let now = RealClock::shared().now();
    let title = ["NAME", "SUBJECT", "SANS", "ISSUER", "EXPIRES", "IN", "RENEWED"].map(str::to_owned);
    let mut rows = vec![title.to_vec()];
    rows.extend(all.iter().map(|listed| {
        let facts = &listed.facts;
        let left =
            if facts.until > now { api::time::age(Some(now), facts.until) } else { "<expired>".to_owned() };
        vec![
            listed.name.clone(),
            subject(&facts.common_name, &facts.organizations),
            names(&facts.alternative),
            facts.issuer.clone(),
            rfc3339_seconds(facts.until),
            left,
            listed.renewed_at.map_or_else(|| "by hand".to_owned(), rfc3339_seconds),
        ]
    }));
    aligned(&rows)
}

fn subject(common_name: &str, organizations: &[String]) -> String {
    let organizations = organizations.iter().map(|name| format!("O={name}"));
    organizations.chain([format!("CN={common_name}")]).collect::<Vec<_>>().join(",")
}

fn names(alternative: &[AlternativeName]) -> String {
    let texts = alternative.iter().map(|name| match name {
        AlternativeName::Dns(text) | AlternativeName::Email(text) | AlternativeName::Uri(text) => {
            text.clone()
        }
        AlternativeName::Address(address) => address.to_string(),
    });
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}
