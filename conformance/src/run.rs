//! A whole run: the registry is asked how it wants to be spoken to, then the official suite, then our checks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    ConformanceError, Credentials, Report, SpecVersion, Target,
    checks::{self, Context, Finding},
    client::{ClientError, Session},
    official,
};

/// What to ask of which registry.
#[derive(Debug, Clone)]
pub struct Options {
    pub target: Target,
    pub credentials: Option<Credentials>,
    /// Versions for the official suite; none to run our own checks only.
    pub versions: Vec<SpecVersion>,
    /// The official suite's program, if it is not where it is usually found.
    pub suite: Option<PathBuf>,
    /// Folder for the results; made if it is missing.
    pub results: PathBuf,
    /// Prefix of the repositories that tests are pushed to.
    pub prefix: String,
}

/// Runs everything. `progress` is told what begins.
pub async fn run(options: &Options, mut progress: impl FnMut(&str)) -> Result<Report, ConformanceError> {
    let target = &options.target;
    // Before anything takes long: a missing program, a folder that cannot be written, a registry that is not there.
    let program =
        if options.versions.is_empty() { None } else { Some(official::find(options.suite.as_deref())?) };
    let results = prepare(&options.results)?;
    let unreachable = |error: ClientError| ConformanceError::Unreachable {
        registry: target.to_string(),
        reason: error.to_string(),
    };
    let session = Session::open(target, options.credentials.as_ref()).await.map_err(unreachable)?;
    if session.asks_for_tokens() {
        session.token(&[]).await.map_err(|error| match error {
            ClientError::Token { reason, .. } => {
                ConformanceError::Unauthorized { registry: target.to_string(), reason }
            }
            other @ ClientError::Exchange { .. } => unreachable(other),
        })?;
    }
    let tokens = session.asks_for_tokens();
    let context = Context::new(session, &options.prefix);
    let sparse_manifests = checks::takes_sparse(&context).await.map_err(|finding| match finding {
        Finding::Failed(reason) => ConformanceError::Unauthorized {
            registry: target.to_string(),
            reason: format!("no push is possible: {reason}"),
        },
        Finding::Skipped(reason) => {
            ConformanceError::Unreachable { registry: target.to_string(), reason: reason.to_owned() }
        }
    })?;
    let mut suites = Vec::new();
    if let Some(program) = &program {
        for &version in &options.versions {
            progress(&format!("official suite, version {}", version.name()));
            let folder = prepare(&results.join(format!("official-{}", version.name())))?;
            let asked = official::Run {
                program,
                target,
                credentials: options.credentials.as_ref(),
                version,
                results: &folder,
                prefix: &options.prefix,
                sparse: sparse_manifests,
            };
            official::run(&asked).await?;
            suites.push(official::read(&folder, version)?);
        }
    }
    progress("Slipway's own checks");
    suites.push(checks::run_all(&context).await);
    let ended = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    Ok(Report { registry: target.to_string(), ended, sparse_manifests, tokens, suites })
}

/// Makes a folder and gives its absolute path: the suite runs inside of it.
fn prepare(folder: &Path) -> Result<PathBuf, ConformanceError> {
    fs::create_dir_all(folder)
        .and_then(|()| fs::canonicalize(folder))
        .map_err(|source| ConformanceError::Io { action: "create", path: folder.to_owned(), source })
}
