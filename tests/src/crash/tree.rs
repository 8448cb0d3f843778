//! The data folder itself: no temporary file stays, and every blob file is what its name says.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use registry_types::{Algorithm, Digest};

/// How long after a start the uploads folder may still hold what a crash left.
const SWEEP_TIME: Duration = Duration::from_secs(3);

/// Waits until the uploads folder is empty, as it has to be when every upload has ended. Gives what stays.
pub(super) fn leftover_uploads(data: &Path) -> Result<Vec<String>> {
    let until = Instant::now() + SWEEP_TIME;
    loop {
        let left = files(&data.join("uploads"))?;
        if left.is_empty() {
            return Ok(Vec::new());
        }
        if Instant::now() >= until {
            let told = |path: &PathBuf| format!("a temporary file stays: {}", path.display());
            return Ok(left.iter().map(told).collect());
        }
        sleep(Duration::from_millis(50));
    }
}

/// What in the tree of blobs is not a whole blob under its name.
pub(super) fn damaged_blobs(data: &Path) -> Result<Vec<String>> {
    let root = data.join("docker/registry/v2/blobs");
    let mut wrong = Vec::new();
    for path in files(&root)? {
        let relative = path.strip_prefix(&root)?;
        match named_digest(relative) {
            None => wrong.push(format!("a file that is no blob lies in the tree: {}", path.display())),
            Some(digest) => {
                let actual = Digest::of(digest.algorithm(), &fs::read(&path)?);
                if actual != digest {
                    wrong.push(format!("damaged: {} has the digest {actual}", path.display()));
                }
            }
        }
    }
    Ok(wrong)
}

/// The digest that `<algorithm>/<two digits>/<digits>/data` names.
fn named_digest(path: &Path) -> Option<Digest> {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    let [algorithm, shard, digits, "data"] = parts[..] else { return None };
    let algorithm = Algorithm::ALL.into_iter().find(|known| known.name() == algorithm)?;
    let digest: Digest = format!("{}:{digits}", algorithm.name()).parse().ok()?;
    digits.starts_with(shard).then_some(digest)
}

/// All files below a folder.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blobs_belong_to_the_tree() {
        let data = tempfile::tempdir().unwrap();
        let digest = Digest::sha256(b"blob");
        let folder = data.path().join(format!(
            "docker/registry/v2/blobs/sha256/{}/{}",
            &digest.hex()[..2],
            digest.hex()
        ));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("data"), b"blob").unwrap();
        assert!(damaged_blobs(data.path()).unwrap().is_empty());
        fs::write(folder.join("data.new"), b"blob").unwrap();
        assert_eq!(damaged_blobs(data.path()).unwrap().len(), 1);
        fs::write(folder.join("data"), b"blo").unwrap();
        assert_eq!(damaged_blobs(data.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_stays_is_told_and_one_that_goes_is_waited_for() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("uploads/left");
        fs::create_dir(data.path().join("uploads")).unwrap();
        fs::write(&file, b"half").unwrap();
        assert_eq!(leftover_uploads(data.path()).unwrap().len(), 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| leftover_uploads(data.path()).unwrap());
            fs::remove_file(&file).unwrap();
            assert!(waiting.join().unwrap().is_empty());
        });
    }
}
