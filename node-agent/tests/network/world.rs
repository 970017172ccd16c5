//! A little world for network tests: a node's namespace wired to an outside one, pods' namespaces, and TCP
//! servers that say who they are and whom they saw. All of it ends with the test.

use std::fs::File;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use netlink_packet_route::RouteNetlinkMessage;
use nix::sched::{CloneFlags, setns, unshare};
use node_agent::network::link;
use rtnetlink::packet_core::NetlinkPayload;

/// The node's address on the wire to the outside.
pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The outside's address.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A network namespace that lives as long as this value.
#[derive(Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// A new, empty one.
    pub fn new() -> Self {
        let thread = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
            File::open("/proc/thread-self/ns/net").expect("open")
        });
        Self(Arc::new(thread.join().expect("thread")))
    }

    /// A path that names it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// Runs work inside, on another thread.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = Arc::clone(&self.0);
        let thread = std::thread::spawn(move || {
            setns(&*namespace, CloneFlags::CLONE_NEWNET).expect("enter");
            work()
        });
        thread.join().expect("thread")
    }

    /// Connects from inside and returns what the server says.
    pub fn try_ask(&self, server: SocketAddr) -> std::io::Result<String> {
        self.inside(move || {
            let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }

    /// The same, which must work.
    pub fn ask(&self, server: SocketAddr) -> String {
        self.try_ask(server).unwrap_or_else(|error| panic!("ask {server}: {error}"))
    }

    /// Runs a command inside.
    pub fn command(&self, program: &str, arguments: &str) -> String {
        let (program, arguments) = (program.to_owned(), arguments.to_owned());
        self.inside(move || {
            let output = Command::new(&program).args(arguments.split_whitespace()).output().expect("run");
            assert!(
                output.status.success(),
                "{program} {arguments}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// Makes packets to 127.0.0.0/8 leave by the pod's link, as a hostile pod would.
    pub fn route_loopback_out(&self) {
        self.inside(|| {
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").expect("sysctl");
        });
        self.command("ip", "rule add pref 1 lookup 100");
        self.command("ip", "rule add pref 2 lookup local");
        self.command("ip", "rule del pref 0");
        self.command("ip", "route add 127.0.0.1/32 via 169.254.1.1 dev eth0 onlink table 100");
    }
}

/// Answers every connection with its name and the client's address.
pub struct Server {
    listener: TcpListener,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Starts one in a namespace.
    pub fn start(namespace: &Namespace, address: SocketAddr, name: &str) -> Self {
        let listener = namespace.inside(move || TcpListener::bind(address).expect("bind"));
        let accepting = listener.try_clone().expect("clone");
        let name = name.to_owned();
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, client)) = accepting.accept() {
                // A client that went away is none of the server's business.
                drop(stream.write_all(format!("{name} saw {}", client.ip()).as_bytes()));
            }
        });
        Self { listener, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ends the blocking accept.
        nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both)
            .expect("shut down");
        self.thread.take().map(|thread| thread.join());
    }
}

/// Answers every datagram with its name.
pub struct UdpServer {
    socket: UdpSocket,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl UdpServer {
    /// Starts one in a namespace.
    pub fn start(namespace: &Namespace, address: SocketAddr, name: &str) -> Self {
        let socket = namespace.inside(move || UdpSocket::bind(address).expect("bind"));
        let receiving = socket.try_clone().expect("clone");
        let name = name.to_owned();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((length, client)) = receiving.recv_from(&mut buffer) {
                if &buffer[..length] == b"stop" {
                    return;
                }
                drop(receiving.send_to(name.as_bytes(), client));
            }
        });
        Self { socket, thread: Some(thread) }
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        let address = self.socket.local_addr().expect("address");
        // The test may be failing already; a server that stays then ends with the process.
        if self.socket.send_to(b"stop", address).is_err() {
            return;
        }
        self.thread.take().map(|thread| thread.join());
    }
}

/// One side of a UDP conversation.
pub struct UdpClient(UdpSocket);

impl UdpClient {
    /// Starts talking to `server` from a namespace.
    pub fn start(namespace: &Namespace, server: SocketAddr) -> Self {
        Self(namespace.inside(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
            socket.connect(server).expect("connect");
            socket.set_read_timeout(Some(Duration::from_secs(1))).expect("timeout");
            socket
        }))
    }

    /// Who answers.
    pub fn ask(&self) -> std::io::Result<String> {
        self.0.send(b"who")?;
        let mut buffer = [0; 64];
        let length = self.0.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}

/// A node wired to an outside.
pub struct World {
    /// Where the code under test runs.
    pub node: Namespace,
    /// Another machine.
    pub outside: Namespace,
}

impl World {
    fn new() -> Self {
        let (node, outside) = (Namespace::new(), Namespace::new());
        node.command("ip", "link set lo up");
        outside.command("ip", "link set lo up");
        let wire = format!("link add up0 type veth peer name up0 netns {}", outside.path().display());
        node.command("ip", &wire);
        for (side, address, other) in [(&node, NODE, OUTSIDE), (&outside, OUTSIDE, NODE)] {
            side.command("ip", &format!("address add {address}/24 dev up0"));
            side.command("ip", "link set up0 up");
            side.command("ip", &format!("route add default via {other}"));
        }
        Self { node, outside }
    }

    /// Names of the node's links that start with `prefix`.
    pub fn links(&self, prefix: &str) -> Vec<String> {
        let listing = self.node.command("ip", "-o link");
        let names = listing.lines().filter_map(|line| line.split(": ").nth(1));
        names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// The node's packet filter tables.
    pub fn tables(&self) -> String {
        self.node.command("nft", "list tables")
    }
}

/// Link removals, from the moment it was made.
pub struct LinkWatch {
    _tasks: tokio::task::JoinSet<()>,
    gone: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl World {
    /// Starts watching; to be called in the node's namespace.
    pub fn watch_links(&self) -> LinkWatch {
        let (connection, _, mut messages) =
            rtnetlink::new_multicast_connection(&[rtnetlink::MulticastGroup::Link]).expect("watch");
        let (sender, gone) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(connection);
        tasks.spawn(async move {
            while let Some((message, _)) = messages.next().await {
                if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) = message.payload {
                    let name = link::name_of(&link).unwrap_or_default().to_owned();
                    drop(sender.send(name));
                }
            }
        });
        LinkWatch { _tasks: tasks, gone }
    }
}

impl LinkWatch {
    /// Completes when a link whose name starts with `prefix` is gone.
    pub async fn gone(&mut self, prefix: &str) {
        while !self.gone.recv().await.expect("watch").starts_with(prefix) {}
    }
}

/// Runs a test in a fresh world, on a thread and runtime inside the node's namespace, for a minute at most.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce(Arc<World>) -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let thread = std::thread::spawn(move || {
        let world = Arc::new(World::new());
        setns(&*world.node.0, CloneFlags::CLONE_NEWNET).expect("enter");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let limit = Duration::from_secs(60);
        runtime.block_on(async { tokio::time::timeout(limit, test(world)).await.expect("in time") });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
