//! The traits, one for each subject; [`Metadata`] is all of them. Everything is a query or one transaction;
//! nothing walks a tree.
//!
//! Guarantees that the suite checks for every engine:
//! - A reference never appears before what it refers to: [`ManifestMetadata::put_manifest`] fails whole when a
//!   blob is not linked to the repository.
//! - Reads see every write that was acknowledged before they began.
//! - Two writers of the same tag leave one of their manifests, never a mixture.
//! - Nothing that is referred to or leased is collected, and everything else is in the end.
//!
//! What depends on the time takes the time: no engine asks its own clock for a decision.

mod accounts;
mod blobs;
mod collection;
mod events;
mod health;
mod listings;
mod manifests;
mod operation;
mod policies;
mod secrets;
mod uploads;

pub use self::{
    accounts::AccountMetadata, blobs::BlobMetadata, collection::CollectionMetadata, events::EventMetadata,
    health::HealthMetadata, listings::ListingMetadata, manifests::ManifestMetadata,
    operation::OperationMetadata, policies::PolicyMetadata, secrets::SecretMetadata, uploads::UploadMetadata,
};
use crate::MetadataError;

type Answer<T> = Result<T, MetadataError>;

/// A metadata store.
pub trait Metadata:
    BlobMetadata
    + ManifestMetadata
    + ListingMetadata
    + UploadMetadata
    + AccountMetadata
    + SecretMetadata
    + HealthMetadata
    + CollectionMetadata
    + PolicyMetadata
    + EventMetadata
    + OperationMetadata
{
}

impl<M> Metadata for M where
    M: BlobMetadata
        + ManifestMetadata
        + ListingMetadata
        + UploadMetadata
        + AccountMetadata
        + SecretMetadata
        + HealthMetadata
        + CollectionMetadata
        + PolicyMetadata
        + EventMetadata
        + OperationMetadata
{
}
