//! Service addresses and node ports: handed out in memory, race-free, rebuilt from the store at start.
//!
//! Entry points: [`Allocators::reserve`] before a write and [`Allocators::release`] after a delete.
//! Invariant: a value is in the taken set from before the write that uses it until after the write that
//! ends its use, so two services never get the same one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use api::{Cause, Kind};
use component_base::rng::Rng;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Node ports, upstream's default range.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// An IPv4 range such as 10.43.0.0/16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Range {
    network: u32,
    prefix: u8,
}

impl Ipv4Range {
    /// From a network and a prefix length of 1 to 30; host bits are cleared.
    pub fn new(network: Ipv4Addr, prefix: u8) -> Option<Self> {
        (1..=30).contains(&prefix).then(|| {
            let mask = u32::MAX << (32 - prefix);
            Self { network: u32::from(network) & mask, prefix }
        })
    }

    /// From `10.43.0.0/16`.
    pub fn parse(text: &str) -> Option<Self> {
        let (network, prefix) = text.split_once('/')?;
        Self::new(network.parse().ok()?, prefix.parse().ok()?)
    }

    /// How many addresses may be handed out: all but the network's own and the broadcast.
    fn usable(self) -> u32 {
        (1_u32 << (32 - self.prefix)) - 2
    }

    /// The address `number` steps after the network's own.
    pub fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network.wrapping_add(number))
    }

    fn offset(self, address: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(address).checked_sub(self.network)?;
        (1..=self.usable()).contains(&offset).then_some(offset)
    }
}

impl std::fmt::Display for Ipv4Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

#[derive(Debug, Default)]
struct Taken {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<u16>,
}

/// What is handed out.
pub(crate) struct Allocators {
    range: Ipv4Range,
    taken: Arc<Mutex<Taken>>,
}

/// Values taken for a write that is under way; given back unless the write succeeds.
pub(crate) struct Reservation {
    taken: Arc<Mutex<Taken>>,
    new: Taken,
    /// Values the object had and has no longer.
    left: Taken,
    kept: bool,
}

impl Reservation {
    /// The write succeeded.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let give_back = if self.kept { &self.left } else { &self.new };
        let mut taken = self.taken.lock();
        for address in &give_back.addresses {
            taken.addresses.remove(address);
        }
        for port in &give_back.ports {
            taken.ports.remove(port);
        }
    }
}

impl Allocators {
    /// Allocators over a range in which these services exist.
    pub(crate) fn new<'a>(range: Ipv4Range, services: impl Iterator<Item = &'a Value>) -> Self {
        let mut taken = Taken::default();
        for service in services {
            let used = used(service);
            taken.addresses.extend(used.addresses);
            taken.ports.extend(used.ports);
        }
        Self { range, taken: Arc::new(Mutex::new(taken)) }
    }

    /// Gives a service the addresses and ports it needs and writes them into it; other kinds need none.
    /// `old` is the stored object of an update.
    pub(crate) fn reserve(
        &self,
        kind: &Kind,
        object: &mut Value,
        old: Option<&Value>,
        rng: &Rng,
    ) -> Result<Reservation, Vec<Cause>> {
        let mut reservation = Reservation {
            taken: Arc::clone(&self.taken),
            new: Taken::default(),
            left: Taken::default(),
            kept: false,
        };
        if !kind.strategy.takes_addresses() {
            return Ok(reservation);
        }
        let had = old.map(used).unwrap_or_default();
        let mut taken = self.taken.lock();
        let (range, new) = (self.range, &mut reservation.new);
        let filled = Handout { range, rng, had: &had, taken: &mut taken, new }.fill(object);
        drop(taken);
        filled.map_err(|cause| vec![cause])?;
        let has = used(object);
        reservation.left.addresses = had.addresses.difference(&has.addresses).copied().collect();
        reservation.left.ports = had.ports.difference(&has.ports).copied().collect();
        Ok(reservation)
    }

    /// A deleted object's values are free again.
    pub(crate) fn release(&self, kind: &Kind, object: &Value) {
        if kind.strategy.takes_addresses() {
            drop(Reservation {
                taken: Arc::clone(&self.taken),
                new: used(object),
                left: Taken::default(),
                kept: false,
            });
        }
    }
}

/// One service being given what it needs.
struct Handout<'a> {
    range: Ipv4Range,
    rng: &'a Rng,
    /// What the service had before.
    had: &'a Taken,
    /// What anybody has.
    taken: &'a mut Taken,
    /// What is taken by this write.
    new: &'a mut Taken,
}

