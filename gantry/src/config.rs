//! What a cluster is started with: defaults, then a file, then `--set`, then flags.
//!
//! Entry point: [`Flags::resolve`].

mod admission;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::quantity::Quantity;
use component_base::tls::Lifetimes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod api_server;

pub use api_server::{ApiServer, audit_log};

/// Where a cluster keeps everything unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/gantry";

/// Flags of `gantry up`.
#[derive(clap::Args, Default)]
pub struct Flags {
    /// A YAML file with the same settings as the flags, in camelCase.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting of the file, such as `bind=127.0.0.1:6443`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Everything the cluster keeps [default: /var/lib/gantry].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the API server [default: 0.0.0.0:6443].
    #[arg(long, value_name = "ADDR")]
    pub bind: Option<SocketAddr>,
    /// Address other machines reach this one at [default: that of the default route].
    #[arg(long, value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// Name of this node [default: the host name].
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Where objects are kept: `embedded`, `memory` (lost at exit), or `etcd=URL[,URL…]`.
    #[arg(long, value_name = "ENGINE")]
    pub store: Option<String>,
    /// How long superseded and deleted objects can be looked at, such as `36h`; at least a minute [default: 168h, on
    /// etcd 5m].
    #[arg(long, value_name = "DURATION")]
    pub history_age: Option<String>,
    /// How much of the disk they may take before the oldest go sooner, such as `500Mi`; at least 1Mi, embedded store
    /// only [default: 1Gi].
    #[arg(long, value_name = "QUANTITY")]
    pub history_size: Option<String>,
    /// Control plane only: no pods run here, and no root is needed.
    #[arg(long)]
    pub no_agent: bool,
    /// A second place to write the administrator's kubeconfig to.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig_out: Option<PathBuf>,
    /// Addresses of pods [default: 10.42.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<String>,
    /// Addresses of services [default: 10.43.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pub service_cidr: Option<String>,
    /// How long certificates are good that the cluster issues for itself; they are renewed in time [default: 8760h].
    #[arg(long, value_name = "DURATION")]
    pub certificate_validity_period: Option<String>,
    #[command(flatten)]
    pub api_server: ApiServer,
    /// Admission plugins to run although they are off by default; may be repeated.
    #[arg(long, value_name = "NAME[,NAME…]")]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins not to run; may be repeated.
    #[arg(long, value_name = "NAME[,NAME…]")]
    pub disable_admission_plugins: Vec<String>,
}

/// Settings as a file has them; all optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// Everything the cluster keeps.
    pub data_dir: Option<PathBuf>,
    /// Address of the API server.
    pub bind: Option<SocketAddr>,
    /// Address other machines reach this one at.
    pub advertise: Option<IpAddr>,
    /// Name of this node.
    pub node_name: Option<String>,
    /// `embedded`, `memory` or `etcd=URL[,URL…]`.
    pub store: Option<String>,
    /// How long superseded and deleted objects can be looked at, such as `36h`.
    pub history_age: Option<String>,
    /// How much of the disk they may take, such as `500Mi`.
    pub history_size: Option<String>,
    /// Control plane only.
    pub no_agent: Option<bool>,
    /// A second place for the administrator's kubeconfig.
    pub kubeconfig_out: Option<PathBuf>,
    /// Addresses of pods.
    pub pod_cidr: Option<String>,
    /// Addresses of services.
    pub service_cidr: Option<String>,
    /// How long certificates are good that the cluster issues for itself, such as `2160h`.
    pub certificate_validity_period: Option<String>,
    /// What only some clusters need of the API server.
    pub api_server: Option<ApiServer>,
    /// Admission plugins to run although they are off by default.
    pub enable_admission_plugins: Option<Vec<String>>,
    /// Admission plugins not to run.
    pub disable_admission_plugins: Option<Vec<String>>,
    /// Pod Security Standards for all namespaces.
    pub pod_security: Option<admission::PodSecurity>,
    /// PodNodeSelector's node selectors (`key=value,…`) by namespace; `clusterDefaultNodeSelector` is for all others.
    pub pod_node_selectors: Option<BTreeMap<String, String>>,
    /// EventRateLimit's limits.
    pub event_rate_limits: Option<Vec<admission::EventRateLimit>>,
}

/// Which engine keeps the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// SQLite in the data directory.
    Embedded,
    /// Nothing survives the process.
    Memory,
    /// An etcd v3 cluster at these URLs.
    Etcd(Vec<String>),
}

impl Engine {
    /// From the value of `--store`.
    ///
    /// # Errors
    /// When it names no engine, or etcd in a form that is not understood.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "embedded" => Ok(Self::Embedded),
            "memory" => Ok(Self::Memory),
            _ => match text.strip_prefix("etcd=") {
                Some(urls) => urls.split(',').map(etcd_url).collect::<Result<_>>().map(Self::Etcd),
                None => bail!("--store {text}: this version knows embedded, memory and etcd=URL[,URL…]"),
            },
        }
    }
}

