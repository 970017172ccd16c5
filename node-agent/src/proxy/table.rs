//! The proxy's table in the kernel. Entry point: [`ServiceTable`].
//!
//! Remembers which service asked for which element, so that a service's change becomes a change of just
//! those elements, and of two services that claim one frontend the first by name has it until it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use client::key::Key as ServiceKey;

use super::conntrack::StaleFlow;
use super::expressions::{End, Rule};
use super::nfnetlink::{Batch, Hook, NetfilterError, NetfilterSocket, RawElement, Verdict};
use super::rules::{Chain, Endpoint, Frontend, Key, Place, Plane, Set, Target, raw};
use crate::network::{Ipv4Range, Protocol};

/// Packet mark of connections that must get this node's address as their source.
const MASQUERADE_MARK: u32 = 0x0040_0000;
const DESTINATION_NAT: i32 = -100;
const SOURCE_NAT: i32 = 100;

/// Who wants what at one place, ordered by service.
type Claims = Vec<(Arc<ServiceKey>, Target)>;

/// What is wanted, and what is in the kernel.
#[derive(Debug)]
pub struct ServiceTable {
    socket: NetfilterSocket,
    name: String,
    pods: Ipv4Range,
    claims: BTreeMap<Place, Claims>,
    places: BTreeMap<Arc<ServiceKey>, Vec<Place>>,
    /// Places touched since the last transaction, with what the kernel has there.
    touched: BTreeMap<Place, Option<Target>>,
    /// Chains in the kernel; they stay, being few.
    chains: BTreeSet<Chain>,
    /// The kernel has the table as remembered here.
    established: bool,
}

impl ServiceTable {
    /// Opens the socket in the calling thread's network namespace; the first [`Self::apply`] replaces the table.
    pub fn new(name: &str, pods: Ipv4Range) -> Result<Self, NetfilterError> {
        Ok(Self {
            socket: NetfilterSocket::open()?,
            name: name.to_owned(),
            pods,
            claims: BTreeMap::new(),
            places: BTreeMap::new(),
            touched: BTreeMap::new(),
            chains: BTreeSet::new(),
            established: false,
        })
    }

    /// Notes what a service needs from now on; nothing if it is gone.
    pub fn set(&mut self, service: ServiceKey, elements: Vec<(Place, Target)>) {
        let service = Arc::new(service);
        for place in self.places.remove(&service).unwrap_or_default() {
            self.unclaim(&service, place);
        }
        let mut places: Vec<Place> = elements.iter().map(|(place, _)| *place).collect();
        places.sort_unstable();
        places.dedup();
        for (place, target) in elements {
            self.claim(&service, place, target);
        }
        if !places.is_empty() {
            self.places.insert(service, places);
        }
    }

    fn touch(&mut self, place: Place) {
        let now = self.claims.get(&place).and_then(|claims| claims.first()).map(|(_, target)| *target);
        self.touched.entry(place).or_insert(now);
    }

    fn unclaim(&mut self, service: &ServiceKey, place: Place) {
        self.touch(place);
        if let Some(claims) = self.claims.get_mut(&place) {
            claims.retain(|(owner, _)| **owner != *service);
            if claims.is_empty() {
                self.claims.remove(&place);
            }
        }
    }

    fn claim(&mut self, service: &Arc<ServiceKey>, place: Place, target: Target) {
        self.touch(place);
        let claims = self.claims.entry(place).or_default();
        match claims.binary_search_by(|(owner, _)| owner.cmp(service)) {
            Ok(at) => claims[at].1 = target,
            Err(at) => claims.insert(at, (Arc::clone(service), target)),
        }
    }

    fn wanted(&self, place: &Place) -> Option<Target> {
        self.claims.get(place).and_then(|claims| claims.first()).map(|(_, target)| *target)
    }

    /// Brings the kernel to what was noted, in one transaction; answers which UDP flows are stale now.
    /// When the kernel refuses a change, the next call replaces the whole table.
    pub fn apply(&mut self) -> Result<Vec<StaleFlow>, NetfilterError> {
        let touched = std::mem::take(&mut self.touched);
        let batch = if self.established { self.difference(&touched) } else { self.whole() };
        self.established = false;
        self.socket.apply(batch)?;
        self.established = true;
        Ok(self.stale_flows(&touched))
    }

    /// Forgets which flows are stale with each connection-tracking entry it removes.
    pub fn flush(&mut self, flow: &StaleFlow) -> Result<(), NetfilterError> {
        flow.flush(&mut self.socket)
    }

    /// Removes the table.
    pub fn remove(&mut self) -> Result<(), NetfilterError> {
        let mut batch = Batch::new(&self.name);
        batch.add_table();
        batch.delete_table();
        self.established = false;
        self.socket.apply(batch)
    }