impl Handout<'_> {
    fn fill(&mut self, service: &mut Value) -> Result<(), Cause> {
        let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
        if kind == "ExternalName" {
            return Ok(());
        }
        self.fill_address(service)?;
        if kind == "NodePort" || kind == "LoadBalancer" {
            self.fill_ports(service)?;
        }
        Ok(())
    }

    fn fill_address(&mut self, service: &mut Value) -> Result<(), Cause> {
        let wanted = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        let text = match wanted.as_str() {
            "" => self.free_address()?.to_string(),
            "None" => wanted,
            _ => {
                self.claim_address(&wanted)?;
                wanted
            }
        };
        let spec = api::object::section(service, "spec");
        spec.insert("clusterIP".to_owned(), text.as_str().into());
        spec.insert("clusterIPs".to_owned(), json!([text]));
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
        spec.entry("ipFamilyPolicy").or_insert_with(|| "SingleStack".into());
        Ok(())
    }

    /// Takes an address; false when somebody has it.
    fn take_address(&mut self, address: Ipv4Addr) -> bool {
        self.taken.addresses.insert(address) && self.new.addresses.insert(address)
    }

    /// Takes a port; false when somebody has it.
    fn take_port(&mut self, port: u16) -> bool {
        self.taken.ports.insert(port) && self.new.ports.insert(port)
    }

    fn free_address(&mut self) -> Result<Ipv4Addr, Cause> {
        let range = self.range;
        let usable = range.usable();
        // The first addresses are left to services that ask for one (KEP-3070): at least 16, at most 256.
        let reserved =
            (usable / 16).clamp(16.min(usable.saturating_sub(1)), 256.min(usable.saturating_sub(1)));
        let upper = usable - reserved;
        let start = u32::try_from(self.rng.below(u64::from(upper))).unwrap_or_default();
        let high = (0..upper).map(|step| reserved + 1 + (start + step) % upper);
        let low = 1..=reserved;
        high.chain(low)
            .map(|offset| range.address(offset))
            .find(|address| self.take_address(*address))
            .ok_or_else(|| {
                let detail = "failed to allocate a serviceIP: range is full";
                Cause::invalid("spec.clusterIPs[0]", &json!([]), detail)
            })
    }

    fn claim_address(&mut self, wanted: &str) -> Result<(), Cause> {
        let refuse = |detail: String| {
            Err(Cause::invalid(
                "spec.clusterIPs",
                &json!([wanted]),
                &format!("failed to allocate IP {wanted}: {detail}"),
            ))
        };
        let Ok(address) = wanted.parse::<Ipv4Addr>() else {
            return Err(Cause::invalid(
                "spec.clusterIPs[0]",
                &json!(wanted),
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ));
        };
        if self.had.addresses.contains(&address) {
            return Ok(());
        }
        if self.range.offset(address).is_none() {
            return refuse(format!(
                "the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {}",
                self.range
            ));
        }
        if !self.take_address(address) {
            return refuse("provided IP is already allocated".to_owned());
        }
        Ok(())
    }

    fn fill_ports(&mut self, service: &mut Value) -> Result<(), Cause> {
        // One number may serve the same port over TCP and UDP within one service.
        let mut within: BTreeSet<u16> = BTreeSet::new();
        let ports = service["spec"].get_mut("ports").and_then(Value::as_array_mut);
        for (at, port) in ports.into_iter().flatten().enumerate() {
            let field = format!("spec.ports[{at}].nodePort");
            let number = match port["nodePort"].as_u64().unwrap_or_default() {
                0 => self.free_port().ok_or_else(|| {
                    Cause::invalid(field.as_str(), &json!(0), "failed to allocate a nodePort: range is full")
                })?,
                sent => self.claim_port(sent, &field, &within)?,
            };
            within.insert(number);
            port["nodePort"] = number.into();
        }
        Ok(())
    }

    fn free_port(&mut self) -> Option<u16> {
        let (low, high) = (u64::from(*NODE_PORTS.start()), u64::from(*NODE_PORTS.end()));
        let count = high - low + 1;
        let start = self.rng.below(count);
        (0..count)
            .filter_map(|step| u16::try_from(low + (start + step) % count).ok())
            .find(|port| self.take_port(*port))
    }

    fn claim_port(&mut self, sent: u64, field: &str, within: &BTreeSet<u16>) -> Result<u16, Cause> {
        let refuse = |detail: &str| Err(Cause::invalid(field, &json!(sent), detail));
        let Some(number) = u16::try_from(sent).ok().filter(|n| NODE_PORTS.contains(n)) else {
            return refuse(
                "provided port is not in the valid range. The range of valid ports is 30000-32767",
            );
        };
        if self.had.ports.contains(&number) || within.contains(&number) || self.take_port(number) {
            return Ok(number);
        }
        refuse("provided port is already allocated")
    }
}

/// What a service uses.
fn used(service: &Value) -> Taken {
    let spec = &service["spec"];
    let mut taken = Taken::default();
    let listed = spec["clusterIPs"].as_array().into_iter().flatten();
    for text in listed.chain([&spec["clusterIP"]]).filter_map(Value::as_str) {
        taken.addresses.extend(text.parse::<Ipv4Addr>());
    }
    for port in spec["ports"].as_array().into_iter().flatten() {
        let number = port["nodePort"].as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
        taken.ports.extend(number);
    }
    let health = spec["healthCheckNodePort"].as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    taken.ports.extend(health);
    taken
}

#[cfg(test)]
mod tests;
