//! Paths that name one repository to one reader and another to the next. The token is good for everything in
//! `team/app`; what it must not reach is `team/secret`.

use super::world::{IMAGE, Request, Rows};

pub(super) fn add(rows: &mut Rows) {
    let get = |rows: &mut Rows, expected: u16, target: &'static [u8]| {
        rows.request(format!("GET {}", target.escape_ascii()), expected, move |world| {
            Ok(Request::new("GET", target).bearer(&world.good_token()?))
        });
    };
    // Honest, if unusual.
    for target in [
        &b"/v2/team/app/manifests/%31"[..],
        b"/v2/team/%61pp/manifests/1",
        b"/v2/%74%65am/app/manifests/1",
        b"/v2/team/app/manifests/1?a=../secret",
        b"/v2/team/app/manifests/1?name=team/secret",
        b"/v2/team/app/manifests/1?",
        b"http://other.example/v2/team/app/manifests/1",
    ] {
        get(rows, 200, target);
    }
    // Read as what they name, before rights are asked for.
    for target in [
        &b"/v2/team/secret/manifests/1"[..],
        b"/v2/team/%73ecret/manifests/1",
        b"/v2/team/secre%74/manifests/%31",
        b"/v2/team/app/secret/manifests/1",
        b"/v2/app/manifests/1",
        b"/v2/team/manifests/1",
        b"/v2/team/app2/manifests/1",
        b"/v2/team/app/manifests/manifests/1",
        b"/v2/team/app/blobs/manifests/1",
        b"/v2/team/app/tags/list/tags/list",
        b"/v2/team/secret/tags/list",
        b"/v2/team/secret/tags/list?name=team/app",
        b"http://team/v2/team/secret/manifests/1",
        b"://x/v2/team/secret/manifests/1",
        b"http://admin:admin@127.0.0.1/v2/team/secret/manifests/1",
    ] {
        get(rows, 401, target);
    }
    // Nothing under such a path: slashes that are encoded, or bytes that are no text.
    for target in [
        &b"/v2/team%2fapp/manifests/1"[..],
        b"/v2/team%2Fapp/manifests/1",
        b"/v2/team/app%2fmanifests/1",
        b"/v2/team/app/manifests%2f1",
        b"/v2/team/app/..%2fsecret/manifests/1",
        b"/v2/team/app/%2e%2e%2fsecret/manifests/1",
        b"/v2/team/app/manifests/..%2f..%2fsecret%2fmanifests%2f1",
        b"/v2/team/app%2f..%2fsecret/manifests/1",
        b"/v2%2fteam/app/manifests/1",
        b"/%76%32/team/app/manifests/1",
        b"/v2/team/app/manifests/1/",
        b"/v2/team/app/%c0%af/manifests/1",
        b"/v2/team/app/%c0%ae%c0%ae/secret/manifests/1",
        b"/v2/team/app/%e0%80%af/manifests/1",
        b"/v2/team/app/%f0%80%80%af/manifests/1",
        b"/v2/team/app/%ff/manifests/1",
        b"/v2/team/app/%ed%a0%80/manifests/1",
        b"//v2/team/app/manifests/1",
        b"/V2/team/app/manifests/1",
        b"/v1/team/app/manifests/1",
        b"/v2",
        b"/v2/team/app",
        b"/v2/team/app/",
        b"/v2/team/app/manifests",
        b"/v2/team/app/Manifests/1",
        b"/v2/team/app/manifests/1/../../../secret/manifests/1/x",
        b"/../v2/team/app/manifests/1",
        b"/./v2/team/app/manifests/1",
        b"/v2/..%2fv2/team/app/manifests/1",
        b"/jwt/../v2/team/app/manifests/1",
        b"/v2/team/app/manifests/sha256:../../x",
        b"/v2/_catalog/",
        b"/v2/_catalog/../_catalog",
        b"/v2/_Catalog",
        b"/livez/",
        b"/readyz/../v2/",
        b"/",
        b"/metrics/..",
    ] {
        // Without a final slash it is the base, which any good token may ask.
        get(rows, if target == b"/v2" { 200 } else { 404 }, target);
    }
    // The shape is right, and a part of it is none.
    for target in [
        &b"/v2/team/app/../secret/manifests/1"[..],
        b"/v2/team/app/%2e%2e/secret/manifests/1",
        b"/v2/team/app/%2E./secret/manifests/1",
        b"/v2/team/./app/manifests/1",
        b"/v2/./team/app/manifests/1",
        b"/v2/../v2/team/app/manifests/1",
        b"/v2/team/app/../app/manifests/1",
        b"/v2/team/app/.../manifests/1",
        b"/v2/team//app/manifests/1",
        b"/v2//team/app/manifests/1",
        b"/v2/team/app//manifests/1",
        b"/v2/team%252fapp/manifests/1",
        b"/v2/team/app/%252e%252e/secret/manifests/1",
        b"/v2/team/app/..%252fsecret/manifests/1",
        b"/v2/team%25252fapp/manifests/1",
        b"/v2/team/app/%5c/manifests/1",
        b"/v2/team%5capp/manifests/1",
        b"/v2/team/app/..%5csecret/manifests/1",
        b"/v2/team/app%00/manifests/1",
        b"/v2/team/app%00/../secret/manifests/1",
        b"/v2/team/secret%00/manifests/1",
        b"/v2/team/app%0a/manifests/1",
        b"/v2/team/app%0d%0aX:y/manifests/1",
        b"/v2/team/app%20/manifests/1",
        b"/v2/team/app./manifests/1",
        b"/v2/team/app.../manifests/1",
        b"/v2/team/.app/manifests/1",
        b"/v2/Team/app/manifests/1",
        b"/v2/team/APP/manifests/1",
        b"/v2/team/app;x=y/manifests/1",
        b"/v2/team;/app/manifests/1",
        b"/v2/team/app:1/manifests/1",
        b"/v2/team/app@x/manifests/1",
        b"/v2/team/*/manifests/1",
        b"/v2/*/manifests/1",
        b"/v2/team/app%3fx/manifests/1",
        b"/v2/team/app%23/manifests/1",
        b"/v2/team/%ef%bc%8fapp/manifests/1",
        b"/v2/team/%d0%b0pp/manifests/1",
        b"/v2/team/app+/manifests/1",
        b"/v2/team/%/app/manifests/1",
        b"/v2/team/%zz/manifests/1",
        b"/v2/team/app/manifests/..",
        b"/v2/team/app/manifests/%2e%2e",
        b"/v2/team/app/manifests/.",
        b"/v2/team/app/manifests/-1",
        b"/v2/team/app/manifests/1%00",
        b"/v2/team/app/manifests/1%0a",
        b"/v2/team/app/manifests/1%20",
        b"/v2/team/app/manifests/%5c1",
        b"/v2/team/app/manifests/1;x",
        b"/v2/team/app/manifests/sha256:",
        b"/v2/team/app/blobs/sha256:..",
        b"/v2/team/app/blobs/md5:d41d8cd98f00b204e9800998ecf8427e",
        b"/v2/team/app/blobs/1",
        b"/v2/team/app/referrers/1",
        b"/v2/manifests/1",
        b"/v2//manifests/1",
        b"/v2/_catalog/tags/list",
    ] {
        get(rows, if target == b"/v2/manifests/1" { 404 } else { 400 }, target);
    }
    // Not even a request.
    for target in [
        &b"/v2/team\0/app/manifests/1"[..],
        b"/v2/team/app/manifests/1\0",
        b"/v2/te am/app/manifests/1",
        b"v2/team/app/manifests/1",
        b"/v2/team/app/manifests/1\x7f",
        b"/v2/team/app/manifests/1\x01",
        b"",
        b"http://",
        b"http:///v2/",
    ] {
        get(rows, 400, target);
    }
    rows.request("a path of 60 KiB", 400, |world| {
        Ok(Request::new("GET", format!("/v2/{}/manifests/1", "a/".repeat(30_000)))
            .bearer(&world.good_token()?))
    });
    // Sessions are named by ids of one form.
    for id in ["..", "%2e%2e", "x", "*", "00000000-0000-0000-0000-00000000000", "..%00", "%00"] {
        rows.request(format!("the upload session {id:?}"), 404, move |world| {
            Ok(Request::new("GET", format!("/v2/team/app/blobs/uploads/{id}")).bearer(&world.good_token()?))
        });
    }
    for (method, expected) in
        [("get", 405), ("TRACE", 405), ("PROPFIND", 405), ("PATCH", 405), ("POST", 405), ("X", 405)]
    {
        rows.request(format!("{method} of an image"), expected, move |world| {
            Ok(Request::new(method, IMAGE).bearer(&world.good_token()?))
        });
    }
    rows.request("OPTIONS of the server", 404, |world| {
        Ok(Request::new("OPTIONS", "*").bearer(&world.good_token()?))
    });
    rows.request("a tunnel", 404, |world| {
        Ok(Request::new("CONNECT", "127.0.0.1:22").bearer(&world.good_token()?))
    });
}
