//! Which right each request needs, what lies between repositories, and the catalog.

use serde_json::json;

use super::world::{IMAGE, Request, Rows, SECRET, World, entry, put};

/// Rights on `team/app`.
const LISTS: [(&str, &[&str]); 6] = [
    ("nothing", &[]),
    ("pull", &["pull"]),
    ("push", &["push"]),
    ("delete", &["delete"]),
    ("pull and push", &["pull", "push"]),
    ("everything", &["*"]),
];

type Actions = &'static [&'static str];
type Make = fn(&World) -> Request;

pub(super) fn add(rows: &mut Rows) {
    needed(rows);
    between_repositories(rows);
    mounts(rows);
    catalog(rows);
}

/// Each kind of request with each list of rights. What may not be there is asked for, so that no row changes
/// what another one sees.
fn needed(rows: &mut Rows) {
    const ID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    let missing = |what: &str| format!("/v2/team/app/{what}/sha256:{}", "0".repeat(64));
    let pull: (&[&str], u16) = (&["pull", "pull and push", "everything"], 200);
    let push: &[&str] = &["pull and push", "everything"];
    let delete: &[&str] = &["delete", "everything"];
    let upload = format!("/v2/team/app/blobs/uploads/{ID}");
    let kinds: Vec<(&'static str, String, &[&str], u16)> = vec![
        ("GET", IMAGE.to_owned(), pull.0, pull.1),
        ("HEAD", IMAGE.to_owned(), pull.0, pull.1),
        ("GET", "/v2/team/app/tags/list".to_owned(), pull.0, pull.1),
        ("GET", missing("referrers"), pull.0, pull.1),
        ("GET", missing("blobs"), pull.0, 404),
        ("HEAD", missing("blobs"), pull.0, 404),
        ("DELETE", missing("blobs"), delete, 404),
        ("DELETE", missing("manifests"), delete, 404),
        ("DELETE", "/v2/team/app/manifests/none".to_owned(), delete, 404),
        ("GET", upload.clone(), push, 404),
        ("PATCH", upload.clone(), push, 404),
        ("PUT", format!("{upload}?digest=sha256:{}", "0".repeat(64)), push, 404),
        ("DELETE", upload, push, 404),
        ("POST", "/v2/team/app/blobs/uploads/".to_owned(), push, 202),
        ("PUT", "/v2/team/app/manifests/2".to_owned(), push, 201),
    ];
    for (method, target, enough, answer) in kinds {
        for (what, actions) in LISTS {
            let expected = if enough.contains(&what) { answer } else { 401 };
            let target = target.clone();
            rows.request(format!("{method} {target} with {what}"), expected, move |world| {
                let token = world.token_for(&[entry("repository", "team/app", actions)])?;
                let manifest = World::manifest_of(&world.blob);
                let request = if target.ends_with("/manifests/2") {
                    put(&target, &manifest)
                } else {
                    Request::new(method, &target)
                };
                Ok(request.bearer(&token))
            });
        }
    }
    for (method, expected) in [("GET", 200), ("HEAD", 200), ("OPTIONS", 200), ("DELETE", 405)] {
        rows.request(format!("{method} of the base with an empty token"), expected, move |world| {
            Ok(Request::new(method, "/v2/").bearer(&world.token_for(&[])?))
        });
    }
    for target in ["/v2/", IMAGE, SECRET, "/v2/_catalog"] {
        rows.request(format!("OPTIONS {target} without token"), 401, move |_| {
            Ok(Request::new("OPTIONS", target))
        });
        rows.request(format!("OPTIONS {target} with a bad token"), 401, move |_| {
            Ok(Request::new("OPTIONS", target).bearer("a.b.c"))
        });
    }
    for header in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        rows.request(format!("another method in {header}"), 401, move |world| {
            let pull = world.token_for(&[entry("repository", "team/app", &["pull"])])?;
            Ok(Request::new("DELETE", IMAGE).header(header, "GET").bearer(&pull))
        });
        rows.request(format!("a deletion in {header}"), 200, move |world| {
            Ok(Request::new("GET", IMAGE).header(header, "DELETE").bearer(&world.good_token()?))
        });
    }
}

