//! Pod network and service proxy against the real kernel, in network namespaces of the test's own. Needs root;
//! does nothing without it.

#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "network/world.rs"]
mod world;

mod pods {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use node_agent::network::{HostPort, NetworkConfig, PodNetwork as _, Protocol, RoutedNetwork, teardown};

    use crate::world::{NODE, Namespace, OUTSIDE, Server, run};

    fn config(directory: &std::path::Path) -> NetworkConfig {
        NetworkConfig {
            node_range: "10.42.7.0/24".parse().expect("range"),
            cluster_range: "10.42.0.0/16".parse().expect("range"),
            node_address: Some(NODE),
            state_directory: directory.to_owned(),
            link_prefix: "gtest".to_owned(),
            table: "gantry-test-pods".to_owned(),
            mtu: None,
        }
    }

    fn v4(addresses: &[IpAddr]) -> Ipv4Addr {
        match addresses {
            [IpAddr::V4(address)] => *address,
            other => panic!("expected one IPv4 address, got {other:?}"),
        }
    }

    #[test]
    fn pods_talk_and_leave_nothing() {
        run(|world| async move {
            let directory = tempfile::tempdir().expect("directory");
            let config = config(directory.path());
            let network = RoutedNetwork::new(config.clone()).expect("start");
            network.recover(&[]).await.expect("recover");
            let (one, two) = (Namespace::new(), Namespace::new());
            let first = v4(&network.attach("one", &one.path()).await.expect("attach"));
            let second = v4(&network.attach("two", &two.path()).await.expect("attach"));
            assert_ne!(first, second);
            assert_eq!(v4(&network.attach("one", &one.path()).await.expect("again")), first);

            let _server = Server::start(&two, SocketAddr::new(second.into(), 80), "two");
            let seen = one.ask(SocketAddr::new(second.into(), 80));
            assert_eq!(seen, format!("two saw {first}"), "pods see each other's addresses");
            let seen = world.node.ask(SocketAddr::new(second.into(), 80));
            assert_eq!(seen, format!("two saw {NODE}"), "the host reaches pods");
            let _outside = Server::start(&world.outside, SocketAddr::new(OUTSIDE.into(), 80), "outside");
            let seen = one.ask(SocketAddr::new(OUTSIDE.into(), 80));
            assert_eq!(seen, format!("outside saw {NODE}"), "the outside sees the node");
            let _loopback = Server::start(&one, "127.0.0.1:81".parse().expect("address"), "loopback");
            assert_eq!(one.ask("127.0.0.1:81".parse().expect("address")), "loopback saw 127.0.0.1");

            // A new process finds what the old one left, even without its record.
            drop(network);
            std::fs::remove_file(directory.path().join("addresses.json")).expect("lose the record");
            let network = RoutedNetwork::new(config.clone()).expect("start again");
            network.recover(&[("two".to_owned(), two.path())]).await.expect("recover");
            assert_eq!(network.addresses("two"), [IpAddr::V4(second)]);
            assert_eq!(network.addresses("one"), [] as [IpAddr; 0], "a pod that is gone is freed");
            assert_eq!(world.links("gtest").len(), 1);

            network.detach("two").await.expect("detach");
            assert_eq!(network.addresses("two"), [] as [IpAddr; 0]);
            teardown(&config).await.expect("teardown");
            assert_eq!(world.links("gtest"), [] as [String; 0]);
            assert!(!world.tables().contains("gantry-test"), "tables: {}", world.tables());
        });
    }

    #[test]
    fn an_address_is_free_once_the_link_is_gone() {
        run(|world| async move {
            let directory = tempfile::tempdir().expect("directory");
            let mut config = config(directory.path());
            config.node_range = "10.42.7.0/29".parse().expect("range");
            let network = RoutedNetwork::new(config.clone()).expect("start");
            for round in 0..12 {
                let pod = Namespace::new();
                let uid = format!("pod-{round}");
                let mut links = world.watch_links();
                network.attach(&uid, &pod.path()).await.expect("attach");
                network.detach(&uid).await.expect("detach");
                drop(pod);
                links.gone("gtest").await;
            }
            teardown(&config).await.expect("teardown");
        });
    }

