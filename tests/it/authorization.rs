//! Tokens, rules and passwords, asked for as clients do, and each answer read.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use slipway_tests::{Layout, Login, Options, Registry, claims, http::Server};

/// How soon a running server must have seen a new key: it looks every two seconds.
const NEW_KEY_TIME: Duration = Duration::from_secs(15);
const EMPTY: &[u8] = b"{}";
/// `htpasswd -nbB -C 5 anna secret`
const BCRYPT: &str = "$2b$05$VNeTG.cbqT2EBLBCGaQyQORpQXDFbyj9O1IAJsyCQxfb6GZujqF3i";

fn push_empty_blob(server: Server, bearer: &str, repository: &str) -> Result<u16> {
    let digest = registry_types::Digest::sha256(EMPTY);
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    Ok(server.request("POST", &path, &[("Authorization", bearer)], EMPTY)?.status)
}

fn get(server: Server, bearer: &str, path: &str) -> Result<slipway_tests::http::Answer> {
    server.request("GET", path, &[("Authorization", bearer)], b"")
}

#[test]
fn rules_say_who_may_do_what() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let server = registry.http();
    let admin_password = registry.password()?;
    let admin = Some(Login { name: "admin", password: &admin_password });
    registry.add_account("robot", "reader", "reader's secret")?;
    registry.add_account("robot", "writer", "writer's secret")?;
    registry.add_rule("reader", "pull", "team/**")?;
    registry.add_rule("writer", "pull,push", "team/*")?;
    registry.add_rule("everyone", "pull", "public/**")?;
    let reader = Some(Login { name: "reader", password: "reader's secret" });
    let writer = Some(Login { name: "writer", password: "writer's secret" });
    let all = |repository: &str| format!("repository:{repository}:pull,push,delete");

    // Who may not gets a token all the same, with less in it.
    let bearer = server.bearer(reader, &[&all("team/app")])?;
    ensure!(
        claims(&bearer)?["access"]
            == json!([{"type": "repository", "name": "team/app", "actions": ["pull"]}])
    );
    ensure!(push_empty_blob(server, &bearer, "team/app")? == 401);
    let bearer = server.bearer(writer, &[&all("team/app")])?;
    ensure!(push_empty_blob(server, &bearer, "team/app")? == 201);
    ensure!(push_empty_blob(server, &bearer, "team/other")? == 401, "a token is for one repository");
    // `*` is one part of a path, `**` any number.
    let deep = server.bearer(writer, &[&all("team/a/b")])?;
    ensure!(claims(&deep)?["access"] == json!([]));
    ensure!(
        !claims(&server.bearer(reader, &[&all("team/a/b")])?)?["access"]
            .as_array()
            .context("access")?
            .is_empty()
    );

    // Nobody deletes who was not allowed to.
    let digest = registry_types::Digest::sha256(EMPTY);
    let blob = format!("/v2/team/app/blobs/{digest}");
    ensure!(server.request("DELETE", &blob, &[("Authorization", &bearer)], b"")?.status == 401);
    ensure!(get(server, &bearer, &blob)?.status == 200);

    // What is public needs a token, but no name.
    let bearer = server.bearer(admin, &[&all("public/app")])?;
    ensure!(push_empty_blob(server, &bearer, "public/app")? == 201);
    let anyone = server.bearer(None, &[&all("public/app"), &all("team/app")])?;
    ensure!(get(server, &anyone, &format!("/v2/public/app/blobs/{digest}"))?.status == 200);
    ensure!(get(server, &anyone, &blob)?.status == 401);
    ensure!(push_empty_blob(server, &anyone, "public/app")? == 401);
    ensure!(claims(&anyone)?.get("sub").is_none(), "nobody has no name");

    // The catalog is the administrator's.
    let catalog = "registry:catalog:*";
    ensure!(get(server, &server.bearer(writer, &[catalog])?, "/v2/_catalog")?.status == 401);
    let listed = get(server, &server.bearer(admin, &[catalog])?, "/v2/_catalog")?.expect(200)?;
    ensure!(listed.json()?["repositories"] == json!(["public/app", "team/app"]), "{listed:?}");
    ensure!(server.get("/v2/_catalog")?.status == 401);

    // A rule that goes takes effect on the next token.
    let rules = registry.administer(&["rule", "list", "--output", "json"], "")?.ok()?;
    let rules: Value = serde_json::from_str(&rules)?;
    let id = rules
        .as_array()
        .context("a list")?
        .iter()
        .find(|rule| rule["to"] == "account:writer")
        .context("no rule")?["id"]
        .to_string();
    registry.administer(&["rule", "remove", &id], "")?.ok()?;
    ensure!(claims(&server.bearer(writer, &[&all("team/app")])?)?["access"] == json!([]));
    // And so does an account.
    registry.administer(&["robot", "remove", "writer"], "")?.ok()?;
    ensure!(server.ask_for_token(writer, &[&all("team/app")])?.status == 401);
    let missing = registry.administer(&["robot", "remove", "writer"], "")?;
    ensure!(missing.code == Some(4) && missing.stderr.contains("writer"), "{missing:?}");
    Ok(())
}

