//! Which variables an instruction sees.
//!
//! There are two scopes. The global one holds the platform arguments and the `ARG`s before the first `FROM`; only
//! `FROM` sees it. A stage's holds its base's environment, its `ENV`s and the `ARG`s declared in it; of `ENV` and
//! `ARG` with the same name the later one counts. A stage that starts from another inherits that one's scope.

use std::collections::BTreeMap;
use std::fmt;

use registry_types::Platform;

use crate::ast::Arg;
use crate::error::{Error, Problem};
use crate::expand::{Expander, Variables};

/// Arguments that may be given without being declared. `RUN` sees them, history and cache keys do not.
pub const PROXY_ARGUMENTS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Arguments that `FROM` sees without their being declared, and that the user may set.
pub const GLOBAL_ARGUMENTS: [&str; 11] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// The proxy variables that `RUN` gets for the given build arguments: each in capitals and in small letters, as
/// programs read one or the other.
pub fn proxy_environment(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut environment = Environment::default();
    for pair in PROXY_ARGUMENTS.chunks(2) {
        let given =
            build_args.iter().rfind(|(name, _)| pair.iter().any(|proxy| proxy.eq_ignore_ascii_case(name)));
        if let Some((_, value)) = given.filter(|(_, value)| !value.is_empty()) {
            for name in pair {
                environment.set(name, value);
            }
        }
    }
    environment.pairs
}

/// Variables in the order they were first set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    pairs: Vec<(String, String)>,
}

impl Environment {
    /// From the `NAME=value` texts of an image config; of a name that occurs twice the last value counts.
    pub fn from_config<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut environment = Self::default();
        for text in texts {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            environment.set(name, value);
        }
        environment
    }

    pub fn set(&mut self, name: &str, value: &str) {
        match self.pairs.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.pairs.push((name.to_owned(), value.to_owned())),
        }
    }

    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str())
    }
}

impl Variables for Environment {
    fn value(&self, name: &str) -> Option<&str> {
        self.pairs.as_slice().value(name)
    }
}

/// The scope of `FROM`.
#[derive(Clone, PartialEq, Eq)]
pub struct GlobalScope {
    environment: Environment,
    build_args: BTreeMap<String, String>,
}

/// Shows names only: the value of a proxy argument may hold a password.
impl fmt::Debug for GlobalScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.environment.names().chain(self.build_args.keys().map(String::as_str));
        formatter.debug_set().entries(names).finish()
    }
}

impl GlobalScope {
    /// The platform arguments, `TARGETSTAGE`, and the build arguments the user gave; those win over both.
    /// `target_stage` is the name of the stage to build, if it has one.
    pub fn new(
        build: &Platform,
        target: &Platform,
        target_stage: Option<&str>,
        build_args: BTreeMap<String, String>,
    ) -> Self {
        let mut environment = Environment::default();
        for (prefix, platform) in [("BUILD", build), ("TARGET", target)] {
            let version = platform.os_version.as_deref().unwrap_or_default();
            let variant = platform.variant.as_deref().unwrap_or_default();
            let variant_suffix = if variant.is_empty() { String::new() } else { format!("/{variant}") };
            let whole = format!("{}/{}{variant_suffix}", platform.os, platform.architecture);
            for (name, value) in [
                ("PLATFORM", whole.as_str()),
                ("OS", &platform.os),
                ("OSVERSION", version),
                ("ARCH", &platform.architecture),
                ("VARIANT", variant),
            ] {
                environment.set(&format!("{prefix}{name}"), value);
            }
        }
        environment.set("TARGETSTAGE", target_stage.filter(|name| !name.is_empty()).unwrap_or("default"));
        for (name, value) in &mut environment.pairs {
            if let Some(given) = build_args.get(name) {
                given.clone_into(value);
            }
        }
        Self { environment, build_args }
    }

    /// Takes in an `ARG` before the first `FROM`. Its default sees the arguments before it.
    pub fn declare(&mut self, arg: &Arg, expander: &Expander) -> Result<(), Error> {
        for definition in &arg.definitions {
            let name = &definition.name.value;
            if let Some(given) = self.build_args.get(name) {
                self.environment.set(name, given);
            } else if let Some(default) = &definition.default {
                let expanded = expander
                    .word(&default.value, &self.environment)
                    .map_err(|problem| Error::new(Problem::Expand(problem), default.span))?;
                self.environment.set(name, &expanded.text);
            }
        }
        Ok(())
    }
}

impl Variables for GlobalScope {
    fn value(&self, name: &str) -> Option<&str> {
        self.environment.value(name)
    }
}

/// The scope of the instructions of a stage. A stage that starts from another clones its scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StageScope {
    environment: Environment,
    /// The declared arguments in order, with the value each had when it was declared.
    args: Vec<(String, Option<String>)>,
}

impl StageScope {
    /// A stage on an image with this environment.
    pub fn new(environment: Environment) -> Self {
        Self { environment, args: Vec::new() }
    }

    /// `ENV`: sets a variable for this and all later instructions.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.set(name, value);
    }

    /// `ARG`: declares arguments and returns each name and value. A value comes from the user, else from the
    /// default, else from the global scope; a default sees the arguments before it on the same line.
    pub fn declare(
        &mut self,
        arg: &Arg,
        global: &GlobalScope,
        expander: &Expander,
    ) -> Result<Vec<(String, Option<String>)>, Error> {
        let mut declared = Vec::new();
        for definition in &arg.definitions {
            let name = &definition.name.value;
            let value = match (global.build_args.get(name), &definition.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let expanded = expander
                        .word(&default.value, &self.environment)
                        .map_err(|problem| Error::new(Problem::Expand(problem), default.span))?;
                    Some(expanded.text)
                }
                (None, None) => global.environment.value(name).map(str::to_owned),
            };
            if let Some(value) = &value {
                self.environment.set(name, value);
            }
            self.args.push((name.clone(), value.clone()));
            declared.push((name.clone(), value));
        }
        Ok(declared)
    }

    /// All variables: what `RUN` gets, and what expansion sees.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The declared arguments, each once, with the value they have now. The history of `RUN` lists them.
    pub fn declared_args(&self) -> Vec<(String, String)> {
        let mut listed = Environment::default();
        for (name, value) in &self.args {
            let now = self.environment.value(name).or(value.as_deref()).unwrap_or_default();
            listed.set(name, now);
        }
        listed.pairs
    }
}

impl Variables for StageScope {
    fn value(&self, name: &str) -> Option<&str> {
        self.environment.value(name)
    }
}

#[cfg(test)]
mod tests;
