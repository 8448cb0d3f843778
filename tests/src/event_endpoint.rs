//! An endpoint for a registry's events: an HTTP server that takes what is posted to it, or refuses it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How long events may take: a claim of a server that was killed runs out first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Listens until the test's process ends.
#[derive(Debug)]
pub struct EventEndpoint {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    refuses: AtomicBool,
    deliveries: Mutex<Vec<Delivery>>,
}

/// A batch that was taken.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub events: Vec<Value>,
}

impl EventEndpoint {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let serving = Arc::clone(&state);
        spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&serving);
                // A connection that breaks is the registry's to notice.
                spawn(move || drop(serve(&stream, &state)));
            }
        });
        Ok(Self { address, state })
    }

    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// From now on batches are refused, or taken again.
    pub fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Ordering::SeqCst);
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.state.deliveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every event in the order of its arrival.
    pub fn events(&self) -> Vec<Value> {
        self.deliveries().into_iter().flat_map(|delivery| delivery.events).collect()
    }

    /// Waits until `enough` says so of the events.
    pub fn wait_for(&self, enough: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let events = self.events();
            if enough(&events) {
                return Ok(events);
            }
            ensure!(Instant::now() < until, "{} events are not enough: {events:#?}", events.len());
            sleep(Duration::from_millis(20));
        }
    }
}

fn serve(stream: &TcpStream, state: &State) -> Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut headers, mut first) = (Vec::new(), String::new());
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length =
            headers.iter().find(|(name, _)| name == "content-length").context("no length")?.1.parse()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut answer = stream;
        if state.refuses.load(Ordering::SeqCst) {
            answer.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let batch: Value = serde_json::from_slice(&body)?;
        let events = batch["events"].as_array().context("no events")?.clone();
        let mut deliveries = state.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        deliveries.push(Delivery { headers, events });
        drop(deliveries);
        answer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}
