//! The Dockerfiles of `tests/dockerfiles`, built by Slipway and by BuildKit: both make the same image.
//!
//! Each folder there holds a Dockerfile and, unless it needs no files, `context.sh`, which makes them: owners,
//! modes, links and odd names do not survive in a source tree.

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use slipway_tests::{BaseImage, Builder, Buildkitd, Image, Registry, compare, run};
use tempfile::TempDir;

/// All of them. `onbuild-child` starts from what `onbuild-parent` gave, so it comes after it.
const DOCKERFILES: &[&str] = &[
    "archives",
    "arguments",
    "by-digest",
    "capability-in-context",
    "changes",
    "chmod-makes-folders",
    "commands",
    "commands-exec",
    "copied-links",
    "deep",
    "destinations",
    "empty-home",
    "environment",
    "health",
    "health-none",
    "heredocs",
    "history",
    "ignore-exception-of-folder",
    "ignored",
    "ignored-by-own-file",
    "links",
    "metadata-only",
    "modes",
    "names",
    "onbuild-parent",
    "onbuild-child",
    "onto",
    "owners",
    "removed",
    "run",
    "scratch",
    "scratch-only",
    "stages",
    "syntax",
    "users",
    "volumes",
    "workdirs",
];

/// Build arguments that a Dockerfile gets if it names them.
const ARGUMENTS: &[(&str, &str)] = &[("GIVEN", "given"), ("HTTP_PROXY", "http://proxy.invalid:3128")];

/// Differences in files that stay, by Dockerfile and place, each with its reason.
const EXPLAINED: &[(&str, &str, &str)] = &[
    (
        "archives",
        "/attributes/noted",
        "BuildKit writes no extended attribute but security.capability into a layer; ours keeps all",
    ),
    ("changes", "/r/h2", "as /etc/passwd-link"),
    (
        "links",
        "/etc/passwd-link",
        "BuildKit writes a new name of a file of a lower layer as a copy; ours keeps them one file",
    ),
    ("scratch", "/dev", "left by BuildKit's runc, which mounts onto it; ours takes its mount points away"),
    ("scratch", "/proc", "as /dev"),
    ("scratch", "/sys", "as /dev"),
];

/// A variable that names another folder, whose Dockerfiles are built instead: for whoever looks for differences.
const OTHERS: &str = "SLIPWAY_TEST_DOCKERFILES";

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dockerfiles")
}

/// Both builders, and the registry between them.
struct Yard {
    ours: Builder,
    theirs: Buildkitd,
    registry: Registry,
    base: String,
    base_by_digest: String,
}

impl Yard {
    fn start() -> Result<Option<Self>> {
        let Some(base) = BaseImage::new()? else { return Ok(None) };
        let registry = Registry::open_to_all()?;
        let Some(theirs) = Buildkitd::start(&registry.name())? else { return Ok(None) };
        let digest = base.push(registry.http(), "base", "1")?;
        let base = format!("{}/base:1", registry.name());
        let base_by_digest = format!("{base}@{digest}");
        Ok(Some(Self { ours: Builder::new()?, theirs, registry, base, base_by_digest }))
    }

    /// The build arguments that the Dockerfile names.
    fn arguments(&self, dockerfile: &str) -> Vec<String> {
        let parent = format!("{}/ours/onbuild-parent:1", self.registry.name());
        let images = [("BASE", &self.base), ("BY_DIGEST", &self.base_by_digest), ("PARENT", &parent)];
        let images = images.into_iter().map(|(name, image)| (name, image.as_str()));
        let all = images.chain(ARGUMENTS.iter().copied());
        let named = all.filter(|(name, _)| {
            dockerfile.contains(&format!("${{{name}}}")) || dockerfile.contains(&format!("${name}"))
        });
        named.map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Builds one with both; what differs is told in the error.
    fn compare(&self, sources: &Path, name: &str) -> Result<()> {
        let context = context(&sources.join(name))?;
        let arguments = self.arguments(&fs::read_to_string(context.path().join("Dockerfile"))?);
        let image = |repository: &str| format!("{}/{repository}/{name}:1", self.registry.name());
        let build_ours = || {
            let (image, mut options) = (image("ours"), Vec::new());
            for argument in &arguments {
                options.extend(["--build-arg", argument]);
            }
            options.extend(["--tag", &image]);
            self.ours.run("push", context.path(), &options)?.ok()
        };
        let build_theirs = || {
            let options: Vec<String> =
                arguments.iter().map(|argument| format!("build-arg:{argument}")).collect();
            self.theirs.build(context.path(), &image("theirs"), &options)?.ok()
        };
        let (ours, theirs) = thread::scope(|scope| {
            let ours = scope.spawn(build_ours);
            let theirs = build_theirs();
            (ours.join(), theirs)
        });
        let ours = ours.map_err(|_| anyhow!("the test itself panicked"))?;
        match (ours, theirs) {
            (Ok(_), Ok(_)) => {}
            (Err(ours), Err(theirs)) => bail!("both refuse it: {ours}\n{theirs}"),
            (Err(ours), Ok(_)) => bail!("Slipway alone refuses it: {ours}"),
            (Ok(_), Err(theirs)) => bail!("BuildKit alone refuses it: {theirs}"),
        }
        let pull = |repository: &str| {
            Image::pull(self.registry.http(), &format!("{repository}/{name}"), "1")
                .with_context(|| format!("the image {repository}/{name}"))
        };
        let mut differences = compare(&pull("ours")?, &pull("theirs")?)?;
        for (_, place, _) in EXPLAINED.iter().filter(|(dockerfile, ..)| *dockerfile == name) {
            let found = differences.iter().position(|difference| difference.place == *place);
            differences.remove(found.with_context(|| format!("{place} is explained and does not differ"))?);
        }
        let mut report = format!("{} differences", differences.len());
        for difference in &differences {
            write!(report, "\n  {difference}")?;
        }
        ensure!(differences.is_empty(), report);
        Ok(())
    }
}

/// A folder with the Dockerfile and the files it needs.
fn context(source: &Path) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("slipway-context-").tempdir()?;
    fs::copy(source.join("Dockerfile"), folder.path().join("Dockerfile"))
        .with_context(|| format!("{} has no Dockerfile", source.display()))?;
    let script = source.join("context.sh");
    if script.exists() {
        run(Command::new("sh").arg("-e").arg(script).current_dir(folder.path()), b"")?.ok()?;
    }
    Ok(folder)
}

/// Folders in `sources`, in order.
fn folders(sources: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in fs::read_dir(sources)? {
        names.push(folder?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[test]
fn slipway_and_buildkit_make_the_same_images() -> Result<()> {
    let Some(yard) = Yard::start()? else { return Ok(()) };
    let others = env::var_os(OTHERS).map(PathBuf::from);
    let (sources, names) = match &others {
        Some(others) => (others.clone(), folders(others)?),
        None => (sources(), DOCKERFILES.iter().map(ToString::to_string).collect()),
    };
    let mut failures = String::new();
    for name in names {
        if let Err(error) = yard.compare(&sources, &name) {
            write!(failures, "\n{name}: {error:#}")?;
        }
    }
    ensure!(failures.is_empty(), failures);
    Ok(())
}

#[test]
fn no_dockerfile_is_forgotten() -> Result<()> {
    let mut listed = DOCKERFILES.to_vec();
    listed.sort_unstable();
    ensure!(folders(&sources())? == listed, "the folder and the list hold different names");
    Ok(())
}
