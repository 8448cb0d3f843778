//! `slipway conformance`

use std::io::{IsTerminal, Read};

use conformance::{ConformanceError, Credentials, Options, SpecVersion, Target};

use crate::{
    arguments::{Conformance, OutputFormat, VersionChoice},
    failure::Failure,
};

pub(crate) fn run(arguments: Conformance) -> Result<(), Failure> {
    let target = Target::parse(&arguments.registry, arguments.insecure)?;
    let credentials = match &arguments.username {
        Some(username) => Some(Credentials::new(username, password()?)),
        None => None,
    };
    let versions = match (arguments.own_only, arguments.version) {
        (true, _) => Vec::new(),
        (false, VersionChoice::V1_1) => vec![SpecVersion::V1_1],
        (false, VersionChoice::Dev) => vec![SpecVersion::Dev],
        (false, VersionChoice::All) => SpecVersion::ALL.to_vec(),
    };
    let options = Options {
        target,
        credentials,
        versions,
        suite: arguments.suite,
        results: arguments.results,
        prefix: arguments.prefix.to_string(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    let report = runtime.block_on(conformance::run(&options, |begun| eprintln!("running: {begun}")))?;
    let written = report.write(&options.results)?;
    match arguments.output {
        OutputFormat::Text => print!("{}", report.to_text()),
        OutputFormat::Json => print!("{}", report.to_json()),
    }
    for path in written {
        eprintln!("wrote {}", path.display());
    }
    if report.conforms() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{} does not conform; {} says why",
        report.registry,
        options.results.join("report.html").display()
    )))
}

/// The password on standard input, without the end of its line.
fn password() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "--password-stdin reads from a pipe or a file, not from a terminal".to_owned(),
        ));
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::Usage(format!("cannot read the password from standard input: {error}")))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::Usage("the password on standard input is empty".to_owned()));
    }
    Ok(password.to_owned())
}

impl From<ConformanceError> for Failure {
    fn from(error: ConformanceError) -> Self {
        let message = error.to_string();
        match error {
            ConformanceError::Target { .. } => Self::Usage(message),
            ConformanceError::SuiteMissing { .. } => Self::NotFound(message),
            ConformanceError::Unauthorized { .. } => Self::Unauthorized(message),
            ConformanceError::Unreachable { .. }
            | ConformanceError::SuiteFailed { .. }
            | ConformanceError::Io { .. } => Self::Failed(message),
        }
    }
}
