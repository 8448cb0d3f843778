//! Manifests and tags, of the writer's own repository and of the one that all share.

use rand::{Rng, seq::IndexedRandom};
use registry_types::{Digest, MediaType};
use serde_json::{Value as Json, json};

use super::{Did, Ended, SHARED, Writer};
use crate::crash::model::{Change, Key};

/// Tags of the shared repository, which all writers move.
const SHARED_TAGS: usize = 4;

const MANIFEST: [(&str, &str); 1] = [("Content-Type", MediaType::OCI_MANIFEST)];

impl Writer<'_> {
    /// Pushes a manifest of a new config and a layer under a tag of the writer's own, or under two by parameters.
    pub(super) fn push_image(&mut self) -> Did {
        let repository = self.repository.clone();
        let content = self.content(2000);
        let config = self.push_single(&repository, content)?;
        let layer = self.blobs.choose(&mut self.random).copied().unwrap_or(config);
        self.log.pinned.extend([config, layer]);
        self.blobs.retain(|blob| *blob != layer);
        for blob in [config, layer] {
            self.mountable(&repository, blob);
        }
        let manifest = manifest(&config, &layer, content.number);
        let digest = Digest::sha256(&manifest);
        let name = |number: u32| format!("t{number}");
        let first = name(self.random.random_range(0..12));
        let second = name(self.random.random_range(0..12));
        let (reference, tags) = if self.random.random_bool(0.6) {
            (first.clone(), vec![first])
        } else {
            let mut tags = vec![first, second];
            tags.dedup();
            let parameters: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
            (format!("{digest}?{}", parameters.join("&")), tags)
        };
        let mut changes = vec![(Key::Manifest(repository.clone(), digest), Some(digest))];
        changes.extend(tags.iter().map(|tag| (Key::Tag(repository.clone(), tag.clone()), Some(digest))));
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.change(changes, true, ("PUT", &path), &MANIFEST, &manifest)?;
        self.manifests.insert(digest);
        self.tags.extend(tags.into_iter().map(|tag| (tag, digest)));
        Ok(())
    }

    pub(super) fn mountable(&self, repository: &str, blob: Digest) {
        let mut mountable = self.stage.mountable.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        mountable.push((repository.to_owned(), blob));
    }

    pub(super) fn mount(&mut self) -> Did {
        let chosen = {
            let mountable = self.stage.mountable.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            mountable.choose(&mut self.random).cloned()
        };
        let Some((from, digest)) = chosen else { return Ok(()) };
        if from == self.repository {
            return Ok(());
        }
        // It stays here too: others may have it from this repository one day.
        self.log.pinned.push(digest);
        let path = format!("/v2/{}/blobs/uploads/?mount={digest}&from={from}", self.repository);
        let changes = vec![(Key::Blob(self.repository.clone(), digest), Some(digest))];
        let answer = self.change(changes, false, ("POST", &path), &[], b"")?;
        if answer.status != 201 {
            return Err(self.fault(&path, &answer));
        }
        Ok(())
    }

    pub(super) fn shared_tag(&mut self) -> String {
        format!("t{}", self.random.random_range(0..SHARED_TAGS))
    }

    pub(super) fn move_shared_tag(&mut self) -> Did {
        let content = self.content(2000);
        let config = self.push_single(SHARED, content)?;
        self.log.pinned.push(config);
        let manifest = manifest(&config, &config, content.number);
        let (digest, tag) = (Digest::sha256(&manifest), self.shared_tag());
        let changes = vec![
            (Key::Manifest(SHARED.to_owned(), digest), Some(digest)),
            (Key::Tag(SHARED.to_owned(), tag.clone()), Some(digest)),
        ];
        let path = format!("/v2/{SHARED}/manifests/{tag}");
        self.change(changes, false, ("PUT", &path), &MANIFEST, &manifest).map(drop)
    }

    pub(super) fn delete_shared_tag(&mut self) -> Did {
        let tag = self.shared_tag();
        let begin = self.tick();
        let answer = self.send("DELETE", &format!("/v2/{SHARED}/manifests/{tag}"), &[], b"");
        let end = match &answer {
            Ok(answer) if answer.status == 202 => Some(self.tick()),
            // Another writer was first.
            Ok(answer) if answer.status == 404 => return Ok(()),
            Ok(answer) => return Err(self.fault("the deletion of a tag", answer)),
            Err(Ended) => None,
        };
        self.log.changes.push((Key::Tag(SHARED.to_owned(), tag), Change { value: None, begin, end }));
        answer.map(drop)
    }

    pub(super) fn delete_tag(&mut self) -> Did {
        let tags: Vec<String> = self.tags.keys().cloned().collect();
        let Some(tag) = tags.choose(&mut self.random) else { return Ok(()) };
        let changes = vec![(Key::Tag(self.repository.clone(), tag.clone()), None)];
        let path = format!("/v2/{}/manifests/{tag}", self.repository);
        self.change(changes, true, ("DELETE", &path), &[], b"")?;
        self.tags.remove(tag);
        Ok(())
    }

    pub(super) fn delete_manifest(&mut self) -> Did {
        let manifests: Vec<Digest> = self.manifests.iter().copied().collect();
        let Some(&digest) = manifests.choose(&mut self.random) else { return Ok(()) };
        let mut changes = vec![(Key::Manifest(self.repository.clone(), digest), None)];
        let tags = self.tags.iter().filter(|(_, target)| **target == digest);
        changes.extend(tags.map(|(tag, _)| (Key::Tag(self.repository.clone(), tag.clone()), None)));
        let path = format!("/v2/{}/manifests/{digest}", self.repository);
        self.change(changes, true, ("DELETE", &path), &[], b"")?;
        self.manifests.remove(&digest);
        self.tags.retain(|_, target| *target != digest);
        Ok(())
    }

    pub(super) fn delete_blob(&mut self) -> Did {
        let Some(&digest) = self.blobs.choose(&mut self.random) else { return Ok(()) };
        let path = format!("/v2/{}/blobs/{digest}", self.repository);
        let changes = vec![(Key::Blob(self.repository.clone(), digest), None)];
        self.change(changes, true, ("DELETE", &path), &[], b"")?;
        self.blobs.retain(|blob| *blob != digest);
        Ok(())
    }

    /// Must be refused: the manifest names a blob that nobody pushed.
    pub(super) fn push_without_parts(&mut self) -> Did {
        let missing = self.content(16);
        let manifest = manifest(&missing.digest(), &missing.digest(), missing.number);
        let tag = format!("never{}", missing.number);
        self.log.refused.push(Key::Manifest(self.repository.clone(), Digest::sha256(&manifest)));
        self.log.refused.push(Key::Tag(self.repository.clone(), tag.clone()));
        let path = format!("/v2/{}/manifests/{tag}", self.repository);
        let answer = self.send("PUT", &path, &MANIFEST, &manifest)?;
        if answer.status == 404 { Ok(()) } else { Err(self.fault("a manifest without its parts", &answer)) }
    }
}

/// A manifest that no other number has.
fn manifest(config: &Digest, layer: &Digest, number: u64) -> Vec<u8> {
    let part = |media_type: &str, digest: &Digest| -> Json {
        json!({ "mediaType": media_type, "digest": digest, "size": 1 })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": part(MediaType::OCI_CONFIG, config),
        "layers": [part(MediaType::OCI_LAYER, layer)],
        "annotations": { "number": number.to_string() },
    });
    manifest.to_string().into_bytes()
}
