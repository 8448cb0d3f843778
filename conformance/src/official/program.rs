//! Starting the suite. Everything it needs goes through its environment, the password too: a process list shows
//! arguments, and never another user's environment.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::SpecVersion;
use crate::{ConformanceError, Credentials, Target};

/// The program's name where others are.
const NAME: &str = "oci-conformance";

/// How long one run may take. On a registry beside it a run takes half a minute; a far one is slower.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Longest piece of the suite's own words in an error, in bytes.
const SHOWN_OUTPUT: usize = 2000;

/// Tests of the API that are off, or may be, unless the environment says otherwise.
const API: &[&str] = &[
    "PING",
    "PULL",
    "PUSH",
    "REFERRER",
    "BLOBS_ATOMIC",
    "BLOBS_DELETE",
    "BLOBS_DIGEST_HEADER",
    "BLOBS_MOUNT_ANONYMOUS",
    "BLOBS_UPLOAD_CANCEL",
    "MANIFESTS_ATOMIC",
    "MANIFESTS_DELETE",
    "MANIFESTS_DIGEST_HEADER",
    "MANIFESTS_TAG_PARAM",
    "TAGS_ATOMIC",
    "TAGS_DELETE",
    "TAGS_LIST",
];

/// Kinds of content, but for sparse manifests: those a registry may refuse.
const DATA: &[&str] = &[
    "IMAGE",
    "INDEX",
    "INDEX_LIST",
    "ARTIFACT",
    "SUBJECT",
    "SUBJECT_MISSING",
    "ARTIFACT_LIST",
    "SUBJECT_LIST",
    "DATA_FIELD",
    "NONDISTRIBUTABLE",
    "CUSTOM_FIELDS",
    "NO_LAYERS",
    "EMPTY_BLOB",
    "SHA512",
];

/// What one run is about.
#[derive(Debug)]
pub(crate) struct Run<'r> {
    pub(crate) program: &'r Path,
    pub(crate) target: &'r Target,
    pub(crate) credentials: Option<&'r Credentials>,
    pub(crate) version: SpecVersion,
    /// Folder that the suite writes its own files to.
    pub(crate) results: &'r Path,
    /// Prefix of the repositories that are pushed to.
    pub(crate) prefix: &'r str,
    /// Whether the registry takes manifests whose parts are missing.
    pub(crate) sparse: bool,
}

/// Finds the suite: where the caller says, in the folder of our helper programs, then on `PATH`.
pub(crate) fn find(explicit: Option<&Path>) -> Result<PathBuf, ConformanceError> {
    if let Some(path) = explicit {
        return if path.is_file() {
            Ok(path.to_owned())
        } else {
            Err(ConformanceError::SuiteMissing { looked: path.display().to_string() })
        };
    }
    let mut candidates = Vec::new();
    if let Some(folder) = env::var_os("SLIPWAY_TOOLS") {
        candidates.push(PathBuf::from(folder).join(NAME));
    }
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    if let Some(cache) = cache {
        candidates.push(cache.join("slipway/tools").join(NAME));
    }
    let on_path = env::var_os("PATH").unwrap_or_default();
    candidates.extend(env::split_paths(&on_path).map(|folder| folder.join(NAME)));
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    let first = candidates.iter().take(2).map(|path| path.display().to_string()).collect::<Vec<_>>();
    Err(ConformanceError::SuiteMissing { looked: format!("{} and PATH", first.join(", ")) })
}

/// Runs the suite to its end. Only its results file tells how it went.
pub(crate) async fn run(run: &Run<'_>) -> Result<(), ConformanceError> {
    let failed = |reason: String| ConformanceError::SuiteFailed { version: run.version.name(), reason };
    // An old file must not be taken for this run's.
    match std::fs::remove_file(run.results.join("junit.xml")) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            let path = run.results.join("junit.xml");
            return Err(ConformanceError::Io { action: "remove", path, source });
        }
        _ => {}
    }
    let mut command = Command::new(run.program);
    // Settings of the caller's shell, and a configuration file in the working folder, must not change the run.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OCI_")) {
        command.env_remove(name);
    }
    command.current_dir(run.results).envs(environment(run));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = ended
        .map_err(|_| failed(format!("it took longer than {} minutes", PATIENCE.as_secs() / 60)))?
        .map_err(|error| failed(format!("cannot start {}: {error}", run.program.display())))?;
    if !run.results.join("junit.xml").is_file() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(SHOWN_OUTPUT).collect();
        return Err(failed(format!("it wrote no results ({}); it said: {said}", output.status)));
    }
    Ok(())
}