/// What is in the secret repository cannot be reached by way of one's own.
fn between_repositories(rows: &mut Rows) {
    let requests: [(&str, u16, Make); 13] = [
        ("another's blob", 404, |world| {
            Request::new("GET", format!("/v2/team/app/blobs/{}", world.secret_blob))
        }),
        ("whether another's blob is there", 404, |world| {
            Request::new("HEAD", format!("/v2/team/app/blobs/{}", world.secret_blob))
        }),
        ("another's manifest", 404, |world| {
            Request::new("GET", format!("/v2/team/app/manifests/{}", world.secret_manifest))
        }),
        ("another's manifest, deleted", 404, |world| {
            Request::new("DELETE", format!("/v2/team/app/manifests/{}", world.secret_manifest))
        }),
        ("another's blob, deleted", 404, |world| {
            Request::new("DELETE", format!("/v2/team/app/blobs/{}", world.secret_blob))
        }),
        ("a manifest with another's blob", 404, |world| {
            put("/v2/team/app/manifests/3", &World::manifest_of(&world.secret_blob))
        }),
        ("another's upload session", 404, |world| {
            Request::new("GET", format!("/v2/team/app/blobs/uploads/{}", world.secret_upload))
        }),
        ("another's upload session, gone on with", 404, |world| {
            Request::new("PATCH", format!("/v2/team/app/blobs/uploads/{}", world.secret_upload)).body("x")
        }),
        ("another's upload session, completed", 404, |world| {
            Request::new(
                "PUT",
                format!("/v2/team/app/blobs/uploads/{}?digest={}", world.secret_upload, world.blob),
            )
        }),
        ("another's upload session, ended", 404, |world| {
            Request::new("DELETE", format!("/v2/team/app/blobs/uploads/{}", world.secret_upload))
        }),
        ("one's own blob", 200, |world| Request::new("GET", format!("/v2/team/app/blobs/{}", world.blob))),
        ("another's repository", 401, |world| {
            Request::new("GET", format!("/v2/team/secret/blobs/{}", world.blob))
        }),
        ("another's repository by its session", 401, |world| {
            Request::new("GET", format!("/v2/team/secret/blobs/uploads/{}", world.secret_upload))
        }),
    ];
    for (what, expected, make) in requests {
        rows.request(what, expected, move |world| Ok(make(world).bearer(&world.good_token()?)));
    }
    rows.request("the session is still there for its owner", 204, |world| {
        let owner = world.token_for(&[entry("repository", "team/secret", &["pull", "push"])])?;
        Ok(Request::new("GET", format!("/v2/team/secret/blobs/uploads/{}", world.secret_upload))
            .bearer(&owner))
    });
    rows.request("the secret image is still there for its owner", 200, |world| {
        Ok(Request::new("GET", SECRET).bearer(&world.token_for(&[entry(
            "repository",
            "team/secret",
            &["pull"],
        )])?))
    });
}

