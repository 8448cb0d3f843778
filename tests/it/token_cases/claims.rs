//! Whose token it is, for whom, and when. Clocks may differ by a minute; the rows keep ten seconds off the edge,
//! for machines that are slow.

use serde_json::{Value, json};
use slipway_tests::signer::Signer;

use super::world::{Rows, SERVICE};

pub(super) fn add(rows: &mut Rows) {
    expiry(rows);
    begin(rows);
    issuer(rows);
    audience(rows);
    shapes(rows);
    others(rows);
}

/// Values that are no dates, whatever reads them.
fn no_dates() -> [Value; 8] {
    [
        json!("soon"),
        json!("4102444800"),
        json!(true),
        json!([]),
        json!([4_102_444_800_u64]),
        json!({}),
        json!(1e300),
        json!(u64::MAX),
    ]
}

fn expiry(rows: &mut Rows) {
    for (ago, expected) in [(0, 200), (1, 200), (50, 200), (70, 401), (3600, 401), (1_000_000_000, 401)] {
        rows.claims(&format!("expired {ago} s ago"), expected, move |claims, now| {
            claims["exp"] = json!(now - ago)
        });
    }
    for exp in [json!(0), json!(-1), json!(i64::MIN), json!(-1.5), json!(1.5), json!(-1e14)] {
        rows.claim(&format!("exp {exp}"), 401, "exp", exp);
    }
    for exp in no_dates() {
        rows.claim(&format!("exp {exp} is no date"), 401, "exp", exp);
    }
    rows.claim("exp null", 401, "exp", json!(null));
    rows.claims("no exp", 401, |claims, _| {
        claims.as_object_mut().map(|claims| claims.remove("exp"));
    });
    rows.claims("exp with a fraction", 200, |claims, now| claims["exp"] = json!(now as f64 + 100.5));
    rows.claim("exp at the end of time", 200, "exp", json!(i64::MAX));
    rows.claim("exp as a large fraction", 200, "exp", json!(9e14));
}

fn begin(rows: &mut Rows) {
    for (ahead, expected) in [(1, 200), (50, 200), (75, 401), (3600, 401), (1_000_000_000, 401)] {
        rows.claims(&format!("valid in {ahead} s"), expected, move |claims, now| {
            claims["nbf"] = json!(now + ahead)
        });
    }
    for nbf in [json!(i64::MAX), json!(9e14)] {
        rows.claim(&format!("nbf {nbf}"), 401, "nbf", nbf);
    }
    for nbf in [json!(null), json!(0), json!(-1), json!(i64::MIN), json!(0.5)] {
        rows.claim(&format!("nbf {nbf}"), 200, "nbf", nbf);
    }
    for nbf in no_dates() {
        rows.claim(&format!("nbf {nbf} is no date"), 401, "nbf", nbf.clone());
        rows.claim(&format!("iat {nbf} is no date"), 401, "iat", nbf);
    }
    // It tells when, and decides nothing (RFC 7519 section 4.1.6).
    rows.claims("issued in an hour", 200, |claims, now| claims["iat"] = json!(now + 3600));
}

type Change = fn(&str) -> Value;

fn issuer(rows: &mut Rows) {
    for iss in
        [json!(""), json!("evil"), json!("https://evil.example"), json!(null), json!(1), json!({}), json!([])]
    {
        rows.claim(&format!("iss {iss}"), 401, "iss", iss);
    }
    let changed: [(&str, Change); 9] = [
        ("in capitals", |iss| json!(iss.to_uppercase())),
        ("cut short", |iss| json!(&iss[..iss.len() - 1])),
        ("with more", |iss| json!(format!("{iss}r"))),
        ("with a slash", |iss| json!(format!("{iss}/"))),
        ("with a space", |iss| json!(format!("{iss} "))),
        ("with a space before", |iss| json!(format!(" {iss}"))),
        ("with a zero byte", |iss| json!(format!("{iss}\0"))),
        ("in a list", |iss| json!([iss])),
        ("twice", |iss| json!(format!("{iss},{iss}"))),
    ];
    for (how, change) in changed {
        rows.claims(&format!("iss {how}"), 401, move |claims, _| {
            claims["iss"] = change(claims["iss"].as_str().unwrap_or_default());
        });
    }
    rows.claims("no iss", 401, |claims, _| {
        claims.as_object_mut().map(|claims| claims.remove("iss"));
    });
}

fn audience(rows: &mut Rows) {
    for aud in [
        json!(""),
        json!("other"),
        json!("container"),
        json!("container_registry2"),
        json!("Container_Registry"),
        json!("container_registry "),
        json!(" container_registry"),
        json!("container_registry\0"),
        json!("container_registry,other"),
        json!("dependency_proxy"),
        json!("*"),
        json!([]),
        json!(["other"]),
        json!(["container", "_registry"]),
        json!([["container_registry"]]),
        json!([["container_registry"], "other"]),
        json!({"container_registry": true}),
        json!([{"aud": "container_registry"}]),
        json!(null),
        json!(true),
        json!(7),
        json!(["container_registry", 7]),
        json!(["container_registry", null]),
    ] {
        rows.claim(&format!("aud {aud}"), 401, "aud", aud);
    }
    rows.claims("no aud", 401, |claims, _| {
        claims.as_object_mut().map(|claims| claims.remove("aud"));
    });
    rows.claim("aud in a list", 200, "aud", json!([SERVICE]));
    rows.claim("aud among others", 200, "aud", json!(["a", SERVICE, "b"]));
}

