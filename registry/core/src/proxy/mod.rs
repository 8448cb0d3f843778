//! The pull-through cache: repositories below a prefix mirror those of another registry, the upstream.
//!
//! What it guarantees:
//! - What is asked for is fetched once, however many clients wait for it, stored like pushed content and sent to them
//!   while it comes in. It counts only after its digest was verified: nobody is given the last byte before that.
//! - A tag is asked for upstream when nobody did for the mirror's revalidation time. While the upstream is away or
//!   busy, what is stored is given, and said to be stale.
//! - No client slows another, none stops a download by going away, and what clients wait for takes memory bounded by
//!   the number of downloads, which is bounded too.
//! - Who may pull from the repository here decides who gets the content; the upstream's login is the operator's.

mod blobs;
mod download;
mod feed;
mod fetch;
mod manifests;
mod memory;
mod mirror;
mod partials;
mod source;
mod upstream;

pub use self::{
    blobs::PulledBlob,
    feed::BlobFeed,
    manifests::{PulledManifest, Stale},
    mirror::{Mirror, MirrorSettings, Mirrors},
    upstream::{
        Upstream, UpstreamAnswer, UpstreamBlob, UpstreamBytes, UpstreamError, UpstreamFailure,
        UpstreamManifest,
    },
};
