//! From a container's configuration to a bundle and a helper process that runs it: root file system, user,
//! OCI specification, standard streams. The specification itself is a pure function of what was found.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, fchown};

use super::helper::REPORT_FD;
use super::records::{self, PodDir};
use super::spec::{self, Facts};
use super::users::{self, User};
use crate::container_runtime::{ContainerConfig, PodSandboxConfig};
use crate::os::cgroup::Cgroups;
use crate::os::{in_root, mount};

/// What creation needs to know of the pod.
pub struct Pod<'a> {
    /// Where its files are.
    pub dir: &'a PodDir,
    /// As started.
    pub config: &'a PodSandboxConfig,
    /// The machine's cgroups.
    pub cgroups: &'a Cgroups,
    /// Number 1 of a shared process namespace.
    pub holder: Option<i32>,
}

impl Pod<'_> {
    /// The cgroup of a container.
    pub fn cgroup(&self, id: &str) -> String {
        container_cgroup(self.config, id)
    }
}

/// The cgroup of a container: below the pod's.
pub fn container_cgroup(pod: &PodSandboxConfig, id: &str) -> String {
    format!("{}/{id}", pod.cgroup.trim_end_matches('/'))
}

/// A container on its way.
pub struct Launched {
    /// Read end, non-blocking; absent with a terminal.
    pub stdout: Option<OwnedFd>,
    /// Read end, non-blocking; absent with a terminal.
    pub stderr: Option<OwnedFd>,
    /// Write end, if the container has standard input and no terminal.
    pub stdin: Option<OwnedFd>,
    /// Where the pty master will arrive.
    pub console: Option<UnixListener>,
    /// Ends when the program runs or all failed.
    pub report: UnixStream,
    /// The helper process.
    pub helper: i32,
    /// Whom the program runs as.
    pub user: User,
}

/// Prepares everything and starts the helper. What was made before an error is undone by [`discard`].
///
/// # Errors
/// A text for people that names the step.
pub fn launch(pod: &Pod<'_>, config: &ContainerConfig, volumes: Vec<OwnedFd>) -> Result<Launched, String> {
    let directory = pod.dir.container(&config.id);
    let root = directory.join("root");
    let step = |what: &str, error: &io::Error| format!("{what}: {error}");
    make_root(pod.dir, config, &root).map_err(|error| step("mount root file system", &error))?;
    let sources = stage(&directory, volumes).map_err(|error| step("stage volumes", &error))?;
    let cgroup = pod.cgroup(&config.id);
    pod.cgroups.create(&cgroup, &config.resources).map_err(|error| step("make cgroup", &error))?;
    let root_fd = in_root::open_root(&root).map_err(|error| step("open root file system", &error))?;
    let user = users::resolve(root_fd.as_fd(), config)?;
    make_cwd(root_fd.as_fd(), &config.cwd)?;
    drop(root_fd);
    let facts = Facts {
        root: root.clone(),
        shm: if pod.config.host_ipc { "/dev/shm".into() } else { pod.dir.run().join("shm") },
        hostname_file: hostname_file(pod).map_err(|error| step("write host name", &error))?,
        volumes: sources,
        cgroup_mounts: pod.cgroups.visible(&cgroup),
        cgroup,
        user: user.clone(),
        host_pid: pod.config.host_pid,
        holder: pod.holder,
        privileges: spec::Privileges::ours(),
        host_devices: if config.privileged { spec::host_devices() } else { Vec::new() },
    };
    records::write_json(&directory.join("config.json"), &spec::build(config, &facts))
        .map_err(|error| step("write specification", &error))?;
    start_helper(config, &directory, user).map_err(|error| step("start helper", &error))
}

/// Unmounts and removes everything of a container but its processes.
///
/// # Errors
/// When a cgroup or a directory cannot be removed.
pub fn discard(pod: &Pod<'_>, id: &str) -> io::Result<()> {
    let directory = pod.dir.container(id);
    let staged = fs::read_dir(directory.join("m")).into_iter().flatten().flatten().map(|entry| entry.path());
    for target in staged.chain([directory.join("root")]) {
        // Not mounted is what we want.
        let _absent = nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH);
    }
    pod.cgroups.remove(&pod.cgroup(id))?;
    records::remove_tree(&directory)
}

