//! The one registry client.
