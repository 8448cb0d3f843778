//! The folder that holds this registry's signing key, readable by its owner only, and the public halves of
//! the keys before it for as long as a token of theirs may be alive. Every file appears whole or not at all.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tempfile::NamedTempFile;

use crate::{
    AuthError, KeyRing, SigningKey,
    key_ring::{RetiredKey, public_key},
    trust::unix_seconds,
};

const SIGNING_FILE: &str = "signing.pem";

/// A retired key's file is `retired-SECONDS-THUMBPRINT.pem`, with the second since 1970 it is trusted until.
const RETIRED_PREFIX: &str = "retired-";

/// Owner only: whoever reads the key can give himself every right.
const FOLDER_MODE: u32 = 0o700;
const OTHERS: u32 = 0o077;

/// A key ring in a folder.
#[derive(Debug)]
pub struct KeyStore {
    folder: PathBuf,
    ring: KeyRing,
}

impl KeyStore {
    /// Opens `folder`, making it and the first key where there are none. Retired keys whose time has come are
    /// removed.
    pub fn open_blocking(folder: &Path, now: SystemTime) -> Result<Self, AuthError> {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(folder)
            .map_err(file_error(folder, "created"))?;
        let path = folder.join(SIGNING_FILE);
        if !path.try_exists().map_err(file_error(&path, "read"))? {
            write_blocking(folder, SIGNING_FILE, SigningKey::generate_blocking()?.to_pem()?.expose(), false)?;
        }
        let signing = Arc::new(read_signing_blocking(&path)?);
        let retired = read_retired_blocking(folder, now)?;
        Ok(Self { folder: folder.to_owned(), ring: KeyRing { signing, retired } })
    }

    /// The keys.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Signs with a new key from now on, as [`KeyRing::rotated_blocking`] says. The old private key is destroyed.
    ///
    /// The old key's public half is on disk before the new key replaces it, so a crash in between loses no
    /// token: the old key then simply goes on signing.
    pub fn rotate_blocking(&mut self, lifetime: Duration, now: SystemTime) -> Result<(), AuthError> {
        let ring = self.ring.rotated_blocking(lifetime, now)?;
        if let Some(last) = ring.retired.last().filter(|_| !lifetime.is_zero()) {
            let name =
                format!("{RETIRED_PREFIX}{}-{}.pem", unix_seconds(last.until), last.public.thumbprint());
            write_blocking(&self.folder, &name, &last.public.to_pem(), true)?;
        }
        write_blocking(&self.folder, SIGNING_FILE, ring.signing.to_pem()?.expose(), true)?;
        self.ring = ring;
        Ok(())
    }
}

fn file_error(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> AuthError + use<> {
    let path = path.to_owned();
    move |source| AuthError::KeyFile { path: path.clone(), doing, source }
}

fn read_signing_blocking(path: &Path) -> Result<SigningKey, AuthError> {
    let failed = file_error(path, "read");
    let mode = fs::metadata(path).map_err(&failed)?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(AuthError::KeyFileExposed { path: path.to_owned(), mode });
    }
    let text = zeroize::Zeroizing::new(fs::read(path).map_err(&failed)?);
    SigningKey::from_pem(&text, &format!("the signing key {}", path.display()))
}

fn read_retired_blocking(folder: &Path, now: SystemTime) -> Result<Vec<RetiredKey>, AuthError> {
    let mut retired = Vec::new();
    for entry in fs::read_dir(folder).map_err(file_error(folder, "listed"))? {
        let path = entry.map_err(file_error(folder, "listed"))?.path();
        let Some(until) = path.file_name().and_then(|name| retired_until(name.to_str()?)) else { continue };
        if until <= now {
            fs::remove_file(&path).map_err(file_error(&path, "removed"))?;
            continue;
        }
        let text = fs::read(&path).map_err(file_error(&path, "read"))?;
        let public = public_key(&text, &format!("the retired key {}", path.display()))?;
        retired.push(RetiredKey { public: Arc::new(public), until });
    }
    Ok(retired)
}