    #[test]
    fn host_ports_lead_to_pods() {
        run(|world| async move {
            let directory = tempfile::tempdir().expect("directory");
            let config = config(directory.path());
            let network = RoutedNetwork::new(config.clone()).expect("start");
            let pod = Namespace::new();
            let address = v4(&network.attach("pod", &pod.path()).await.expect("attach"));
            let _server = Server::start(&pod, SocketAddr::new(address.into(), 8080), "pod");
            let port = |host_ip, host_port| HostPort {
                host_ip,
                protocol: Protocol::Tcp,
                host_port,
                container_port: 8080,
            };
            let ports = [port(None, 80), port(Some(Ipv4Addr::LOCALHOST), 81)];
            network.publish("pod", &ports).await.expect("publish");
            let on_node = |port| SocketAddr::new(NODE.into(), port);
            let local = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            assert_eq!(world.outside.ask(on_node(80)), format!("pod saw {OUTSIDE}"));
            assert_eq!(world.node.ask(on_node(80)), format!("pod saw {NODE}"));
            assert_eq!(world.node.ask(local(80)), format!("pod saw {NODE}"));
            assert_eq!(world.node.ask(local(81)), format!("pod saw {NODE}"));
            assert!(pod.ask(on_node(80)).starts_with("pod saw "), "a pod reaches itself");
            assert!(world.outside.try_ask(on_node(81)).is_err(), "81 is on localhost only");

            // The host's own loopback stays out of the pods' reach.
            let _private = Server::start(&world.node, local(90), "private");
            pod.route_loopback_out();
            assert!(pod.try_ask(local(90)).is_err());

            network.detach("pod").await.expect("detach");
            assert!(world.node.try_ask(local(81)).is_err());
            teardown(&config).await.expect("teardown");
        });
    }
}

mod services {
    use std::collections::BTreeMap;
    use std::io::ErrorKind;
    use std::net::{IpAddr, SocketAddr};
    use std::sync::Arc;

    use client::key::Key;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use node_agent::network::{NetworkConfig, PodNetwork as _, RoutedNetwork, teardown};
    use node_agent::proxy::rules::service_elements;
    use node_agent::proxy::table::ServiceTable;

    use crate::world::{NODE, Namespace, OUTSIDE, Server, UdpClient, UdpServer, World, run};

    const TABLE: &str = "gantry-test-services";

    struct Pod {
        namespace: Namespace,
        address: IpAddr,
        _server: Server,
        _udp: UdpServer,
    }

    /// A node with three pods that serve on 8080 (TCP) and 5353 (UDP), and a proxy.
    struct Cluster {
        world: Arc<World>,
        network: RoutedNetwork,
        config: NetworkConfig,
        pods: Vec<Pod>,
        table: ServiceTable,
        _directory: tempfile::TempDir,
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("address")
    }

    impl Cluster {
        async fn new(world: Arc<World>) -> Self {
            let directory = tempfile::tempdir().expect("directory");
            let config = NetworkConfig {
                node_range: "10.42.7.0/24".parse().expect("range"),
                cluster_range: "10.42.0.0/16".parse().expect("range"),
                node_address: Some(NODE),
                state_directory: directory.path().to_owned(),
                link_prefix: "gtest".to_owned(),
                table: "gantry-test-pods".to_owned(),
                mtu: None,
            };
            let network = RoutedNetwork::new(config.clone()).expect("start");
            let mut pods = Vec::new();
            for name in ["a", "b", "c"] {
                let namespace = Namespace::new();
                let address = network.attach(name, &namespace.path()).await.expect("attach")[0];
                let _server = Server::start(&namespace, SocketAddr::new(address, 8080), name);
                let _udp = UdpServer::start(&namespace, SocketAddr::new(address, 5353), name);
                pods.push(Pod { namespace, address, _server, _udp });
            }
            let table = ServiceTable::new(TABLE, config.cluster_range).expect("table");
            Self { world, network, config, pods, table, _directory: directory }
        }

