//! Before anything runs: reads the context and the Dockerfile, resolves every image it names, and plans.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use builder_dockerfile::{Source, WarningKind, parse};
use builder_output::BlobFetcher;
use builder_plan::{
    Base, BaseImages, ImageUse, Outcome, Plan, PlannedStage, Request, StageId, StepKind, UnusedArgument, plan,
};
use builder_store::checksum::StatCache;
use futures_util::future::try_join_all;
use registry_types::Platform;
use tokio::sync::{OnceCell, Semaphore};

use super::blocking::blocking;
use super::image::ImageFinder;
use super::session::{Images, LAYERS_AT_ONCE, Session};
use crate::cancel::Cancel;
use crate::context::BuildContext;
use crate::engine::LayerSender;
use crate::error::{EngineError, Result};
use crate::event::{Event, Events};
use crate::request::{BuildRequest, Reproducibility};

/// The build argument that fixes times (reproducible-builds.org, "SOURCE_DATE_EPOCH").
const EPOCH_ARGUMENT: &str = "SOURCE_DATE_EPOCH";

/// Everything that is known before the first step.
#[derive(Debug)]
pub(super) struct Prepared {
    request: BuildRequest,
    dockerfile: String,
    context: BuildContext,
    images: Images,
    plan: Plan,
    file_digests: StatCache,
}

impl Prepared {
    pub(super) fn into_session(
        self,
        fetcher: BlobFetcher,
        layers: Option<LayerSender>,
        events: Events,
        cancel: Cancel,
    ) -> (Session, Plan) {
        let Self { request, dockerfile, context, images, plan, file_digests } = self;
        let session = Session {
            request,
            dockerfile,
            context,
            images,
            fetcher,
            events,
            cancel,
            image_stages: image_stages(&plan),
            layers: Mutex::default(),
            layers_at_once: Semaphore::new(LAYERS_AT_ONCE),
            layer_sender: layers,
            file_digests,
            tier: OnceCell::new(),
        };
        (session, plan)
    }
}

pub(super) async fn prepare(
    fetcher: &BlobFetcher,
    mut request: BuildRequest,
    events: &Events,
    cancel: &Cancel,
) -> Result<Prepared> {
    let host = Platform::host();
    if let Some(wanted) = request.platform.as_ref().filter(|wanted| !host.satisfies(wanted)) {
        return Err(EngineError::Option {
            option: "--platform",
            reason: format!(
                "{wanted} cannot be built on {host}: the native engine builds for this machine only"
            ),
        });
    }
    request.reproducibility = reproducibility(&request)?;
    // Commands behind an ARG of this name stamp what they make, however the epoch was given.
    if let Some(epoch) = request.reproducibility.epoch() {
        request.build_args.entry(EPOCH_ARGUMENT.to_owned()).or_insert_with(|| epoch.to_string());
    }
    let (directory, file) = (request.context.clone(), request.dockerfile.clone());
    let opened =
        blocking("reading the build context", move || BuildContext::open_blocking(&directory, &file));
    let (context, source) = opened.await?;
    let store = Arc::clone(fetcher.store());
    let file_digests = blocking("reading digests of files", move || {
        Ok::<_, EngineError>(StatCache::load(&Session::file_digests_path(&store))?)
    });
    let file_digests = file_digests.await?;
    let finder =
        ImageFinder { fetcher: fetcher.clone(), pull: request.pull, dockerfile: source.name().to_owned() };
    let warnings = Warnings::default();
    let resolved = resolve(&finder, &request, &source, &host, events, &warnings);
    let (plan, images) = cancel.unless(resolved).await?;
    refuse_foreign_commands(&plan, &host, source.name())?;
    for UnusedArgument { name, near } in &plan.unused_build_args {
        let near = near.as_ref().map_or_else(String::new, |near| format!("; did you mean {near}?"));
        warnings.add(format!("--build-arg {name} is not used: no ARG of the Dockerfile declares it{near}"));
    }
    warnings.tell(request.strict, events)?;
    let dockerfile = source.name().to_owned();
    Ok(Prepared { request, dockerfile, context, images, plan, file_digests })
}

/// The epoch asked for, or the one given as build argument as BuildKit's tools do.
fn reproducibility(request: &BuildRequest) -> Result<Reproducibility> {
    match (request.reproducibility, request.build_args.get(EPOCH_ARGUMENT).map(String::as_str)) {
        (Reproducibility::Timestamps, Some(text)) if !text.is_empty() => {
            let seconds = text.parse().map_err(|_| EngineError::Option {
                option: "--build-arg",
                reason: format!("{EPOCH_ARGUMENT}={text} is not a number of seconds since 1970"),
            })?;
            Ok(Reproducibility::Epoch(seconds))
        }
        (given, _) => Ok(given),
    }
}

/// What to warn of before the first step.
#[derive(Debug, Default)]
struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    fn add(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// Tells them, or fails with them in a strict build.
    fn tell(self, strict: bool, events: &Events) -> Result<()> {
        let warnings = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if strict && !warnings.is_empty() {
            return Err(EngineError::Warnings(warnings));
        }
        for text in warnings {
            events.warn(text);
        }
        Ok(())
    }
}

