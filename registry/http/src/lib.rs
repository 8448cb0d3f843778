//! The registry's HTTP face: router, handlers, TLS, errors.
