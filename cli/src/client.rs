//! A registry client from the command line and the environment.

use registry_client::{Client, Credentials};

use crate::{arguments::ClientOptions, failure::Failure};

/// A client with the credentials that docker, podman and a GitLab job leave for it.
pub(crate) fn client(options: &ClientOptions) -> Result<Client, Failure> {
    with_credentials(options, Credentials::from_environment())
}

pub(crate) fn with_credentials(options: &ClientOptions, credentials: Credentials) -> Result<Client, Failure> {
    let mut builder =
        Client::builder().credentials(credentials).insecure(options.insecure_registry.iter().cloned());
    for file in &options.ca_file {
        builder = builder.authority_file(file);
    }
    Ok(builder.build()?)
}
