//! What a rule does, step by step: the nf_tables expressions this project uses. Entry point: [`Rule`].
//!
//! Registers are counted from 0 to 15, 32 bits each; a concatenated key is read from consecutive ones.

use super::nfnetlink::{Attributes, Verdict};

/// First 32-bit register in the kernel's numbering.
const REGISTER_BASE: u32 = libc::NFT_REG32_00 as u32;
/// A scratch register no concatenation uses.
const SCRATCH: u8 = 15;

/// `ct status` bit: the connection's destination was rewritten.
const IPS_DST_NAT: u32 = 1 << 5;
/// `ct state new`.
const CT_STATE_NEW: u32 = 1 << 3;
/// `RTN_LOCAL`: an address of this host.
const RTN_LOCAL: u32 = 2;

/// The loopback interface's index in every namespace.
const LOOPBACK: u32 = 1;

/// A rule under construction; every step that does not match ends it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rule(Attributes);

/// Which end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl Rule {
    /// A rule that matches everything and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The list of expressions.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.0.0
    }

    fn step(mut self, name: &str, fill: impl FnOnce(&mut Attributes)) -> Self {
        self.0.nest(1, |expression| {
            expression.text(1, name);
            expression.nest(2, fill);
        });
        self
    }

    fn payload(self, base: i32, offset: u32, length: u32, register: u8) -> Self {
        self.step("payload", |a| {
            a.u32(1, number(register));
            a.u32(2, base as u32);
            a.u32(3, offset);
            a.u32(4, length);
        })
    }

    /// Loads an address of the IPv4 header.
    pub fn load_address(self, end: End, register: u8) -> Self {
        let offset = if end == End::Source { 12 } else { 16 };
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, offset, 4, register)
    }

    /// Loads the destination port of TCP, UDP or SCTP.
    pub fn load_destination_port(self, register: u8) -> Self {
        self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, register)
    }

    /// Loads the protocol above IP.
    pub fn load_protocol(self, register: u8) -> Self {
        self.load_meta(libc::NFT_META_L4PROTO, register)
    }

    fn load_meta(self, key: i32, register: u8) -> Self {
        self.step("meta", |a| {
            a.u32(1, number(register));
            a.u32(2, key as u32);
        })
    }

    fn compare(self, equal: bool, register: u8, value: &[u8]) -> Self {
        let operation = if equal { libc::NFT_CMP_EQ } else { libc::NFT_CMP_NEQ };
        self.step("cmp", |a| {
            a.u32(1, number(register));
            a.u32(2, operation as u32);
            a.nest(3, |data| data.bytes(1, value));
        })
    }

    fn bitwise(self, register: u8, mask: [u8; 4], xor: [u8; 4]) -> Self {
        self.step("bitwise", |a| {
            a.u32(1, number(register));
            a.u32(2, number(register));
            a.u32(3, 4);
            a.nest(4, |data| data.bytes(1, &mask));
            a.nest(5, |data| data.bytes(1, &xor));
        })
    }

    /// Only packets whose address is (or is not) in a range.
    pub fn if_address(self, end: End, inside: bool, network: std::net::Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        let masked = u32::from(network) & mask;
        self.load_address(end, SCRATCH).bitwise(SCRATCH, mask.to_be_bytes(), [0; 4]).compare(
            inside,
            SCRATCH,
            &masked.to_be_bytes(),
        )
    }

    /// Only packets whose address is (or is not) one of this host.
    pub fn if_local(self, end: End, local: bool) -> Self {
        // NFTA_FIB_F_SADDR and NFTA_FIB_F_DADDR.
        let flags = if end == End::Source { 1 } else { 2 };
        self.step("fib", |a| {
            a.u32(1, number(SCRATCH));
            a.u32(2, 3); // NFT_FIB_RESULT_ADDRTYPE
            a.u32(3, flags);
        })
        .compare(local, SCRATCH, &RTN_LOCAL.to_ne_bytes())
    }

    /// Only packets that came in by another interface than loopback.
    pub fn if_not_from_loopback(self) -> Self {
        self.load_meta(libc::NFT_META_IIF, SCRATCH).compare(false, SCRATCH, &LOOPBACK.to_ne_bytes())
    }

    /// Only packets that begin a connection.
    pub fn if_new_connection(self) -> Self {
        let new = CT_STATE_NEW.to_ne_bytes();
        self.step("ct", |a| {
            a.u32(1, number(SCRATCH));
            a.u32(2, libc::NFT_CT_STATE as u32);
        })
        .bitwise(SCRATCH, new, [0; 4])
        .compare(false, SCRATCH, &[0; 4])
    }

    /// Only connections whose destination was rewritten.
    pub fn if_destination_rewritten(self) -> Self {
        let bit = IPS_DST_NAT.to_ne_bytes();
        self.step("ct", |a| {
            a.u32(1, number(SCRATCH));
            a.u32(2, libc::NFT_CT_STATUS as u32);
        })
        .bitwise(SCRATCH, bit, [0; 4])
        .compare(false, SCRATCH, &[0; 4])
    }

    /// Only packets with any of these mark bits.
    pub fn if_mark(self, bits: u32) -> Self {
        self.load_meta(libc::NFT_META_MARK, SCRATCH)
            .bitwise(SCRATCH, bits.to_ne_bytes(), [0; 4])
            .compare(false, SCRATCH, &[0; 4])
    }

    /// Sets mark bits.
    pub fn set_mark(self, bits: u32) -> Self {
        let keep = (!bits).to_ne_bytes();
        self.load_meta(libc::NFT_META_MARK, SCRATCH).bitwise(SCRATCH, keep, bits.to_ne_bytes()).step(
            "meta",
            |a| {
                a.u32(2, libc::NFT_META_MARK as u32);
                a.u32(3, number(SCRATCH));
            },
        )
    }

    /// A random number below `bound`, host-endian.
    pub fn load_random(self, bound: u32, register: u8) -> Self {
        self.step("numgen", |a| {
            a.u32(1, number(register));
            a.u32(2, bound);
            a.u32(3, libc::NFT_NG_RANDOM as u32);
            a.u32(4, 0);
        })
    }

    /// Only packets whose key is in the set.
    pub fn if_in_set(self, set: &str, key: u8) -> Self {
        self.step("lookup", |a| {
            a.text(1, set);
            a.u32(2, number(key));
        })
    }

    /// Loads what a map has for the key; a missing key ends the rule.
    pub fn load_from_map(self, map: &str, key: u8, data: u8) -> Self {
        self.step("lookup", |a| {
            a.text(1, map);
            a.u32(2, number(key));
            a.u32(3, number(data));
        })
    }

    /// Follows a verdict map; a missing key ends the rule.
    pub fn follow_map(self, map: &str, key: u8) -> Self {
        self.step("lookup", |a| {
            a.text(1, map);
            a.u32(2, number(key));
            a.u32(3, libc::NFT_REG_VERDICT as u32);
        })
    }

    /// Adds an element to a dynamic map, or renews it if it is there.
    pub fn remember(self, map: &str, key: u8, data: u8, timeout_seconds: u64) -> Self {
        self.step("dynset", |a| {
            a.text(1, map);
            a.u32(3, libc::NFT_DYNSET_OP_UPDATE as u32);
            a.u32(4, number(key));
            a.u32(5, number(data));
            a.u64(6, timeout_seconds.saturating_mul(1000));
        })
    }

    /// Removes an element of a dynamic map; the kernel wants some data register although it does not read it.
    pub fn forget(self, map: &str, key: u8, data: u8) -> Self {
        self.step("dynset", |a| {
            a.text(1, map);
            a.u32(3, 2); // NFT_DYNSET_OP_DELETE
            a.u32(4, number(key));
            a.u32(5, number(data));
        })
    }

    /// Rewrites the destination to the address and port in two registers. Ends the chain.
    pub fn rewrite_destination(self, address: u8, port: u8) -> Self {
        self.step("nat", |a| {
            a.u32(1, libc::NFT_NAT_DNAT as u32);
            a.u32(2, libc::NFPROTO_IPV4 as u32);
            a.u32(3, number(address));
            a.u32(5, number(port));
        })
    }

    /// Rewrites the source to this host's address. Ends the chain.
    pub fn masquerade(self) -> Self {
        self.step("masq", |_| {})
    }

    /// Only packets of one protocol.
    pub fn if_protocol(self, protocol: u8) -> Self {
        self.load_protocol(SCRATCH).compare(true, SCRATCH, &[protocol])
    }

    /// Answers with ICMP port unreachable. Ends the chain.
    pub fn reject(self) -> Self {
        self.step("reject", |a| {
            a.u32(1, libc::NFT_REJECT_ICMP_UNREACH as u32);
            a.u8(2, 3);
        })
    }

    /// Answers a TCP segment with a reset. Ends the chain.
    pub fn reset(self) -> Self {
        self.step("reject", |a| {
            a.u32(1, libc::NFT_REJECT_TCP_RST as u32);
            a.u8(2, 0);
        })
    }

    /// A fixed verdict.
    pub fn verdict(self, verdict: &Verdict) -> Self {
        self.step("immediate", |a| {
            a.u32(1, libc::NFT_REG_VERDICT as u32);
            a.nest(2, |data| verdict.encode(data));
        })
    }
}

fn number(register: u8) -> u32 {
    REGISTER_BASE + u32::from(register)
}