/// How much of the past is kept; what is `None` is the engine's choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// How long.
    pub age: Option<Duration>,
    /// Bytes on the disk beyond what current objects need.
    pub bytes: Option<u64>,
}

impl History {
    /// A shorter time would be over before a client that was cut off is back.
    const SHORTEST: Duration = Duration::from_mins(1);
    /// Less is not worth the work of compacting.
    const SMALLEST: u64 = 1 << 20;

    /// From the values of `--history-age` and `--history-size`.
    ///
    /// # Errors
    /// When one of them cannot be read, is too small, or means nothing to the engine.
    fn parse(age: Option<&str>, size: Option<&str>, engine: &Engine) -> Result<Self> {
        match engine {
            Engine::Memory if age.is_some() => {
                bail!("--history-age: --store memory forgets at exit, not by age")
            }
            Engine::Memory | Engine::Etcd(_) if size.is_some() => {
                bail!("--history-size: only --store embedded bounds its history by size")
            }
            _ => {}
        }
        let age = age.map(|text| {
            let nanos = api::time::parse_go_duration(text).and_then(|nanos| u64::try_from(nanos).ok());
            let age = nanos.map(Duration::from_nanos).filter(|age| *age >= Self::SHORTEST);
            age.with_context(|| {
                format!("--history-age {text}: expected a duration of at least 1m, such as 36h")
            })
        });
        let bytes = size.map(|text| {
            let bytes = text.parse::<Quantity>().ok().and_then(|size| u64::try_from(size.value()).ok());
            bytes.filter(|bytes| *bytes >= Self::SMALLEST).with_context(|| {
                format!("--history-size {text}: expected a quantity of at least 1Mi, such as 500Mi")
            })
        });
        Ok(Self { age: age.transpose()?, bytes: bytes.transpose()? })
    }
}

fn etcd_url(url: &str) -> Result<String> {
    let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    match authority {
        Some(authority) if !authority.is_empty() && !authority.contains('/') => {
            Ok(format!("http://{authority}"))
        }
        _ => bail!(
            "--store: etcd at {url:?}: expected http://HOST:PORT (this version does not speak TLS to etcd)"
        ),
    }
}

/// Settings, complete and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Everything the cluster keeps, absolute.
    pub data_dir: PathBuf,
    /// Address of the API server.
    pub bind: SocketAddr,
    /// Address other machines reach this one at.
    pub advertise: IpAddr,
    /// Name of this node.
    pub node_name: String,
    /// Which engine keeps the objects.
    pub store: Engine,
    /// How much of the past it keeps.
    pub history: History,
    /// Whether pods run here.
    pub agent: bool,
    /// A second place for the administrator's kubeconfig.
    pub kubeconfig_out: Option<PathBuf>,
    /// Addresses of pods.
    pub pod_cidr: String,
    /// Addresses of services.
    pub service_cidr: String,
    /// How long what the cluster signs for itself is good.
    pub lifetimes: Lifetimes,
    /// What only some clusters need of the API server.
    pub api_server: ApiServer,
    /// Which admission plugins run.
    pub admission: apiserver::Switches,
}

impl Flags {
    /// Merges defaults, file, `--set` and flags.
    ///
    /// # Errors
    /// When a file cannot be read or a setting is unknown or malformed; the text names it.
    pub fn resolve(self) -> Result<Config> {
        let mut file = match &self.config {
            Some(path) => read(path)?,
            None => serde_json::Value::Object(serde_json::Map::new()),
        };
        for setting in &self.set {
            let (key, value) =
                setting.split_once('=').with_context(|| format!("--set {setting}: expected KEY=VALUE"))?;
            file[key] = match value {
                "true" | "false" => serde_json::Value::Bool(value == "true"),
                text => serde_json::Value::String(text.to_owned()),
            };
        }
        let file: File = serde_json::from_value(file).context("settings of --config and --set")?;
        let bind = self.bind.or(file.bind).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 6443)));
        let advertise = self.advertise.or(file.advertise);
        let store = self.store.or(file.store).unwrap_or_else(|| "embedded".to_owned());
        let store = Engine::parse(&store)?;
        let (age, size) = (self.history_age.or(file.history_age), self.history_size.or(file.history_size));
        let cidr = |flag: Option<String>, file: Option<String>, fallback: &str| {
            let text = flag.or(file).unwrap_or_else(|| fallback.to_owned());
            if is_cidr(&text) { Ok(text) } else { bail!("{text} is no address range such as {fallback}") }
        };
        let names = |flag: Vec<String>, file: Option<Vec<String>>| {
            if flag.is_empty() { file.unwrap_or_default() } else { flag }
        };
        let admission = admission::switches(
            &names(self.enable_admission_plugins, file.enable_admission_plugins),
            &names(self.disable_admission_plugins, file.disable_admission_plugins),
            file.pod_security.unwrap_or_default(),
            file.pod_node_selectors.unwrap_or_default(),
            &file.event_rate_limits.unwrap_or_default(),
        )?;
        Ok(Config {
            admission,
            data_dir: absolute(&self.data_dir.or(file.data_dir).unwrap_or_else(|| DEFAULT_DATA_DIR.into()))?,
            bind,
            advertise: advertise.unwrap_or_else(|| own_address(bind.ip())),
            node_name: match self.node_name.or(file.node_name) {
                Some(name) => name,
                None => host_name()?,
            },
            history: History::parse(age.as_deref(), size.as_deref(), &store)?,
            store,
            agent: !(self.no_agent || file.no_agent.unwrap_or_default()),
            kubeconfig_out: self.kubeconfig_out.or(file.kubeconfig_out),
            pod_cidr: cidr(self.pod_cidr, file.pod_cidr, "10.42.0.0/16")?,
            service_cidr: cidr(self.service_cidr, file.service_cidr, "10.43.0.0/16")?,
            lifetimes: lifetimes(
                self.certificate_validity_period.or(file.certificate_validity_period).as_deref(),
            )?,
            api_server: self.api_server.or(file.api_server.unwrap_or_default()),
        })
    }
}

