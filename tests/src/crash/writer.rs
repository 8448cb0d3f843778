//! One of many clients that push, tag, mount and delete at the same time, each recording what it was told.

mod images;
mod uploads;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use registry_types::Digest;

use super::{
    content::Content,
    model::{Change, Group, Key, Log, Model, Step, Value},
    sessions::Session,
};
use crate::http::{Answer, Server};

/// The repository that all writers push to at once.
pub(super) const SHARED: &str = "crash/shared";

/// Largest blob pushed in one request, in bytes.
const SMALL: usize = 200 << 10;

/// How long after a cut connection the server may live on before the cut is the server's fault.
const DEATH_TIME: Duration = Duration::from_secs(5);

/// What the writers of one round share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) server: Server,
    /// Orders the begins and ends of requests.
    pub(super) clock: AtomicU64,
    /// No new request is to be begun.
    pub(super) stop: AtomicBool,
    /// The server is about to be killed, or is dead: a cut connection is no fault.
    pub(super) dying: AtomicBool,
    /// Numbers of contents, never given twice.
    pub(super) numbers: AtomicU64,
    /// Blobs that stay, by repository: what can be mounted.
    pub(super) mountable: Mutex<Vec<(String, Digest)>>,
    /// What all writers push at the same time.
    pub(super) common: Content,
}

/// The round is over for this writer.
struct Ended;

type Did<T = ()> = Result<T, Ended>;

#[derive(Debug)]
pub(super) struct Writer<'s> {
    stage: &'s Stage,
    random: StdRng,
    repository: String,
    blobs: Vec<Digest>,
    manifests: BTreeSet<Digest>,
    tags: BTreeMap<String, Digest>,
    sessions: Vec<Session>,
    pushed_common: bool,
    log: Log,
}

/// The repository of a writer.
pub(super) fn own_repository(number: usize) -> String {
    format!("crash/writer-{number}")
}

impl<'s> Writer<'s> {
    /// A writer that goes on where the model and the open uploads are.
    pub(super) fn new(
        number: usize,
        seed: u64,
        stage: &'s Stage,
        model: &Model,
        sessions: Vec<Session>,
    ) -> Self {
        let repository = own_repository(number);
        let (mut blobs, mut manifests) = (Vec::new(), BTreeSet::new());
        for (key, value) in &model.settled {
            match (key, value) {
                (Key::Blob(name, digest), Some(_))
                    if *name == repository && !model.pinned.contains(digest) =>
                {
                    blobs.push(*digest);
                }
                (Key::Manifest(name, digest), Some(_)) if *name == repository => {
                    manifests.insert(*digest);
                }
                _ => {}
            }
        }
        let tags = model.tags(&repository);
        let random = StdRng::seed_from_u64(seed);
        Self {
            stage,
            random,
            repository,
            blobs,
            manifests,
            tags,
            sessions,
            pushed_common: false,
            log: Log::default(),
        }
    }

    /// Works until it is told to stop or the server is gone.
    pub(super) fn work(mut self) -> (Log, Vec<Session>) {
        while !self.stage.stop.load(Ordering::Relaxed) {
            if self.step().is_err() {
                break;
            }
        }
        (self.log, self.sessions)
    }

    fn step(&mut self) -> Did {
        if !self.pushed_common {
            self.pushed_common = true;
            return self.push_single(SHARED, self.stage.common).map(drop);
        }
        match self.random.random_range(0..100) {
            0..14 => self.push_own_single(),
            14..24 => self.push_monolithic(),
            24..48 => self.advance_upload(),
            48..64 => self.push_image(),
            64..72 => self.mount(),
            72..82 => self.move_shared_tag(),
            82..85 => self.delete_shared_tag(),
            85..90 => self.delete_tag(),
            90..94 => self.delete_manifest(),
            94..96 => self.delete_blob(),
            96..98 => self.push_wrong_digest(),
            _ => self.push_without_parts(),
        }
    }

