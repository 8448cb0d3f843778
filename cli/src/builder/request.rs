//! From options and the CI job to a build request.

use std::{collections::BTreeMap, path::Path};

use builder_engine::{BuildRequest, DockerfileSource, Reproducibility};

use super::ci::Job;
use crate::{arguments::BuildOptions, failure::Failure, standard_input};

/// Longest Dockerfile on standard input, in bytes: more is a mistake, such as an archive piped in.
const LONGEST_DOCKERFILE: u64 = 1 << 20;

pub(super) fn request(options: &BuildOptions, job: Option<&Job>) -> Result<BuildRequest, Failure> {
    let mut request = BuildRequest::new(&options.context);
    request.dockerfile = match &options.file {
        None => DockerfileSource::InContext,
        Some(path) if path == Path::new("-") => {
            DockerfileSource::Text(standard_input::read("the Dockerfile", LONGEST_DOCKERFILE)?)
        }
        Some(path) => DockerfileSource::File(path.clone()),
    };
    request.target.clone_from(&options.target);
    request.build_args = build_args(&options.build_args);
    if let Some(job) = job {
        request.labels = job.labels();
        request.annotations = job.labels();
    }
    for label in &options.labels {
        let (name, value) = label
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--label {label} has no value: write NAME=VALUE")))?;
        request.labels.insert(name.to_owned(), value.to_owned());
    }
    request.platform.clone_from(&options.platform);
    request.no_cache = options.no_cache;
    request.pull = options.pull;
    if let Some(threads) = options.threads {
        request.threads = usize::from(threads);
    }
    if let Some(epoch) = epoch(job)? {
        request.reproducibility = Reproducibility::Epoch(epoch);
    }
    Ok(request)
}

/// `NAME=VALUE`, or `NAME` for the value of the environment. A name that the environment lacks is left out, as
/// docker does.
fn build_args(arguments: &[String]) -> BTreeMap<String, String> {
    arguments
        .iter()
        .filter_map(|argument| match argument.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => Some((argument.clone(), std::env::var(argument).ok()?)),
        })
        .collect()
}

/// `SOURCE_DATE_EPOCH`, else the time of the job's commit, so that a job run again gives the same image.
fn epoch(job: Option<&Job>) -> Result<Option<i64>, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Failure::Usage(format!("SOURCE_DATE_EPOCH is {text:?}, not a number of seconds"))),
        Err(_) => Ok(job.and_then(Job::commit_seconds)),
    }
}
