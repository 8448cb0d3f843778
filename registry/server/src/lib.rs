//! A registry server from its configuration: the stores of one data folder, the token server, the listener,
//! signals. The command line is a thin face of this crate.

mod administration;
mod authority;
mod config;
mod data;
mod error;
mod events;
mod keys;
mod run;
mod stores;
mod systemd;
mod upstream;

pub use administration::{Administration, Collector, ListedQuota, NewAccount};
pub use authority::{SelfSigned, client_instructions};
pub use config::{AuthMode, Config, Overrides, QuotaConfig, RetentionConfig, UpstreamConfig};
pub use data::DataFolder;
pub use error::ServerError;
pub use registry_auth::Secret;
pub use registry_core::{
    Age, ByteSize, CollectionRound, EndpointName, Explained, NewestOf, NotAnEndpointName, PolicyOrigin,
    Question, RetentionDecision, RetentionPolicy, RetentionRule, RetentionRun, Ruling, RunMode, Schedule,
    StoredPolicy, TagRuleForm, Text,
};
pub use registry_metadata::{
    Candidate, Chain, CollectionStatus, Decision, DryRun, EventBacklog, Explanation, KeepReason, KindCounts,
    RemovalReason, TagEffect, TagRule, Verdict,
};
pub use run::Server;
