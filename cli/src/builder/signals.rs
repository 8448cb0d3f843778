//! SIGINT and SIGTERM during a build. The first one ends it in order: steps are killed, mounts undone, nothing half is
//! recorded. A second one ends the program at once, whatever it waits for; the kernel then undoes the mounts with the
//! namespace that holds them, and the steps end with their supervisor.
//!
//! They are awaited on a thread of their own, so a build that blocks every other thread can still be ended.

use std::{
    io,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
};

use builder_engine::Cancel;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::failure::exit_code_of_signal;

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct SignalWatch {
    first: Arc<OnceLock<SignalKind>>,
    /// Dropped, it ends the thread.
    watched: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SignalWatch {
    /// The first signal cancels `cancel`.
    pub(super) fn start(cancel: &Cancel) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let (first, cancel) = (Arc::new(OnceLock::new()), cancel.clone());
        let (watched, end) = oneshot::channel::<()>();
        let told = Arc::clone(&first);
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let watch = async {
                let kind = next(&mut interrupt, &mut terminate).await;
                // Before the build ends of it, which reads it.
                let _ = told.set(kind);
                cancel.cancel();
                // Nothing is said here: whoever should read it may be what the build hangs on.
                let kind = next(&mut interrupt, &mut terminate).await;
                std::process::exit(i32::from(exit_code_of_signal(kind)));
            };
            runtime.block_on(async {
                tokio::select! {
                    () = watch => {}
                    _ = end => {}
                }
            });
        })?;
        Ok(Self { first, watched: Some(watched), thread: Some(thread) })
    }

    /// The signal that ended the build, if one did.
    pub(super) fn received(&self) -> Option<SignalKind> {
        self.first.get().copied()
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.watched = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}