        fn elements(
            &self,
            spec: &str,
            pods: &[usize],
        ) -> Vec<(node_agent::proxy::rules::Place, node_agent::proxy::rules::Target)> {
            let endpoints: Vec<String> = pods
                .iter()
                .map(|pod| format!("{{addresses: [{}], nodeName: here}}", self.pods[*pod].address))
                .collect();
            let slice = format!(
                "metadata: {{name: s}}\naddressType: IPv4\nports: [{{name: http, port: 8080, protocol: TCP}}, \
                 {{name: dns, port: 5353, protocol: UDP}}]\nendpoints: [{}]",
                endpoints.join(", ")
            );
            let service: Service =
                serde_yaml::from_str(&format!("metadata: {{name: s}}\nspec: {spec}")).expect("service");
            let slice: EndpointSlice = serde_yaml::from_str(&slice).expect("slice");
            service_elements(&service, std::iter::once(&slice), "here")
        }

        /// Sets a service and applies, flushing what the proxy would.
        fn set(&mut self, name: &str, spec: &str, pods: &[usize]) {
            let elements = self.elements(spec, pods);
            self.table.set(Key::new("default", name), elements);
            self.apply();
        }

        fn apply(&mut self) {
            for flow in self.table.apply().expect("apply") {
                self.table.flush(&flow).expect("flush");
            }
        }

        async fn end(mut self) {
            self.table.remove().expect("remove");
            self.table.remove().expect("remove again");
            drop(self.network);
            teardown(&self.config).await.expect("teardown");
            assert!(!self.world.tables().contains("gantry-test"), "tables: {}", self.world.tables());
        }
    }

    /// How often each server answered.
    fn spread(from: &Namespace, to: SocketAddr, times: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..times {
            *counts.entry(from.ask(to)[..1].to_owned()).or_default() += 1;
        }
        counts
    }

    const WEB: &str = "{clusterIP: 10.43.0.9, ports: [{name: http, port: 80}]}";

