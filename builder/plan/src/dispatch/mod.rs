//! Executing instructions on a stage's state: variables, config, history, and the steps that come of it.

mod copy;
mod metadata;
mod port;
mod run;
mod signal;

use builder_dockerfile::{
    CommandLine, Environment, ExpandProblem, Expander, GlobalScope, InstructionKind, Span, StageScope, Text,
    Variables as _, clean_path,
};
use registry_types::Platform;

use crate::config::{DEFAULT_PATH, ImageConfig};
use crate::error::{Error, Problem};
use crate::graph::Placed;
use crate::request::Request;
use crate::step::{Step, StepKind};

/// What the shell form runs in when neither the image nor `SHELL` says otherwise.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Everything an instruction can see and change.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    pub(crate) config: ImageConfig,
    pub(crate) platform: Platform,
    scope: StageScope,
    /// `CMD` was set in this stage, so that `ENTRYPOINT` leaves it.
    cmd_is_own: bool,
}

impl StageState {
    pub(crate) fn scratch(platform: &Platform) -> Self {
        Self::started(ImageConfig::scratch(platform), platform.clone())
    }

    pub(crate) fn on_image(mut config: ImageConfig, platform: &Platform) -> Self {
        config.complete_history();
        config.created = None;
        config.config.on_build = Vec::new();
        let mut state = Self::started(config, platform.clone());
        let directory = &state.config.config.working_dir;
        if !directory.is_empty() {
            state.config.config.working_dir = absolute("/", directory);
        }
        state
    }

    /// A stage on another: it goes on where that one ended, but for an `ARG` that covered an `ENV` of the image: the
    /// `ENV` comes to light again.
    pub(crate) fn on_stage(base: &Self) -> Self {
        let mut state = base.clone();
        for pair in &state.config.config.env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            state.scope.set_env(name, value);
        }
        state.config.config.on_build = Vec::new();
        state.cmd_is_own = false;
        state
    }

    fn started(mut config: ImageConfig, platform: Platform) -> Self {
        let mut environment = Environment::from_config(config.config.env.iter().map(String::as_str));
        if environment.value("PATH").is_none() {
            config.config.env.push(DEFAULT_PATH.to_owned());
            environment = Environment::from_config(config.config.env.iter().map(String::as_str));
        }
        Self { config, platform, scope: StageScope::new(environment), cmd_is_own: false }
    }
}

/// `path` made absolute from `directory`; an absolute path stays as it is written.
fn absolute(directory: &str, path: &str) -> String {
    match path {
        path if path.starts_with('/') => path.to_owned(),
        path => clean_path(&format!("/{directory}/{path}")),
    }
}

/// Executes the instructions of one stage.
#[derive(Debug)]
pub(crate) struct Dispatcher<'a> {
    request: &'a Request<'a>,
    global: &'a GlobalScope,
    expander: Expander,
    state: StageState,
    steps: Vec<Step>,
    line: usize,
}

impl<'a> Dispatcher<'a> {
    pub(crate) fn new(
        request: &'a Request<'a>,
        global: &'a GlobalScope,
        expander: Expander,
        state: StageState,
    ) -> Self {
        Self { request, global, expander, state, steps: Vec::new(), line: 0 }
    }

    pub(crate) fn finish(self) -> (StageState, Vec<Step>) {
        (self.state, self.steps)
    }

    /// Executes an instruction; `from_span` is the place of the stage's `FROM`, where triggers are reported.
    pub(crate) fn execute(&mut self, placed: Placed, from_span: Span) -> Result<(), Error> {
        let Placed { instruction, from, trigger } = placed;
        let span = if trigger.is_some() { from_span } else { instruction.span };
        self.line = self.request.source.position(span.start).line;
        let kind = self.kind(instruction.kind, from).map_err(|error| match &trigger {
            Some(trigger) => Error::new(
                Problem::Trigger { trigger: trigger.clone(), message: error.to_string() },
                from_span,
            ),
            None => error,
        })?;
        self.steps.push(Step {
            kind,
            text: instruction.text,
            span,
            line: self.line,
            trigger: trigger.is_some(),
        });
        Ok(())
    }

    fn kind(&mut self, kind: InstructionKind, from: crate::graph::CopyFrom) -> Result<StepKind, Error> {
        match kind {
            InstructionKind::Run(run) => return self.run(&run).map(StepKind::Run),
            InstructionKind::Copy(copy) => return Ok(StepKind::Copy(Box::new(self.copy(copy, from)?))),
            InstructionKind::Add(add) => return Ok(StepKind::Copy(Box::new(self.add(add)?))),
            InstructionKind::Workdir(path) => return self.workdir(&path),
            InstructionKind::Arg(arg) => self.arg(&arg)?,
            InstructionKind::Env(pairs) => self.env(&pairs)?,
            InstructionKind::Label(pairs) => self.label(&pairs)?,
            InstructionKind::Cmd(line) => self.cmd(&line),
            InstructionKind::Entrypoint(line) => self.entrypoint(&line),
            InstructionKind::Expose(ports) => self.expose(&ports)?,
            InstructionKind::Healthcheck(check) => self.healthcheck(check),
            InstructionKind::Maintainer(name) => self.maintainer(&name),
            InstructionKind::OnBuild(on_build) => self.state.config.config.on_build.push(on_build.trigger),
            InstructionKind::Shell(words) => self.shell(words),
            InstructionKind::StopSignal(signal) => self.stop_signal(&signal)?,
            InstructionKind::User(user) => self.user(&user)?,
            InstructionKind::Volume(paths) => self.volume(&paths)?,
            // `FROM` opens a stage and is never within one.
            InstructionKind::From(_) => {}
        }
        Ok(StepKind::Config)
    }

    fn expand(&self, text: &Text) -> Result<String, Error> {
        let expansion = self.expander.word(&text.value, &self.state.scope);
        Ok(expansion.map_err(|problem| expand_error(problem, text.span))?.text)
    }

    fn expand_option(&self, text: Option<&Text>) -> Result<Option<String>, Error> {
        text.map(|text| self.expand(text)).transpose().map(|text| text.filter(|text| !text.is_empty()))
    }

    /// Records history of an instruction that makes no layer.
    fn record(&mut self, created_by: String) {
        self.state.config.record(created_by, false);
    }

    /// A command in the words to execute; the shell form behind the shell.
    fn words(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => self.in_shell(&text.value),
        }
    }

    fn in_shell(&self, script: &str) -> Vec<String> {
        let shell = &self.state.config.config.shell;
        let mut words =
            if shell.is_empty() { DEFAULT_SHELL.map(str::to_owned).to_vec() } else { shell.clone() };
        words.push(script.to_owned());
        words
    }

    fn not_supported(&self, what: impl Into<String>, span: Span, instead: &'static str) -> Error {
        Error::new(Problem::NotSupported { what: what.into(), line: self.line, instead }, span)
    }
}

fn expand_error(problem: ExpandProblem, span: Span) -> Error {
    Error::new(Problem::Dockerfile(builder_dockerfile::Problem::Expand(problem)), span)
}
