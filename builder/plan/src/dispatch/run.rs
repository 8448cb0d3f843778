//! `RUN`

use std::collections::BTreeSet;

use builder_dockerfile::{
    CommandLine, Mount, MountKind, Network, Run, RunMount, Security, proxy_environment,
};

use super::{Dispatcher, expand_error};
use crate::error::{Error, of_dockerfile};
use crate::step::{Proxies, RunFile, RunStep};

/// Where a here-document that is a program of its own is put.
const SCRIPT_DIRECTORY: &str = "/dev/pipes";

impl Dispatcher<'_> {
    pub(super) fn run(&mut self, run: &Run) -> Result<RunStep, Error> {
        self.refuse_flags(run)?;
        let (arguments, file) = self.command(run);
        let mut created_by = Vec::new();
        let args = self.state.scope.declared_args();
        if !args.is_empty() {
            created_by.push(format!("|{}", args.len()));
            created_by.extend(args.iter().map(|(name, value)| format!("{name}={value}")));
        }
        created_by.extend(arguments.iter().cloned());
        self.state.config.record(format!("RUN {} # buildkit", created_by.join(" ")), true);

        let environment = self.state.scope.environment().pairs().to_vec();
        let names: BTreeSet<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
        let mut proxies = proxy_environment(&self.request.build_args);
        proxies.retain(|(name, _)| !names.contains(name.as_str()));
        let config = &self.state.config.config;
        let working_directory =
            if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() };
        Ok(RunStep {
            arguments,
            environment,
            proxies: Proxies { variables: proxies },
            working_directory,
            user: config.user.clone(),
            file,
        })
    }

    /// The words to execute. A here-document alone is the script, or a program when it starts with `#!`; one among
    /// other words is put together again for the shell.
    fn command(&self, run: &Run) -> (Vec<String>, Option<RunFile>) {
        let CommandLine::Shell(text) = &run.command else {
            return (self.words(&run.command), None);
        };
        if let Some(heredoc) = run.sole_heredoc() {
            let script = heredoc.file_content();
            if !script.starts_with("#!") {
                return (self.in_shell(&script), None);
            }
            let path = format!("{SCRIPT_DIRECTORY}/{}", heredoc.name);
            return (self.in_shell(&path), Some(RunFile { path, content: script }));
        }
        let mut script = text.value.clone();
        for heredoc in &run.heredocs {
            script.push('\n');
            script.push_str(&heredoc.content);
            script.push_str(&heredoc.name);
        }
        (self.in_shell(&script), None)
    }

    fn refuse_flags(&self, run: &Run) -> Result<(), Error> {
        if let Some(mount) = run.flags.mounts.first() {
            let kind = self.mount_kind(mount)?;
            let instead = match kind {
                MountKind::Bind => "copy the files with COPY",
                MountKind::Cache => "leave the mount away: the step starts without the cache",
                MountKind::Tmpfs => "leave the mount away and remove the files at the end of the step",
                MountKind::Secret | MountKind::Ssh => {
                    "build this file with BuildKit; a secret given by ARG or COPY would stay in the image"
                }
            };
            return Err(self.not_supported(format!("RUN --mount=type={}", kind.name()), mount.span, instead));
        }
        if let Some(network) = run.flags.network.as_ref().filter(|network| network.value != Network::Default)
        {
            let what =
                if network.value == Network::None { "RUN --network=none" } else { "RUN --network=host" };
            return Err(self.not_supported(what, network.span, "leave --network away"));
        }
        if let Some(security) =
            run.flags.security.as_ref().filter(|security| security.value != Security::Sandbox)
        {
            return Err(self.not_supported(
                "RUN --security=insecure",
                security.span,
                "leave --security away, or build this file with BuildKit",
            ));
        }
        if let Some(device) = run.flags.devices.first() {
            return Err(self.not_supported(
                "RUN --device",
                device.span,
                "leave --device away, or build this file with BuildKit",
            ));
        }
        Ok(())
    }

    fn mount_kind(&self, mount: &RunMount) -> Result<MountKind, Error> {
        let expand =
            |value: &str| self.expander.word(value, &self.state.scope).map(|expansion| expansion.text);
        let resolved = Mount::resolve(mount, expand).map_err(|error| match error.problem {
            builder_dockerfile::Problem::Expand(problem) => expand_error(problem, mount.span),
            _ => of_dockerfile(error),
        })?;
        Ok(resolved.kind)
    }
}