#[test]
fn a_mount_takes_nothing_that_its_caller_may_not_read() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let server = registry.http();
    let password = registry.password()?;
    let admin = Some(Login { name: "admin", password: &password });
    registry.add_account("robot", "writer", "writer's secret")?;
    registry.add_rule("writer", "pull,push", "team/*")?;
    let writer = Some(Login { name: "writer", password: "writer's secret" });
    for repository in ["secret/app", "team/shared"] {
        let bearer = server.bearer(admin, &[&format!("repository:{repository}:pull,push")])?;
        ensure!(push_empty_blob(server, &bearer, repository)? == 201);
    }
    let digest = registry_types::Digest::sha256(EMPTY);
    let scopes = ["secret/app", "team/shared", "team/app", "team/other"]
        .map(|repository| format!("repository:{repository}:pull,push"));
    let bearer = server.bearer(writer, &scopes.each_ref().map(String::as_str))?;
    let mount = |to: &str, from: &str| {
        let path = format!("/v2/{to}/blobs/uploads/?mount={digest}{from}");
        server.request("POST", &path, &[("Authorization", &bearer)], b"")
    };
    let there = |repository: &str| -> Result<bool> {
        Ok(get(server, &bearer, &format!("/v2/{repository}/blobs/{digest}"))?.status == 200)
    };
    // An upload is offered instead, as for a blob that is not there: not even that it is can be learned.
    for from in ["&from=secret/app", "&from=no/such", ""] {
        let offered = mount("team/app", from)?.expect(202)?;
        ensure!(offered.header("location").is_some() && !there("team/app")?, "{from}: {offered:?}");
    }
    mount("team/app", "&from=team/shared")?.expect(201)?;
    ensure!(there("team/app")? && !there("team/other")?);
    ensure!(mount("secret/app", "&from=team/shared")?.status == 401);
    Ok(())
}

