//! Local content store, snapshots and layers.
