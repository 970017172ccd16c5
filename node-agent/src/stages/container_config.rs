//! From a container's definition and its image to what the runtime needs. Entry point: [`container_config`].

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SecurityContext};

use super::{Image, Start, logs_of, pod_files};
use crate::container_runtime::{ContainerConfig, Mount};
use crate::environment::{self, Lookups, expand};
use crate::node::Node;
use crate::observed::{BACK_OFF_SECONDS, GRACE_SECONDS, IMAGE, IMAGE_ID};
use crate::{pod_actions, resources, volumes};

/// What container runtimes grant by default.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Everything `ALL` stands for.
const ALL_CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Log files rotate at this size (upstream's `containerLogMaxSize`).
const LOG_MAX_BYTES: u64 = 10 << 20;
/// How many rotated files are kept (upstream's `containerLogMaxFiles`).
const LOG_MAX_FILES: u32 = 5;
/// Where a container leaves its last words unless it says otherwise.
const TERMINATION_PATH: &str = "/dev/termination-log";

/// The capabilities a container ends up with.
pub fn capabilities(context: Option<&SecurityContext>) -> Vec<String> {
    let wanted = context.and_then(|context| context.capabilities.as_ref());
    let plain = |name: &String| name.strip_prefix("CAP_").unwrap_or(name).to_uppercase();
    let add: Vec<String> = wanted.iter().flat_map(|c| c.add.iter().flatten()).map(plain).collect();
    let drop: Vec<String> = wanted.iter().flat_map(|c| c.drop.iter().flatten()).map(plain).collect();
    let all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    let mut set = match (all(&add), all(&drop)) {
        (true, _) => names(&ALL_CAPABILITIES),
        (false, true) => BTreeSet::new(),
        (false, false) => names(&DEFAULT_CAPABILITIES),
    };
    if !all(&drop) {
        set.retain(|name| !drop.contains(name));
    } else if all(&add) {
        set.clear();
    }
    set.extend(add.into_iter().filter(|name| name != "ALL"));
    set.into_iter().collect()
}

/// Entry point and arguments as Kubernetes combines them with the image's.
fn arguments(container: &Container, image: &Image, env: &BTreeMap<String, String>) -> Vec<String> {
    let lookup = |name: &str| env.get(name).cloned();
    let expanded = |list: &[String]| list.iter().map(|text| expand(text, lookup)).collect::<Vec<String>>();
    let command = container.command.as_deref().unwrap_or_default();
    let args = container.args.as_deref().unwrap_or_default();
    match (command.is_empty(), args.is_empty()) {
        (false, _) => [expanded(command), expanded(args)].concat(),
        (true, false) => [image.entrypoint.clone(), expanded(args)].concat(),
        (true, true) => [image.entrypoint.clone(), image.command.clone()].concat(),
    }
}

/// The image's variables, overlaid by the pod's, with PATH and HOSTNAME.
fn variables(image: &Image, own: &[(String, String)], hostname: &str) -> Vec<String> {
    let mut all: indexmap::IndexMap<String, String> = indexmap::IndexMap::new();
    all.insert("PATH".to_owned(), DEFAULT_PATH.to_owned());
    all.insert("HOSTNAME".to_owned(), hostname.to_owned());
    for entry in &image.env {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        all.insert(key.to_owned(), value.to_owned());
    }
    all.extend(own.iter().cloned());
    all.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

struct Identity {
    user: String,
    group: Option<u32>,
    non_root: bool,
}

fn identity(
    pod: &Pod,
    container: &Container,
    image: &Image,
    of_pod: Option<&PodSecurityContext>,
    own: Option<&SecurityContext>,
) -> Result<Identity, String> {
    let id = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    let user = id(own.and_then(|own| own.run_as_user).or_else(|| of_pod.and_then(|pod| pod.run_as_user)));
    let group = id(own.and_then(|own| own.run_as_group).or_else(|| of_pod.and_then(|pod| pod.run_as_group)));
    let non_root =
        own.and_then(|own| own.run_as_non_root).or_else(|| of_pod.and_then(|pod| pod.run_as_non_root));
    let non_root = non_root.unwrap_or(false);
    let shown = || {
        let meta = &pod.metadata;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let pod = format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid));
        format!("(pod: \"{pod}\", container: {})", container.name)
    };
    if non_root {
        let image_user = image.user.split(':').next().unwrap_or_default();
        match user {
            Some(0) => return Err(format!("container's runAsUser breaks non-root policy {}", shown())),
            Some(_) => {}
            None if image_user.is_empty() || image_user == "0" => {
                return Err(format!("container has runAsNonRoot and image will run as root {}", shown()));
            }
            None if image_user.parse::<u32>().is_err() => {
                return Err(format!(
                    "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {}",
                    shown()
                ));
            }
            None => {}
        }
    }
    let user = user.map_or_else(|| image.user.clone(), |user| user.to_string());
    Ok(Identity { user, group, non_root })
}

