//! Progress on standard error: a live view on a terminal, plain lines elsewhere, sections in a GitLab job's log.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use builder_engine::{Event, Events, OutputEvent, StepId, StepOutcome};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::arguments::ProgressChoice;

/// Longest instruction shown in a line, in characters; the Dockerfile has the rest.
const SHOWN_INSTRUCTION: usize = 100;

/// Most warnings that are told again at the end: more would scroll by once more.
const REPEATED_WARNINGS: usize = 20;

/// How often a bar of the live view moves: fast enough to look alive, slow enough to cost nothing.
const TICK: Duration = Duration::from_millis(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Live,
    Plain,
    /// Plain lines within collapsible sections.
    GitLab,
    Quiet,
}

/// Shows what a build tells. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Display(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    style: Style,
    started: Instant,
    bars: MultiProgress,
    steps: HashMap<StepId, (String, Option<ProgressBar>)>,
    section: Option<&'static str>,
    /// Told once more at the end, when they have scrolled by.
    warnings: Vec<String>,
}

impl Display {
    pub(super) fn new(choice: ProgressChoice) -> Self {
        let style = match choice {
            ProgressChoice::Quiet => Style::Quiet,
            ProgressChoice::Tty => Style::Live,
            ProgressChoice::Auto if std::io::stderr().is_terminal() => Style::Live,
            ProgressChoice::Auto | ProgressChoice::Plain if std::env::var_os("GITLAB_CI").is_some() => {
                Style::GitLab
            }
            ProgressChoice::Auto | ProgressChoice::Plain => Style::Plain,
        };
        let bars = MultiProgress::new();
        Self(Arc::new(Mutex::new(State {
            style,
            started: Instant::now(),
            bars,
            steps: HashMap::new(),
            section: None,
            warnings: Vec::new(),
        })))
    }

    /// The listener to give to a build.
    pub(super) fn events(&self) -> Events {
        let state = self.0.clone();
        Events::new(move |event| state.lock().unwrap_or_else(PoisonError::into_inner).show(event))
    }

    pub(super) fn note(&self, text: &str) {
        self.with(|state| state.line(&format!("note: {text}")));
    }

    /// Ends sections and bars, and repeats the warnings.
    pub(super) fn close(&self) {
        self.with(|state| {
            state.section(None);
            for (_, bar) in state.steps.values() {
                bar.iter().for_each(ProgressBar::finish_and_clear);
            }
            for text in std::mem::take(&mut state.warnings) {
                state.line(&format!("warning: {text}"));
            }
        });
    }

