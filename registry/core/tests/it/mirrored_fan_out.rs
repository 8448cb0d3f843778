//! One download and its readers under many seeds: whatever the upstream, the readers and their timing do, a reader
//! gets exactly the bytes it asked for or an error, and an error only if the upstream is to blame.

use std::time::Duration;

use futures_util::{StreamExt, future::join_all};
use rand::{Rng, SeedableRng, rngs::StdRng};
use registry_auth::Pull;
use registry_core::PulledBlob;
use registry_types::Digest;
use tokio::time::sleep;

use super::{
    TestRegistry,
    fake_upstream::Fake,
    grant,
    mirrored_blobs::{content, mirror, read_stored},
};

const SEEDS: u64 = 40;

/// What one client does.
#[derive(Debug)]
struct Client {
    delay: Duration,
    start: u64,
    length: u64,
    /// The pause after each piece.
    pause: Duration,
    /// It goes away after so many pieces.
    patience: usize,
}

impl Client {
    fn random(random: &mut StdRng, size: u64) -> Self {
        let (start, length) = if random.random_bool(0.6) {
            (0, size)
        } else {
            let start = random.random_range(0..size);
            (start, random.random_range(1..=size - start))
        };
        Self {
            delay: Duration::from_millis(random.random_range(0..15)),
            start,
            length,
            pause: Duration::from_micros(if random.random_bool(0.3) { 2000 } else { 0 }),
            patience: if random.random_bool(0.2) { random.random_range(0..20) } else { usize::MAX },
        }
    }

    /// The bytes, how the stream ended, and whether the client stayed.
    async fn run(&self, registry: TestRegistry, digest: Digest) -> (Vec<u8>, bool, bool) {
        sleep(self.delay).await;
        let mut got = Vec::new();
        let bytes = match registry.pull_blob(&grant::<Pull>("mirror/app"), &digest).await {
            Ok(PulledBlob::Coming(feed)) => feed.bytes(self.start, self.length),
            Ok(PulledBlob::Stored(stored)) => {
                got = vec![0; self.length as usize];
                read_stored(&stored, &mut got, self.start);
                return (got, true, true);
            }
            Err(_) => return (got, false, true),
        };
        let mut bytes = bytes.take(self.patience);
        while let Some(piece) = bytes.next().await {
            match piece {
                Ok(piece) => got.extend_from_slice(&piece),
                Err(_) => return (got, false, true),
            }
            sleep(self.pause).await;
        }
        let stayed = self.patience == usize::MAX;
        (got, stayed, stayed)
    }
}

async fn scenario(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let size = random.random_range(300_000..6_000_000);
    let content = content(size, seed);
    let upstream = Fake::new();
    let (registry, folder) = mirror(&upstream).await;
    let digest = upstream.add_blob(content.clone());
    let lies = random.random_bool(0.25);
    let mut given = content.to_vec();
    if lies {
        given[random.random_range(0..size)] ^= 1;
        upstream.lie(digest, given.clone());
    }
    {
        let mut state = upstream.state();
        state.piece = random.random_range(500..300_000);
        // Each stream gives something, so cuts alone are no reason to fail.
        let cuts = random.random_range(0..4);
        state.cuts = (0..cuts).map(|_| random.random_range(1..size)).collect();
    }
    let clients: Vec<Client> =
        (0..random.random_range(1..10)).map(|_| Client::random(&mut random, size as u64)).collect();
    let runs = clients.iter().map(|client| {
        let (registry, client) = (registry.clone(), client);
        async move { client.run(registry, digest).await }
    });
    for (client, (got, well, stayed)) in clients.iter().zip(join_all(runs).await) {
        let start = client.start as usize;
        let said = format!("seed {seed}, lies {lies}, {client:?}: {} bytes, well {well}", got.len());
        assert!(got == given[start..start + got.len()], "other bytes: {said}");
        if lies {
            assert!(!well || !stayed, "a wrong blob ended well: {said}");
            assert!(got.len() < client.length as usize, "a wrong blob was given whole: {said}");
        } else if stayed {
            assert!(well && got.len() as u64 == client.length, "a right blob did not come: {said}");
        }
    }
    registry.drain().await;
    let stored = registry.open_blob(&grant::<Pull>("mirror/app"), &digest).await.is_ok();
    assert!(!(stored && lies), "seed {seed}: a wrong blob was stored");
    if !lies {
        let mut offsets = upstream.offsets();
        let asked = offsets.len();
        offsets.dedup();
        assert_eq!(offsets.len(), asked, "seed {seed}: bytes were fetched twice");
        assert!(offsets.is_sorted(), "seed {seed}: {offsets:?}");
    }
    let left = std::fs::read_dir(folder.path().join("uploads")).unwrap().count();
    assert!(left == 0 || (!stored && !lies), "seed {seed}: {left} files stay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_bytes_are_right_or_there_is_an_error() {
    for seed in 0..SEEDS {
        scenario(seed).await;
    }
}
