//! `slipway conformance`

use conformance::{ConformanceError, Credentials, Options, SpecVersion, Target};

use crate::{
    arguments::{Conformance, OutputFormat, VersionChoice},
    failure::{Failure, runtime},
    standard_input,
};

pub(crate) fn run(arguments: Conformance) -> Result<(), Failure> {
    let target = Target::parse(&arguments.registry, arguments.insecure)?;
    let credentials = match &arguments.username {
        Some(username) => Some(Credentials::new(username, standard_input::password()?.expose())),
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
    let report = runtime()?.block_on(conformance::run(&options, |begun| eprintln!("running: {begun}")))?;
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
