//! A registry client from the command line and the environment.

use registry_client::{Client, ClientBuilder, Credential, Credentials, Secret};
use registry_types::RegistryHost;

use crate::{arguments::ClientOptions, failure::Failure};

/// A client with the credentials that docker, podman and a GitLab job leave for it.
pub(crate) fn client(options: &ClientOptions) -> Result<Client, Failure> {
    Ok(client_builder(options, credentials()?).build()?)
}

pub(crate) fn client_builder(options: &ClientOptions, credentials: Credentials) -> ClientBuilder {
    let builder =
        Client::builder().credentials(credentials).insecure(options.insecure_registry.iter().cloned());
    options.ca_file.iter().fold(builder, |builder, file| builder.authority_file(file))
}

/// The logins of files and helpers, and in a GitLab job that of `CI_REGISTRY_USER` and `CI_REGISTRY_PASSWORD`.
pub(crate) fn credentials() -> Result<Credentials, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let credentials = Credentials::from_environment();
    let (Some(host), Some(user), Some(password)) =
        (variable("CI_REGISTRY"), variable("CI_REGISTRY_USER"), variable("CI_REGISTRY_PASSWORD"))
    else {
        return Ok(credentials);
    };
    let host: RegistryHost =
        host.parse().map_err(|error| Failure::Usage(format!("CI_REGISTRY is no registry: {error}")))?;
    Ok(credentials.with(host, Credential::Basic { user, password: Secret::new(password) }))
}
