//! Use cases of the registry, each behind a grant.
