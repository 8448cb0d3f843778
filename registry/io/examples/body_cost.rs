//! What a body costs the server: CPU seconds per GB and GB per second over loopback, for each kind of body and
//! for a plain one that reads 256 KiB per trip to the blocking pool.
//!
//! `cargo run --release -p registry-io --example body_cost [MIB]`. The clients are processes of their own and
//! drop what they receive in the kernel, so that the figures are the server's.

use std::{
    env,
    error::Error,
    fs::File,
    future::Future,
    io::{self, Write},
    net::TcpStream as ClientSocket,
    os::unix::fs::FileExt,
    pin::Pin,
    process::Command,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use registry_io::{MappedBody, PooledBody, ZeroCopyStream};
use rustix::net::RecvFlags;
use tokio::{net::TcpListener, task::JoinHandle};

const KINDS: [&str; 4] = ["sendfile", "mapped", "pooled", "plain"];
const CONNECTIONS: [usize; 2] = [1, 4];

/// The plain body's buffer, in bytes.
const PLAIN_BUFFER: usize = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["client", address, kind, length] => client(address, kind, length.parse()?),
        [] => measure(1024),
        [mebibytes] => measure(mebibytes.parse()?),
        _ => Err("usage: body_cost [MIB]".into()),
    }
}

/// Fetches one file and drops it.
fn client(address: &str, kind: &str, length: usize) -> Result<(), Box<dyn Error>> {
    let mut socket = ClientSocket::connect(address)?;
    write!(socket, "GET /{kind} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")?;
    let mut received = 0;
    // With TRUNC the kernel drops the bytes that it counts.
    let mut buffer = vec![0; 1 << 20];
    loop {
        match rustix::net::recv(&socket, &mut *buffer, RecvFlags::TRUNC)? {
            (_, 0) => break,
            (_, count) => received += count,
        }
    }
    if received < length { Err(format!("only {received} bytes came").into()) } else { Ok(()) }
}

fn measure(mebibytes: usize) -> Result<(), Box<dyn Error>> {
    let mut file = tempfile_here()?;
    let block: Vec<u8> =
        (0..1 << 20).map(|place: u32| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for _ in 0..mebibytes {
        file.write_all(&block)?;
    }
    let file = Arc::new(file);
    let length = (mebibytes as u64) << 20;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let address = runtime.block_on(serve(file, length))?;
    println!("{:<10} {:>5} {:>12} {:>8}", "body", "conns", "CPU s/GB", "GB/s");
    for kind in KINDS {
        for connections in CONNECTIONS {
            let (cpu, start) = (cpu_seconds(), Instant::now());
            let clients = (0..connections).map(|_| {
                let length = length.to_string();
                Command::new("/proc/self/exe").args(["client", &address, kind, &length]).spawn()
            });
            for client in clients.collect::<Result<Vec<_>, _>>()? {
                if !client.wait_with_output()?.status.success() {
                    return Err(format!("a client of {kind} failed").into());
                }
            }
            let gigabytes = (length * connections as u64) as f64 / 1e9;
            let (cpu, wall) = (cpu_seconds() - cpu, start.elapsed().as_secs_f64());
            println!("{kind:<10} {connections:>5} {:>12.3} {:>8.2}", cpu / gigabytes, gigabytes / wall);
        }
    }
    Ok(())
}

/// An unnamed file in the current folder: `/tmp` may be memory.
fn tempfile_here() -> io::Result<File> {
    let name = format!("body-cost-{}", std::process::id());
    let file = File::options().read(true).write(true).create_new(true).open(&name)?;
    std::fs::remove_file(name)?;
    Ok(file)
}

/// CPU time of this process without its children.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn serve(file: Arc<File>, length: u64) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let file = Arc::clone(&file);
            tokio::spawn(async move {
                let (stream, sender) = ZeroCopyStream::new(socket);
                let service = service_fn(move |request: Request<Incoming>| {
                    let file = Arc::clone(&file);
                    let body: BoxBody<Bytes, io::Error> = match request.uri().path() {
                        "/sendfile" => sender.body(file, 0, length).boxed(),
                        "/mapped" => MappedBody::new(file, 0, length).boxed(),
                        "/pooled" => PooledBody::new(file, 0, length).boxed(),
                        _ => PlainBody { file, offset: 0, remaining: length, read: None }.boxed(),
                    };
                    async move { Ok::<_, io::Error>(Response::new(body)) }
                });
                if let Err(error) =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
                {
                    eprintln!("a connection failed: {error}");
                }
            });
        }
    });
    Ok(address)
}

/// The body one would write first.
struct PlainBody {
    file: Arc<File>,
    offset: u64,
    remaining: u64,
    read: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Body for PlainBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let wanted = self.remaining.min(PLAIN_BUFFER as u64) as usize;
        let read = self.read.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; wanted];
                file.read_exact_at(&mut buffer, offset)?;
                Ok(buffer)
            })
        });
        let done = ready!(Pin::new(read).poll(context)).map_err(io::Error::other)?;
        self.read = None;
        self.offset += wanted as u64;
        self.remaining -= wanted as u64;
        Poll::Ready(Some(done.map(|buffer| Frame::data(buffer.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
