//! BuildKit beside Slipway: the same Dockerfile built by both, and what they made compared.
//!
//! Both builders take their base from one Slipway registry and push to it, so an image is compared as every
//! puller would get it: config by config, and file by file after all layers are laid on each other.

mod base;
mod compare;
mod daemon;
mod image;
mod tree;

pub use base::BaseImage;
pub use compare::{Difference, compare};
pub use daemon::Buildkitd;
pub use image::Image;
pub use tree::{Kind, Node, Tree};