fn shapes(rows: &mut Rows) {
    for (what, text) in [
        ("nothing", ""),
        ("no JSON", "{"),
        ("null", "null"),
        ("a text", "\"claims\""),
        ("an empty object", "{}"),
        ("an empty list", "[]"),
        ("a comment", "{/**/}"),
        ("a list without end", "[[[[[[[["),
    ] {
        rows.token(&format!("claims: {what}"), 401, move |world| {
            world.key.sign(&world.key.header().to_string(), text)
        });
    }
    for (what, more) in [
        ("iss twice", r#""iss":"evil""#),
        ("exp twice", r#""exp":4102444800"#),
        ("aud twice", r#""aud":"container_registry""#),
        ("access twice", r#""access":[{"type":"repository","name":"team/secret","actions":["*"]}]"#),
        ("access in another case", r#""Access":[]"#),
        ("exp in another case", r#""EXP":4102444800"#),
        ("exp twice, once escaped", r#""\u0065xp":4102444800"#),
        ("nbf is not a number", r#""nbf":NaN"#),
        ("a comma too many", ""),
    ] {
        rows.token(&format!("claims: {what}"), 401, move |world| {
            let claims = world.claims().to_string();
            let claims = format!("{},{more}}}", claims.trim_end_matches('}'));
            world.key.sign(&world.key.header().to_string(), &claims)
        });
    }
    for (what, before, after) in [
        ("something after", "", "x"),
        ("another object after", "", "{}"),
        ("a zero byte after", "", "\0"),
        ("a byte order mark before", "\u{feff}", ""),
        ("in a list", "[", "]"),
        ("a prefix against misuse", ")]}'", ""),
    ] {
        rows.token(&format!("claims: {what}"), 401, move |world| {
            let claims = format!("{before}{}{after}", world.claims());
            world.key.sign(&world.key.header().to_string(), &claims)
        });
    }
    rows.token("claims: space around", 200, |world| {
        world.key.sign(&world.key.header().to_string(), &format!(" \n\t{}\r\n ", world.claims()))
    });
    let deep = || (0..500).fold(json!(1), |deep, _| json!([deep]));
    // What nobody reads is skipped without a stack.
    rows.claims("claims: an unknown one that nests without end", 200, move |claims, _| {
        claims["meta"] = deep()
    });
    rows.claims("claims: facts that nest without end", 401, move |claims, _| {
        claims["access"][0]["meta"] = deep()
    });
}

fn others(rows: &mut Rows) {
    for sub in [json!(""), json!("admin"), json!("anna\nroot"), json!("../admin"), json!("\0")] {
        // A name gives nothing: rights come from the list alone.
        let rights = json!([{"type": "repository", "name": "team/other", "actions": ["*"]}]);
        let (own, others) = (sub.clone(), rights.clone());
        rows.claims(&format!("sub {sub} with rights elsewhere"), 401, move |claims, _| {
            claims["sub"] = own.clone();
            claims["access"] = others.clone();
        });
        rows.claim(&format!("sub {sub} with rights"), 200, "sub", sub);
    }
    for (claim, value) in [
        ("sub", json!(1)),
        ("sub", json!(["anna"])),
        ("user", json!({})),
        ("auth_type", json!(1)),
        ("jti", json!({})),
    ] {
        rows.claim(&format!("{claim} {value}"), 401, claim, value);
    }
    rows.claim("an auth_type that nobody knows", 200, "auth_type", json!("passkey"));
    // What GitLab nests in its tokens is signed by the same key, and must not pass for a token itself.
    for (what, audience) in
        [("the nested user token", None), ("the nested user token with an audience", Some(SERVICE))]
    {
        rows.token(&format!("{what} as a token"), 401, move |world| {
            let mut claims = world.claims();
            claims["user_info"] =
                json!({"token_type": "personal_access_token", "username": "root", "user_id": 1});
            if let Some(claims) = claims.as_object_mut() {
                for claim in ["iss", "aud", "sub", "access", "auth_type"] {
                    claims.remove(claim);
                }
                audience.map(|audience| claims.insert("aud".to_owned(), json!(audience)));
            }
            world.sign(&claims)
        });
    }
    rows.token("a token of another registry", 401, |world| {
        world.stranger.sign(&world.stranger.header().to_string(), &world.claims().to_string())
    });
    rows.claim(
        "a token for another registry of the same GitLab",
        401,
        "aud",
        json!("registry.other.example"),
    );
    rows.token("a token of a registry under the same name", 401, |world| {
        let other = Signer::generate()?;
        other.sign(&world.key.header().to_string(), &world.claims().to_string())
    });
}