/// Plans, and finds the images whose configs the plan needs, until it needs no more; then those it copies from.
async fn resolve(
    finder: &ImageFinder,
    request: &BuildRequest,
    source: &Source,
    host: &Platform,
    events: &Events,
    warnings: &Warnings,
) -> Result<(Plan, Images)> {
    let dockerfile = parse(source).map_err(|error| EngineError::Dockerfile(error.render(source)))?;
    for warning in &dockerfile.warnings {
        let line = source.position(warning.span.start).line;
        let WarningKind::EmptyContinuation = warning.kind;
        warnings.add(format!("{}:{line}: an empty line in a continued instruction", source.name()));
    }
    let to_plan = Request {
        source,
        dockerfile: &dockerfile,
        target: request.target.as_deref(),
        build_args: request.build_args.clone(),
        labels: request.labels.clone(),
        build_platform: host.clone(),
        target_platform: request.platform.clone(),
    };
    let mut images = HashMap::new();
    let mut known = BaseImages::default();
    let plan = loop {
        let outcome =
            plan(&to_plan, &known).map_err(|error| EngineError::Dockerfile(error.render(source)))?;
        match outcome {
            Outcome::Ready(plan) => break plan,
            Outcome::Wants(wanted) => {
                find_all(finder, &wanted, source, events, warnings, &mut images).await?;
                for image in &wanted {
                    if let Some(found) = images.get(&(image.reference.clone(), image.platform.clone())) {
                        known.insert(image, found.config.clone());
                    }
                }
            }
        }
    };
    let copied: Vec<ImageUse> = plan.stages.iter().flat_map(PlannedStage::copied_images).cloned().collect();
    find_all(finder, &copied, source, events, warnings, &mut images).await?;
    Ok((plan, images))
}

/// Finds images that are not known yet, all at once.
async fn find_all(
    finder: &ImageFinder,
    wanted: &[ImageUse],
    source: &Source,
    events: &Events,
    warnings: &Warnings,
    images: &mut Images,
) -> Result<()> {
    let mut missing: HashMap<_, &ImageUse> = HashMap::new();
    for image in wanted {
        let key = (image.reference.clone(), image.platform.clone());
        if !images.contains_key(&key) {
            missing.entry(key).or_insert(image);
        }
    }
    let found = missing.into_iter().map(|(key, image)| async move {
        let line = source.position(image.span.start).line;
        let found = finder.find(image, line).await?;
        let (reference, digest, local) = (found.reference.clone(), found.digest, found.local);
        let platform = found.config.platform();
        if !platform.satisfies(&image.platform) {
            let (name, line) = (source.name(), source.position(image.span.start).line);
            let wanted = &image.platform;
            warnings
                .add(format!("{name}:{line}: {reference} is made for {platform} where {wanted} is wanted"));
        }
        events.tell(Event::BaseImage { reference, digest, local });
        Ok::<_, EngineError>((key, found))
    });
    images.extend(try_join_all(found).await?);
    Ok(())
}

/// The target and the stages it starts from.
fn image_stages(plan: &Plan) -> BTreeSet<StageId> {
    let mut stages = BTreeSet::new();
    let mut next = plan.target();
    while let Some(stage) = next {
        stages.insert(stage.id);
        next = match stage.base {
            Base::Stage(id) => plan.stage(id),
            Base::Scratch | Base::Image(_) => None,
        };
    }
    stages
}

/// Files of any platform can be copied; its commands cannot be run here.
fn refuse_foreign_commands(plan: &Plan, host: &Platform, dockerfile: &str) -> Result<()> {
    for stage in plan.stages.iter().filter(|stage| !host.satisfies(&stage.platform)) {
        if let Some(step) = stage.steps.iter().find(|step| matches!(step.kind, StepKind::Run(_))) {
            let (line, wanted) = (step.line, &stage.platform);
            return Err(EngineError::Option {
                option: "FROM --platform",
                reason: format!("{dockerfile}:{line}: RUN for {wanted} cannot be executed on {host}"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_may_come_as_build_argument() {
        let given = |argument: &str, stated| {
            let mut request = BuildRequest { reproducibility: stated, ..BuildRequest::new(".") };
            request.build_args.insert(EPOCH_ARGUMENT.to_owned(), argument.to_owned());
            reproducibility(&request)
        };
        assert_eq!(given("12", Reproducibility::Timestamps).unwrap(), Reproducibility::Epoch(12));
        assert_eq!(given("12", Reproducibility::Epoch(7)).unwrap(), Reproducibility::Epoch(7));
        assert_eq!(given("", Reproducibility::Timestamps).unwrap(), Reproducibility::Timestamps);
        let error = given("yesterday", Reproducibility::Timestamps).unwrap_err().to_string();
        assert!(error.contains("yesterday"), "{error}");
    }
}
