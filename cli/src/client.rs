//! A registry client from the command line and the environment.

use registry_client::{Client, ClientBuilder, Credentials};

use crate::{arguments::ClientOptions, failure::Failure};

/// A client with the credentials that docker, podman and a GitLab job leave for it.
pub(crate) fn client(options: &ClientOptions) -> Result<Client, Failure> {
    Ok(client_builder(options, Credentials::from_environment()).build()?)
}

pub(crate) fn client_builder(options: &ClientOptions, credentials: Credentials) -> ClientBuilder {
    let builder =
        Client::builder().credentials(credentials).insecure(options.insecure_registry.iter().cloned());
    options.ca_file.iter().fold(builder, |builder, file| builder.authority_file(file))
}
