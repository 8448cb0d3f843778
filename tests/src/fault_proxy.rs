//! A TCP proxy that spoils connections as a test says: refuses, delays, slows down, cuts or resets them. It stands
//! between us and something that we reach over the network.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Bytes that pass at once: small, so that a cut is near the byte that was named.
const BUFFER: usize = 16 << 10;

/// What happens to connections from now on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// New connections are reset at once, as if nothing listened.
    pub refuse: bool,
    /// Nothing passes and nothing ends: a network that loses every packet.
    pub silent: bool,
    /// Waits so long before each piece passes, in either direction.
    pub delay: Duration,
    /// A connection ends after so many bytes from the server.
    pub cut_answers_after: Option<u64>,
    /// A connection ends after so many bytes to the server.
    pub cut_requests_after: Option<u64>,
    /// It ends by a reset instead of an orderly end.
    pub reset: bool,
    /// So many connections are cut, and later ones pass. `None`: all are.
    pub cuts: Option<u64>,
}

/// The proxy; ends when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    faults: Mutex<Faults>,
    /// Both ends of each connection.
    open: Mutex<Vec<[TcpStream; 2]>>,
    stopped: AtomicBool,
    cut: AtomicU64,
}

impl FaultProxy {
    /// A proxy on a free port of this machine that passes everything to `target`.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            faults: Mutex::default(),
            open: Mutex::default(),
            stopped: AtomicBool::new(false),
            cut: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Ok(Self { address, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Exchanges the faults; connections that are open meet them too.
    pub fn set(&self, faults: Faults) {
        self.shared.cut.store(0, Ordering::Relaxed);
        *lock(&self.shared.faults) = faults;
    }

    /// Ends every open connection.
    pub fn cut_all(&self) {
        for [near, far] in lock(&self.shared.open).drain(..) {
            end(&near, true);
            end(&far, true);
        }
    }

    /// Connections cut since the faults were set.
    pub fn cut(&self) -> u64 {
        self.shared.cut.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.cut_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for near in listener.incoming() {
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let Ok(near) = near else { continue };
            if lock(&self.faults).refuse {
                end(&near, true);
                continue;
            }
            // A target that is away looks like a proxy that refuses.
            let Ok(far) = TcpStream::connect(self.target) else {
                end(&near, true);
                continue;
            };
            if let Err(error) = self.serve(near, far) {
                eprintln!("fault proxy: {error}");
            }
        }
    }

    fn serve(self: &Arc<Self>, near: TcpStream, far: TcpStream) -> io::Result<()> {
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let mut open = lock(&self.open);
        // Connections that have ended answer with an error.
        open.retain(|[near, _]| near.peer_addr().is_ok());
        open.push([near.try_clone()?, far.try_clone()?]);
        drop(open);
        for answers in [false, true] {
            let shared = Arc::clone(self);
            let (near, far) = (near.try_clone()?, far.try_clone()?);
            thread::spawn(move || {
                if answers { shared.pass(&far, &near, true) } else { shared.pass(&near, &far, false) }
            });
        }
        Ok(())
    }

    /// Passes bytes on until one end closes or the connection is cut.
    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, answers: bool) {
        let mut buffer = [0; BUFFER];
        let mut passed = 0;
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) | Err(_) => {
                    // The other direction may go on.
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) => count,
            };
            let faults = loop {
                let faults = *lock(&self.faults);
                if !faults.silent || self.stopped.load(Ordering::Relaxed) {
                    break faults;
                }
                thread::sleep(Duration::from_millis(10));
            };
            thread::sleep(faults.delay);
            let limit = if answers { faults.cut_answers_after } else { faults.cut_requests_after };
            let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(passed));
            let passing = count.min(usize::try_from(room).unwrap_or(usize::MAX));
            let Some(piece) = buffer.get(..passing) else { return };
            if to.write_all(piece).is_err() {
                end(from, false);
                return;
            }
            passed += passing as u64;
            if passing < count && self.may_cut(faults) {
                end(from, faults.reset);
                end(to, faults.reset);
                return;
            }
            // The cuts are used up: the rest of the piece passes as well.
            if to.write_all(buffer.get(passing..count).unwrap_or_default()).is_err() {
                end(from, false);
                return;
            }
            passed += (count - passing) as u64;
        }
    }

    fn may_cut(&self, faults: Faults) -> bool {
        let counted = self.cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cut| {
            faults.cuts.is_none_or(|cuts| cut < cuts).then_some(cut + 1)
        });
        counted.is_ok()
    }
}

/// Ends a connection, so that both sides see it.
fn end(stream: &TcpStream, reset: bool) {
    if reset {
        // Closing then sends a reset; without it this is an orderly end, which is an end too.
        let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
