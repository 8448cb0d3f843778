//! The registry's dealings with the kernel: bodies that send a file without copying it, page-cache probes that
//! keep disk waits off the workers, and the file operations that make a write durable.
//!
//! With `builder/runtime` the only crate that may hold unsafe code. A file given to a body must never be
//! truncated or changed while the body lives; it may be unlinked. The blob store keeps that promise.

mod buffer_pool;
mod carrier;
mod directory_lock;
mod durable;
mod file_body;
mod mapped_body;
mod page_cache;
mod pooled_body;
mod zero_copy;

pub use directory_lock::{DirectoryLock, LockError};
pub use durable::{
    create_directories_synced, open_cached, preallocate, rename_noreplace, start_writeback, sync_data,
    sync_directory,
};
pub use file_body::FileBody;
pub use mapped_body::MappedBody;
pub use pooled_body::PooledBody;
pub use zero_copy::{FileSender, ZeroCopyStream};
