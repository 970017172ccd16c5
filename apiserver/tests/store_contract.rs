//! One contract for every storage engine, and what only an engine with a disk can promise.
//!
//! `contract` runs the same cases against each engine of [`fixture::engines`]; `model` compares random
//! histories with snapshots kept the naive way; `durability` kills and fills; `damage` damages every part of
//! the files; `encryption` has values sealed, keys changed and lost; `kills` kills again and again; `snapshots` saves and restores; `etcd` has etcd go away, others write to it and its limits met.

#![expect(clippy::expect_used, reason = "a test ends where its set-up fails")]

#[path = "store_contract/contract.rs"]
mod contract;
#[path = "store_contract/damage.rs"]
mod damage;
#[path = "store_contract/durability.rs"]
mod durability;
#[path = "store_contract/encryption.rs"]
mod encryption;
#[path = "store_contract/etcd.rs"]
mod etcd;
#[path = "store_contract/etcd_server.rs"]
mod etcd_server;
#[path = "store_contract/fixture.rs"]
mod fixture;
#[path = "store_contract/kills.rs"]
mod kills;
#[path = "store_contract/model.rs"]
mod model;
#[path = "store_contract/snapshots.rs"]
mod snapshots;
