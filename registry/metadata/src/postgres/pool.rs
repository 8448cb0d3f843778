//! A bounded set of slots, each with at most one connection. An operation holds one slot from its first attempt to
//! its last, so that the number of its write is its slot's alone (see `attempts`).

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::{
    connection::{Connection, Connector},
    error::{Failure, closed},
};
use crate::MetadataError;

/// A place for one operation at a time.
#[derive(Debug)]
pub(super) struct Slot {
    /// Never used by another process or pool.
    pub(super) id: Uuid,
    /// Of the last marked write.
    pub(super) sequence: i64,
    connection: Option<Arc<Connection>>,
    /// Whether the connection may be within a transaction. Set before a transaction begins and cleared after it
    /// ended for certain: an operation that was dropped half-way leaves it set, and its connection is not used
    /// again. The server undoes what a closed connection began.
    pub(super) in_transaction: bool,
}

#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    /// Slots nobody holds; the last one was used last, so that few connections do the work when there is little.
    free: Mutex<Vec<Slot>>,
    permits: Semaphore,
    size: usize,
}

impl Pool {
    pub(super) fn new(connector: Connector, size: usize) -> Self {
        let size = size.max(1);
        let slot = |_| Slot { id: Uuid::new_v4(), sequence: 0, connection: None, in_transaction: false };
        let free = Mutex::new((0..size).map(slot).collect());
        Self { connector, free, permits: Semaphore::new(size), size }
    }

    /// Waits for a free slot, in the order of asking.
    pub(super) async fn slot(&self) -> Result<Held<'_>, MetadataError> {
        let permit = self.permits.acquire().await.map_err(|_| closed())?;
        let slot = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let slot = slot.expect("as many permits are given out as slots are free");
        Ok(Held { pool: self, slot: Some(slot), _permit: permit })
    }

    /// Waits for the operations under way and ends every connection.
    pub(super) async fn close(&self) {
        // Another caller may be closing it too.
        if let Ok(permits) = self.permits.acquire_many(self.size as u32).await {
            self.permits.close();
            drop(permits);
        }
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Connections of slots that nobody holds.
    pub(super) fn idle(&self) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.iter().filter(|slot| slot.connection.is_some()).count()
    }
}

/// A slot in use.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pool: &'a Pool,
    slot: Option<Slot>,
    /// Released after the slot is put back.
    _permit: SemaphorePermit<'a>,
}

impl Held<'_> {
    pub(super) fn slot(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("a slot is held until it is put back")
    }

    /// The slot's connection, made if there is none that can be used.
    pub(super) async fn connection(&mut self) -> Result<Arc<Connection>, Failure> {
        let pool = self.pool;
        let slot = self.slot();
        if let Some(connection) = &slot.connection
            && !slot.in_transaction
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        slot.connection = None;
        let connection = Arc::new(pool.connector.connect().await?);
        slot.in_transaction = false;
        slot.connection = Some(connection.clone());
        Ok(connection)
    }

    /// Gives the connection up.
    pub(super) fn disconnect(&mut self) {
        self.slot().connection = None;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
    }
}