    fn content(&mut self, most: usize) -> Content {
        let number = self.stage.numbers.fetch_add(1, Ordering::Relaxed);
        // Small ones are common: the commit's order matters, not its bytes.
        let most = if self.random.random_bool(0.6) { most.min(4096) } else { most };
        Content::new(number, self.random.random_range(1..=most))
    }

    fn tick(&self) -> u64 {
        self.stage.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Sends a request; no answer ends the round.
    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Did<Answer> {
        match self.stage.server.request(method, path, headers, body) {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.cut(&format!("{method} {path}: {error:#}"))),
        }
    }

    /// A connection was cut: by the server's death, or for no reason.
    fn cut(&mut self, what: &str) -> Ended {
        let until = Instant::now() + DEATH_TIME;
        while !self.stage.dying.load(Ordering::SeqCst) {
            if Instant::now() > until {
                self.log.faults.push(format!("the living server cut a connection: {what}"));
                break;
            }
            sleep(Duration::from_millis(2));
        }
        Ended
    }

    fn fault(&mut self, what: &str, answer: &Answer) -> Ended {
        self.log.faults.push(format!("unexpected answer to {what}: {answer:?}"));
        Ended
    }

    /// Sends a request that changes `changes` together, if it is answered with 201 or 202. `alone` when nobody else
    /// changes any of them.
    fn change(
        &mut self,
        changes: Vec<(Key, Value)>,
        alone: bool,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Did<Answer> {
        let begin = self.tick();
        let answer = self.send(method, path, headers, body);
        let end = match &answer {
            Ok(answer) if matches!(answer.status, 201 | 202) => Some(self.tick()),
            Ok(answer) => return Err(self.fault(&format!("{method} {path}"), answer)),
            Err(Ended) => {
                if alone {
                    let step = |(key, after): &(Key, Value)| Step {
                        key: key.clone(),
                        before: self.own_value(key),
                        after: *after,
                    };
                    let steps = changes.iter().map(step).collect();
                    self.log.in_flight.push(Group(steps));
                }
                None
            }
        };
        let record = |(key, value)| (key, Change { value, begin, end });
        self.log.changes.extend(changes.into_iter().map(record));
        self.log.acknowledged += usize::from(end.is_some());
        answer
    }

    /// What stands under one of the writer's own keys.
    fn own_value(&self, key: &Key) -> Value {
        match key {
            Key::Tag(_, tag) => self.tags.get(tag).copied(),
            Key::Manifest(_, digest) => self.manifests.get(digest).copied(),
            Key::Blob(_, digest) => self.blobs.contains(digest).then_some(*digest),
        }
    }

    fn push_single(&mut self, repository: &str, content: Content) -> Did<Digest> {
        let (bytes, digest) = (content.bytes(), content.digest());
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let changes = vec![(Key::Blob(repository.to_owned(), digest), Some(digest))];
        self.change(changes, repository != SHARED, ("POST", &path), &OCTETS, &bytes)?;
        Ok(digest)
    }

    fn push_own_single(&mut self) -> Did {
        let content = self.content(SMALL);
        let digest = self.push_single(&self.repository.clone(), content)?;
        self.blobs.push(digest);
        Ok(())
    }

    /// Must be refused, and must store neither what was announced nor what was sent.
    fn push_wrong_digest(&mut self) -> Did {
        let (sent, announced) = (self.content(SMALL), self.content(16));
        for content in [sent, announced] {
            self.log.refused.push(Key::Blob(self.repository.clone(), content.digest()));
        }
        let path = format!("/v2/{}/blobs/uploads/?digest={}", self.repository, announced.digest());
        let answer = self.send("POST", &path, &OCTETS, &sent.bytes())?;
        if answer.status == 400 { Ok(()) } else { Err(self.fault("a wrong digest", &answer)) }
    }
}

const OCTETS: [(&str, &str); 1] = [("Content-Type", "application/octet-stream")];