fn environment(run: &Run<'_>) -> Vec<(String, String)> {
    let text = |name: &str, value: &str| (format!("OCI_{name}"), value.to_owned());
    let tls = match (run.target.is_secure(), run.target.is_unchecked()) {
        (false, _) => "disabled",
        (true, false) => "enabled",
        (true, true) => "insecure",
    };
    let mut variables = vec![
        text("REGISTRY", &run.target.authority()),
        text("TLS", tls),
        text("VERSION", run.version.name()),
        text("RESULTS_DIR", &run.results.to_string_lossy()),
        text("REPO1", &format!("{}/repo1", run.prefix)),
        text("REPO2", &format!("{}/repo2", run.prefix)),
        text("DATA_SPARSE", if run.sparse { "true" } else { "false" }),
    ];
    if let Some(credentials) = run.credentials {
        variables.push(text("USERNAME", &credentials.username));
        variables.push(text("PASSWORD", credentials.password.expose()));
    }
    variables.extend(API.iter().map(|name| text(&format!("API_{name}"), "true")));
    variables.extend(DATA.iter().map(|name| text(&format!("DATA_{name}"), "true")));
    variables
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in of the suite made of shell lines.
    fn program(folder: &Path, lines: &str) -> PathBuf {
        let path = folder.join("suite");
        std::fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// While one test writes its program, another must not start one: the child would hold the file open for
    /// writing for a moment, and no file that is can be executed.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    async fn run_with(lines: &str) -> (tempfile::TempDir, Result<(), ConformanceError>) {
        let _alone = ALONE.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), lines);
        let target = Target::parse("https://registry.example:5050", true).unwrap();
        let credentials = Credentials::new("anna", "pass word");
        let results = folder.path().to_owned();
        std::fs::write(results.join("junit.xml"), "an old one").unwrap();
        let asked = Run {
            program: &program,
            target: &target,
            credentials: Some(&credentials),
            version: SpecVersion::Dev,
            results: &results,
            prefix: "some/where",
            sparse: true,
        };
        let ran = run(&asked).await;
        (folder, ran)
    }

    #[tokio::test]
    async fn success_without_results_is_a_failure() {
        let (_folder, ran) = run_with("echo 'failed to load config' >&2; exit 0").await;
        let error = ran.unwrap_err().to_string();
        assert!(error.contains("wrote no results") && error.contains("failed to load config"), "{error}");
    }

    #[tokio::test]
    async fn every_option_and_the_password_go_by_the_environment() {
        let (folder, ran) = run_with("echo \"$@\" >arguments; env | sort >junit.xml").await;
        ran.unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("arguments")).unwrap().trim(), "");
        let seen = std::fs::read_to_string(folder.path().join("junit.xml")).unwrap();
        for line in [
            "OCI_REGISTRY=registry.example:5050",
            "OCI_TLS=insecure",
            "OCI_VERSION=dev",
            "OCI_USERNAME=anna",
            "OCI_PASSWORD=pass word",
            "OCI_REPO2=some/where/repo2",
            "OCI_DATA_SPARSE=true",
            "OCI_DATA_SHA512=true",
            "OCI_API_BLOBS_UPLOAD_CANCEL=true",
            "OCI_API_MANIFESTS_TAG_PARAM=true",
        ] {
            assert!(seen.lines().any(|seen| seen == line), "{line} is missing in\n{seen}");
        }
    }

    #[test]
    fn a_missing_suite_is_told_with_the_way_to_install_it() {
        let error = find(Some(Path::new("/nowhere/suite"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/suite") && error.contains("go install github.com/"), "{error}");
    }
}
