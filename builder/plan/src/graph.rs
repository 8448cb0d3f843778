//! The stages as a graph: what each starts from and copies from.
//!
//! A stage may need earlier stages only, so following needs downwards from the target ends, and ascending order is a
//! topological one.

use builder_dockerfile::{
    Expander, GlobalScope, Instruction, InstructionKind, Source, Span, Stage, Text, nearest, parse_trigger,
};
use registry_types::{ImageReference, Platform};

use crate::error::{Error, Problem};
use crate::platform::parse_platform;
use crate::request::{BaseImages, Request};

/// The image that holds nothing.
const SCRATCH: &str = "scratch";

/// A stage, by its place in the Dockerfile counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub usize);

/// An image the build needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    pub reference: ImageReference,
    pub platform: Platform,
    /// Where it is named.
    pub span: Span,
    /// A stage whose name is so near that it may have been meant; for the message when the image is not found.
    pub near_stage: Option<String>,
}

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    Scratch,
    Image(Box<ImageUse>),
    Stage(StageId),
}

/// Where `COPY` takes its sources from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFrom {
    Context,
    Scratch,
    Stage(StageId),
    Image(Box<ImageUse>),
}

/// An instruction to execute in a stage.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) instruction: Instruction,
    /// Where `COPY` takes its sources from; `Context` for other instructions.
    pub(crate) from: CopyFrom,
    /// The text it was parsed from, when it is a trigger of the base.
    pub(crate) trigger: Option<String>,
}

/// A stage that is needed, before its variables are expanded.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) base: Base,
    pub(crate) instructions: Vec<Placed>,
    /// The base image whose config is not known.
    pub(crate) wants: Option<ImageUse>,
}

impl Draft {
    /// The stages this one needs.
    pub(crate) fn needs(&self) -> impl Iterator<Item = StageId> {
        let base = match self.base {
            Base::Stage(id) => Some(id),
            Base::Scratch | Base::Image(_) => None,
        };
        let copies = self.instructions.iter().filter_map(|placed| match placed.from {
            CopyFrom::Stage(id) => Some(id),
            _ => None,
        });
        base.into_iter().chain(copies)
    }
}

/// Resolves names of stages and images.
#[derive(Debug)]
pub(crate) struct Graph<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) global: &'a GlobalScope,
    pub(crate) expander: Expander,
    pub(crate) target_platform: &'a Platform,
}