    fn difference(&mut self, touched: &BTreeMap<Place, Option<Target>>) -> Batch {
        let mut deleted: BTreeMap<Set, Vec<RawElement>> = BTreeMap::new();
        let mut added: BTreeMap<Set, Vec<RawElement>> = BTreeMap::new();
        let mut batch = Batch::new(&self.name);
        for ((set, key), old) in touched {
            let new = self.wanted(&(*set, *key));
            if new == *old {
                continue;
            }
            if let Some(old) = old {
                deleted.entry(*set).or_default().push(raw(key, old));
            }
            if let Some(new) = new {
                added.entry(*set).or_default().push(raw(key, &new));
                self.add_chain_of(&mut batch, new);
            }
        }
        for (set, elements) in deleted {
            batch.delete_elements(set.name(), &elements);
        }
        for (set, elements) in added {
            batch.add_elements(set.name(), &elements);
        }
        batch
    }

    fn whole(&mut self) -> Batch {
        let mut batch = Batch::new(&self.name);
        batch.add_table();
        batch.delete_table();
        batch.add_table();
        for set in Set::all() {
            batch.add_set(&set.definition());
        }
        self.chains.clear();
        let mut elements: BTreeMap<Set, Vec<RawElement>> = BTreeMap::new();
        let mut chains = BTreeSet::new();
        for ((set, key), claims) in &self.claims {
            if let Some((_, target)) = claims.first() {
                elements.entry(*set).or_default().push(raw(key, target));
                if let Target::Chain(chain) = target {
                    chains.insert(*chain);
                }
            }
        }
        for chain in chains {
            self.add_chain_of(&mut batch, Target::Chain(chain));
        }
        for (set, elements) in elements {
            batch.add_elements(set.name(), &elements);
        }
        // Base chains last: the sets they read are there, and traffic meets a complete table.
        self.add_base(&mut batch);
        batch
    }

    fn add_chain_of(&mut self, batch: &mut Batch, target: Target) {
        let Target::Chain(chain) = target else { return };
        if self.chains.insert(chain) {
            let name = chain.to_string();
            batch.add_chain(&name, None);
            for rule in chain_rules(chain, self.pods) {
                batch.add_rule(&name, &rule);
            }
        }
    }

    fn add_base(&self, batch: &mut Batch) {
        batch.add_chain("external", None);
        batch.add_rule("external", &dispatch(Plane::ServicesExternal));
        batch.add_rule("external", &dispatch(Plane::NodePortsExternal));
        batch.add_chain("services", None);
        let from_outside = if_outside(Rule::new(), self.pods).verdict(&Verdict::Jump("external".to_owned()));
        batch.add_rule("services", &from_outside);
        batch.add_rule("services", &dispatch(Plane::Services));
        batch.add_rule("services", &dispatch(Plane::NodePorts));
        batch.add_chain("refusals", None);
        for rule in refusals() {
            batch.add_rule("refusals", &rule);
        }

        let nat = |number, priority| Some(Hook { kind: "nat", number, priority });
        let to_services = Rule::new().verdict(&Verdict::Jump("services".to_owned()));
        for (name, hook) in [("prerouting", libc::NF_INET_PRE_ROUTING), ("output", libc::NF_INET_LOCAL_OUT)] {
            batch.add_chain(name, nat(hook, DESTINATION_NAT));
            batch.add_rule(name, &to_services);
        }
        batch.add_chain("postrouting", nat(libc::NF_INET_POST_ROUTING, SOURCE_NAT));
        let marked = Rule::new().if_mark(MASQUERADE_MARK).if_destination_rewritten().masquerade();
        batch.add_rule("postrouting", &marked);
        let hairpin = Rule::new()
            .if_destination_rewritten()
            .load_address(End::Source, 0)
            .load_address(End::Destination, 1)
            .if_in_set(Set::Hairpin.name(), 0)
            .masquerade();
        batch.add_rule("postrouting", &hairpin);
        let to_refusals = Rule::new().if_new_connection().verdict(&Verdict::Jump("refusals".to_owned()));
        for (name, number) in [
            ("filter-input", libc::NF_INET_LOCAL_IN),
            ("filter-forward", libc::NF_INET_FORWARD),
            ("filter-output", libc::NF_INET_LOCAL_OUT),
        ] {
            batch.add_chain(name, Some(Hook { kind: "filter", number, priority: 0 }));
            batch.add_rule(name, &to_refusals);
        }
    }

