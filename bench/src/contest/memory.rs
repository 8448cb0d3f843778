//! Memory under many slow clients: what a server holds for each connection, whatever it speaks.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::{task::JoinSet, time::Instant};

use super::content;
use crate::{
    http2::Http2,
    servers::{Contestant, REPOSITORY},
};

/// A slow client reads so much, and then rests so long: about 3 MB/s.
const STEP: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(20);
/// Clients that share one connection of HTTP/2: as many as an engine has transfers at once, and some.
const STREAMS: usize = 20;
/// How often memory is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1, plain or over TLS as the contestant is reached.
    Http1,
    /// HTTP/2 over TLS.
    Http2,
}

/// So many slow pulls and unfinished pushes at once, of blobs of `length` bytes, for `time`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) pulls: usize,
    pub(crate) pushes: usize,
    pub(crate) length: u64,
    pub(crate) time: Duration,
}

/// Puts `load` on a contestant, pulling `path`, and gives the highest memory seen, in MiB.
pub(crate) async fn memory(
    contestant: &Contestant,
    protocol: Protocol,
    path: &str,
    load: Load,
) -> Result<f64> {
    let until = Instant::now() + load.time;
    let mut tasks = JoinSet::new();
    let chunk = Bytes::from(content(1 << 20, 7));
    match protocol {
        Protocol::Http1 => http1(&mut tasks, contestant, path, load, &chunk, until).await?,
        Protocol::Http2 => http2(&mut tasks, contestant, path, load, &chunk, until).await?,
    }
    let mut highest = 0.0_f64;
    while Instant::now() < until {
        highest = highest.max(contestant.server.memory_mib());
        tokio::time::sleep(GLANCE).await;
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(highest)
}

type Tasks = JoinSet<Result<()>>;

fn uploads() -> String {
    format!("/v2/{REPOSITORY}/blobs/uploads/")
}

async fn http1(
    tasks: &mut Tasks,
    contestant: &Contestant,
    path: &str,
    load: Load,
    chunk: &Bytes,
    until: Instant,
) -> Result<()> {
    for _ in 0..load.pulls {
        let mut connection = contestant.connect().await?;
        let path = path.to_owned();
        tasks.spawn(async move {
            connection.begin_get(&path).await?;
            while Instant::now() < until {
                connection.skip(STEP).await?;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        });
    }
    for _ in 0..load.pushes {
        let mut connection = contestant.connect().await?;
        let chunk = chunk.clone();
        tasks.spawn(async move {
            let (head, _) = connection.request("POST", &uploads(), "", b"").await?;
            let location = head.location.context("no Location")?;
            let headers = "Content-Type: application/octet-stream\r\n";
            connection.send_head("PATCH", &location, headers, load.length).await?;
            let mut left = load.length;
            while Instant::now() < until && left > chunk.len() as u64 {
                connection.send_body(&chunk, chunk.len() as u64).await?;
                left -= chunk.len() as u64;
            }
            // The last byte is never sent: the upload stays open until the end.
            tokio::time::sleep_until(until).await;
            Ok(())
        });
    }
    Ok(())
}

async fn http2(
    tasks: &mut Tasks,
    contestant: &Contestant,
    path: &str,
    load: Load,
    chunk: &Bytes,
    until: Instant,
) -> Result<()> {
    let path: Arc<str> = path.into();
    let mut connection = Http2::open(contestant).await?;
    for client in 0..load.pulls + load.pushes {
        if client % STREAMS == 0 && client > 0 {
            connection = Http2::open(contestant).await?;
        }
        let stream = connection.clone();
        // Spread over the connections, so that each has its share of both.
        let pushes = client % (load.pulls + load.pushes).div_ceil(load.pushes.max(1)) == 0;
        if load.pushes > 0 && pushes {
            let chunk = chunk.clone();
            tasks.spawn(async move { stream.push_unfinished(&uploads(), chunk, load.length, until).await });
        } else {
            let path = Arc::clone(&path);
            tasks.spawn(async move { stream.pull_slowly(&path, STEP, PAUSE, until).await });
        }
    }
    Ok(())
}
