//! Blob stores from outside: commits that end at each of their steps, and a real S3 server, also over a network
//! that fails.

#[expect(unreachable_pub, reason = "shared with the tests of the whole product, where it is public")]
#[path = "../../../../tests/src/fault_proxy.rs"]
mod fault_proxy;
mod faults;
mod local_commit;
mod s3;
#[expect(unreachable_pub, reason = "shared with the tests of the whole product, where it is public")]
#[path = "../../../../tests/src/s3_server.rs"]
mod s3_server;
