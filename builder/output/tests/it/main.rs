//! Images on their way out: into a registry that counts what it is asked, into archives and layouts, into the local
//! store.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking, like the test itself")]

mod files;
mod kit;
mod pushing;
mod registry;
