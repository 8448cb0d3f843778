//! One connection: which protocol its first bytes speak, and serving it until it ends or the server drains.
//!
//! A client that speaks the wrong scheme gets an answer it can read. Plain HTTP where TLS is required gets a
//! 400 that says so. TLS where there is no certificate gets the same in plain HTTP: Go's clients turn that into
//! "server gave HTTP response to HTTPS client", and docker and containerd then try plain HTTP where they may.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use registry_io::ZeroCopyStream;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    activity::Activity,
    body::FileTransport,
    opening::{Opening, opening},
    patient_stream::PatientStream,
    service::{Handler, RequestOrigin},
    tls::SEND_BUFFER,
};

/// Time for the first byte, for a TLS handshake and for a request's head: a slow client's whole allowance.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// Read buffer of a connection. hyper's own 408 KiB times a thousand uploads would not fit the memory bound. A
/// request head of this size is always taken; the last read may bring as much again before one is refused.
const READ_BUFFER: usize = 64 << 10;
/// Most headers of a request.
const MOST_HEADERS: usize = 100;
/// Streams at once on one HTTP/2 connection; Go's clients send a handful. Each may hold a small body whole.
const HTTP2_STREAMS: u32 = 32;
/// Bytes in flight to us on one stream, and on a connection. All of them may stand in our memory when the disk is
/// slower than the network, so they bound it: 32 pushes on as many connections hold 8 MiB, and a connection with more
/// holds 1 MiB, which with as much for 128 slow pulls (`HTTP2_SEND_BUFFER`) stays within 24 MiB. With the network's
/// delay they also bound the speed of one push: at 1 ms 250 MB/s, at 20 ms 12 MB/s; a client sends layers side by
/// side, and loopback's delay is far below both.
const HTTP2_STREAM_WINDOW: u32 = 256 << 10;
const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one response that may wait in memory for the socket when the peer's window is wide and its line is slow:
/// one piece of a body. hyper's own 400 KiB times 128 slow pulls are 50 MiB.
const HTTP2_SEND_BUFFER: usize = 64 << 10;
/// How long an HTTP/2 connection that was told to end may take, so that a request on its way is still answered.
const GOODBYE_TIME: Duration = Duration::from_secs(5);
/// How long a refused client may take to read why.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// What a listener speaks.
#[derive(Debug, Clone)]
pub(crate) struct Protocols {
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// With `tls`: plain HTTP is answered with an explanation only.
    pub(crate) tls_required: bool,
}

/// Serves one accepted connection until it ends, or `drain` asks it to end after its current requests. A peer
/// that lets us wait with an answer for `idle` is cut off.
pub(crate) async fn serve<H: Handler>(
    stream: TcpStream,
    peer: SocketAddr,
    protocols: Protocols,
    handler: H,
    idle: Duration,
    drain: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let opening = tokio::select! {
        opening = timeout(HEADER_TIME, opening(&stream)) => opening,
        () = drain.cancelled() => return,
    };
    match (opening, protocols.tls) {
        (Ok(Some(Opening::Tls)), Some(config)) => {
            serve_tls(PatientStream::new(stream, idle), peer, config, handler, idle, drain).await
        }
        (Ok(Some(Opening::Tls)), None) => {
            // Its client tells of a broken handshake at most, so whoever looks for the reason looks here.
            tracing::info!(%peer, "refused: the client speaks TLS, and this port has no certificate");
            refuse(stream, "this registry speaks plain HTTP on this port: use http://, or allow it as an insecure registry").await;
        }
        (Ok(Some(_)), Some(_)) if protocols.tls_required => {
            tracing::info!(%peer, "refused: the client speaks plain HTTP, and this port requires TLS");
            refuse(stream, "this registry speaks TLS on this port: use https://").await;
        }
        (Ok(Some(Opening::Http1)), _) => {
            let (io, sender) = ZeroCopyStream::new(stream);
            let origin = RequestOrigin { peer, secure: false, transport: FileTransport::ZeroCopy(sender) };
            serve_http1(TokioIo::new(PatientStream::new(io, idle)), origin, handler, drain).await;
        }
        (Ok(Some(Opening::Http2)), _) => {
            let origin = RequestOrigin { peer, secure: false, transport: FileTransport::Pooled };
            serve_http2(TokioIo::new(PatientStream::new(stream, idle)), origin, handler, idle, drain).await;
        }
        // Closed before a byte came, or silent for too long.
        (Ok(None) | Err(_), _) => {}
    }
}

async fn refuse(mut stream: TcpStream, why: &str) {
    let body = format!("{{\"errors\":[{{\"code\":\"UNSUPPORTED\",\"message\":\"{why}\"}}]}}\n");
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Closing with unread bytes would reset the connection and may take the answer with it.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = timeout(REFUSAL_TIME, told).await {
        tracing::debug!(%error, "a client left before it read why it was refused");
    }
}

async fn serve_tls<H: Handler>(
    stream: PatientStream<TcpStream>,
    peer: SocketAddr,
    config: Arc<rustls::ServerConfig>,
    handler: H,
    idle: Duration,
    drain: CancellationToken,
) {
    let handshake = TlsAcceptor::from(config)
        .accept_with(stream, |connection| connection.set_buffer_limit(Some(SEND_BUFFER)));
    let stream = match timeout(HEADER_TIME, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "the TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let transport = if http2 { FileTransport::Pooled } else { FileTransport::Mapped };
    let origin = RequestOrigin { peer, secure: true, transport };
    let io = TokioIo::new(stream);
    if http2 {
        serve_http2(io, origin, handler, idle, drain).await;
    } else {
        serve_http1(io, origin, handler, drain).await;
    }
}

async fn serve_http1<I, H>(io: I, origin: RequestOrigin, handler: H, drain: CancellationToken)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    H: Handler,
{
    let peer = origin.peer;
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, origin) = (handler.clone(), origin.clone());
        async move { Ok::<_, std::convert::Infallible>(handler.handle(origin, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(READ_BUFFER)
        .max_headers(MOST_HEADERS)
        .serve_connection(io, service);
    until_ended(peer, connection, http1::Connection::graceful_shutdown, std::future::pending(), drain).await;
}

async fn serve_http2<I, H>(io: I, origin: RequestOrigin, handler: H, idle: Duration, drain: CancellationToken)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    H: Handler,
{
    let peer = origin.peer;
    let activity = Activity::new();
    let noted = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, origin, activity) = (handler.clone(), origin.clone(), noted.clone());
        async move {
            let _handling = activity.handle();
            let response = handler.handle(origin, request).await;
            Ok::<_, std::convert::Infallible>(response.map(|body| activity.send(body)))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_header_list_size(READ_BUFFER as u32)
        .keep_alive_interval(HEADER_TIME)
        .serve_connection(io, service);
    until_ended(peer, connection, http2::Connection::graceful_shutdown, activity.ended(idle), drain).await;
}

/// Drives a connection until it ends by itself. When the server drains it is told to end behind the requests in
/// hand; when it is of no use any more (`useless`), the same, and it has [`GOODBYE_TIME`] for that.
async fn until_ended<C>(
    peer: SocketAddr,
    connection: C,
    say_goodbye: impl Fn(Pin<&mut C>),
    useless: impl Future<Output = ()>,
    drain: CancellationToken,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            say_goodbye(connection.as_mut());
            connection.await
        }
        () = useless => {
            say_goodbye(connection.as_mut());
            timeout(GOODBYE_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "the connection ended early");
    }
}