fn retired_until(name: &str) -> Option<SystemTime> {
    let (seconds, _) = name.strip_prefix(RETIRED_PREFIX)?.strip_suffix(".pem")?.split_once('-')?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))
}

/// Writes `name` whole, with mode 0600, and makes it durable. Without `replace` a file that is there already
/// stays: when two processes start at once, both use the key of the first.
fn write_blocking(folder: &Path, name: &str, text: &str, replace: bool) -> Result<(), AuthError> {
    let path = folder.join(name);
    let failed = file_error(&path, "written");
    let mut file = NamedTempFile::new_in(folder).map_err(&failed)?;
    file.write_all(text.as_bytes()).map_err(&failed)?;
    file.as_file().sync_all().map_err(&failed)?;
    let outcome = if replace { file.persist(&path) } else { file.persist_noclobber(&path) };
    match outcome {
        Err(error) if !replace && error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error.error)),
        Ok(_) => {}
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(&failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CLOCK_LEEWAY;

    const LIFETIME: Duration = Duration::from_mins(15);

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn ids(store: &KeyStore) -> Vec<String> {
        store.ring().trusted().key_ids().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_start_makes_a_key_that_only_its_owner_reads() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("data/keys");
        let first = KeyStore::open_blocking(&folder, SystemTime::now()).unwrap();
        assert_eq!((mode(&folder), mode(&folder.join(SIGNING_FILE))), (0o700, 0o600));
        let again = KeyStore::open_blocking(&folder, SystemTime::now()).unwrap();
        assert_eq!(ids(&first), ids(&again));
        assert_eq!(names(&folder), [SIGNING_FILE]);
    }

    #[test]
    fn a_key_that_others_can_read_and_a_broken_key_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(SIGNING_FILE);
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = || KeyStore::open_blocking(place.path(), SystemTime::now()).unwrap_err();
        assert!(matches!(open(), AuthError::KeyFileExposed { mode: 0o640, .. }));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(open(), AuthError::Key { .. }));
        assert_eq!(fs::read(&path).unwrap(), b"x", "a broken key must not be replaced in silence");
    }

    #[test]
    fn a_rotation_keeps_the_old_public_key_until_its_last_token_is_dead() {
        let place = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut store = KeyStore::open_blocking(place.path(), now).unwrap();
        let old = store.ring().signing();
        store.rotate_blocking(LIFETIME, now).unwrap();
        let new = store.ring().signing();
        assert_ne!(old.public().key_id(), new.public().key_id());
        let both = [new.public().key_id().to_owned(), old.public().key_id().to_owned()];
        assert_eq!(ids(&store), both);
        let files = names(place.path());
        assert_eq!(files.len(), 2);
        for file in &files {
            let text = fs::read_to_string(place.path().join(file)).unwrap();
            assert_eq!(text.contains("PRIVATE"), file == SIGNING_FILE, "{file}");
            assert_eq!(mode(&place.path().join(file)), 0o600);
        }
        let end = LIFETIME + CLOCK_LEEWAY;
        let before = KeyStore::open_blocking(place.path(), now + end - Duration::from_secs(1)).unwrap();
        assert_eq!(ids(&before), both);
        let after = KeyStore::open_blocking(place.path(), now + end).unwrap();
        assert_eq!(ids(&after), both[..1]);
        assert_eq!(names(place.path()), [SIGNING_FILE]);
    }

    #[test]
    fn a_leaked_key_is_gone_at_once() {
        let place = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut store = KeyStore::open_blocking(place.path(), now).unwrap();
        let leaked = store.ring().signing();
        store.rotate_blocking(Duration::ZERO, now).unwrap();
        assert!(!ids(&store).contains(&leaked.public().key_id().to_owned()));
        assert_eq!(names(place.path()), [SIGNING_FILE]);
    }
}