    /// UDP has no end of connection: flows of frontends whose endpoint went, and flows that began before
    /// a frontend led anywhere, must be forgotten or they go on as before.
    fn stale_flows(&self, touched: &BTreeMap<Place, Option<Target>>) -> Vec<StaleFlow> {
        let mut before: BTreeSet<(Frontend, Endpoint)> = BTreeSet::new();
        let mut after: BTreeSet<(Frontend, Endpoint)> = BTreeSet::new();
        let mut opened: BTreeSet<Frontend> = BTreeSet::new();
        for (place, old) in touched {
            let (frontend, new) = match place {
                (_, Key::Frontend(frontend) | Key::Index(frontend, _)) => (frontend, self.wanted(place)),
                _ => continue,
            };
            if frontend.protocol != Protocol::Udp {
                continue;
            }
            if let Some(Target::Endpoint(endpoint)) = old {
                before.insert((*frontend, *endpoint));
            }
            if let Some(Target::Endpoint(endpoint)) = new {
                after.insert((*frontend, endpoint));
            }
            if matches!(new, Some(Target::Chain(_))) && !matches!(old, Some(Target::Chain(_))) {
                opened.insert(*frontend);
            }
        }
        let gone = before.difference(&after);
        let gone = gone
            .map(|(frontend, endpoint)| StaleFlow { frontend: *frontend, endpoint: Some(endpoint.address) });
        gone.chain(opened.into_iter().map(|frontend| StaleFlow { frontend, endpoint: None })).collect()
    }
}

/// Only packets from neither a pod nor this host.
fn if_outside(rule: Rule, pods: Ipv4Range) -> Rule {
    rule.if_address(End::Source, false, pods.network(), pods.prefix()).if_local(End::Source, false)
}

/// First register of a plane's frontend: address (1), protocol (2), port (3). A client's address goes before.
fn frontend_register(plane: Plane) -> u8 {
    if plane.by_address() { 1 } else { 2 }
}

fn load_frontend(rule: Rule, plane: Plane) -> Rule {
    let rule = if plane.by_address() { rule.load_address(End::Destination, 1) } else { rule };
    rule.load_protocol(2).load_destination_port(3)
}

fn dispatch(plane: Plane) -> Rule {
    let rule = if plane.by_address() { Rule::new() } else { if_node_address(Rule::new()) };
    load_frontend(rule, plane).follow_map(Set::Dispatch(plane).name(), frontend_register(plane))
}

/// A rewritten packet from 127.0.0.1 could not leave the host, so node ports are not served there.
fn if_node_address(rule: Rule) -> Rule {
    rule.if_local(End::Destination, true).if_address(End::Destination, false, Ipv4Addr::new(127, 0, 0, 0), 8)
}

/// What no chain has taken: frontends without endpoints, and other ports of services' addresses. TCP gets a
/// reset: a local client holds its socket's lock while it connects and would miss an ICMP message, then
/// wait a second for its next try.
fn refusals() -> Vec<Rule> {
    let matches: [fn(Rule) -> Rule; 3] = [
        |rule| load_frontend(rule, Plane::Services).if_in_set(Set::Reject.name(), 1),
        |rule| {
            load_frontend(if_node_address(rule), Plane::NodePorts).if_in_set(Set::RejectNodePorts.name(), 2)
        },
        |rule| rule.load_address(End::Destination, 1).if_in_set(Set::ClusterAddresses.name(), 1),
    ];
    let both = |condition: fn(Rule) -> Rule| {
        let tcp = Rule::new().if_protocol(Protocol::Tcp.number());
        [condition(tcp).reset(), condition(Rule::new()).reject()]
    };
    matches.into_iter().flat_map(both).collect()
}

fn chain_rules(chain: Chain, pods: Ipv4Range) -> Vec<Rule> {
    let plane = chain.plane;
    let key = frontend_register(plane);
    let endpoints = Set::Endpoints(plane).name();
    let mut rules = Vec::new();
    if !plane.external() {
        // The answer must come back through this node.
        rules.push(if_outside(Rule::new(), pods).set_mark(MASQUERADE_MARK));
    }
    let Some(seconds) = chain.affinity_seconds else {
        let pick = load_frontend(Rule::new(), plane).load_random(chain.endpoints, 4);
        rules.push(pick.load_from_map(endpoints, key, 6).rewrite_destination(6, 7));
        return rules;
    };
    let (client, memory) = (key - 1, Set::Remembered(plane).name());
    let begin = || load_frontend(Rule::new().load_address(End::Source, client), plane);
    rules.push(
        begin()
            .load_from_map(memory, client, 4)
            .if_in_set(Set::Allowed(plane).name(), key)
            .remember(memory, client, 4, seconds.into())
            .rewrite_destination(4, 5),
    );
    // An element that is there would keep its old endpoint, so it is forgotten first.
    rules.push(
        begin()
            .load_random(chain.endpoints, 4)
            .load_from_map(endpoints, key, 6)
            .forget(memory, client, 6)
            .remember(memory, client, 6, seconds.into())
            .rewrite_destination(6, 7),
    );
    rules
}
