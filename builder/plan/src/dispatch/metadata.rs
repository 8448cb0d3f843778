//! Instructions that change the config only, and `WORKDIR`.

use builder_dockerfile::{Arg, CommandLine, Healthcheck as Check, KeyValue, Text};

use super::{Dispatcher, absolute};
use crate::config::Healthcheck;
use crate::dispatch::{port, signal};
use crate::error::{Error, Problem, of_dockerfile};
use crate::step::{StepKind, WorkdirStep};
use crate::text;

impl Dispatcher<'_> {
    pub(super) fn arg(&mut self, arg: &Arg) -> Result<(), Error> {
        let declared = self.state.scope.declare(arg, self.global, &self.expander).map_err(of_dockerfile)?;
        let listed: Vec<String> = declared
            .into_iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name,
            })
            .collect();
        self.record(format!("ARG {}", listed.join(" ")));
        Ok(())
    }

    /// Expands all pairs before any of them takes effect.
    fn expand_pairs(&self, pairs: &[KeyValue]) -> Result<Vec<(String, String)>, Error> {
        pairs.iter().map(|pair| Ok((self.expand(&pair.key)?, self.expand(&pair.value)?))).collect()
    }

    pub(super) fn env(&mut self, pairs: &[KeyValue]) -> Result<(), Error> {
        let mut created_by = String::from("ENV");
        for (name, value) in self.expand_pairs(pairs)? {
            created_by.push_str(&format!(" {name}={value}"));
            self.state.scope.set_env(&name, &value);
            self.state.config.set_env(&name, &value);
        }
        self.record(created_by);
        Ok(())
    }

    pub(super) fn label(&mut self, pairs: &[KeyValue]) -> Result<(), Error> {
        let mut created_by = String::from("LABEL");
        for (name, value) in self.expand_pairs(pairs)? {
            created_by.push_str(&format!(" {name}={value}"));
            self.state.config.config.labels.insert(name, value);
        }
        self.record(created_by);
        Ok(())
    }

    pub(super) fn cmd(&mut self, line: &CommandLine) {
        let words = self.words(line);
        self.record(format!("CMD {}", text::quoted(&words)));
        self.state.config.config.cmd = words;
        self.state.config.config.args_escaped = true;
        self.state.cmd_is_own = true;
    }

    pub(super) fn entrypoint(&mut self, line: &CommandLine) {
        let words = self.words(line);
        self.record(format!("ENTRYPOINT {}", text::quoted(&words)));
        self.state.config.config.entrypoint = words;
        if !self.state.cmd_is_own {
            self.state.config.config.cmd = Vec::new();
        }
    }

    pub(super) fn expose(&mut self, ports: &[Text]) -> Result<(), Error> {
        let mut ports: Vec<&Text> = ports.iter().collect();
        ports.sort_by(|left, right| left.value.cmp(&right.value));
        let mut exposed = Vec::new();
        for written in ports {
            let words = self
                .expander
                .words(&written.value, &self.state.scope)
                .map_err(|problem| super::expand_error(problem, written.span))?;
            for word in words {
                let ports = port::parse(&word).map_err(|reason| {
                    Error::new(Problem::Port { text: word.clone(), reason }, written.span)
                })?;
                exposed.extend(ports);
            }
        }
        self.record(format!("EXPOSE {}", text::listed(&exposed)));
        self.state.config.config.exposed_ports.extend(exposed);
        Ok(())
    }

    pub(super) fn healthcheck(&mut self, check: Check) {
        let check = match check {
            Check::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
            Check::Probe(probe) => {
                let test = match probe.command {
                    CommandLine::Shell(script) => vec!["CMD-SHELL".to_owned(), script.value],
                    CommandLine::Exec(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
                };
                Healthcheck {
                    test,
                    interval: probe.interval,
                    timeout: probe.timeout,
                    start_period: probe.start_period,
                    start_interval: probe.start_interval,
                    retries: i64::from(probe.retries),
                }
            }
        };
        self.record(format!("HEALTHCHECK {}", text::healthcheck(&check)));
        self.state.config.config.healthcheck = Some(check);
    }

    pub(super) fn maintainer(&mut self, name: &Text) {
        self.state.config.author.clone_from(&name.value);
        self.record(format!("MAINTAINER {}", name.value));
    }

    pub(super) fn shell(&mut self, words: Vec<String>) {
        self.record(format!("SHELL {}", text::listed(&words)));
        self.state.config.config.shell = words;
    }

    pub(super) fn stop_signal(&mut self, written: &Text) -> Result<(), Error> {
        let signal = self.expand(written)?;
        if !signal::is_signal(&signal) {
            return Err(Error::new(Problem::Signal { text: signal }, written.span));
        }
        self.record(format!("STOPSIGNAL {signal}"));
        self.state.config.config.stop_signal = signal;
        Ok(())
    }

    pub(super) fn user(&mut self, written: &Text) -> Result<(), Error> {
        let user = self.expand(written)?;
        self.record(format!("USER {user}"));
        self.state.config.config.user = user;
        Ok(())
    }

    pub(super) fn volume(&mut self, paths: &[Text]) -> Result<(), Error> {
        let mut volumes = Vec::with_capacity(paths.len());
        for path in paths {
            let volume = self.expand(path)?;
            if volume.is_empty() {
                return Err(Error::new(Problem::EmptyVolume, path.span));
            }
            volumes.push(volume);
        }
        self.record(format!("VOLUME {}", text::listed(&volumes)));
        self.state.config.config.volumes.extend(volumes);
        Ok(())
    }

    /// The root directory is always there: naming it makes no layer.
    pub(super) fn workdir(&mut self, written: &Text) -> Result<StepKind, Error> {
        let path = self.expand(written)?;
        let config = &mut self.state.config;
        let path = match (path.as_str(), config.config.working_dir.as_str()) {
            ("", "") => "/".to_owned(),
            ("", current) => current.to_owned(),
            (path, current) => absolute(current, path),
        };
        config.config.working_dir.clone_from(&path);
        let layer = path != "/";
        config.record(format!("WORKDIR {path}"), layer);
        if !layer {
            return Ok(StepKind::Config);
        }
        Ok(StepKind::Workdir(WorkdirStep { path, user: config.config.user.clone() }))
    }
}