/// Whether the default seccomp profile applies; a profile of the node's own cannot be loaded here.
fn seccomp(of_pod: Option<&PodSecurityContext>, own: Option<&SecurityContext>) -> Result<bool, String> {
    let profile = own
        .and_then(|own| own.seccomp_profile.as_ref())
        .or_else(|| of_pod.and_then(|pod| pod.seccomp_profile.as_ref()));
    match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => Ok(true),
        Some("Localhost") => {
            Err("seccomp profiles of type Localhost are not supported by this node".to_owned())
        }
        _ => Ok(false),
    }
}

/// The number of a signal given as `SIGTERM`, `TERM` or `15`.
fn signal_number(text: &str) -> Option<i32> {
    let name = text.trim().to_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    let named = name.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32);
    text.trim().parse().ok().or(named)
}

/// Builds the configuration.
///
/// # Errors
/// The text users see with `CreateContainerConfigError`.
pub fn container_config(
    node: &Node,
    start: &Start,
    image: &Image,
    lookups: &Lookups,
) -> Result<ContainerConfig, String> {
    let (pod, container) = (&*start.pod, &start.container);
    let spec = pod.spec.as_ref().ok_or("the pod has no spec")?;
    let (of_pod, own) = (spec.security_context.as_ref(), container.security_context.as_ref());
    let env = environment::compose(pod, container, lookups).map_err(|error| error.to_string())?;
    let by_name: BTreeMap<String, String> = env.iter().cloned().collect();
    let identity = identity(pod, container, image, of_pod, own)?;
    let mut groups: Vec<u32> = Vec::new();
    let listed = of_pod.iter().flat_map(|context| context.supplemental_groups.iter().flatten());
    let of_files = of_pod.and_then(|context| context.fs_group);
    groups.extend(listed.copied().chain(of_files).filter_map(|group| u32::try_from(group).ok()));
    let id = format!("{}-{}", container.name, start.attempt);
    let pod_dir = node.locations.pod(pod.metadata.uid.as_deref().unwrap_or_default());
    let privileged = own.and_then(|own| own.privileged).unwrap_or(false);
    let cwd = container.working_dir.clone().filter(|dir| !dir.is_empty());
    let stop_signal = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_ref());
    let stop_signal = stop_signal.or(image.stop_signal.as_ref());
    Ok(ContainerConfig {
        name: container.name.clone(),
        attempt: start.attempt,
        layers: image.layers.clone(),
        args: arguments(container, image, &by_name),
        env: variables(image, &env, &pod_files::hostname(pod, &node.config.node_name)),
        cwd: cwd
            .or_else(|| Some(image.working_dir.clone()).filter(|dir| !dir.is_empty()))
            .unwrap_or("/".into()),
        user: identity.user,
        run_as_group: identity.group,
        run_as_non_root: identity.non_root,
        supplemental_groups: groups,
        mounts: mounts(node, pod, container, &by_name)?,
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        read_only_root: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        privileged,
        no_new_privileges: own.and_then(|own| own.allow_privilege_escalation) == Some(false) && !privileged,
        capabilities: if privileged {
            ALL_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect()
        } else {
            capabilities(own)
        },
        seccomp_default: seccomp(of_pod, own)? && !privileged,
        mask_paths: !privileged && own.and_then(|own| own.proc_mount.as_deref()) != Some("Unmasked"),
        resources: resources::container_resources(container),
        oom_score_adj: resources::oom_score_adj(pod, container, node.machine.memory_bytes),
        log_path: logs_of(node, pod).join(&container.name).join(format!("{}.log", start.attempt)),
        log_max_bytes: LOG_MAX_BYTES,
        log_max_files: LOG_MAX_FILES,
        stop_signal: stop_signal.and_then(|text| signal_number(text)).unwrap_or(libc::SIGTERM),
        termination_message_path: container
            .termination_message_path
            .clone()
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| TERMINATION_PATH.to_owned()),
        termination_message_host_path: pod_dir.join("termination").join(&id),
        annotations: BTreeMap::from([
            (IMAGE.to_owned(), container.image.clone().unwrap_or_default()),
            (IMAGE_ID.to_owned(), image.id.clone()),
            (BACK_OFF_SECONDS.to_owned(), start.back_off.as_secs().to_string()),
            (GRACE_SECONDS.to_owned(), pod_actions::grace_of(pod, spec).as_secs().to_string()),
        ]),
        id,
    })
}

