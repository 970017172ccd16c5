//! Pod network and service proxy against the real kernel, in network namespaces of the test's own. Needs root;
//! does nothing without it.

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
