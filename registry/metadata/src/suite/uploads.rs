//! Upload sessions, from their start to their end.

use registry_types::{Algorithm, DigestHasher, RepositoryName, UploadId};
use time::{Duration, OffsetDateTime};

use super::samples::*;
use crate::{Metadata, MetadataError, UploadProgress, UploadRecord};

/// A whole microsecond, which every engine can keep.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now - Duration::nanoseconds(i64::from(now.nanosecond() % 1_000))
}

fn session(repository: &RepositoryName, touched_at: OffsetDateTime) -> UploadRecord {
    UploadRecord {
        id: UploadId::random(),
        repository: repository.clone(),
        started_at: touched_at,
        touched_at,
        progress: DigestHasher::new(Algorithm::Sha256).save().into(),
        writer: 0,
    }
}

pub async fn a_session_lives_until_it_ends<M: Metadata>(store: M) {
    let (here, there) = (repository("team/app"), repository("team/other"));
    let record = session(&here, now());
    assert_eq!(store.upload(&here, &record.id).await.unwrap(), None);
    assert!(!store.upload_exists(&record.id).await.unwrap());
    store.create_upload(&record).await.unwrap();
    assert!(matches!(store.create_upload(&record).await, Err(MetadataError::AlreadyExists { .. })));
    assert_eq!(store.upload(&here, &record.id).await.unwrap(), Some(record.clone()));
    assert_eq!(store.upload(&there, &record.id).await.unwrap(), None);
    assert!(store.upload_exists(&record.id).await.unwrap());
    assert!(store.repositories(&page(None, 10)).await.unwrap().entries.is_empty());

    assert!(!store.delete_upload(&there, &record.id).await.unwrap());
    assert!(store.delete_upload(&here, &record.id).await.unwrap());
    assert!(!store.delete_upload(&here, &record.id).await.unwrap());
    assert_eq!(store.upload(&here, &record.id).await.unwrap(), None);
    assert!(
        !store.save_progress(&record.id, 0, &record.progress, now()).await.unwrap(),
        "an ended session went on"
    );
    assert!(!store.upload_exists(&record.id).await.unwrap());
}

pub async fn progress_is_kept_exactly<M: Metadata>(store: M) {
    let here = repository("team/app");
    let hour_ago = now() - Duration::hours(1);
    for algorithm in Algorithm::ALL {
        let record =
            UploadRecord { progress: DigestHasher::new(algorithm).save().into(), ..session(&here, hour_ago) };
        store.create_upload(&record).await.unwrap();
        let mut hasher = DigestHasher::new(algorithm);
        hasher.update(b"the first chunk");
        let progress = UploadProgress { hash: hasher.save(), store: b"part 1, part 2".to_vec() };
        let touched_at = now();
        assert!(store.save_progress(&record.id, 0, &progress, touched_at).await.unwrap());
        let found = store.upload(&here, &record.id).await.unwrap().unwrap();
        assert_eq!(found, UploadRecord { touched_at, progress, ..record.clone() });
        let mut resumed = DigestHasher::restore(&found.progress.hash).expect("the state is whole");
        resumed.update(b" and the second");
        hasher.update(b" and the second");
        assert_eq!(resumed.finish(), hasher.finish());
    }
}

pub async fn the_last_claim_alone_may_write<M: Metadata>(store: M) {
    let (here, there) = (repository("team/app"), repository("team/other"));
    let record = session(&here, now());
    let save = async |writer| store.save_progress(&record.id, writer, &record.progress, now()).await.unwrap();
    assert_eq!(store.claim_upload(&here, &record.id).await.unwrap(), None);
    store.create_upload(&record).await.unwrap();
    let first = store.claim_upload(&here, &record.id).await.unwrap().unwrap();
    assert_eq!(first, UploadRecord { writer: first.writer, ..record.clone() });
    assert!(save(first.writer).await && !save(record.writer).await);
    assert_eq!(store.claim_upload(&there, &record.id).await.unwrap(), None);
    assert!(save(first.writer).await, "a claim through another repository took the session");
    let second = store.claim_upload(&here, &record.id).await.unwrap().unwrap();
    assert!(!save(first.writer).await, "two requests write one session");
    assert!(save(second.writer).await);
}

pub async fn stale_sessions_come_oldest_first<M: Metadata>(store: M) {
    let here = repository("team/app");
    let start = now() - Duration::days(1);
    let sessions: Vec<UploadRecord> =
        [3, 1, 2, 5, 4].map(|hours| session(&here, start + Duration::hours(hours))).to_vec();
    for session in &sessions {
        store.create_upload(session).await.unwrap();
    }
    let hours = async |before: OffsetDateTime, limit| {
        let stale = store.stale_uploads(before, limit).await.unwrap();
        stale.iter().map(|session| (session.touched_at - start).whole_hours()).collect::<Vec<_>>()
    };
    // Exactly at the limit is not before it.
    assert_eq!(hours(start + Duration::hours(4), 10).await, [1, 2, 3]);
    assert_eq!(hours(start + Duration::hours(9), 2).await, [1, 2]);
    assert_eq!(hours(start, 10).await, [0_i64; 0]);
    let touched = &sessions[1];
    assert!(store.save_progress(&touched.id, 0, &touched.progress, now()).await.unwrap());
    assert_eq!(hours(start + Duration::hours(4), 10).await, [2, 3]);
}

pub async fn the_store_answers_a_ping<M: Metadata>(store: M) {
    for _ in 0..2 {
        store.ping().await.unwrap();
    }
}
