//! What a Kubernetes object is: no IO, no async, no clock.
//!
//! Reading order: `status` (the one error), `names`, `object`, `kinds` (THE table), `schema` and its
//! walks, `strategy` (rules a kind adds), the small value languages, patches, codecs.

pub mod cel;
pub mod changes;
pub mod codec;
pub mod cron;
pub mod custom;
pub mod defaulting;
pub mod jsonpath;
pub mod kinds;
pub mod limit_ranger;
pub mod names;
pub mod object;
pub mod patch;
pub mod pem;
pub mod pod_resources;
pub mod pod_security;
pub mod pruning;
pub mod quantity;
pub mod quota;
pub mod rbac;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategies;
pub mod strategy;
pub mod table;
pub mod three_way;
pub mod time;
pub mod validation;

pub use codec::{Decoded, decode_object};
pub use kinds::{Kind, KindTable};
pub use pruning::FieldValidation;
pub use status::{Cause, Reason, Status};
