//! `--auth gitlab`: a GitLab issues the tokens, and pushes come to us.

use std::{
    fs,
    sync::{Arc, OnceLock},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use slipway_tests::{
    Dockerd, Finished, GitLab, GitLabKey, Layout, Login, Member, NAME, Scheme, Site, claims, http::Server,
    plain_tar, run, skip,
};
use tempfile::TempDir;

const HOST: &str = "gitlab.iceymoss";
const ALL: &[&str] = &["pull", "push", "delete", "*"];

fn members() -> Vec<Member> {
    vec![
        Member {
            login: Some(("root", "a password")),
            auth_type: "gitlab_or_ldap",
            subject: Some("root"),
            user_info: Some(r#"{"token_type":"gitlab_or_ldap","username":"root","user_id":1}"#),
            rights: &[("", ALL)],
            admin: true,
        },
        Member {
            login: Some(("anna", "glpat-a-token")),
            auth_type: "personal_access_token",
            subject: Some("anna"),
            user_info: Some(r#"{"token_type":"personal_access_token","username":"anna","user_id":2}"#),
            rights: &[("hichat/", &["pull", "push"])],
            admin: false,
        },
        Member {
            login: Some(("gitlab-ci-token", "a job's token")),
            auth_type: "build",
            subject: Some("anna"),
            user_info: Some(r#"{"token_type":"build","username":"anna","user_id":2}"#),
            rights: &[("hichat/hichat", &["pull", "push", "delete"]), ("hichat/", &["pull"])],
            admin: false,
        },
        Member {
            login: Some(("gitlab+deploy-token-1", "a deploy token")),
            auth_type: "deploy_token",
            subject: None,
            user_info: Some(
                r#"{"token_type":"deploy_token","username":"gitlab+deploy-token-1","deploy_token_id":1}"#,
            ),
            rights: &[("hichat/", &["pull"])],
            admin: false,
        },
        Member {
            login: None,
            auth_type: "none",
            subject: None,
            user_info: None,
            rights: &[("public/", &["pull"])],
            admin: false,
        },
    ]
}

/// Made once: a key of that size takes seconds.
fn key() -> Result<Arc<GitLabKey>> {
    static KEY: OnceLock<Arc<GitLabKey>> = OnceLock::new();
    if KEY.get().is_none() {
        let _ = KEY.set(Arc::new(GitLabKey::generate()?));
    }
    KEY.get().cloned().context("no key")
}

/// A registry that trusts a GitLab, and the GitLab.
struct Company {
    site: Site,
    gitlab: GitLab,
    _files: TempDir,
}

fn company() -> Result<Option<Company>> {
    let key = key()?;
    let gitlab = GitLab::start(key.clone(), members())?;
    let files = tempfile::tempdir()?;
    let bundle = files.path().join("gitlab-registry.crt");
    fs::write(&bundle, key.certificate())?;
    let realm = gitlab.realm(HOST);
    let bundle = bundle.display().to_string();
    let arguments = ["--auth", "gitlab", "--gitlab-realm", &realm, "--gitlab-certificates", &bundle];
    let site = Site::start_with(Scheme::Http, &arguments)?;
    Ok(site.map(|site| Company { site, gitlab, _files: files }))
}

#[test]
fn docker_logs_in_at_gitlab_and_pushes_here() -> Result<()> {
    let Some(company) = company()? else { return Ok(()) };
    let Some(dockerd) = Dockerd::start(&["--insecure-registry", NAME])? else { return Ok(()) };
    let image = company.site.image("hichat/hichat:main");
    let tar = plain_tar(&[("file", b"content")]);
    run(&mut dockerd.command(&["import", "-", &image]), &tar)?.ok()?;
    let log_in = |name: &str, password: &str| {
        let mut command = dockerd.command(&["login", NAME, "--username", name, "--password-stdin"]);
        run(&mut command, password.as_bytes())
    };
    log_in("root", "wrong")?.failed()?;
    dockerd.docker(&["push", &image])?.failed()?;
    for (name, password) in [("root", "a password"), ("gitlab-ci-token", "a job's token")] {
        log_in(name, password)?.ok()?;
        dockerd.docker(&["push", &image])?.ok()?;
        dockerd.docker(&["rmi", "--force", &image])?.ok()?;
        dockerd.docker(&["pull", &image])?.ok()?;
    }
    let asked = company.gitlab.asked();
    ensure!(
        asked.iter().any(|query| query.contains("scope=repository%3Ahichat%2Fhichat%3Apush%2Cpull")
            || query.contains("scope=repository%3Ahichat%2Fhichat%3Apull%2Cpush")),
        "{asked:?}"
    );

    // A deploy token may read.
    log_in("gitlab+deploy-token-1", "a deploy token")?.ok()?;
    dockerd.docker(&["pull", &image])?.ok()?;
    let other = company.site.image("hichat/other:1");
    dockerd.docker(&["tag", &image, &other])?.ok()?;
    dockerd.docker(&["push", &other])?.failed()?;
    Ok(())
}

#[test]
fn crane_works_with_gitlabs_tokens() -> Result<()> {
    let Some(company) = company()? else { return Ok(()) };
    if company.site.client("crane")?.is_none() {
        skip("crane is not installed");
        return Ok(());
    }
    let crane_with = |arguments: &[&str], input: &[u8]| -> Result<Finished> {
        let mut command = company.site.client("crane")?.context("crane is gone")?;
        run(command.arg("--insecure").args(arguments), input)
    };
    let crane = |arguments: &[&str]| crane_with(arguments, b"");
    let log_in = |name: &str, password: &str| {
        crane_with(&["auth", "login", NAME, "--username", name, "--password-stdin"], password.as_bytes())
    };
    let layout = Layout::sample("gitlab")?;
    let folder = layout.path().display().to_string();
    let (ours, public) = (company.site.image("hichat/hichat:1"), company.site.image("public/base:1"));

    log_in("anna", "glpat-a-token")?.ok()?;
    crane(&["push", &folder, &ours])?.ok()?;
    crane(&["validate", "--remote", &ours])?.ok()?;
    crane(&["push", &folder, &public])?.failed()?;
    crane(&["catalog", NAME])?.failed()?;
    crane(&["delete", &ours])?.failed()?;

    log_in("root", "a password")?.ok()?;
    crane(&["push", &folder, &public])?.ok()?;
    ensure!(crane(&["catalog", NAME])?.ok()? == "hichat/hichat\npublic/base\n");
    crane(&["copy", &public, &company.site.image("hichat/copied:1")])?.ok()?;

    log_in("gitlab-ci-token", "a job's token")?.ok()?;
    crane(&["digest", &company.site.image("hichat/copied:1")])?.ok()?;
    crane(&["push", &folder, &company.site.image("hichat/copied:2")])?.failed()?;
    crane(&["delete", &ours])?.ok()?;

    crane(&["auth", "logout", NAME])?.ok()?;
    crane(&["validate", "--remote", &public])?.ok()?;
    crane(&["digest", &company.site.image("hichat/copied:1")])?.failed()?;
    Ok(())
}

#[test]
fn only_tokens_of_the_trusted_gitlab_are_taken() -> Result<()> {
    let Some(company) = company()? else { return Ok(()) };
    let (server, gitlab) = (company.site.registry.http(), Server(company.gitlab.address()));
    let get = |bearer: &str, path: &str| server.request("GET", path, &[("Authorization", bearer)], b"");
    let root = Some(Login { name: "root", password: "a password" });
    let scope = "repository:hichat/hichat:pull,push";

    // Clients are sent to GitLab, and our own endpoint is none.
    let refused = server.get("/v2/hichat/hichat/manifests/1")?.expect(401)?;
    let challenge = refused.header("www-authenticate").context("no challenge")?;
    let realm = company.gitlab.realm(HOST);
    ensure!(
        challenge
            == format!(
                r#"Bearer realm="{realm}",service="container_registry",scope="repository:hichat/hichat:pull""#
            )
    );
    ensure!(server.ask_for_token(root, &[scope])?.status == 404);

    let good = gitlab.bearer(root, &[scope])?;
    ensure!(get(&good, "/v2/hichat/hichat/manifests/1")?.status == 404, "a good token must be taken");
    ensure!(get(&good, "/v2/")?.status == 200);
    // GitLab names its key by 48 characters, and tells of the user in a token within the token.
    ensure!(key()?.id().len() == 59);
    let nested = claims(&good)?["user"].as_str().context("no nested token")?.to_owned();
    ensure!(get(&format!("Bearer {nested}"), "/v2/")?.status == 401, "the nested token is for GitLab's eyes");

    // Another key, also one that claims to be GitLab's.
    let stranger = GitLabKey::generate_small()?;
    let payload = good.split('.').nth(1).context("no payload")?;
    let payload = String::from_utf8(data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes())?)?;
    let forged = format!("Bearer {}", stranger.sign(&payload)?);
    ensure!(get(&forged, "/v2/")?.status == 401);
    let header = good.split('.').next().context("no header")?;
    let body: Vec<&str> = forged.splitn(3, '.').collect();
    ensure!(get(&format!("{header}.{}.{}", body[1], body[2]), "/v2/")?.status == 401);
    // The right key, and claims that do not fit.
    let expired = payload.replace(r#""exp":1"#, r#""exp":0.1"#).replace(r#""exp":2"#, r#""exp":0.2"#);
    ensure!(expired != payload);
    for changed in [
        expired,
        payload.replace("omnibus-gitlab-issuer", "another"),
        payload.replace(r#""aud":"container_registry""#, r#""aud":"dependency_proxy""#),
    ] {
        ensure!(get(&format!("Bearer {}", key()?.sign(&changed)?), "/v2/")?.status == 401, "{changed}");
    }
    ensure!(get(&format!("Bearer {}", key()?.sign(&payload)?), "/v2/")?.status == 200);
    Ok(())
}

/// The stand-in answers as Rails does, so that tests with it prove something.
#[test]
fn the_stand_in_answers_as_rails_does() -> Result<()> {
    let gitlab = GitLab::start(key()?, members())?;
    let server = Server(gitlab.address());
    let wrong = Some(Login { name: "root", password: "wrong" });
    ensure!(server.ask_for_token(wrong, &[])?.status == 401);
    ensure!(server.ask_for_token(None, &[])?.status == 403);
    ensure!(server.get("/jwt/auth?service=elsewhere&scope=repository:a:pull")?.status == 404);
    ensure!(server.request("POST", "/jwt/auth?service=container_registry", &[], b"")?.status == 404);
    // ruby writes claims in the order in which they were set.
    let user = Some(Login { name: "anna", password: "glpat-a-token" });
    let bearer = server.bearer(user, &["repository:hichat/a:pull"])?;
    let text =
        data_encoding::BASE64URL_NOPAD.decode(bearer.split('.').nth(1).context("claims")?.as_bytes())?;
    let text = String::from_utf8(text)?;
    let order = [
        "auth_type",
        "access",
        "type",
        "name",
        "actions",
        "meta",
        "user",
        "jti",
        "aud",
        "sub",
        "iss",
        "iat",
        "nbf",
        "exp",
    ];
    let places: Vec<_> = order.iter().map(|claim| text.find(&format!("\"{claim}\":"))).collect();
    ensure!(places.is_sorted() && places[0] == Some(1) && !places.contains(&None), "{text}");
    let reader = Some(Login { name: "gitlab+deploy-token-1", password: "a deploy token" });
    let token = claims(&server.bearer(reader, &["repository:hichat/a:pull,push repository:other/a:pull"])?)?;
    ensure!(
        token["access"].as_array().map(Vec::len) == Some(1)
            && token["access"][0]["actions"] == json!(["pull"])
    );
    ensure!(token.get("sub").is_none() && token["auth_type"] == "deploy_token");
    ensure!(token["iat"].as_u64().context("iat")? - token["nbf"].as_u64().context("nbf")? == 5);
    Ok(())
}
