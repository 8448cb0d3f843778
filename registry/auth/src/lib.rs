//! Credentials to identity, scopes to grants, tokens issued and verified.
