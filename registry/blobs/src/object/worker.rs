//! What one upload does in the object store: hashes bytes as they come, gathers them into parts, stores those
//! while more arrive, and knows at every moment what could be recorded.
//!
//! Bytes behind the last full part are kept as an object of their own, a tail, when they have to be durable or
//! when their room is wanted; the part they belong to reads them back. A blob that is one tail whole stays that
//! object: nothing is moved or copied for it. No object's name is used twice, not by another replica that goes on
//! with the session either, so a request that arrives late never changes what somebody else stored.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use object_store::PutPayloadMut;
use registry_types::{DigestHasher, HashState, ObjectKey, UploadProgress};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::Instant,
};

use super::{
    Shared,
    failure::Failure,
    layout::Names,
    part_plan::MOST_PARTS,
    remote::RemoteError,
    session::{Command, Covers, Session},
    state::{Multipart, Numbers, Part, Stored, Tail},
};
use crate::BlobError;

type Answer<T> = Result<T, BlobError>;

/// Parts of one upload that are being stored at once: while one is on its way the next fills up, and one more
/// bridges a slow answer.
const PARTS_IN_FLIGHT: usize = 2;

/// Memory that a filling part takes at once.
const BLOCK: usize = 64 << 10;

/// Tails after which the next one takes the others in: a client that sends a few bytes in each request.
const MOST_TAILS: usize = 16;

/// An upload that got nothing for this long gives its room to one that waits.
const IDLE: Duration = Duration::from_secs(1);

/// The worker of one session.
pub(super) struct Worker {
    pub(super) session: Arc<Session>,
    pub(super) shared: Arc<Shared>,
    pub(super) names: Names,
    /// Over all bytes that came.
    pub(super) hasher: DigestHasher,
    /// What may be recorded: bytes that are stored without a gap, and the hash state over them.
    pub(super) durable: (Stored, HashState),
    /// Bytes behind the last part begun: those of the tails of `durable`, if no part was begun since, and then
    /// these.
    buffer: Buffer,
    /// The tails that `buffer` continues.
    tails: Vec<Tail>,
    writer: u64,
    /// The number of the next part.
    number: usize,
    /// That number when progress was handed out last, and the time before: then it was recorded.
    handed_out: [usize; 2],
    in_flight: FuturesUnordered<BoxFuture<'static, Answer<PartStored>>>,
    /// Parts stored before an earlier one was.
    early: BTreeMap<usize, PartStored>,
    /// The numbers of parts begun and not settled, in order.
    begun: VecDeque<usize>,
    last_chunk: Instant,
}

/// Bytes that are not stored yet, with their room.
#[derive(Default)]
struct Buffer {
    payload: PutPayloadMut,
    room: Option<OwnedSemaphorePermit>,
}

struct PartStored {
    part: Part,
    length: u64,
    /// Over everything up to the part's end.
    hash: HashState,
}

impl Buffer {
    fn new() -> Self {
        Self { payload: PutPayloadMut::new().with_block_size(BLOCK), room: None }
    }

    fn length(&self) -> usize {
        self.payload.content_length()
    }
}

impl Worker {
    pub(super) fn new(
        session: Arc<Session>,
        shared: Arc<Shared>,
        hasher: DigestHasher,
        stored: Stored,
        writer: u64,
    ) -> Self {
        let (names, hash) = (Names::new(session.id), hasher.save());
        let number = match stored.multipart {
            Some(_) => stored.numbers.first_of(writer, shared.plan.unrecorded),
            // The multipart upload will be this writer's alone.
            None => 0,
        };
        Self {
            tails: stored.tails.clone(),
            writer,
            number,
            handed_out: [number; 2],
            begun: VecDeque::new(),
            durable: (stored, hash),
            buffer: Buffer::new(),
            in_flight: FuturesUnordered::new(),
            early: BTreeMap::new(),
            last_chunk: Instant::now(),
            session,
            shared,
            names,
            hasher,
        }
    }

    /// Whether the tails are there, which another replica that ended the session may have removed.
    pub(super) async fn check_tails(&mut self) -> Answer<()> {
        for tail in &self.tails {
            match self.shared.remote.length(&tail.key).await {
                Ok(length) if length == tail.length => {}
                Ok(_) | Err(RemoteError::Absent) => {
                    return Err(BlobError::UploadLost { id: self.session.id });
                }
                Err(error) => return Err(error.told("look for", &tail.key)),
            }
        }
        Ok(())
    }