fn make_root(dir: &PodDir, config: &ContainerConfig, root: &Path) -> io::Result<()> {
    let layer = dir.layer(&config.id);
    records::remove_tree(&layer)?;
    let (upper, work) = (layer.join("u"), layer.join("w"));
    for path in [root, &upper, &work] {
        fs::create_dir_all(path)?;
    }
    // The root directory of the container takes its mode from the writable layer.
    fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    if config.layers.is_empty() {
        return Err(io::Error::other("the image has no layers"));
    }
    mount::overlay(&config.layers, &upper, &work, root)
}

/// Gives the detached trees paths that the helper can name.
fn stage(directory: &Path, volumes: Vec<OwnedFd>) -> io::Result<Vec<PathBuf>> {
    let staged = directory.join("m");
    fs::create_dir_all(&staged)?;
    let mut paths = Vec::with_capacity(volumes.len());
    for (index, tree) in volumes.into_iter().enumerate() {
        let target = staged.join(index.to_string());
        let mode = SFlag::from_bits_truncate(fstat(&tree)?.st_mode);
        if mode & SFlag::S_IFMT == SFlag::S_IFDIR {
            fs::create_dir_all(&target)?;
        } else {
            fs::File::create(&target)?;
        }
        mount::attach(tree.as_fd(), &target)
            .map_err(|error| io::Error::new(error.kind(), format!("volume {index}: {error}")))?;
        paths.push(target);
    }
    Ok(paths)
}

fn make_cwd(root: BorrowedFd<'_>, cwd: &str) -> Result<(), String> {
    in_root::make_dirs(root, Path::new(cwd), Mode::from_bits_truncate(0o755))
        .map(drop)
        .map_err(|error| format!("make working directory {cwd}: {error}"))
}

fn hostname_file(pod: &Pod<'_>) -> io::Result<PathBuf> {
    let path = pod.dir.run().join("hostname");
    if !path.exists() {
        fs::write(&path, format!("{}\n", pod.config.hostname))?;
    }
    Ok(path)
}

/// Near and far ends of the three standard streams.
struct Ends {
    far: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

fn streams(config: &ContainerConfig, user: &User) -> io::Result<Ends> {
    if config.tty {
        return Ok(Ends { far: [null()?, null()?, null()?], stdin: None, stdout: None, stderr: None });
    }
    let (stdin, near_stdin) = if config.stdin {
        let (reader, writer) = io::pipe()?;
        (OwnedFd::from(reader), Some(OwnedFd::from(writer)))
    } else {
        (null()?, None)
    };
    let (stdout, far_stdout) = io::pipe()?;
    let (stderr, far_stderr) = io::pipe()?;
    let far = [stdin, far_stdout.into(), far_stderr.into()];
    // So that a program that is not root can open /dev/stdout.
    for fd in far.iter().skip(usize::from(!config.stdin)) {
        fchown(fd, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
    }
    set_nonblocking(stdout.as_fd())?;
    set_nonblocking(stderr.as_fd())?;
    Ok(Ends { far, stdin: near_stdin, stdout: Some(stdout.into()), stderr: Some(stderr.into()) })
}

fn start_helper(config: &ContainerConfig, directory: &Path, user: User) -> io::Result<Launched> {
    let console = if config.tty { Some(console_socket(directory)?) } else { None };
    let Ends { far, stdin, stdout, stderr } = streams(config, &user)?;
    let (report, far_report) = UnixStream::pair()?;
    fs::create_dir_all(directory.join("state"))?;
    let [far_stdin, far_stdout, far_stderr] = far;
    let raw_report = far_report.as_raw_fd();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("gantry")
        .args(["shim-helper", "create"])
        .arg(directory)
        .arg(&config.id)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(far_stdin))
        .stdout(Stdio::from(far_stdout))
        .stderr(Stdio::from(far_stderr));
    // SAFETY: runs in the forked child of a single-threaded process; system calls only.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if raw_report == REPORT_FD {
                libc::fcntl(REPORT_FD, libc::F_SETFD, 0);
            } else if libc::dup2(raw_report, REPORT_FD) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    // The shim reaps all its children in one place; nothing waits on this handle.
    let helper = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Launched { stdout, stderr, stdin, console, report, helper, user })
}

fn console_socket(directory: &Path) -> io::Result<UnixListener> {
    let handle = fs::File::open(directory)?;
    let listener = UnixListener::bind(records::short_path(&handle, "tty"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn null() -> io::Result<OwnedFd> {
    Ok(fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
}

/// Makes reads and writes return at once.
///
/// # Errors
/// As `fcntl(2)`.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
