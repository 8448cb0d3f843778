//! From options and the CI job to a build request.

use std::{collections::BTreeMap, env::VarError, path::Path};

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
    request.build_args = build_args(&options.build_args, &|name| std::env::var(name))?;
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
    request.strict = options.strict;
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

/// Gives a variable of the environment.
type Environment<'e> = dyn Fn(&str) -> Result<String, VarError> + 'e;

/// `NAME=VALUE`, or `NAME` for the value of the environment, which must then be there: docker leaves such an argument
/// out, and the build goes wrong later or, worse, does not.
fn build_args(
    arguments: &[String],
    environment: &Environment<'_>,
) -> Result<BTreeMap<String, String>, Failure> {
    let read = |argument: &String| {
        match argument.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => environment(argument).map(|value| (argument.clone(), value)).map_err(|error| {
            let reason = match error {
                VarError::NotPresent => "is not set",
                VarError::NotUnicode(_) => "is not UTF-8 text",
            };
            Failure::Usage(format!(
                "--build-arg {argument} takes the value of the environment's variable {argument}, which {reason}: \
                 set it, or write {argument}=VALUE"
            ))
        }),
    }
    };
    arguments.iter().map(read).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_arguments_without_a_value_take_the_environment_s_or_fail() {
        let environment = |name: &str| match name {
            "SET" => Ok("of the environment".to_owned()),
            "EMPTY" => Ok(String::new()),
            _ => Err(VarError::NotPresent),
        };
        let read = |texts: &[&str]| {
            build_args(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), &environment)
        };
        let arguments = read(&["A=1=2", "SET", "EMPTY", "B="]).unwrap();
        let expected = [("A", "1=2"), ("B", ""), ("EMPTY", ""), ("SET", "of the environment")];
        assert!(arguments.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected));
        let error = read(&["SET", "ABSENT"]).unwrap_err();
        assert!(matches!(&error, Failure::Usage(text) if text.contains("ABSENT=VALUE")), "{error}");
    }
}
