//! Lists that are long: filled through the API, and their first page asked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::{servers::Contestant, table::median};

/// Connections that fill a list.
const WRITERS: usize = 32;
/// How often a page is asked for; the median counts.
const ASKED: usize = 25;
/// The smallest manifest there is: an index of nothing, which needs no blob.
const MANIFEST: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Tags of one repository.
    Tags,
    /// Repositories with one tag each.
    Repositories,
}

impl Fill {
    fn manifest_path(self, number: u64) -> String {
        match self {
            Self::Tags => format!("/v2/lists/tags/manifests/v{number}"),
            Self::Repositories => format!("/v2/lists/catalog/r{number}/manifests/latest"),
        }
    }

    fn page_path(self) -> &'static str {
        match self {
            Self::Tags => "/v2/lists/tags/tags/list?n=100",
            Self::Repositories => "/v2/_catalog?n=100",
        }
    }

    /// The member of the answer that holds the list.
    fn member(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Repositories => "repositories",
        }
    }
}

/// Makes `count` entries; gives fewer when `limit` is over.
pub(crate) async fn fill(contestant: &Contestant, list: Fill, count: u64, limit: Duration) -> Result<u64> {
    let (next, made) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let until = Instant::now() + limit;
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let mut connection = contestant.connect().await?;
        let (next, made) = (Arc::clone(&next), Arc::clone(&made));
        tasks.spawn(async move {
            let headers = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";
            while Instant::now() < until {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                let path = list.manifest_path(number);
                let (head, body) = connection.request("PUT", &path, headers, MANIFEST.as_bytes()).await?;
                let said = String::from_utf8_lossy(&body);
                ensure!(head.status == 201, "PUT {path} answered {}: {said}", head.status);
                made.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(made.load(Ordering::Relaxed))
}

/// The median time of the first page of a list, in milliseconds.
pub(crate) async fn first_page(contestant: &Contestant, list: Fill) -> Result<f64> {
    let mut connection = contestant.connect().await?;
    let mut times = Vec::new();
    for _ in 0..ASKED {
        let started = Instant::now();
        let (head, body) = connection.request("GET", list.page_path(), "", b"").await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(head.status == 200, "GET {} answered {}", list.page_path(), head.status);
        let answer: serde_json::Value = serde_json::from_slice(&body)?;
        let names = answer[list.member()].as_array().context("the answer holds no list")?;
        ensure!(names.len() == 100, "the first page of 100 has {} entries", names.len());
    }
    Ok(median(times))
}
