//! The whole product with real clients.
