//! The build context: a directory, the Dockerfile, and the ignore file's word on each path. Links never lead out of it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use builder_dockerfile::{IgnoreFile, Source, ignore_file_names};
use builder_store::copy::Selection;
use builder_store::tree::{Tree, TreePath};

use crate::error::{EngineError, Result};
use crate::request::DockerfileSource;

/// Name of the Dockerfile unless another is given.
const DOCKERFILE: &str = "Dockerfile";

/// Longest Dockerfile or ignore file that is read, in bytes: generated ones have some hundred kilobytes.
const LONGEST_FILE: u64 = 16 << 20;

/// A directory to copy from.
#[derive(Debug)]
pub(crate) struct BuildContext {
    pub(crate) tree: Tree,
    ignore: IgnoreFile,
}

impl BuildContext {
    /// Opens the context and reads Dockerfile and ignore file. Blocks.
    pub(crate) fn open_blocking(directory: &Path, dockerfile: &DockerfileSource) -> Result<(Self, Source)> {
        let metadata = fs::metadata(directory);
        let metadata = metadata.map_err(|source| EngineError::File {
            action: "opening the build context",
            path: directory.to_owned(),
            source,
            hint: "; give the directory that COPY takes files from",
        })?;
        if !metadata.is_dir() {
            return Err(EngineError::File {
                action: "opening the build context",
                path: directory.to_owned(),
                source: ErrorKind::NotADirectory.into(),
                hint: "; give the directory that COPY takes files from",
            });
        }
        let (source, path) = match dockerfile {
            DockerfileSource::InContext => read_dockerfile(&directory.join(DOCKERFILE))?,
            DockerfileSource::File(path) => read_dockerfile(path)?,
            DockerfileSource::Text(text) => (Source::new(DOCKERFILE, text), None),
        };
        let ignore = read_ignore_file(directory, path.as_deref())?;
        Ok((Self { tree: Tree::open(&[directory])?, ignore }, source))
    }

    /// Whether a path belongs to the context.
    pub(crate) fn select(&self, path: &TreePath, is_directory: bool) -> Selection {
        let text = String::from_utf8_lossy(path.as_bytes());
        if !self.ignore.is_ignored(&text) {
            Selection::Include
        } else if is_directory && !self.ignore.may_skip_directory(&text) {
            Selection::ExcludeButLookInside
        } else {
            Selection::Exclude
        }
    }
}

fn read_dockerfile(path: &Path) -> Result<(Source, Option<PathBuf>)> {
    let bytes = read(path).map_err(|source| EngineError::File {
        action: "reading the Dockerfile",
        path: path.to_owned(),
        source,
        hint: "; name it with -f if it lies elsewhere",
    })?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let source =
        Source::from_bytes(name, bytes).map_err(|error| EngineError::Dockerfile(error.to_string()))?;
    Ok((source, Some(path.to_owned())))
}

/// The Dockerfile's own ignore file comes first, beside it; then the context's.
fn read_ignore_file(context: &Path, dockerfile: Option<&Path>) -> Result<IgnoreFile> {
    let name = dockerfile.map_or(DOCKERFILE.into(), |path| path.to_string_lossy());
    let [own, shared] = ignore_file_names(&name);
    let own = dockerfile.map(|_| PathBuf::from(own));
    for path in own.into_iter().chain([context.join(shared)]) {
        let bytes = match read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            bytes => bytes.map_err(|error| EngineError::file("reading the ignore file", &path, error))?,
        };
        return IgnoreFile::parse(&String::from_utf8_lossy(&bytes))
            .map_err(|problem| EngineError::IgnoreFile { path, reason: problem.to_string() });
    }
    Ok(IgnoreFile::default())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(std::io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it has more than {LONGEST_FILE} bytes, is it the right file"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(files: &[(&str, &str)]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(place.path().join(name), content).unwrap();
        }
        place
    }

    fn selected(context: &BuildContext, path: &str, is_directory: bool) -> Selection {
        context.select(&TreePath::parse(path.as_bytes()).unwrap(), is_directory)
    }

    #[test]
    fn the_dockerfile_s_own_ignore_file_replaces_the_shared_one() {
        let place = context(&[
            ("Dockerfile", "FROM scratch"),
            ("other", "FROM scratch"),
            (".dockerignore", "shared"),
            ("other.dockerignore", "own\n!own/kept"),
        ]);
        let open = |dockerfile| BuildContext::open_blocking(place.path(), &dockerfile).unwrap().0;
        let shared = open(DockerfileSource::InContext);
        assert_eq!(selected(&shared, "shared", false), Selection::Exclude);
        assert_eq!(selected(&shared, "own", false), Selection::Include);
        let own = open(DockerfileSource::File(place.path().join("other")));
        assert_eq!(selected(&own, "shared", false), Selection::Include);
        assert_eq!(selected(&own, "own", true), Selection::ExcludeButLookInside);
        assert_eq!(selected(&own, "own/kept", false), Selection::Include);
        assert_eq!(selected(&own, "own/other", false), Selection::Exclude);
        let text = open(DockerfileSource::Text("FROM scratch".to_owned()));
        assert_eq!(selected(&text, "shared", false), Selection::Exclude);
    }

    #[test]
    fn what_is_missing_is_named_with_the_mend() {
        let place = context(&[]);
        let error = |directory: &Path| {
            BuildContext::open_blocking(directory, &DockerfileSource::InContext).unwrap_err().to_string()
        };
        assert!(error(place.path()).contains("-f"));
        assert!(error(&place.path().join("nothing")).contains("build context"));
        fs::write(place.path().join("Dockerfile"), "FROM scratch").unwrap();
        assert!(error(&place.path().join("Dockerfile")).contains("build context"));
        fs::write(place.path().join(".dockerignore"), "ok\n!").unwrap();
        assert!(error(place.path()).contains("line 2"));
    }
}
