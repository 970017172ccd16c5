//! The API server: request chain, verbs, the registry pipeline, storage engines.

pub mod storage;
