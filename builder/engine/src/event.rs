//! What a build tells while it runs, for whoever draws it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use builder_output::{OutputEvent, OutputEvents};
use registry_client::{Direction, Progress};
use registry_types::{Descriptor, Digest, ImageReference};

/// A step: its stage's place in the Dockerfile and its own in the stage, both counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    pub stage: usize,
    pub step: usize,
}

/// Which of a step's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    Output,
    Errors,
}

/// How a step came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// Executed.
    Done,
    /// An earlier build had done it.
    Cached,
    Failed,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// How steps are isolated here and why; told before the first `RUN` is executed.
    Isolation {
        reason: String,
    },
    /// Something works but should be mended.
    Warning {
        text: String,
    },
    /// A base image was found.
    BaseImage {
        reference: ImageReference,
        digest: Digest,
        local: bool,
    },
    /// A layer of a base image is turned into files, because a step needs them.
    Unpacking {
        digest: Digest,
        size: u64,
    },
    /// A stage begins; `steps` make files, others only the config.
    StageStarted {
        stage: usize,
        name: Option<String>,
        steps: usize,
    },
    StageDone {
        stage: usize,
        duration: Duration,
    },
    /// A step that makes files begins. `text` is the instruction as written, `line` where it stands.
    StepStarted {
        step: StepId,
        stage_name: Option<String>,
        text: String,
        line: usize,
    },
    /// A line of a step's output without its line end, or a piece of an overlong one.
    Log {
        step: StepId,
        stream: LogStream,
        line: Vec<u8>,
    },
    StepEnded {
        step: StepId,
        outcome: StepOutcome,
        duration: Duration,
    },
    /// A layer of the image is compressed and in the store. `empty`: the step changed no file.
    Layer {
        step: StepId,
        layer: Descriptor,
        empty: bool,
        duration: Duration,
    },
    /// How far the blob has come, in bytes; it can go back after a cut.
    Transfer {
        direction: Direction,
        digest: Digest,
        position: u64,
    },
    /// Something of an output.
    Output(OutputEvent),
}

type Handler = dyn Fn(Event) + Send + Sync;

/// Who is told. The handler is called from any thread of the build. It should return at once; while it does not return
/// from [`Event::Log`], the step that wrote the line waits once its pipe is full, and nothing else does.
#[derive(Clone)]
pub struct Events(Arc<Handler>);

impl Events {
    pub fn new(handler: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(handler))
    }

    /// Tells nobody.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.0)(event);
    }

    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.tell(Event::Warning { text: text.into() });
    }

    /// The same listener for outputs.
    pub fn for_outputs(&self) -> OutputEvents {
        let events = self.clone();
        OutputEvents::new(move |event| events.tell(Event::Output(event)))
    }
}

/// Give it to the client's builder to be told of each transfer's bytes.
impl Progress for Events {
    fn position(&self, direction: Direction, digest: &Digest, position: u64) {
        self.tell(Event::Transfer { direction, digest: *digest, position });
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}
