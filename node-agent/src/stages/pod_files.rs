//! Files every container of a pod gets: `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname`.
//!
//! Entry point: [`write`]; the texts are made by pure functions.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};

use crate::node::Node;

/// Name in the pod's directory, path in the container.
pub const FILES: [(&str, &str); 3] =
    [("etc-hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname")];

/// Longest host name the kernel takes is 64; Kubernetes cuts at 63.
const LONGEST_HOSTNAME: usize = 63;

/// The pod's host name: `spec.hostname`, else the pod's name; the node's when it shares the network.
pub fn hostname(pod: &Pod, node_name: &str) -> String {
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.host_network).unwrap_or(false) {
        return node_name.to_owned();
    }
    let own = spec.and_then(|spec| spec.hostname_override.clone().or_else(|| spec.hostname.clone()));
    let name = own.filter(|name| !name.is_empty()).or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    let cut: String = name.chars().take(LONGEST_HOSTNAME).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// Writes the files below the pod's directory.
///
/// # Errors
/// The file operation that failed.
pub fn write(node: &Node, pod: &Pod, addresses: &[IpAddr]) -> std::io::Result<()> {
    let dir = node.locations.pod(pod.metadata.uid.as_deref().unwrap_or_default());
    std::fs::create_dir_all(&dir)?;
    let host = std::fs::read_to_string(&node.config.resolv_conf).unwrap_or_default();
    let texts = [
        hosts(pod, addresses, &node.config),
        resolv_conf(pod, &host, &node.config),
        format!("{}\n", hostname(pod, &node.config.node_name)),
    ];
    for ((name, _), text) in FILES.iter().zip(texts) {
        std::fs::write(dir.join(name), text)?;
    }
    Ok(())
}

fn hosts(pod: &Pod, addresses: &[IpAddr], config: &crate::Config) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut text = if spec.host_network.unwrap_or(false) {
        let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        format!("# Kubernetes-managed hosts file (host network).\n{own}")
    } else {
        let mut text = "# Kubernetes-managed hosts file.\n\
             127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\n\
             fe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n"
            .to_owned();
        let host = hostname(pod, &config.node_name);
        let names = match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
            Some(subdomain) => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                format!("{host}.{subdomain}.{namespace}.svc.{}\t{host}", config.cluster_domain)
            }
            None => host,
        };
        for address in addresses {
            text.push_str(&format!("{address}\t{names}\n"));
        }
        text
    };
    if let Some(aliases) = spec.host_aliases.filter(|aliases| !aliases.is_empty()) {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.unwrap_or_default().join("\t")));
        }
    }
    text
}

#[derive(Default)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Resolver {
    fn parse(text: &str) -> Self {
        let mut out = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
                Some("search") => out.searches = words.map(str::to_owned).collect(),
                Some("options") => out.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        out
    }

    fn add(&mut self, config: &PodDNSConfig) {
        let extend = |list: &mut Vec<String>, more: &Option<Vec<String>>| {
            for item in more.iter().flatten() {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
        };
        extend(&mut self.servers, &config.nameservers);
        extend(&mut self.searches, &config.searches);
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            self.options.retain(|old| old.split(':').next() != Some(name));
            self.options.push(match &option.value {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.clone(),
            });
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        if !self.searches.is_empty() {
            out.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            out.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            out.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        out
    }
}

fn resolv_conf(pod: &Pod, host: &str, config: &crate::Config) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let shares_network = spec.host_network.unwrap_or(false);
    let mut resolver = match (spec.dns_policy.as_deref().unwrap_or("ClusterFirst"), shares_network) {
        ("None", _) => Resolver::default(),
        ("Default", _) | ("ClusterFirst", true) => Resolver::parse(host),
        _ => {
            let mut resolver = Resolver::parse(host);
            let (domain, namespace) = (&config.cluster_domain, pod.metadata.namespace.as_deref());
            let mut searches = vec![
                format!("{}.svc.{domain}", namespace.unwrap_or_default()),
                format!("svc.{domain}"),
                domain.clone(),
            ];
            searches.append(&mut resolver.searches);
            // Without a cluster DNS the host's servers answer; cluster names then do not resolve.
            if !config.cluster_dns.is_empty() {
                resolver.servers = config.cluster_dns.iter().map(ToString::to_string).collect();
            }
            Resolver { servers: resolver.servers, searches, options: vec!["ndots:5".to_owned()] }
        }
    };
    if let Some(own) = &spec.dns_config {
        resolver.add(own);
    }
    resolver.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        serde_yaml::from_str(&format!(
            "{{metadata: {{name: web-0, namespace: ns}}, spec: {{{spec}, containers: []}}}}"
        ))
        .expect("a pod")
    }

    #[test]
    fn resolver_files() {
        let host = "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n";
        let config = crate::Config { cluster_domain: "cluster.local".to_owned(), ..crate::Config::default() };
        let with_dns =
            crate::Config { cluster_dns: vec!["10.43.0.10".parse().expect("ip")], ..config.clone() };
        for (spec, config, expect) in [
            (
                "dnsPolicy: ClusterFirst",
                &with_dns,
                "search ns.svc.cluster.local svc.cluster.local cluster.local example.org\nnameserver 10.43.0.10\noptions ndots:5\n",
            ),
            ("dnsPolicy: Default", &with_dns, "search example.org\nnameserver 192.0.2.53\noptions edns0\n"),
            (
                "dnsPolicy: ClusterFirst",
                &config,
                "search ns.svc.cluster.local svc.cluster.local cluster.local example.org\nnameserver 192.0.2.53\noptions ndots:5\n",
            ),
            (
                "dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1], searches: [a.b], options: [{name: ndots, value: '2'}]}",
                &config,
                "search a.b\nnameserver 1.1.1.1\noptions ndots:2\n",
            ),
        ] {
            assert_eq!(resolv_conf(&pod(spec), host, config), expect);
        }
    }

    #[test]
    fn hosts_file_and_names() {
        let config = crate::Config { cluster_domain: "cluster.local".to_owned(), ..crate::Config::default() };
        let pod = pod("subdomain: db, hostAliases: [{ip: 192.0.2.9, hostnames: [a, b]}]");
        let text = hosts(&pod, &["10.42.0.3".parse().expect("ip")], &config);
        assert!(text.contains("10.42.0.3\tweb-0.db.ns.svc.cluster.local\tweb-0\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n192.0.2.9\ta\tb\n"));
        assert_eq!(hostname(&pod, "n1"), "web-0");
    }
}
