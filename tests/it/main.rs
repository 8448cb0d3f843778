//! The whole product with real clients. One module per client or subject; what each needs is started by its
//! tests and ends with them. Missing programs make a test say why it is skipped, which is a failure in CI.

mod authorization;
mod build;
mod buildah;
mod buildkit;
mod chain;
mod collection;
mod command_line;
mod containerd;
mod crane;
mod demo;
mod docker;
mod events;
mod full_disk;
mod gitlab;
mod helm;
mod http;
mod image;
mod manifests;
mod oras;
mod policies;
mod proxy;
mod proxy_clients;
mod regctl;
mod replicas;
mod shutdown;
mod skopeo;
mod slow_clients;
mod tls;
mod token_cases;
mod uploads;
