//! Where objects lie below the bucket or the folder of it: all of one upload in a folder named by its id, which
//! may hold a blob in the end. Names in it are random and never used again.

use registry_types::{ObjectKey, UploadId};

/// The folder of everything that an upload stores.
pub(super) fn folder(id: UploadId) -> String {
    let text = id.to_string();
    let shard = text.get(..2).unwrap_or_default();
    format!("blobs/{shard}/{text}")
}

/// The folder that a key is in.
pub(super) fn folder_of(key: &ObjectKey) -> &str {
    key.as_str().rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The names that one worker gives.
#[derive(Debug)]
pub(super) struct Names {
    folder: String,
    worker: String,
    next: u32,
}

impl Names {
    pub(super) fn new(id: UploadId) -> Self {
        // As many random bits as make two workers of one upload differ.
        let worker = UploadId::random().to_string().chars().take(8).collect();
        Self { folder: folder(id), worker, next: 0 }
    }

    pub(super) fn next(&mut self) -> ObjectKey {
        let name = format!("{}/{}-{}", self.folder, self.worker, self.next);
        self.next += 1;
        name.parse().expect("made of an id, hexadecimal digits and numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_upload_differ_and_share_a_folder() {
        let id = UploadId::random();
        let (mut first, mut second) = (Names::new(id), Names::new(id));
        let keys = [first.next(), first.next(), second.next()];
        assert!(keys.iter().all(|key| folder_of(key) == folder(id)));
        assert!(keys[0] != keys[1] && keys[0] != keys[2]);
        assert!(folder(id).starts_with(&format!("blobs/{}/", &id.to_string()[..2])));
    }
}
