//! RUN: a command over the files before it, its output line by line.

use std::collections::VecDeque;
use std::sync::Arc;

use builder_plan::RunStep;
use builder_runtime::{OutputLine, OutputStream, RootFs, StepFile, StepSpec, Tier};
use builder_store::store::Upper;

use super::session::Session;
use crate::error::{Result, StepProblem};
use crate::event::{Event, LogStream, StepId};

/// Lines of a failed command that its error repeats: a compiler's message with what led to it.
const LAST_LINES: usize = 20;
/// Longest piece of such a line, in bytes.
const LAST_LINE_LENGTH: usize = 1000;

/// Mode of a here-document that is run as a program.
const SCRIPT_MODE: u32 = 0o755;

pub(super) fn run_blocking(
    session: &Arc<Session>,
    upper: &Upper,
    run: RunStep,
    tier: Tier,
    id: StepId,
) -> Result<(), StepProblem> {
    let root = RootFs { lower: upper.lowers().to_vec(), upper: upper.files(), work: upper.work() };
    let mut spec = StepSpec::new(root, run.arguments);
    spec.env = run.proxies.variables.into_iter().chain(run.environment).collect();
    spec.cwd = run.working_directory.into();
    spec.user = run.user;
    spec.files = run
        .file
        .into_iter()
        .map(|file| StepFile {
            path: file.path.into(),
            content: file.content.into_bytes(),
            mode: SCRIPT_MODE,
        })
        .collect();
    let mut last_lines = VecDeque::with_capacity(LAST_LINES);
    let mut output = |line: OutputLine| {
        if last_lines.len() == LAST_LINES {
            last_lines.pop_front();
        }
        let shown = line.bytes.get(..LAST_LINE_LENGTH).unwrap_or(&line.bytes);
        last_lines.push_back(String::from_utf8_lossy(shown).into_owned());
        let stream = match line.stream {
            OutputStream::Stdout => LogStream::Output,
            OutputStream::Stderr => LogStream::Errors,
        };
        session.events.tell(Event::Log { step: id, stream, line: line.bytes });
    };
    let status = builder_runtime::run_blocking(spec, tier, Some(session.cancel.steps()), &mut output)?;
    if status.is_success() {
        return Ok(());
    }
    Err(StepProblem::Failed { status, last_lines: last_lines.into() })
}