    fn with(&self, act: impl FnOnce(&mut State)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl State {
    fn show(&mut self, event: Event) {
        match event {
            Event::Isolation { reason } => self.line(&format!("isolation: {reason}")),
            Event::Warning { text } => {
                self.line(&format!("warning: {text}"));
                if self.warnings.len() < REPEATED_WARNINGS {
                    self.warnings.push(text);
                }
            }
            Event::BaseImage { reference, digest, local } => {
                let place = if local { " (local)" } else { "" };
                self.line(&format!("base image {reference}{place} {digest}"));
            }
            Event::Unpacking { digest, size } => {
                self.line(&format!("unpacking {} ({size} bytes)", digest.short()))
            }
            Event::StageStarted { .. } => self.section(Some("build")),
            Event::StepStarted { step, stage_name, text, line } => {
                let label = label(step, stage_name.as_deref(), &text);
                self.line_or_bar(step, label, line);
            }
            Event::Log { step, line, .. } => {
                let text = String::from_utf8_lossy(&line);
                let text =
                    self.steps.get(&step).map_or_else(String::new, |_| format!("  {} | {text}", name(step)));
                self.line(&text);
            }
            Event::StepEnded { step, outcome, duration } => {
                let (label, bar) = self.steps.remove(&step).unwrap_or_else(|| (name(step), None));
                bar.iter().for_each(ProgressBar::finish_and_clear);
                let outcome = match outcome {
                    StepOutcome::Done => "done",
                    StepOutcome::Cached => "cached",
                    StepOutcome::Failed => "failed",
                };
                self.line(&format!("{label}: {outcome} in {:.2} s", duration.as_secs_f64()));
            }
            Event::Layer { step, layer, empty: false, .. } => {
                self.line(&format!(
                    "  {} | layer {} ({} bytes)",
                    name(step),
                    layer.digest.short(),
                    layer.size
                ));
            }
            Event::Output(event) => self.show_output(event),
            // Bytes on their way are told when they have arrived: a log with a line for each chunk helps nobody.
            Event::StageDone { .. } | Event::Layer { .. } | Event::Transfer { .. } => {}
        }
    }

    fn show_output(&mut self, event: OutputEvent) {
        match event {
            OutputEvent::Fetching { digest, size } => {
                self.line(&format!("fetching {} ({size} bytes)", digest.short()))
            }
            OutputEvent::Pushing { .. } => {}
            OutputEvent::Pushed { repository, digest, size, how } => {
                self.line(&format!("{repository}: {} ({size} bytes) {how:?}", digest.short()).to_lowercase());
            }
            OutputEvent::Tagged { image, digest } => {
                self.section(Some("push"));
                self.line(&format!("tagged {image} {digest}"));
            }
            OutputEvent::Written { path } => self.line(&format!("wrote {}", path.display())),
        }
    }

    fn line_or_bar(&mut self, step: StepId, label: String, line: usize) {
        let bar = (self.style == Style::Live).then(|| {
            let bar = self.bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(label.clone());
            bar.enable_steady_tick(TICK);
            bar
        });
        if bar.is_none() {
            self.line(&format!("{label} (line {line})"));
        }
        self.steps.insert(step, (label, bar));
    }

    fn line(&self, text: &str) {
        let stamped = format!("[{:>7.2}] {text}", self.started.elapsed().as_secs_f64());
        match self.style {
            Style::Quiet => {}
            // Above the bars; where standard error is no terminal after all, indicatif shows nothing.
            Style::Live if self.bars.println(&stamped).is_ok() && std::io::stderr().is_terminal() => {}
            // A closed standard error must not end a build.
            Style::Live | Style::Plain | Style::GitLab => {
                let _ = writeln!(std::io::stderr(), "{stamped}");
            }
        }
    }

    /// Ends the open section of a GitLab job's log and begins another.
    fn section(&mut self, section: Option<&'static str>) {
        if self.style != Style::GitLab || self.section == section {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let mut stderr = std::io::stderr();
        if let Some(open) = self.section {
            let _ = write!(stderr, "\x1b[0Ksection_end:{now}:slipway_{open}\r\x1b[0K");
        }
        if let Some(next) = section {
            let _ = writeln!(stderr, "\x1b[0Ksection_start:{now}:slipway_{next}\r\x1b[0KSlipway: {next}");
        }
        self.section = section;
    }
}

fn name(step: StepId) -> String {
    format!("{}.{}", step.stage + 1, step.step + 1)
}

fn label(step: StepId, stage: Option<&str>, text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let shown: String = first.chars().take(SHOWN_INSTRUCTION).collect();
    let cut = if shown.len() < text.trim_end().len() { " ..." } else { "" };
    match stage {
        Some(stage) => format!("{} [{stage}] {shown}{cut}", name(step)),
        None => format!("{} {shown}{cut}", name(step)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_instructions_are_cut_to_one_line() {
        let step = StepId { stage: 0, step: 2 };
        assert_eq!(label(step, Some("build"), "RUN make"), "1.3 [build] RUN make");
        let long = format!("RUN {}\nmore", "x".repeat(500));
        let shown = label(step, None, &long);
        assert!(shown.ends_with(" ...") && shown.len() < 130 && !shown.contains('\n'), "{shown}");
    }
}
