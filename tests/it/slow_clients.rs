//! A thousand clients that only hold their connection and a thousand that trickle, while healthy ones work.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use registry_types::Digest;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slipway_tests::{Layout, Registry, http::Server, skip};

const IDLE: usize = 1000;
const SLOW: usize = 1000;
/// Connections and their files, in the registry and here, with room to spare.
const DESCRIPTORS: u64 = 8192;
const HEALTHY: usize = 4;
/// How long the healthy ones work, first alone and then beside the others.
const WORK: Duration = Duration::from_secs(5);
/// Between two bytes of a slow client.
const PAUSE: Duration = Duration::from_millis(300);
/// More than the sockets' buffers hold, so that its reader decides how fast it goes.
const LARGE: usize = 16 << 20;

#[test]
fn healthy_clients_are_answered_beside_idle_and_slow_ones() -> Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    if most.is_some_and(|most| most < DESCRIPTORS) {
        skip("two thousand connections need a higher limit of open files");
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let image = Layout::new(&[("file", b"content")])?;
    image.push(server, "team/app", "1")?;
    let large = server.push_blob("team/large", &vec![7; LARGE])?;

    let alone = work(server, &image)?;
    let mut idle = (0..IDLE).map(|number| idle(server, number)).collect::<Result<Vec<_>>>()?;
    let mut slow = (0..SLOW).map(|number| Slow::start(server, number, &large)).collect::<Result<Vec<_>>>()?;
    let done = AtomicBool::new(false);
    let beside = thread::scope(|scope| {
        let trickle = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                slow.iter_mut().for_each(Slow::step);
                thread::sleep(PAUSE);
            }
        });
        let beside = work(server, &image);
        done.store(true, Ordering::Relaxed);
        let _ = trickle.join();
        beside
    })?;

    println!("alone:  {alone}\nbeside: {beside}");
    println!(
        "99th percentile: {:.2} times",
        beside.percentile.as_secs_f64() / alone.percentile.as_secs_f64()
    );
    // Had they been turned away, nothing would have been shown.
    let kept = idle.iter_mut().map(is_open).filter(|open| *open).count();
    let trickling = slow.iter().filter(|client| client.open).count();
    println!("{kept} idle and {trickling} slow connections were open to the end");
    ensure!(
        kept == IDLE && trickling == SLOW,
        "the registry closed some of {IDLE} idle and {SLOW} slow ones"
    );
    drop((idle, slow));
    server.get("/readyz")?.expect(200)?;
    Ok(())
}

/// Silent from the start, or after a request that was answered.
fn idle(server: Server, number: usize) -> Result<TcpStream> {
    let mut stream = server.connect()?;
    if number.is_multiple_of(2) {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        ensure!(&start == b"HTTP/1.1 200", "not healthy: {}", start.escape_ascii());
    }
    stream.set_nonblocking(true)?;
    // What is left of the answer.
    thread::sleep(Duration::from_millis(1));
    Ok(stream)
}

/// Whether the other side still holds the connection. What it sent is read and dropped.
fn is_open(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// A client that sends a head or a body, or reads an answer, by few bytes at a time.
struct Slow {
    stream: TcpStream,
    /// What it sends next, one byte of it at a time; nothing for one that reads.
    sends: Option<u8>,
    open: bool,
}

impl Slow {
    fn start(server: Server, number: usize, large: &Digest) -> Result<Self> {
        let mut stream = server.connect()?;
        let (start, sends) = match number % 3 {
            0 => ("GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Filler: ".to_owned(), Some(b'a')),
            1 => {
                let head =
                    format!("POST /v2/team/slow/blobs/uploads/?digest={large} HTTP/1.1\r\nHost: x\r\n");
                (format!("{head}Content-Length: {LARGE}\r\n\r\n"), Some(7))
            }
            _ => (format!("GET /v2/team/large/blobs/{large} HTTP/1.1\r\nHost: x\r\n\r\n"), None),
        };
        stream.write_all(start.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, sends, open: true })
    }

    fn step(&mut self) {
        let moved = match self.sends {
            Some(byte) => self.stream.write(&[byte]),
            None => self.stream.read(&mut [0; 512]),
        };
        let goes_on = match moved {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        self.open &= goes_on;
    }
}

/// What healthy clients saw.
struct Seen {
    requests: usize,
    median: Duration,
    percentile: Duration,
    longest: Duration,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, median, percentile, longest } = self;
        write!(f, "{requests} requests, p50 {median:.1?}, p99 {percentile:.1?}, longest {longest:.1?}")
    }
}

/// Pulls and pushes for a while by several clients. Each request must be answered, and as it should be.
fn work(server: Server, image: &Layout) -> Result<Seen> {
    let until = Instant::now() + WORK;
    let one = move |client: usize| -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        while Instant::now() < until {
            let started = Instant::now();
            match times.len() % 4 {
                0 => server.get("/v2/team/app/manifests/1")?.expect(200)?,
                1 => server.get(&format!("/v2/team/app/blobs/{}", image.layer))?.expect(200)?,
                2 => server.get("/v2/team/app/tags/list")?.expect(200)?,
                _ => {
                    let blob = format!("blob {} of {client} at {until:?}", times.len());
                    let path =
                        format!("/v2/team/app/blobs/uploads/?digest={}", Digest::sha256(blob.as_bytes()));
                    server.request("POST", &path, &[], blob.as_bytes())?.expect(201)?
                }
            };
            times.push(started.elapsed());
        }
        Ok(times)
    };
    let mut times = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..HEALTHY).map(|client| scope.spawn(move || one(client))).collect();
        for client in clients {
            times.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        Ok(())
    })?;
    times.sort();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1)).copied();
    Ok(Seen {
        requests: times.len(),
        median: at(50).context("no request was answered")?,
        percentile: at(99).context("no request was answered")?,
        longest: at(100).context("no request was answered")?,
    })
}
