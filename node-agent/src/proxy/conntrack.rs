//! Forgetting connections that must not go on. Entry point: [`StaleFlow::flush`].
//!
//! The kernel filters (Linux 5.8), so the cost does not include carrying its table to us.

use std::io;
use std::net::Ipv4Addr;

use super::nfnetlink::{Attributes, NetfilterError, NetfilterSocket};
use super::rules::Frontend;

/// `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const FILTER: u16 = 25;
/// Which parts of a tuple count (`CTA_FILTER_F_*`).
const IP_SOURCE: u32 = 1 << 0;
const IP_DESTINATION: u32 = 1 << 1;
const PROTOCOL: u32 = 1 << 3;
const PORT_DESTINATION: u32 = 1 << 5;

/// Flows to a frontend, all of them or those that went to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleFlow {
    /// What clients address.
    pub frontend: Frontend,
    /// Where they were sent.
    pub endpoint: Option<Ipv4Addr>,
}

impl StaleFlow {
    /// Removes them from connection tracking. None being there is fine.
    pub fn flush(&self, socket: &mut NetfilterSocket) -> Result<(), NetfilterError> {
        let kind = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | DELETE;
        match socket.request(kind, 0, libc::NFPROTO_IPV4 as u8, &self.filter()) {
            Err(NetfilterError::Refused { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn filter(&self) -> Attributes {
        let mut body = Attributes::default();
        let frontend = self.frontend;
        let mut original = PROTOCOL | PORT_DESTINATION;
        body.nest(TUPLE_ORIGINAL, |tuple| {
            if let Some(address) = frontend.address {
                original |= IP_DESTINATION;
                tuple.nest(1, |ip| ip.bytes(2, &address.octets()));
            }
            tuple.nest(2, |protocol| {
                protocol.u8(1, frontend.protocol.number());
                protocol.bytes(3, &frontend.port.to_be_bytes());
            });
        });
        let mut reply = 0;
        if let Some(endpoint) = self.endpoint {
            reply |= IP_SOURCE;
            body.nest(TUPLE_REPLY, |tuple| tuple.nest(1, |ip| ip.bytes(1, &endpoint.octets())));
        }
        body.nest(FILTER, |filter| {
            filter.bytes(1, &original.to_ne_bytes());
            filter.bytes(2, &reply.to_ne_bytes());
        });
        body
    }
}
