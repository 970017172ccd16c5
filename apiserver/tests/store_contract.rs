//! One contract for every storage engine, and what only an engine with a disk can promise.
//!
//! `contract` runs the same cases against each engine of [`fixture::engines`]; `model` compares random
//! histories with snapshots kept the naive way; `durability` kills, fills and damages.

#![expect(clippy::expect_used, reason = "a test ends where its set-up fails")]

#[path = "store_contract/contract.rs"]
mod contract;
#[path = "store_contract/durability.rs"]
mod durability;
#[path = "store_contract/fixture.rs"]
mod fixture;
#[path = "store_contract/model.rs"]
mod model;