#[test]
fn a_challenge_names_what_is_missing() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let server = registry.http();
    let realm = format!(r#"realm="http://{}/jwt/auth",service="container_registry""#, registry.name());
    let refused = server.get("/v2/")?.expect(401)?;
    ensure!(refused.header("www-authenticate") == Some(&format!("Bearer {realm}")), "{refused:?}");
    ensure!(refused.header("docker-distribution-api-version") == Some("registry/2.0"));
    ensure!(refused.error_code()? == "UNAUTHORIZED");
    let refused = server.request("POST", "/v2/team/app/blobs/uploads/", &[], b"")?.expect(401)?;
    let challenge = format!(r#"Bearer {realm},scope="repository:team/app:pull,push""#);
    ensure!(refused.header("www-authenticate") == Some(&challenge), "{refused:?}");

    let anyone = server.bearer(None, &["repository:team/app:pull"])?;
    let refused = get(server, &anyone, "/v2/team/app/manifests/1")?.expect(401)?;
    let challenge = refused.header("www-authenticate").context("no challenge")?;
    ensure!(challenge.ends_with(r#",error="insufficient_scope""#), "{challenge}");
    let refused = get(server, "Bearer not.a.token", "/v2/")?.expect(401)?;
    let challenge = refused.header("www-authenticate").context("no challenge")?;
    ensure!(challenge.ends_with(r#",error="invalid_token""#), "{challenge}");
    // A changed token is no token: one character of its signature.
    let mut changed = server.bearer(None, &["repository:team/app:pull"])?;
    let last = if changed.ends_with('A') { 'Q' } else { 'A' };
    changed.pop();
    changed.push(last);
    ensure!(get(server, &changed, "/v2/")?.status == 401);
    Ok(())
}

#[test]
fn a_token_can_be_asked_for_by_a_form() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let server = registry.http();
    let ask = |form: &str| {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        server.request("POST", "/jwt/auth", &headers, form.as_bytes())
    };
    let rest = "service=container_registry&client_id=test&scope=repository:team/app:pull,push";
    let login = format!("grant_type=password&username=admin&password={}", registry.password()?);
    let issued = ask(&format!("{login}&{rest}"))?.expect(200)?.json()?;
    // Clients of the OAuth2 form read one name, others the other.
    ensure!(issued["access_token"].is_string() && issued["access_token"] == issued["token"]);
    ensure!(issued["expires_in"].as_u64().is_some_and(|seconds| seconds >= 60), "{issued}");
    let bearer = format!("Bearer {}", issued["token"].as_str().context("no token")?);
    ensure!(push_empty_blob(server, &bearer, "team/app")? == 201);
    ensure!(ask(&format!("grant_type=password&username=admin&password=wrong&{rest}"))?.status == 401);
    ensure!(ask(&format!("grant_type=refresh_token&refresh_token=none&{rest}"))?.status == 400);
    ensure!(ask(&format!("{login}&service=elsewhere"))?.status == 404);
    Ok(())
}

#[test]
fn keys_are_rotated_while_serving() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let server = registry.http();
    let password = registry.password()?;
    let admin = Some(Login { name: "admin", password: &password });
    let key_of = |bearer: &str| -> Result<Value> {
        let header =
            bearer.strip_prefix("Bearer ").and_then(|token| token.split('.').next()).unwrap_or_default();
        let header = data_encoding::BASE64URL_NOPAD.decode(header.as_bytes())?;
        Ok(serde_json::from_slice::<Value>(&header)?["kid"].clone())
    };
    let new_token = |old: &str| -> Result<String> {
        let until = Instant::now() + NEW_KEY_TIME;
        loop {
            let bearer = server.bearer(admin, &[])?;
            if key_of(&bearer)? != key_of(old)? {
                return Ok(bearer);
            }
            ensure!(Instant::now() < until, "the server goes on signing with the old key");
            sleep(Duration::from_millis(200));
        }
    };
    let known = |bearer: &str| -> Result<bool> {
        let keys = server.get("/jwt/jwks.json")?.expect(200)?.json()?;
        let id = key_of(bearer)?;
        Ok(keys["keys"].as_array().context("keys")?.iter().any(|key| key["kid"] == id))
    };

    let first = server.bearer(admin, &[])?;
    ensure!(get(server, &first, "/v2/")?.status == 200 && known(&first)?);
    registry.administer(&["key", "rotate"], "")?.ok()?;
    let second = new_token(&first)?;
    ensure!(get(server, &second, "/v2/")?.status == 200, "the new key is not trusted");
    ensure!(
        get(server, &first, "/v2/")?.status == 200,
        "tokens of the old key must stay good until they expire"
    );
    ensure!(known(&first)? && known(&second)?);

    registry.administer(&["key", "rotate", "--leaked"], "")?.ok()?;
    let third = new_token(&second)?;
    ensure!(get(server, &third, "/v2/")?.status == 200);
    ensure!(get(server, &second, "/v2/")?.status == 401, "a leaked key is still trusted");
    ensure!(!known(&second)?);
    Ok(())
}

#[test]
fn guessing_passwords_is_slowed() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let server = registry.http();
    let password = registry.password()?;
    let wrong = Some(Login { name: "admin", password: "wrong" });
    let mut wrongs = 0;
    let slowed = loop {
        let answer = server.ask_for_token(wrong, &[])?;
        if answer.status != 401 {
            break answer;
        }
        ensure!(answer.error_code()? == "UNAUTHORIZED");
        wrongs += 1;
        ensure!(wrongs < 20, "nothing slows a guesser");
    };
    ensure!(wrongs >= 3, "people mistype");
    let slowed = slowed.expect(429)?;
    ensure!(slowed.error_code()? == "TOOMANYREQUESTS");
    let seconds: u64 = slowed.header("retry-after").context("no Retry-After")?.parse()?;
    ensure!((1..=60).contains(&seconds), "{seconds}");
    // The right password has to wait too, or the answer would tell that it is right; and then it is good.
    let right = Some(Login { name: "admin", password: &password });
    ensure!(server.ask_for_token(right, &[])?.status == 429);
    sleep(Duration::from_secs(seconds));
    ensure!(server.ask_for_token(right, &[])?.status == 200);
    ensure!(!registry.log().contains("wrong\""), "a password is in the log");
    ensure!(!registry.log().contains(&password), "a password is in the log");
    Ok(())
}

#[test]
fn without_authorization_only_loopback_is_served() -> Result<()> {
    let registry = Registry::open_to_all()?;
    Layout::new(&[("file", b"content")])?.push(registry.http(), "team/app", "1")?;
    ensure!(registry.http().get("/v2/team/app/manifests/1")?.status == 200);
    let mut options = Options::with(&["--auth", "none"]);
    options.address = std::net::Ipv4Addr::UNSPECIFIED.into();
    let Err(refused) = Registry::start(options.clone()) else { anyhow::bail!("it serves the whole network") };
    ensure!(refused.to_string().contains("127.0.0.1"), "{refused}");
    options.arguments.push("--allow-none-anywhere".to_owned());
    Registry::start(options).map(drop)
}

#[test]
fn an_htpasswd_file_is_taken_over() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let file = registry.data().join("htpasswd");
    std::fs::write(&file, format!("anna:{BCRYPT}\n"))?;
    registry.administer(&["user", "import", &file.display().to_string()], "")?.ok()?;
    let server = registry.http();
    ensure!(server.ask_for_token(Some(Login { name: "anna", password: "secret" }), &[])?.status == 200);
    ensure!(server.ask_for_token(Some(Login { name: "anna", password: "other" }), &[])?.status == 401);
    Ok(())
}
