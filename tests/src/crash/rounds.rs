//! The rounds: work, death, restart, comparison.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tempfile::TempDir;

use super::{
    content::Content,
    failpoints::Met,
    model::{Change, Key, Log, Model},
    server::{Started, Victim, start, start_whole},
    sessions::{After, Session},
    tree, verify,
    writer::{SHARED, Stage, Writer, own_repository},
};
use crate::http::Server;

/// Clients at once.
const WRITERS: usize = 6;

/// Rounds on one data folder. After them everything is read back and a new folder begins, so that the time of a
/// round does not grow with their number.
const ROUNDS_PER_FOLDER: usize = 20;

/// Keys of earlier rounds that are read back after each crash; all are read at the end of a folder.
const SAMPLE: usize = 40;

/// When the server is killed, in milliseconds after the writers began.
const LIFE: std::ops::Range<u64> = 20..700;

/// How long a failpoint is waited for; a round that does not meet it ends with SIGKILL.
const FAILPOINT_TIME: Duration = Duration::from_secs(3);

/// Mountable blobs that are remembered from earlier rounds.
const MOUNTABLE: usize = 200;

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The product.
    pub binary: PathBuf,
    /// The product with the feature `failpoints`; without it every round ends by SIGKILL.
    pub failpoint_binary: Option<PathBuf>,
    pub rounds: usize,
    pub seed: u64,
    /// Folder for the data, kept when something is wrong.
    pub folder: Option<PathBuf>,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Summary {
    pub rounds: usize,
    pub acknowledged: usize,
    pub in_flight: usize,
    pub resumed: usize,
    pub read_back: usize,
    pub slowest_start: Duration,
    met: Met,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} rounds: {} requests acknowledged, {} cut; {} keys read back, {} uploads resumed; slowest start {} ms; died at failpoints: {}",
            self.rounds,
            self.acknowledged,
            self.in_flight,
            self.read_back,
            self.resumed,
            self.slowest_start.as_millis(),
            self.met
        )
    }
}

/// Runs all rounds; the error of the first bad one names everything that is wrong with it.
pub fn run(options: &Options) -> Result<Summary> {
    let mut summary = Summary::default();
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut done = 0;
    while done < options.rounds {
        let rounds = ROUNDS_PER_FOLDER.min(options.rounds - done);
        let mut site = Site::new(options, random.random())?;
        for round in done..done + rounds {
            let faults = site.round(options, &mut summary, &mut random)?;
            site.report(options, &format!("round {}", round + 1), faults)?;
            summary.rounds += 1;
        }
        let faults = site.close(options, &mut summary)?;
        site.report(options, &format!("after round {}", done + rounds), faults)?;
        done += rounds;
        println!("{summary}");
    }
    let never_met = summary.met.never_met();
    if !never_met.is_empty() {
        bail!("no server died at {}: is the binary built with the feature failpoints?", never_met.join(", "));
    }
    Ok(summary)
}

/// One data folder with what is known about it.
pub(super) struct Site {
    folder: Option<TempDir>,
    pub(super) data: PathBuf,
    pub(super) model: Model,
    pub(super) sessions: Vec<Session>,
    clock: u64,
    numbers: u64,
}

