//! The service proxy: what reaches a service's address goes to one of its endpoints.

pub mod expressions;
pub mod nfnetlink;