    /// Works until the session is committed or closed, or its writer is gone.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let session = Arc::clone(&self.session);
        let shared = Arc::clone(&self.shared);
        loop {
            let worked = tokio::select! {
                biased;
                () = session.closed() => break,
                Some(stored) = self.in_flight.next() => stored.map(|part| self.settle(part)),
                command = commands.recv(), if self.in_flight.len() < PARTS_IN_FLIGHT => match command {
                    None => break,
                    Some(Command::Commit { expected, reply }) => {
                        // The answer may be for nobody.
                        let _ = reply.send(self.commit(&expected).await);
                        break;
                    }
                    Some(command) => self.obey(command).await,
                },
                () = shared.room.wanted(), if self.buffer.length() > 0 => self.give_room().await,
            };
            if let Err(error) = worked {
                self.give_up(&error);
            }
        }
        // What was begun must not arrive later than the next writer's.
        while self.in_flight.next().await.is_some() {}
    }

    async fn obey(&mut self, command: Command) -> Answer<()> {
        match command {
            Command::Chunk { bytes, room, queue } => {
                drop(queue);
                self.session.check()?;
                self.take(bytes, room).await
            }
            Command::Checkpoint { covers, reply } => {
                let _ = reply.send(self.checkpoint(covers).await);
                Ok(())
            }
            Command::Commit { .. } => Ok(()),
        }
    }

    async fn take(&mut self, mut bytes: Bytes, mut room: OwnedSemaphorePermit) -> Answer<()> {
        self.last_chunk = Instant::now();
        while !bytes.is_empty() {
            let missing = self.shared.plan.length(self.number).saturating_sub(self.pending());
            let piece = bytes.split_to(bytes.len().min(missing));
            self.hasher.update(&piece);
            self.buffer.payload.extend_from_slice(&piece);
            match (&mut self.buffer.room, room.split(piece.len())) {
                (Some(held), Some(room)) => held.merge(room),
                (held, room) => *held = room,
            }
            if self.pending() >= self.shared.plan.length(self.number) {
                self.begin_part().await?;
            }
        }
        Ok(())
    }

    /// Bytes behind the last part begun.
    fn pending(&self) -> usize {
        self.tails.iter().map(|tail| tail.length as usize).sum::<usize>() + self.buffer.length()
    }

    /// Begins to store what is pending as the next part.
    async fn begin_part(&mut self) -> Answer<()> {
        if self.number >= MOST_PARTS {
            return Err(BlobError::TooLong { limit: self.shared.plan.longest_blob() });
        }
        if self.number >= self.handed_out[1] + self.shared.plan.unrecorded {
            // Its writer was told to record and did not.
            return Err(BlobError::UploadLost { id: self.session.id });
        }
        let multipart = self.multipart().await?;
        let length = self.pending() as u64;
        let (number, hash) = (self.number, self.hasher.save());
        let buffer = mem::replace(&mut self.buffer, Buffer::new());
        let tails = mem::take(&mut self.tails);
        self.begun.push_back(number);
        self.number += 1;
        if self.number >= self.handed_out[1] + self.shared.plan.unrecorded / 2 {
            self.session.want_record();
        }
        let (id, shared) = (self.session.id, Arc::clone(&self.shared));
        self.in_flight.push(Box::pin(async move {
            let (payload, _room) = shared.assemble(&tails, buffer.payload).await?;
            let stored = shared.remote.put_part(&multipart, number, &payload).await;
            drop(buffer.room);
            let part = stored.map_err(|error| match error {
                RemoteError::Absent => BlobError::UploadLost { id },
                error => error.told("store a part of", &multipart.key),
            })?;
            Ok(PartStored { part, length, hash })
        }));
        Ok(())
    }

    async fn multipart(&mut self) -> Answer<Multipart> {
        if let Some(multipart) = &self.durable.0.multipart {
            return Ok(multipart.clone());
        }
        let key = self.names.next();
        let created = self.shared.remote.create_multipart(key.clone()).await;
        let multipart = created.map_err(|error| error.told("begin", &key))?;
        self.session.note_multipart(&multipart);
        self.durable.0.multipart = Some(multipart.clone());
        Ok(multipart)
    }

    /// Notes a part that is stored.
    fn settle(&mut self, part: PartStored) {
        self.early.insert(part.part.0, part);
        let (stored, hash) = &mut self.durable;
        while let Some(part) = self.begun.front().and_then(|number| self.early.remove(number)) {
            self.begun.pop_front();
            stored.retire_tails();
            stored.parts.push(part.part);
            stored.parts_length += part.length;
            *hash = part.hash;
        }
    }

    /// Waits until every part begun is stored.
    pub(super) async fn finish_parts(&mut self) -> Answer<()> {
        while let Some(stored) = self.in_flight.next().await {
            let part = stored?;
            self.settle(part);
        }
        Ok(())
    }

    async fn checkpoint(&mut self, covers: Covers) -> Answer<UploadProgress> {
        self.session.check()?;
        if covers != Covers::Stored
            && let Err(error) = self.store_pending().await
        {
            return Err(self.give_up(&error));
        }
        self.session.recorded();
        if covers == Covers::EverythingAtLast {
            self.session.settle();
        }
        self.handed_out = [self.number, self.handed_out[0]];
        let (stored, hash) = &mut self.durable;
        if stored.multipart.is_some() {
            stored.numbers = Numbers::new(self.number, self.writer, covers == Covers::EverythingAtLast);
        }
        Ok(stored.with(hash.clone()))
    }

    /// Makes everything durable: as a part if it is long enough for one, else as a tail.
    async fn store_pending(&mut self) -> Answer<()> {
        if self.durable.0.multipart.is_some() && self.pending() >= self.shared.plan.smallest {
            self.begin_part().await?;
        }
        self.finish_parts().await?;
        if self.buffer.length() == 0 {
            return Ok(());
        }
        let buffer = mem::replace(&mut self.buffer, Buffer::new());
        let mut length = buffer.length() as u64;
        let merged = if self.tails.len() < MOST_TAILS { Vec::new() } else { mem::take(&mut self.tails) };
        length += merged.iter().map(|tail| tail.length).sum::<u64>();
        let key = self.names.next();
        self.shared.store(&key, &merged, buffer.payload).await?;
        self.tails.push(Tail { key, length });
        let (stored, hash) = &mut self.durable;
        if !merged.is_empty() {
            stored.retire_tails();
        }
        stored.tails.clone_from(&self.tails);
        *hash = self.hasher.save();
        Ok(())
    }

    /// Another upload waits for room.
    async fn give_room(&mut self) -> Answer<()> {
        if self.pending() >= self.shared.plan.smallest {
            if self.in_flight.len() < PARTS_IN_FLIGHT {
                self.begin_part().await?;
            }
        } else if self.last_chunk.elapsed() >= IDLE {
            self.store_pending().await?;
        }
        Ok(())
    }

    /// Stores what is pending as the last part, however short, and waits for all.
    pub(super) async fn finish_last_part(&mut self) -> Answer<()> {
        if self.pending() > 0 {
            self.begin_part().await?;
        }
        self.finish_parts().await
    }

    /// Everything there is as one object, for a blob without parts. Gives its key.
    pub(super) async fn store_whole(&mut self) -> Answer<ObjectKey> {
        if let ([tail], 0) = (self.tails.as_slice(), self.buffer.length()) {
            return Ok(tail.key.clone());
        }
        let buffer = mem::replace(&mut self.buffer, Buffer::new());
        let key = self.names.next();
        self.shared.store(&key, &self.tails, buffer.payload).await?;
        self.durable.0.retire_tails();
        Ok(key)
    }

    /// Ends the session: no more bytes are taken, and those at hand give their room back.
    pub(super) fn give_up(&mut self, error: &BlobError) -> BlobError {
        self.buffer = Buffer::new();
        self.session.fail(Failure::from(error))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.session.end();
        // One that failed stays until it is taken over or aborted: a multipart upload that it began may be in no
        // record.
        if self.session.is_settled() {
            self.shared.forget(&self.session);
        }
    }
}
