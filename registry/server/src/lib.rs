//! Wiring of a registry server: configuration, stores, signals.
