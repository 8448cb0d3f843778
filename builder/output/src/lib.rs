//! Where a built image goes.
