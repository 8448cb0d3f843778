//! How a token travels: in one `Authorization` header and nowhere else.

use data_encoding::BASE64;

use super::world::{IMAGE, Request, Rows, SECRET, World};

type Value = fn(&str) -> String;

pub(super) fn add(rows: &mut Rows) {
    let values: [(&str, u16, Value); 25] = [
        ("Bearer", 200, |token| format!("Bearer {token}")),
        ("bearer in lower case", 200, |token| format!("bearer {token}")),
        ("BEARER in capitals", 200, |token| format!("BEARER {token}")),
        ("two spaces", 200, |token| format!("Bearer  {token}")),
        ("spaces around", 200, |token| format!("  Bearer {token}  ")),
        ("a tab for the space", 401, |token| format!("Bearer\t{token}")),
        ("no space", 401, |token| format!("Bearer{token}")),
        ("a colon", 401, |token| format!("Bearer: {token}")),
        ("an equals sign", 401, |token| format!("Bearer={token}")),
        ("no scheme", 401, |token| token.to_owned()),
        ("no token", 401, |_| "Bearer".to_owned()),
        ("an empty token", 401, |_| "Bearer ".to_owned()),
        ("the word null", 401, |_| "Bearer null".to_owned()),
        ("the word undefined", 401, |_| "Bearer undefined".to_owned()),
        ("the scheme Token", 401, |token| format!("Token {token}")),
        ("the scheme JWT", 401, |token| format!("JWT {token}")),
        ("the scheme Basic", 401, |token| format!("Basic {token}")),
        ("the scheme Digest", 401, |token| format!("Digest {token}")),
        ("the scheme Negotiate", 401, |token| format!("Negotiate {token}")),
        ("a longer scheme", 401, |token| format!("Bearers {token}")),
        ("a look-alike scheme", 401, |token| format!("B\u{435}arer {token}")),
        ("two schemes", 401, |token| format!("Basic YTpi, Bearer {token}")),
        ("a parameter", 401, |token| format!("Bearer token=\"{token}\"")),
        ("a name and the token by Basic", 401, |token| {
            format!("Basic {}", BASE64.encode(format!("anna:{token}").as_bytes()))
        }),
        ("the token for a name by Basic", 401, |token| {
            format!("Basic {}", BASE64.encode(format!("{token}:").as_bytes()))
        }),
    ];
    for (what, expected, value) in values {
        rows.request(format!("Authorization: {what}"), expected, move |world| {
            Ok(Request::new("GET", IMAGE).header("Authorization", value(&world.good_token()?)))
        });
    }
    rows.request("no token", 401, |_| Ok(Request::new("GET", IMAGE)));
    rows.request("an empty Authorization", 401, |_| {
        Ok(Request::new("GET", IMAGE).header("Authorization", ""))
    });
    rows.request("bytes that are no text", 401, |_| {
        Ok(Request::new("GET", IMAGE).header("Authorization", b"Bearer \xff\xfe"))
    });
    rows.request("the header's name in lower case", 200, |world| {
        Ok(Request::new("GET", IMAGE).header("authorization", format!("Bearer {}", world.good_token()?)))
    });
    twice(rows);
    elsewhere(rows);
    passwords(rows);
    // More than the whole head of a request may have.
    rows.request(
        "a token of 200 KiB",
        431,
        |_| Ok(Request::new("GET", IMAGE).bearer(&"a".repeat(200 << 10))),
    );
    rows.request("a token of 15 KiB that is none", 401, |_| {
        Ok(Request::new("GET", IMAGE).bearer(&"a.".repeat(15 << 9)))
    });
}

/// A proxy before us may look at one and we at the other.
fn twice(rows: &mut Rows) {
    let good = |world: &World| world.good_token();
    rows.request("two headers, both good", 401, move |world| {
        Ok(Request::new("GET", IMAGE).bearer(&good(world)?).bearer(&good(world)?))
    });
    rows.request("two headers, the second bad", 401, move |world| {
        Ok(Request::new("GET", IMAGE).bearer(&good(world)?).bearer("a.b.c"))
    });
    rows.request("two headers, the first bad", 401, move |world| {
        Ok(Request::new("GET", IMAGE).bearer("a.b.c").bearer(&good(world)?))
    });
    rows.request("two headers, the first by Basic", 401, move |world| {
        Ok(Request::new("GET", IMAGE).header("Authorization", "Basic YTpi").bearer(&good(world)?))
    });
    rows.request("two headers, the second empty", 401, move |world| {
        Ok(Request::new("GET", IMAGE).bearer(&good(world)?).header("authorization", ""))
    });
}

fn elsewhere(rows: &mut Rows) {
    for name in ["access_token", "token", "authorization", "bearer", "jwt", "_state"] {
        rows.request(format!("the token in the query as {name}"), 401, move |world| {
            Ok(Request::new("GET", format!("{IMAGE}?{name}={}", world.good_token()?)))
        });
    }
    for header in [
        "Proxy-Authorization",
        "X-Authorization",
        "X-Access-Token",
        "X-Auth-Token",
        "X-Registry-Auth",
        "Private-Token",
        "Job-Token",
        "Cookie",
        "WWW-Authenticate",
    ] {
        rows.request(format!("the token in {header}"), 401, move |world| {
            Ok(Request::new("GET", IMAGE).header(header, format!("Bearer {}", world.good_token()?)))
        });
    }
    for header in ["X-Remote-User", "X-Forwarded-User", "X-Forwarded-Email", "X-Original-User", "Remote-User"]
    {
        rows.request(format!("a name in {header}"), 401, move |_| {
            Ok(Request::new("GET", IMAGE).header(header, "admin"))
        });
    }
    for header in ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Uri"] {
        rows.request(format!("a path of one's own in {header}"), 401, move |world| {
            Ok(Request::new("GET", SECRET).header(header, IMAGE).bearer(&world.good_token()?))
        });
        rows.request(format!("another's path in {header}"), 200, move |world| {
            Ok(Request::new("GET", IMAGE).header(header, SECRET).bearer(&world.good_token()?))
        });
    }
    for header in ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Client-IP"] {
        rows.request(format!("this machine's address in {header}"), 401, move |_| {
            Ok(Request::new("GET", IMAGE).header(header, "127.0.0.1"))
        });
    }
    rows.request("a body of a form with the token", 401, |world| {
        let form = format!("access_token={}", world.good_token()?);
        let headers = ("Content-Type", "application/x-www-form-urlencoded");
        Ok(Request::new("POST", "/v2/team/app/blobs/uploads/").header(headers.0, headers.1).body(form))
    });
}

fn passwords(rows: &mut Rows) {
    for login in ["admin:admin", "admin:", ":", "anna:secret", "gitlab-ci-token:x", "<token>:x", "oauth2:x"] {
        for path in ["/v2/", IMAGE, "/v2/_catalog"] {
            rows.request(format!("{login} by Basic on {path}"), 401, move |_| {
                let value = format!("Basic {}", BASE64.encode(login.as_bytes()));
                Ok(Request::new("GET", path).header("Authorization", value))
            });
        }
    }
}
