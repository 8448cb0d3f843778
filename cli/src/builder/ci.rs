//! What a GitLab CI job, or a Git checkout, says of the image: repository, tags, labels, credentials.
//!
//! A variable that is missing is no error as long as another source answers; what cannot be answered is an error
//! that names the variable and the option.

use std::{collections::BTreeMap, path::Path, process::Command};

use registry_types::{ImageReference, Tag};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::failure::Failure;

/// Length of a short commit id, GitLab's.
const SHORT_COMMIT: usize = 8;
/// Longest slug, GitLab's: it also has to fit a DNS label.
const LONGEST_SLUG: usize = 63;

/// Gives a variable of the environment; an empty one is missing.
pub(super) type Variables<'v> = dyn Fn(&str) -> Option<String> + 'v;
/// Asks Git; `None` when it does not know.
pub(super) type Git<'g> = dyn Fn(&[&str]) -> Option<String> + 'g;

/// The job or checkout that an image is built from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Job {
    repository: Option<String>,
    /// The branch as a tag, or the Git tag.
    reference: Option<String>,
    on_default_branch: bool,
    commit: Option<String>,
    committed: Option<String>,
    project_url: Option<String>,
    project_title: Option<String>,
    git_tag: Option<String>,
}

/// Git in the folder of the context.
pub(super) fn git_in(context: &Path) -> impl Fn(&[&str]) -> Option<String> + use<> {
    let context = context.to_owned();
    move |arguments| {
        let output = Command::new("git").arg("-C").arg(&context).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    }
}

impl Job {
    /// Reads the job's variables; outside of a job asks Git.
    pub(super) fn read(variable: &Variables<'_>, git: &Git<'_>) -> Result<Self, Failure> {
        if variable("GITLAB_CI").is_none() && variable("CI_COMMIT_SHA").is_none() {
            return Self::of_checkout(variable, git);
        }
        let git_tag = variable("CI_COMMIT_TAG");
        let branch = variable("CI_COMMIT_BRANCH");
        // Unset in merge request and tag pipelines, where nothing may become `latest`.
        let on_default_branch = branch.is_some() && branch == variable("CI_DEFAULT_BRANCH");
        let reference = match &git_tag {
            Some(tag) => Some(as_tag(tag)),
            None => variable("CI_COMMIT_REF_SLUG")
                .or_else(|| variable("CI_COMMIT_REF_NAME").map(|name| slug(&name))),
        };
        Ok(Self {
            repository: variable("CI_REGISTRY_IMAGE"),
            reference,
            on_default_branch,
            commit: variable("CI_COMMIT_SHA").or_else(|| variable("CI_COMMIT_SHORT_SHA")),
            committed: variable("CI_COMMIT_TIMESTAMP"),
            project_url: variable("CI_PROJECT_URL"),
            project_title: variable("CI_PROJECT_TITLE"),
            git_tag,
        })
    }

    fn of_checkout(variable: &Variables<'_>, git: &Git<'_>) -> Result<Self, Failure> {
        let commit = git(&["rev-parse", "HEAD"]).ok_or_else(|| {
            Failure::Usage(
                "--tags needs a CI job or a Git checkout with a commit, and here is neither: name tags with -t"
                    .to_owned(),
            )
        })?;
        // A detached head is called HEAD, which is no branch.
        let branch = git(&["rev-parse", "--abbrev-ref", "HEAD"]).filter(|branch| branch != "HEAD");
        let default = git(&["symbolic-ref", "--short", "refs/remotes/origin/HEAD"])
            .and_then(|name| name.split_once('/').map(|(_, branch)| branch.to_owned()))
            .or_else(|| git(&["config", "init.defaultBranch"]));
        let is_default = |branch: &String| match &default {
            Some(default) => branch == default,
            None => branch == "main" || branch == "master",
        };
        Ok(Self {
            repository: variable("CI_REGISTRY_IMAGE"),
            on_default_branch: branch.as_ref().is_some_and(is_default),
            reference: branch.map(|branch| slug(&branch)),
            committed: git(&["show", "--no-patch", "--format=%cI", "HEAD"]),
            commit: Some(commit),
            ..Self::default()
        })
    }