impl Site {
    pub(super) fn new(options: &Options, seed: u64) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("slipway-crash-");
        let folder = match &options.folder {
            Some(folder) => builder.tempdir_in(folder)?,
            None => builder.tempdir()?,
        };
        let data = folder.path().join("data");
        // Far from those of another folder, so that a blob left over elsewhere is never taken for one of ours.
        let numbers = seed << 24;
        Ok(Self {
            folder: Some(folder),
            data,
            model: Model::default(),
            sessions: Vec::new(),
            clock: 0,
            numbers,
        })
    }

    /// Ends the run when something is wrong, and leaves the data for whoever looks into it.
    pub(super) fn report(&mut self, options: &Options, when: &str, faults: Vec<String>) -> Result<()> {
        if faults.is_empty() {
            return Ok(());
        }
        let kept = self.folder.take().map(TempDir::keep);
        let kept = kept.map_or_else(String::new, |path| format!("; the data is kept in {}", path.display()));
        bail!("{when} of seed {}{kept}:\n  {}", options.seed, faults.join("\n  "))
    }

    /// Work until death, then restart and comparison.
    fn round(
        &mut self,
        options: &Options,
        summary: &mut Summary,
        random: &mut StdRng,
    ) -> Result<Vec<String>> {
        let failpoint = match &options.failpoint_binary {
            Some(binary) if random.random_bool(0.5) => Some((binary, summary.met.choose(random))),
            _ => None,
        };
        let started = match &failpoint {
            Some((binary, (_, setting))) => start(binary, &self.data, Some(setting))?,
            None => Started::Serving(start_whole(&options.binary, &self.data)?),
        };
        let mut faults = Vec::new();
        match (started, &failpoint) {
            (Started::Died, Some((_, (point, _)))) => summary.met.died_at(point),
            (Started::Serving(victim), Some((_, (point, _)))) => {
                let (died, log) = self.work(victim, random, Death::Failpoint)?;
                faults.extend(self.note(log, summary));
                if died {
                    summary.met.died_at(point);
                }
            }
            (Started::Serving(victim), None) => {
                let life = Duration::from_millis(random.random_range(LIFE));
                let (_, log) = self.work(victim, random, Death::Kill(life))?;
                faults.extend(self.note(log, summary));
            }
            (Started::Died, None) => bail!("the registry died without a failpoint"),
        }
        faults.extend(self.compare(options, summary, random)?);
        Ok(faults)
    }

    fn note(&mut self, logs: Vec<Log>, summary: &mut Summary) -> Vec<String> {
        let mut faults = Vec::new();
        for mut log in logs {
            summary.acknowledged += log.acknowledged;
            summary.in_flight += log.changes.iter().filter(|(_, change)| change.end.is_none()).count();
            faults.append(&mut log.faults);
            self.model.add(log);
        }
        faults
    }

    /// Lets the writers work until the server is dead; true if it died by itself.
    pub(super) fn work(
        &mut self,
        victim: Victim,
        random: &mut StdRng,
        death: Death,
    ) -> Result<(bool, Vec<Log>)> {
        let mountable = self.model.settled.iter().filter_map(|(key, value)| match key {
            Key::Blob(name, digest)
                if name != SHARED && value.is_some() && self.model.pinned.contains(digest) =>
            {
                Some((name.clone(), *digest))
            }
            _ => None,
        });
        let mut mountable: Vec<_> = mountable.collect();
        mountable.truncate(MOUNTABLE);
        self.numbers += 1;
        let stage = Stage {
            server: victim.server(),
            clock: AtomicU64::new(self.clock),
            stop: AtomicBool::new(false),
            dying: AtomicBool::new(false),
            numbers: AtomicU64::new(self.numbers),
            mountable: Mutex::new(mountable),
            common: Content::new(self.numbers, 300_000),
        };
        stage.numbers.fetch_add(1, Ordering::Relaxed);
        let mut open = std::mem::take(&mut self.sessions);
        let writers: Vec<Writer<'_>> = (0..WRITERS)
            .map(|number| {
                let repository = own_repository(number);
                let own = open.extract_if(.., |session| session.repository == repository).collect();
                Writer::new(number, random.random(), &stage, &self.model, own)
            })
            .collect();
        let (died, outcomes) = thread::scope(|scope| {
            let threads: Vec<_> = writers.into_iter().map(|writer| scope.spawn(|| writer.work())).collect();
            let died = wait_for_death(victim, &stage, death);
            stage.dying.store(true, Ordering::SeqCst);
            stage.stop.store(true, Ordering::SeqCst);
            let outcomes: Vec<_> =
                threads.into_iter().map(|thread| thread.join().expect("a writer does not panic")).collect();
            (died, outcomes)
        });
        self.clock = stage.clock.load(Ordering::SeqCst);
        self.numbers = stage.numbers.load(Ordering::SeqCst);
        let mut logs = Vec::new();
        for (log, sessions) in outcomes {
            logs.push(log);
            self.sessions.extend(sessions);
        }
        Ok((died?, logs))
    }

    /// Starts the registry on what the crash left and compares.
    fn compare(
        &mut self,
        options: &Options,
        summary: &mut Summary,
        random: &mut StdRng,
    ) -> Result<Vec<String>> {
        let begun = Instant::now();
        let victim = start_whole(&options.binary, &self.data)?;
        summary.slowest_start = summary.slowest_start.max(begun.elapsed());
        let server = victim.server();
        let mut keys = self.model.touched();
        let older: Vec<Key> = self.model.settled.keys().filter(|key| !keys.contains(key)).cloned().collect();
        keys.extend(older.choose_multiple(random, SAMPLE).cloned());
        summary.read_back += keys.len();
        let mut faults = verify::settle(&mut self.model, server, &keys);
        faults.extend(self.go_on(server, summary, |_| random.random_bool(0.4)));
        victim.kill()?;
        Ok(faults)
    }

    /// Compares the open uploads, and brings those that `now` chooses to their end.
    pub(super) fn go_on(
        &mut self,
        server: Server,
        summary: &mut Summary,
        mut now: impl FnMut(&Session) -> bool,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for session in std::mem::take(&mut self.sessions) {
            let key = Key::Blob(session.repository.clone(), session.digest);
            let blob = self.model.settled.get(&key).copied().flatten().is_some();
            match session.after_crash(server, blob) {
                Err(error) => faults.push(format!("{error:#}")),
                Ok(After::Complete | After::Cancelled) => {}
                Ok(After::Open(session)) if now(&session) => {
                    let digest = session.digest;
                    self.clock += 1;
                    let change = Change { value: Some(digest), begin: self.clock, end: Some(self.clock + 1) };
                    self.clock += 1;
                    match session.resume(server) {
                        Err(error) => faults.push(format!("{error:#}")),
                        Ok(()) => {
                            summary.resumed += 1;
                            self.model.add(Log { changes: vec![(key, change)], ..Log::default() });
                        }
                    }
                }
                Ok(After::Open(session)) => self.sessions.push(session),
            }
        }
        faults
    }

    /// Ends every upload, reads everything back, and looks into the folder.
    pub(super) fn close(&mut self, options: &Options, summary: &mut Summary) -> Result<Vec<String>> {
        let victim = start_whole(&options.binary, &self.data)?;
        let mut faults = self.go_on(victim.server(), summary, |_| true);
        victim.kill()?;
        let victim = start_whole(&options.binary, &self.data)?;
        let keys: Vec<Key> = self.model.settled.keys().cloned().collect();
        summary.read_back += keys.len();
        faults.extend(verify::settle(&mut self.model, victim.server(), &keys));
        faults.extend(tree::leftover_uploads(&self.data)?);
        victim.kill()?;
        faults.extend(tree::damaged_blobs(&self.data)?);
        Ok(faults)
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }
}

/// How the server ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Death {
    /// By SIGKILL after so long.
    Kill(Duration),
    /// By itself, or by SIGKILL if it does not meet its failpoint.
    Failpoint,
    /// By SIGKILL after the writers have finished what they had in hand.
    AtRest(Duration),
}

fn wait_for_death(mut victim: Victim, stage: &Stage, death: Death) -> Result<bool> {
    match death {
        Death::Kill(life) => {
            sleep(life);
            stage.dying.store(true, Ordering::SeqCst);
            victim.kill()?;
            Ok(false)
        }
        Death::Failpoint => {
            let until = Instant::now() + FAILPOINT_TIME;
            while Instant::now() < until {
                if victim.has_died()? {
                    return Ok(true);
                }
                sleep(Duration::from_millis(2));
            }
            stage.dying.store(true, Ordering::SeqCst);
            victim.kill()?;
            Ok(false)
        }
        Death::AtRest(life) => {
            sleep(life);
            stage.stop.store(true, Ordering::SeqCst);
            // Requests in hand take milliseconds; the largest are of a few MiB.
            sleep(Duration::from_millis(500));
            stage.dying.store(true, Ordering::SeqCst);
            victim.kill()?;
            Ok(false)
        }
    }
}
