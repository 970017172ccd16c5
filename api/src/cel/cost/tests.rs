//! Estimates and charges, compared with those upstream publishes.