/// A mount from a repository that one may not read offers an upload, as if the blob were not there.
fn mounts(rows: &mut Rows) {
    let app: Actions = &["pull", "push"];
    let mounts: [(&str, u16, &str, Actions, Actions); 13] = [
        ("without rights on the source", 202, "&from=team/secret", app, &[]),
        ("with push alone on the source", 202, "&from=team/secret", app, &["push"]),
        ("with delete alone on the source", 202, "&from=team/secret", app, &["delete"]),
        ("with pull in capitals on the source", 202, "&from=team/secret", app, &["PULL"]),
        ("from nowhere", 202, "", app, &["pull"]),
        ("from an empty name", 202, "&from=", app, &["pull"]),
        ("from the source in capitals", 400, "&from=Team/secret", app, &["pull"]),
        ("from a way around", 400, "&from=team/x/../secret", app, &["pull"]),
        ("from the source with a slash", 400, "&from=team/secret/", app, &["pull"]),
        ("from a pattern", 400, "&from=team/*", app, &["pull"]),
        ("with pull alone on the target", 401, "&from=team/secret", &["pull"], &["pull"]),
        ("with push alone on the target", 401, "&from=team/secret", &["push"], &["pull"]),
        ("from its own target", 202, "&from=team/app", app, &["pull"]),
    ];
    for (what, expected, from, app, secret) in mounts {
        rows.request(format!("a mount {what}"), expected, move |world| {
            let rights = [entry("repository", "team/app", app), entry("repository", "team/secret", secret)];
            let path = format!("/v2/team/app/blobs/uploads/?mount={}{from}", world.secret_blob);
            Ok(Request::new("POST", path).bearer(&world.token_for(&rights)?))
        });
    }
    rows.request("no mount has brought the blob", 404, |world| {
        Ok(Request::new("HEAD", format!("/v2/team/app/blobs/{}", world.secret_blob))
            .bearer(&world.good_token()?))
    });
    rows.request("a mount of what is no digest", 400, |world| {
        Ok(Request::new("POST", "/v2/team/app/blobs/uploads/?mount=../secret&from=team/secret")
            .bearer(&world.good_token()?))
    });
    rows.request("a mount into the secret repository", 401, |world| {
        let path = format!("/v2/team/secret/blobs/uploads/?mount={}&from=team/app", world.blob);
        Ok(Request::new("POST", path).bearer(&world.good_token()?))
    });
    rows.request("a mount with pull on the source", 201, |world| {
        let rights = [
            entry("repository", "team/mounted", &["pull", "push"]),
            entry("repository", "team/secret", &["pull"]),
        ];
        let path = format!("/v2/team/mounted/blobs/uploads/?mount={}&from=team/secret", world.secret_blob);
        Ok(Request::new("POST", path).bearer(&world.token_for(&rights)?))
    });
}

fn catalog(rows: &mut Rows) {
    for (what, expected, rights) in [
        ("with its right", 200, json!([entry("registry", "catalog", &["*"])])),
        (
            "with its right among others",
            200,
            json!([entry("repository", "a", &["pull"]), entry("registry", "catalog", &["*"])]),
        ),
        ("with all rights on an image", 401, json!([entry("repository", "team/app", &["*"])])),
        ("with pull", 401, json!([entry("registry", "catalog", &["pull"])])),
        ("with list", 401, json!([entry("registry", "catalog", &["list", "read", "get"])])),
        ("with no action", 401, json!([entry("registry", "catalog", &[])])),
        ("with another name", 401, json!([entry("registry", "*", &["*"])])),
        ("with its path for a name", 401, json!([entry("registry", "_catalog", &["*"])])),
        ("in capitals", 401, json!([entry("registry", "Catalog", &["*"])])),
        ("of another type", 401, json!([entry("repository", "catalog", &["*"])])),
        ("of GitLab's import", 401, json!([entry("registry", "import", &["*"])])),
        ("of GitLab's statistics", 401, json!([entry("registry", "statistics", &["*"])])),
        ("with the type in capitals", 401, json!([entry("Registry", "catalog", &["*"])])),
        ("with nothing", 401, json!([])),
    ] {
        for query in ["", "?n=1", "?n=1&last=team"] {
            let rights = rights.clone();
            rows.request(format!("the catalog {what}{query}"), expected, move |world| {
                let mut claims = world.claims();
                claims["access"] = rights.clone();
                Ok(Request::new("GET", format!("/v2/_catalog{query}")).bearer(&world.sign(&claims)?))
            });
        }
    }
    rows.request("an image with the right on the catalog", 401, |world| {
        Ok(Request::new("GET", IMAGE).bearer(&world.token_for(&[entry("registry", "catalog", &["*"])])?))
    });
    rows.request("the catalog without token", 401, |_| Ok(Request::new("GET", "/v2/_catalog")));
}