/// Certificates cannot be renewed more than once a second, and not all at the same moment.
const SHORTEST_VALIDITY: Duration = Duration::from_secs(5);

fn lifetimes(text: Option<&str>) -> Result<Lifetimes> {
    let usual = Lifetimes::default();
    let Some(text) = text else { return Ok(usual) };
    let nanos = api::time::parse_go_duration(text).and_then(|nanos| u64::try_from(nanos).ok());
    let life = nanos.map(Duration::from_nanos).filter(|life| *life >= SHORTEST_VALIDITY);
    let life = life.and_then(|life| life.try_into().ok()).filter(|life| *life <= usual.authority);
    let certificate = life.with_context(|| {
        format!("--certificate-validity-period {text}: expected a duration from 5s to 87600h, such as 2160h")
    })?;
    Ok(Lifetimes { certificate, ..usual })
}

fn read(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let value: serde_json::Value =
        serde_yaml::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))?;
    if value.is_object() {
        Ok(value)
    } else {
        bail!("{}: expected settings such as `bind: ADDR`", path.display())
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no usable path", path.display()))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    address.parse::<std::net::Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 28)
}

fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name; use --node-name")?;
    Ok(name.to_string_lossy().to_lowercase())
}

/// The bound address, or for a wildcard the one the default route leaves from.
fn own_address(bind: IpAddr) -> IpAddr {
    if !bind.is_unspecified() {
        return bind;
    }
    // Connecting a UDP socket sends nothing: it only asks the kernel for a route. The address is TEST-NET-1.
    let routed = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.254:9")?;
        Ok(socket.local_addr()?.ip())
    };
    routed().unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(set: &[&str], bind: Option<&str>) -> Result<Config> {
        let flags = Flags {
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            bind: bind.map(|b| b.parse().expect("an address")),
            node_name: Some("n".to_owned()),
            ..Flags::default()
        };
        flags.resolve()
    }

    #[test]
    fn flags_win_over_settings() {
        let config =
            resolve(&["bind=127.0.0.1:1", "noAgent=true"], Some("127.0.0.1:2")).expect("good settings");
        assert_eq!(config.bind.port(), 2);
        assert!(!config.agent);
        assert_eq!(config.data_dir, Path::new(DEFAULT_DATA_DIR));
    }

    #[test]
    fn etcd_is_named_by_its_urls() {
        let config = resolve(&["store=etcd=http://a:1/,http://b:2"], None).expect("good settings");
        assert_eq!(config.store, Engine::Etcd(vec!["http://a:1".to_owned(), "http://b:2".to_owned()]));
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (set, expected) in [
            ("bnid=x", "bnid"),
            ("store=paper", "paper"),
            ("historyAge=7", "--history-age 7: expected a duration of at least 1m"),
            ("historyAge=59s", "at least 1m"),
            ("historyAge=-5h", "at least 1m"),
            ("historySize=1k", "--history-size 1k: expected a quantity of at least 1Mi"),
            ("historySize=much", "at least 1Mi"),
            ("store=etcd=https://a:1", "TLS"),
            ("store=etcd=http://a:1,", "expected http://HOST:PORT"),
            ("certificateValidityPeriod=4s", "--certificate-validity-period 4s: expected a duration from 5s"),
            ("certificateValidityPeriod=99999h", "to 87600h"),
            ("podCidr=10.0.0.0", "10.0.0.0"),
            ("bind", "KEY=VALUE"),
        ] {
            let error = resolve(&[set], None).expect_err("a mistake");
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
