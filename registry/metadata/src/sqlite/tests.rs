//! What SQLite's engine promises beyond the suite, seen from inside.

mod backups;
mod cost;
mod faults;
mod files;
mod plans;
mod sharing;

use std::{sync::mpsc, time::Duration};

use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

use super::SqliteMetadata;
use crate::{ManifestMetadata, NewManifest, suite::samples};

/// A store in a folder of its own.
fn opened() -> (SqliteMetadata, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteMetadata::open(&folder.path().join("metadata.db")).unwrap();
    (store, folder)
}

async fn pushed(store: &SqliteMetadata, name: &str) -> NewManifest {
    samples::pushed_image(store, &samples::repository("team/app"), name, &[name]).await
}

async fn is_there(store: &SqliteMetadata, name: &str) -> bool {
    let reference = samples::tag(name).into();
    store.manifest(&samples::repository("team/app"), &reference).await.unwrap().is_some()
}

/// Rows of a table.
async fn rows(store: &SqliteMetadata, table: &'static str) -> i64 {
    store
        .inner
        .readers
        .read(move |connection| {
            Ok(connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
        })
        .await
        .unwrap()
}

/// A write that keeps the writer's thread until it is let go, so that others gather in the queue.
struct Hold {
    release: mpsc::Sender<()>,
    write: JoinHandle<Result<(), crate::MetadataError>>,
}

impl Hold {
    /// Comes back when the writer is held.
    async fn begin(store: &SqliteMetadata) -> Self {
        let (release, released) = mpsc::channel();
        let (begun, has_begun) = oneshot::channel();
        let store = store.clone();
        let write = tokio::spawn(async move {
            let work = move |_: &rusqlite::Connection, _: &mut super::Changes| {
                let _ = begun.send(());
                let _ = released.recv();
                Ok(())
            };
            store.inner.writer.write(0, work).await
        });
        has_begun.await.unwrap();
        Self { release, write }
    }

    /// Lets the writer go once `count` writes wait for it.
    async fn end_when_queued(self, store: &SqliteMetadata, count: usize) {
        while store.inner.writer.queued() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.release.send(()).unwrap();
        self.write.await.unwrap().unwrap();
    }
}