/// Volumes, and the managed files the container does not mount itself.
fn mounts(
    node: &Node,
    pod: &Pod,
    container: &Container,
    env: &BTreeMap<String, String>,
) -> Result<Vec<Mount>, String> {
    let mut mounts =
        volumes::mounts_of(pod, container, &node.locations, env).map_err(|error| error.to_string())?;
    let dir = node.locations.pod(pod.metadata.uid.as_deref().unwrap_or_default());
    for (file, path) in pod_files::FILES {
        let destination = PathBuf::from(path);
        if mounts.iter().all(|mount| mount.destination != destination) {
            mounts.push(Mount { source: dir.join(file), destination, read_only: false });
        }
    }
    Ok(mounts)
}

/// Makes the log directory and the empty termination file, writable for whoever the container runs as.
///
/// # Errors
/// The file operation that failed.
pub fn prepare_files(config: &ContainerConfig) -> std::io::Result<()> {
    for parent in [config.log_path.parent(), config.termination_message_host_path.parent()] {
        std::fs::create_dir_all(parent.unwrap_or(&config.log_path))?;
    }
    let file = &config.termination_message_host_path;
    std::fs::write(file, b"")?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(yaml: &str) -> SecurityContext {
        serde_yaml::from_str(yaml).expect("a security context")
    }

    #[test]
    fn capability_sets() {
        assert_eq!(capabilities(None).len(), 14);
        for (yaml, count) in [
            ("{capabilities: {drop: [ALL]}}", 0),
            ("{capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}", 1),
            ("{capabilities: {add: [CAP_SYS_TIME]}}", 15),
            ("{capabilities: {drop: [KILL]}}", 13),
            ("{capabilities: {add: [ALL]}}", 41),
        ] {
            assert_eq!(capabilities(Some(&context(yaml))).len(), count, "{yaml}");
        }
    }

    #[test]
    fn commands_combine_with_the_image() {
        let image =
            Image { entrypoint: vec!["/e".to_owned()], command: vec!["c".to_owned()], ..Image::default() };
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (yaml, expect) in [
            ("{name: c}", vec!["/e", "c"]),
            ("{name: c, args: [x$(A)]}", vec!["/e", "x1"]),
            ("{name: c, command: [/b]}", vec!["/b"]),
            ("{name: c, command: [/b], args: [$(A)]}", vec!["/b", "1"]),
        ] {
            let container: Container = serde_yaml::from_str(yaml).expect("a container");
            assert_eq!(arguments(&container, &image, &env), expect);
        }
    }

    #[test]
    fn users_and_non_root() {
        let pod = Pod::default();
        let container = Container { name: "c".to_owned(), ..Container::default() };
        let check = |yaml: &str, user: &str| {
            let image = Image { user: user.to_owned(), ..Image::default() };
            identity(&pod, &container, &image, None, Some(&context(yaml)))
                .map(|identity| identity.user)
                .map_err(|text| text.split(" (pod").next().unwrap_or_default().to_owned())
        };
        assert_eq!(check("{}", "web:web"), Ok("web:web".to_owned()));
        assert_eq!(check("{runAsUser: 5}", "web"), Ok("5".to_owned()));
        assert_eq!(check("{runAsNonRoot: true}", "7"), Ok("7".to_owned()));
        assert_eq!(
            check("{runAsNonRoot: true}", ""),
            Err("container has runAsNonRoot and image will run as root".to_owned())
        );
        assert!(check("{runAsNonRoot: true, runAsUser: 0}", "7").is_err());
        assert!(check("{runAsNonRoot: true}", "web").is_err());
        assert_eq!(signal_number("SIGQUIT"), Some(3));
        assert_eq!(signal_number("TERM"), Some(15));
        assert_eq!(signal_number("9"), Some(9));
    }
}
