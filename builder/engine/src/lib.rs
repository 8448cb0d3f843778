//! Engines that turn a plan into an image.