    /// The names to push: branch or Git tag, `latest` on the default branch, short commit id.
    pub(super) fn names(&self, repository: Option<&ImageReference>) -> Result<Vec<ImageReference>, Failure> {
        let repository = match (repository, &self.repository) {
            (Some(repository), _) => repository.clone(),
            (None, Some(text)) => text
                .parse::<ImageReference>()
                .map_err(|error| Failure::Usage(format!("CI_REGISTRY_IMAGE cannot be pushed to: {error}")))?,
            (None, None) => {
                return Err(Failure::Usage(
                    "CI_REGISTRY_IMAGE is not set: name the repository with --repository HOST/PATH"
                        .to_owned(),
                ));
            }
        };
        let latest = self.on_default_branch.then(|| "latest".to_owned());
        let commit = self.commit.as_ref().map(|commit| commit.chars().take(SHORT_COMMIT).collect());
        let mut names: Vec<ImageReference> = Vec::new();
        for text in [self.reference.clone(), latest, commit].into_iter().flatten() {
            let tag: Tag = text.parse().map_err(|error| {
                Failure::Usage(format!("the job's branch or tag makes no image tag: {error}"))
            })?;
            let name = repository.with_tag(tag);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The image specification's annotation keys that the job can answer.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        const PREFIX: &str = "org.opencontainers.image.";
        let created = self.commit_time().and_then(|time| time.format(&Rfc3339).ok());
        [
            ("created", created.as_ref()),
            ("revision", self.commit.as_ref()),
            ("source", self.project_url.as_ref()),
            ("title", self.project_title.as_ref()),
            ("version", self.git_tag.as_ref()),
            ("ref.name", self.reference.as_ref()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((format!("{PREFIX}{key}"), value?.clone())))
        .collect()
    }

    fn commit_time(&self) -> Option<OffsetDateTime> {
        let time = OffsetDateTime::parse(self.committed.as_ref()?, &Rfc3339).ok()?;
        Some(time.to_offset(time::UtcOffset::UTC))
    }

    /// When the commit was made, in seconds since 1970.
    pub(super) fn commit_seconds(&self) -> Option<i64> {
        Some(self.commit_time()?.unix_timestamp())
    }
}

/// A Git tag as an image tag: as it is where it fits, else as a slug.
fn as_tag(git_tag: &str) -> String {
    if git_tag.parse::<Tag>().is_ok() { git_tag.to_owned() } else { slug(git_tag) }
}

/// GitLab's slug: lower case, everything but `a-z0-9` becomes a dash, 63 characters, no dash at an end.
fn slug(name: &str) -> String {
    let dashed: String = name
        .to_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_lowercase() || letter.is_ascii_digit() { letter } else { '-' })
        .take(LONGEST_SLUG)
        .collect();
    dashed.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(variables: &[(&str, &str)]) -> Job {
        let variable =
            |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        Job::read(&variable, &|_: &[&str]| None).unwrap()
    }

    fn names(job: &Job) -> Vec<String> {
        job.names(None).unwrap().iter().map(ToString::to_string).collect()
    }

    const IMAGE: (&str, &str) = ("CI_REGISTRY_IMAGE", "gitlab.iceymoss:5050/root/hichat");
    const SHA: (&str, &str) = ("CI_COMMIT_SHA", "7c0b86212345678901234567890123456789abcd");

    #[test]
    fn a_default_branch_job_pushes_branch_latest_and_sha() {
        let job = job(&[
            IMAGE,
            SHA,
            ("CI_COMMIT_REF_SLUG", "master"),
            ("CI_COMMIT_BRANCH", "master"),
            ("CI_DEFAULT_BRANCH", "master"),
        ]);
        assert_eq!(
            names(&job),
            [
                "gitlab.iceymoss:5050/root/hichat:master",
                "gitlab.iceymoss:5050/root/hichat:latest",
                "gitlab.iceymoss:5050/root/hichat:7c0b8621"
            ]
        );
    }

    #[test]
    fn other_branches_and_merge_requests_do_not_move_latest() {
        let branch = job(&[
            IMAGE,
            SHA,
            ("CI_COMMIT_REF_SLUG", "feature-x"),
            ("CI_COMMIT_BRANCH", "feature/x"),
            ("CI_DEFAULT_BRANCH", "master"),
        ]);
        assert_eq!(names(&branch).len(), 2);
        let merge_request = job(&[IMAGE, SHA, ("CI_COMMIT_REF_SLUG", "x"), ("CI_DEFAULT_BRANCH", "master")]);
        assert!(names(&merge_request).iter().all(|name| !name.ends_with(":latest")));
    }

    #[test]
    fn git_tags_are_kept_where_they_fit() {
        let tagged = |tag: &str| names(&job(&[IMAGE, SHA, ("CI_COMMIT_TAG", tag)])).remove(0);
        assert!(tagged("v1.2.3").ends_with(":v1.2.3"));
        assert!(tagged("v1+build/7").ends_with(":v1-build-7"));
    }

    #[test]
    fn slugs_are_gitlab_s() {
        assert_eq!(slug("Feature/Ümlaut_x"), "feature--mlaut-x");
        assert_eq!(slug("--a--"), "a");
        assert_eq!(slug(&"a".repeat(100)).len(), 63);
    }

    #[test]
    fn a_checkout_is_asked_outside_of_ci() {
        let git = |arguments: &[&str]| match arguments {
            ["rev-parse", "HEAD"] => Some("0123456789abcdef".to_owned()),
            ["rev-parse", ..] => Some("main".to_owned()),
            ["show", ..] => Some("2026-11-24T10:00:00+01:00".to_owned()),
            _ => None,
        };
        let job = Job::read(&|_: &str| None, &git).unwrap();
        let repository: ImageReference = "localhost:5050/app".parse().unwrap();
        let names: Vec<String> =
            job.names(Some(&repository)).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["localhost:5050/app:main", "localhost:5050/app:latest", "localhost:5050/app:01234567"]
        );
        assert_eq!(job.commit_seconds(), Some(1_795_510_800));
        assert!(job.names(None).unwrap_err().to_string().contains("--repository"));
    }

    #[test]
    fn neither_job_nor_checkout_is_an_error_with_a_way_out() {
        let error = Job::read(&|_: &str| None, &|_: &[&str]| None).unwrap_err();
        assert!(error.to_string().contains("-t"), "{error}");
    }
}
