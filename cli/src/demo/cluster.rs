//! The import, where there is something to import into.

use std::sync::Arc;

use importer::{ClientSource, DockerAddress, ImportError, ImportOptions};
use registry_types::ImageReference;

use super::build::Builder;
use crate::failure::Failure;

pub(super) enum Outcome {
    Imported { cluster: String, nodes: usize },
    Skipped(String),
}

/// A name that no cluster should have: asked for it, the importer tells which clusters there are.
const NO_CLUSTER: &str = "slipway-demo-none";

/// Imports into the first k3d cluster of the Docker Engine, if there is one.
pub(super) async fn import(builder: &Builder, image: &ImageReference) -> Result<Outcome, Failure> {
    let docker = match DockerAddress::from_environment_blocking() {
        Ok(docker) => docker,
        Err(error) => return Ok(Outcome::Skipped(error.to_string())),
    };
    let source = || builder.client().map(|client| Arc::new(ClientSource::new(client)));
    let ask = ImportOptions::new(NO_CLUSTER, vec![image.clone()], docker.clone());
    let cluster = match importer::import(&ask, source()?, Arc::new(())).await {
        Err(ImportError::UnknownCluster { found, .. }) => found.into_iter().next(),
        Err(error @ ImportError::DockerUnreachable { .. }) => return Ok(Outcome::Skipped(error.to_string())),
        Err(error) => return Err(error.into()),
        Ok(_) => None,
    };
    let Some(cluster) = cluster else {
        return Ok(Outcome::Skipped("the Docker Engine has no k3d cluster".to_owned()));
    };
    let options = ImportOptions::new(&cluster, vec![image.clone()], docker);
    let report = importer::import(&options, source()?, Arc::new(())).await?;
    Ok(Outcome::Imported { cluster, nodes: report.nodes.len() })
}
