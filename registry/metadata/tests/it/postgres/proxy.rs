//! A way to the database that breaks at the worst moment: when a COMMIT has been sent and is not answered yet.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A simple query whose text is COMMIT, as it is on the wire.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Forwards connections to a server. Of each three COMMITs the first passes, the second reaches the server but
/// its answer does not come back, and the third never reaches it.
pub(super) struct Proxy {
    pub(super) port: u16,
    commits: Arc<AtomicUsize>,
}

impl Proxy {
    pub(super) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = commits.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(forward(client, server, counted.clone()));
            }
        });
        Self { port, commits }
    }

    /// COMMITs seen.
    pub(super) fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }
}

async fn forward(client: TcpStream, server: TcpStream, commits: Arc<AtomicUsize>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_server, to_client) => {}
        () = copy_until_cut(from_client, to_server, &commits) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Ends, and the connection with it, when a COMMIT is to be cut.
async fn copy_until_cut(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    commits: &AtomicUsize,
) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let sent = &buffer[..length];
        // The driver sends it by itself, since it waits for what comes before.
        let turn = (sent == COMMIT).then(|| commits.fetch_add(1, Ordering::Relaxed) % 3);
        if turn == Some(2) || to.write_all(sent).await.is_err() || turn == Some(1) {
            return;
        }
    }
}
