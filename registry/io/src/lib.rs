//! File and socket primitives: zero-copy bodies, durable renames, page-cache probes.