    #[test]
    fn cluster_addresses_spread_and_refuse() {
        run(|world| async move {
            let mut cluster = Cluster::new(world).await;
            let service = at("10.43.0.9:80");
            cluster.set("web", WEB, &[0, 1, 2]);
            let client = cluster.pods[0].namespace.clone();
            assert_eq!(spread(&client, service, 60).len(), 3, "a pod reaches all, itself among them");
            assert_eq!(spread(&cluster.world.node, service, 60).len(), 3, "so does the host");
            let seen = cluster.pods[1].namespace.ask(service);
            assert!(
                !seen.ends_with(&NODE.to_string()) || seen.starts_with('b'),
                "no needless masquerade: {seen}"
            );
            assert_eq!(spread(&cluster.world.outside, service, 3).values().sum::<usize>(), 3);

            cluster.set("web", WEB, &[1]);
            assert_eq!(spread(&client, service, 20), BTreeMap::from([("b".to_owned(), 20)]));
            // A new process: no gap, same table.
            cluster.table = ServiceTable::new(TABLE, cluster.config.cluster_range).expect("table");
            assert_eq!(spread(&client, service, 2).len(), 1);
            cluster.set("web", WEB, &[1, 2]);
            assert_eq!(spread(&client, service, 40).len(), 2);

            cluster.set("web", WEB, &[]);
            for from in [&client, &cluster.world.node] {
                let error = from.try_ask(service).expect_err("nobody serves");
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                let error = from.try_ask(at("10.43.0.9:81")).expect_err("no such port");
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
            // Two services with one address: the first by name has it until it goes.
            cluster.set("also", WEB, &[0]);
            cluster.set("web", WEB, &[1]);
            assert_eq!(&client.ask(service)[..1], "a");
            cluster.table.set(Key::new("default", "also"), Vec::new());
            cluster.apply();
            assert_eq!(&client.ask(service)[..1], "b");
            cluster.end().await;
        });
    }

    #[test]
    fn node_ports_and_policies() {
        run(|world| async move {
            let mut cluster = Cluster::new(world).await;
            let spec = |policy: &str| {
                format!(
                    "{{clusterIP: 10.43.0.9, type: NodePort, externalTrafficPolicy: {policy}, \
                     ports: [{{name: http, port: 80, nodePort: 30080}}]}}"
                )
            };
            let port = SocketAddr::new(NODE.into(), 30080);
            let outside = cluster.world.outside.clone();
            let node = cluster.world.node.clone();
            let pod = cluster.pods[0].namespace.clone();
            cluster.set("web", &spec("Cluster"), &[0, 1, 2]);
            assert_eq!(spread(&outside, port, 60).len(), 3);
            assert!(outside.ask(port).ends_with(&NODE.to_string()), "answers come back this way");
            assert_eq!(spread(&node, port, 60).len(), 3);
            assert_eq!(spread(&pod, port, 60).len(), 3);
            cluster.set("web", &spec("Local"), &[1]);
            assert_eq!(outside.ask(port), format!("b saw {OUTSIDE}"), "the client's address is kept");
            assert_eq!(&pod.ask(port)[..1], "b");
            cluster.set("web", &spec("Cluster"), &[]);
            for from in [&outside, &node, &pod] {
                let error = from.try_ask(port).expect_err("nobody serves");
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
            cluster.end().await;
        });
    }

    #[test]
    fn clients_keep_their_endpoint() {
        run(|world| async move {
            let mut cluster = Cluster::new(world).await;
            let spec = "{clusterIP: 10.43.0.9, type: NodePort, sessionAffinity: ClientIP, \
                        ports: [{name: http, port: 80, nodePort: 30080}]}";
            cluster.set("web", spec, &[0, 1, 2]);
            let outside = cluster.world.outside.clone();
            for service in [at("10.43.0.9:80"), SocketAddr::new(NODE.into(), 30080)] {
                cluster.set("web", spec, &[0, 1, 2]);
                let first = spread(&outside, service, 20);
                assert_eq!(first.len(), 1, "{service} {first:?}");
                let name = first.keys().next().expect("one").clone();
                let left: Vec<usize> = (0..3).filter(|pod| ["a", "b", "c"][*pod] != name).collect();
                cluster.set("web", spec, &left);
                let then = spread(&outside, service, 20);
                assert_eq!(then.len(), 1, "{service} {then:?}");
                assert!(!then.contains_key(&name));
            }
            cluster.end().await;
        });
    }

    /// Lists and watches of services and slices; events come from the test.
    fn api(
        lists: BTreeMap<&'static str, serde_json::Value>,
        events: BTreeMap<&'static str, tokio::sync::mpsc::UnboundedReceiver<serde_json::Value>>,
    ) -> kube::Client {
        use http_body_util::{BodyExt as _, Full, StreamBody};
        type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>;
        let events = Arc::new(parking_lot::Mutex::new(events));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let plural = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let body: Body = if request.uri().query().unwrap_or_default().contains("watch=true") {
                let source = events.lock().remove(plural.as_str());
                let frames = futures::stream::unfold(source, |source| async move {
                    let mut source = source?;
                    let event = source.recv().await?;
                    Some((Ok(http_body::Frame::data(format!("{event}\n").into())), Some(source)))
                });
                StreamBody::new(frames).boxed_unsync()
            } else {
                Full::new(bytes::Bytes::from(lists[plural.as_str()].to_string())).boxed_unsync()
            };
            async move { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
        });
        client::transport::in_process(service, component_base::user::UserInfo::component("me", &[]))
    }

    /// Asks until the answer begins so; the runtime goes on meanwhile.
    async fn until(from: &Namespace, to: SocketAddr, expect: &str) {
        loop {
            let from = from.clone();
            let answer = tokio::task::spawn_blocking(move || from.try_ask(to)).await.expect("ask");
            if answer.is_ok_and(|answer| answer.starts_with(expect)) {
                return;
            }
        }
    }

    #[test]
    fn the_proxy_follows_the_api() {
        use component_base::clock::RealClock;
        use component_base::rng::Rng;
        use component_base::shutdown::Shutdown;
        use node_agent::proxy::{self, ProxyConfig};
        use serde_json::json;

        run(|world| async move {
            let mut cluster = Cluster::new(world).await;
            let slice = |pod: usize, revision: &str| {
                json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                    "metadata": {"name": "web-1", "namespace": "default", "uid": "s", "resourceVersion": revision,
                        "labels": {"kubernetes.io/service-name": "web"}},
                    "addressType": "IPv4",
                    "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
                    "endpoints": [{"addresses": [cluster.pods[pod].address.to_string()], "nodeName": "here"}],
                })
            };
            let service = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "namespace": "default", "uid": "w", "resourceVersion": "3"},
                "spec": {"clusterIP": "10.43.0.9", "ports": [{"port": 80, "protocol": "TCP"}]},
            });
            let list = |kind: &str, items: serde_json::Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": "5"}, "items": items});
            let lists = BTreeMap::from([
                ("services", list("ServiceList", json!([service]))),
                ("endpointslices", list("EndpointSliceList", json!([slice(0, "4")]))),
            ]);
            let (_services, service_events) = tokio::sync::mpsc::unbounded_channel();
            let (slices, slice_events) = tokio::sync::mpsc::unbounded_channel();
            let events = BTreeMap::from([("services", service_events), ("endpointslices", slice_events)]);
            let (clock, shutdown) = (RealClock::shared(), Shutdown::new());
            let informers = client::informer::Informers::new(
                api(lists, events),
                clock.clone(),
                Rng::seeded(1),
                shutdown.clone(),
            );
            let config = ProxyConfig {
                table: TABLE.to_owned(),
                node: "here".to_owned(),
                cluster_range: cluster.config.cluster_range,
            };
            let running = {
                let (config, informers, shutdown) = (config.clone(), informers.clone(), shutdown.clone());
                tokio::spawn(async move { proxy::run(config, &informers, clock, shutdown).await })
            };
            let (client, address) = (cluster.pods[2].namespace.clone(), at("10.43.0.9:80"));
            until(&client, address, "a").await;
            let change = slice(1, "6");
            slices.send(json!({"type": "MODIFIED", "object": change})).expect("watched");
            until(&client, address, "b").await;
            shutdown.trigger();
            running.await.expect("task").expect("proxy");
            assert_eq!(&client.ask(address)[..1], "b", "the table outlives the proxy");
            proxy::teardown(&config).expect("teardown");
            cluster.table = ServiceTable::new(TABLE, cluster.config.cluster_range).expect("table");
            cluster.end().await;
        });
    }

    #[test]
    fn stale_datagram_flows_end() {
        run(|world| async move {
            let mut cluster = Cluster::new(world).await;
            let spec = "{clusterIP: 10.43.0.9, ports: [{name: dns, port: 53, protocol: UDP}]}";
            let client = UdpClient::start(&cluster.pods[2].namespace, at("10.43.0.9:53"));
            cluster.set("dns", spec, &[0]);
            assert_eq!(client.ask().expect("answer"), "a");
            cluster.set("dns", spec, &[1]);
            assert_eq!(client.ask().expect("answer"), "b");
            cluster.set("dns", spec, &[]);
            assert!(client.ask().is_err());
            cluster.set("dns", spec, &[0]);
            // The refusal before may still be pending on the socket.
            let answer = client.ask().or_else(|_| client.ask()).expect("answer");
            assert_eq!(answer, "a");
            cluster.end().await;
        });
    }
}
