//! The service proxy: what reaches a service's address goes to one of its endpoints. Entry points: [`run`] and
//! [`teardown`].
//!
//! `rules` decides, purely, which map elements a service needs; `table` keeps what is in the kernel and
//! turns a change of services into a change of elements; `watch` follows the API. The cost of a change
//! follows the change, never the number of services. Only the configured table is touched, and each
//! change is one transaction. The table outlives the process: traffic flows on while the agent restarts,
//! and a new process replaces the table in one step.

pub mod conntrack;
pub mod expressions;
pub mod nfnetlink;
pub mod rules;
pub mod table;
pub mod watch;

pub use watch::{ProxyConfig, run, teardown};