impl Graph<'_> {
    fn stages(&self) -> &[Stage] {
        &self.request.dockerfile.stages
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.stages().iter().filter_map(|stage| Some(stage.from.name.as_ref()?.value.as_str()))
    }

    /// The last stage of a name, in whatever case, among those before `end`.
    fn stage_named(&self, name: &str, end: usize) -> Option<usize> {
        let is_name = |own: &Text| own.value.eq_ignore_ascii_case(name);
        let named = |stage: &Stage| stage.from.name.as_ref().is_some_and(is_name);
        self.stages().iter().take(end).rposition(named)
    }

    pub(crate) fn target(&self, name: Option<&str>) -> Result<usize, Error> {
        let count = self.stages().len();
        let Some(name) = name else {
            return Ok(count - 1);
        };
        self.stage_named(name, count).ok_or_else(|| {
            let names = self.names().map(str::to_owned).collect();
            Error::new(Problem::UnknownTarget { name: name.to_owned(), names }, Span::default())
        })
    }

    fn image(&self, text: &str, platform: Platform, span: Span) -> Result<ImageUse, Error> {
        let reference = text.parse().map_err(|error: registry_types::ParseError| {
            Error::new(Problem::ImageReference { text: text.to_owned(), reason: error.to_string() }, span)
        })?;
        Ok(ImageUse { reference, platform, span, near_stage: nearest(text, self.names()).map(str::to_owned) })
    }

    fn expanded(&self, text: &Text) -> Result<String, Error> {
        let problem = |problem| {
            Error::new(Problem::Dockerfile(builder_dockerfile::Problem::Expand(problem)), text.span)
        };
        Ok(self.expander.word(&text.value, self.global).map_err(problem)?.text)
    }

    fn base(&self, index: usize, stage: &Stage) -> Result<Base, Error> {
        let image = &stage.from.image;
        let name = self.expanded(image)?;
        if name.is_empty() {
            return Err(Error::new(Problem::BlankBase { written: image.value.clone() }, image.span));
        }
        if let Some(earlier) = self.stage_named(&name, index) {
            return Ok(Base::Stage(StageId(earlier)));
        }
        if name == SCRATCH {
            return Ok(Base::Scratch);
        }
        let platform = match &stage.from.platform {
            None => self.target_platform.clone(),
            Some(written) => {
                let text = self.expanded(written)?;
                parse_platform(&text, self.target_platform)
                    .ok_or_else(|| Error::new(Problem::Platform { text }, written.span))?
            }
        };
        self.image(&name, platform, image.span).map(|image| Base::Image(Box::new(image)))
    }

    /// Resolves what a stage is made of. Its base image's triggers come first.
    pub(crate) fn draft(&self, index: usize, known: &BaseImages) -> Result<Draft, Error> {
        let Some(stage) = self.stages().get(index) else {
            let count = self.stages().len();
            return Err(Error::new(Problem::StageIndex { index, count }, Span::default()));
        };
        let base = self.base(index, stage)?;
        let mut wants = None;
        let mut instructions = Vec::new();
        match &base {
            Base::Scratch => {}
            Base::Image(image) => match known.get(image) {
                Some(config) => {
                    for trigger in &config.config.on_build {
                        instructions.push(self.placed_trigger(index, stage, trigger)?);
                    }
                }
                None => wants = Some(image.as_ref().clone()),
            },
            Base::Stage(StageId(earlier)) => {
                let instructions_of_base =
                    self.stages().get(*earlier).map(|stage| stage.instructions.as_slice());
                for instruction in instructions_of_base.unwrap_or_default() {
                    if let InstructionKind::OnBuild(on_build) = &instruction.kind {
                        instructions.push(self.placed_trigger(index, stage, &on_build.trigger)?);
                    }
                }
            }
        }
        for instruction in &stage.instructions {
            let from = self.copy_from(index, instruction)?;
            instructions.push(Placed { instruction: instruction.clone(), from, trigger: None });
        }
        Ok(Draft { base, instructions, wants })
    }

    fn placed_trigger(&self, index: usize, stage: &Stage, trigger: &str) -> Result<Placed, Error> {
        let in_trigger = |message: String| {
            Error::new(Problem::Trigger { trigger: trigger.to_owned(), message }, stage.span)
        };
        let instruction =
            parse_trigger(&Source::new("ONBUILD", trigger)).map_err(|error| in_trigger(error.to_string()))?;
        let from = self.copy_from(index, &instruction).map_err(|error| in_trigger(error.to_string()))?;
        Ok(Placed { instruction, from, trigger: Some(trigger.to_owned()) })
    }

    fn copy_from(&self, index: usize, instruction: &Instruction) -> Result<CopyFrom, Error> {
        let InstructionKind::Copy(copy) = &instruction.kind else {
            return Ok(CopyFrom::Context);
        };
        let Some(from) = copy.from.as_ref().filter(|from| !from.value.is_empty()) else {
            return Ok(CopyFrom::Context);
        };
        let literal = self.expander.word(&from.value, &[]).is_ok_and(|word| word.text == from.value);
        if !literal {
            return Err(Error::new(Problem::FromVariable, from.span));
        }
        let count = self.stages().len();
        let stage = match from.value.parse::<usize>() {
            Ok(number) if number >= count => {
                return Err(Error::new(Problem::StageIndex { index: number, count }, from.span));
            }
            Ok(number) => Some(number),
            // An earlier stage hides a later one of the same name.
            Err(_) => self.stage_named(&from.value, index).or_else(|| self.stage_named(&from.value, count)),
        };
        match stage {
            Some(found) if found < index => Ok(CopyFrom::Stage(StageId(found))),
            Some(found) if found == index => Err(Error::new(Problem::OwnStage, from.span)),
            Some(found) => Err(Error::new(self.later_stage(index, found), from.span)),
            None if from.value == SCRATCH => Ok(CopyFrom::Scratch),
            None => {
                let image = self.image(&from.value, self.target_platform.clone(), from.span)?;
                Ok(CopyFrom::Image(Box::new(image)))
            }
        }
    }

    /// What is wrong with `current` copying from the later stage `found`.
    fn later_stage(&self, current: usize, found: usize) -> Problem {
        let label = |index: usize| {
            let name = self.stages().get(index).and_then(|stage| stage.from.name.as_ref());
            name.map_or_else(|| index.to_string(), |name| name.value.clone())
        };
        if let Some(path) = self.path(found, current) {
            let names = std::iter::once(current).chain(path).map(label).collect();
            return Problem::Cycle { names };
        }
        let span = self.stages().get(found).map_or(Span::default(), |stage| stage.span);
        Problem::LaterStage { name: label(found), line: self.request.source.position(span.start).line }
    }

    /// The stages on a way from `start` to `goal`, both included, along needs as they are written.
    fn path(&self, start: usize, goal: usize) -> Option<Vec<usize>> {
        let mut came_from = vec![None; self.stages().len()];
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            if at == goal {
                let mut path = vec![at];
                while let Some(previous) = path.last().copied().filter(|at| *at != start) {
                    path.push((*came_from.get(previous)?)?);
                }
                path.reverse();
                return Some(path);
            }
            for next in self.written_needs(at) {
                if let Some(slot) = came_from.get_mut(next).filter(|slot| slot.is_none() && next != start) {
                    *slot = Some(at);
                    open.push(next);
                }
            }
        }
        None
    }

    fn written_needs(&self, index: usize) -> Vec<usize> {
        let count = self.stages().len();
        let Some(stage) = self.stages().get(index) else {
            return Vec::new();
        };
        let base = self.stage_named(&stage.from.image.value, index);
        let copies = stage.instructions.iter().filter_map(|instruction| match &instruction.kind {
            InstructionKind::Copy(copy) => {
                let from = &copy.from.as_ref()?.value;
                let number = from.parse::<usize>().ok().filter(|number| *number < count);
                number.or_else(|| self.stage_named(from, index)).or_else(|| self.stage_named(from, count))
            }
            _ => None,
        });
        base.into_iter().chain(copies).collect()
    }
}
