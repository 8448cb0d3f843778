//! The kit of the whole-product tests: a registry started from the built binary, the real clients, a Docker
//! daemon and a containerd of our own, a name in the hosts file, a stand-in of GitLab's token endpoint, and an
//! HTTP client that sends exactly what it is told. Everything that a test starts ends with it, also when it
//! fails.

mod authority;
mod builder;
mod buildkit;
mod command;
mod containerd;
pub mod crash;
mod distribution;
mod dockerd;
mod event_endpoint;
pub mod fault_proxy;
mod gitlab;
mod hosts;
pub mod http;
mod image;
mod login;
mod mirror;
mod mount;
mod ordinary_user;
#[path = "../../registry/metadata/src/postgres/cluster.rs"]
pub mod postgres_cluster;
mod registry;
mod replicas;
pub mod s3_server;
pub mod signer;
mod site;
mod tools;

pub use authority::TrustedAuthority;
pub use builder::Builder;
pub use buildkit::{BaseImage, Buildkitd, Difference, Image, Kind, Node, Tree, compare};
pub use command::{Finished, run};
pub use containerd::Containerd;
pub use distribution::Distribution;
pub use dockerd::Dockerd;
pub use event_endpoint::{Delivery, EventEndpoint};
pub use gitlab::{GitLab, GitLabKey, Member};
pub use hosts::HostsEntry;
pub use image::{Layout, busybox, plain_tar};
pub use login::{Login, claims};
pub use mirror::Mirror;
pub use mount::SmallDisk;
pub use ordinary_user::OrdinaryUser;
pub use registry::{Options, Registry};
pub use replicas::Replicas;
pub use site::{NAME, Scheme, Site};
pub use tools::{binary, is_root, program, skip, tool};
