//! What a finished build tells: on standard output, and in files for later jobs.

use builder_engine::{Finished, OutputResult};
use builder_output::{write_digest_file, write_metadata_file};
use registry_types::ImageReference;
use serde_json::json;

use crate::{
    arguments::{BuildOptions, OutputFormat},
    failure::Failure,
};

pub(super) fn write_files(
    options: &BuildOptions,
    finished: &Finished,
    names: &[ImageReference],
) -> Result<(), Failure> {
    let failed = |error: builder_engine::OutputError| Failure::Failed(error.to_string());
    if let Some(path) = &options.metadata_file {
        write_metadata_file(path, &finished.image, names).map_err(failed)?;
    }
    if let Some(path) = &options.digest_file {
        write_digest_file(path, &finished.image).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn print(format: OutputFormat, finished: &Finished) -> Result<(), Failure> {
    let image = &finished.image;
    // Standard output may hold the image itself; then the report goes where it does no harm.
    let piped = finished
        .results
        .iter()
        .any(|result| matches!(result, OutputResult::Written { target, .. } if target.is_standard_output()));
    let say = |text: String| if piped { eprintln!("{text}") } else { println!("{text}") };
    match format {
        OutputFormat::Json => {
            let results: Vec<_> = finished.results.iter().map(result_json).collect();
            let report = json!({
                "digest": image.digest(), "size": image.size(), "platform": image.platform.to_string(), "results": results
            });
            say(report.to_string());
        }
        OutputFormat::Text => {
            for result in &finished.results {
                match result {
                    OutputResult::Pushed(tag) => {
                        say(format!("pushed {}  {}  {} bytes", tag.image, tag.digest, tag.size))
                    }
                    OutputResult::Named { image, digest } => say(format!("named {image}  {digest}")),
                    OutputResult::Written { target, digest } => {
                        say(format!("wrote {}  {digest}", target.path.display()))
                    }
                }
            }
            if finished.results.is_empty() {
                say(format!(
                    "built {}  {} bytes; give -t NAME or -o to keep it",
                    image.digest(),
                    image.size()
                ));
            }
        }
    }
    Ok(())
}

fn result_json(result: &OutputResult) -> serde_json::Value {
    match result {
        OutputResult::Pushed(tag) => {
            json!({ "pushed": tag.image.to_string(), "digest": tag.digest, "size": tag.size })
        }
        OutputResult::Named { image, digest } => json!({ "named": image.to_string(), "digest": digest }),
        OutputResult::Written { target, digest } => json!({ "written": target.path, "digest": digest }),
    }
}
