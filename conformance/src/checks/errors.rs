//! Refusals: their form, their codes, and the challenge that sends a client for a token.

use http::Method;
use registry_client::{Challenge, parse_challenges};
use registry_types::Digest;
use serde_json::Value;

use super::{Check, Context, Finding, Verdict, check, hold};
use crate::{
    Credentials,
    client::{Answer, Request},
};

const CODES: &str = "distribution-spec: Error codes";

pub(super) const CHECKS: &[Check] = &[
    check!("error-envelope", CODES, envelope),
    check!("error-malformed-or-unknown", CODES, malformed_or_unknown),
    check!("error-method-not-allowed", "RFC 9110 15.5.6", method_not_allowed),
    check!("api-version-header", "Docker Registry HTTP API V2: API version check", api_version),
    check!("challenge-form", "RFC 6750; Docker Registry token specification", challenge_form),
    check!("challenge-wrong-credentials", "Docker Registry token specification", wrong_credentials),
];

fn is_enveloped(answer: &Answer) -> Verdict {
    let media_type = answer.required("content-type")?;
    hold!(media_type.starts_with("application/json"), "{answer}: an error is {media_type}, not JSON");
    let body = answer.json()?;
    let errors = body.get("errors").and_then(Value::as_array);
    let errors = errors.ok_or_else(|| format!("{answer}: the body is no list of errors"))?;
    hold!(!errors.is_empty(), "{answer}: the list of errors is empty");
    for error in errors {
        let code = error.get("code").and_then(Value::as_str).unwrap_or_default();
        let plain = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        hold!(
            !code.is_empty() && code.chars().all(plain),
            "{answer}: {code:?} is no code of the form BLOB_UNKNOWN"
        );
        hold!(error.get("message").is_none_or(Value::is_string), "{answer}: a message is no text");
    }
    Ok(())
}

async fn envelope(context: &Context) -> Verdict {
    let repository = context.repository("error-envelope");
    context.push_image(&repository, "x").await?;
    let digest = Digest::sha256(b"never pushed");
    let requests = [
        Request::get(format!("/v2/{repository}/manifests/unknown")),
        Request::get(format!("/v2/{repository}/manifests/{digest}")),
        Request::get(format!("/v2/{repository}/blobs/{digest}")),
        Request::get(format!("/v2/{}/tags/list", context.repository("error-envelope-unknown"))),
        Request::put(format!("/v2/{repository}/manifests/x")).header("content-type", "text/plain").body("x"),
        Request::post(format!("/v2/{repository}/blobs/uploads/?digest={digest}")).body("not this"),
    ];
    for request in requests {
        let answer = context.send(request).await?;
        // A registry without single POST opens an upload for the last one.
        if answer.status != 202 {
            is_enveloped(&answer.expect(&[400, 404])?)?;
        }
    }
    Ok(())
}

async fn malformed_or_unknown(context: &Context) -> Verdict {
    let repository = context.repository("error-malformed-or-unknown");
    context.push_image(&repository, "x").await?;
    let digest = Digest::sha256(b"never pushed");
    let malformed = [
        (format!("/v2/{repository}/UPPER/tags/list"), "NAME_INVALID"),
        (format!("/v2/{repository}/-x/tags/list"), "NAME_INVALID"),
        (format!("/v2/{repository}/a..b/manifests/x"), "NAME_INVALID"),
        (format!("/v2/{repository}/blobs/sha256:0123"), "DIGEST_INVALID"),
        (format!("/v2/{repository}/blobs/sha256:{}", "G".repeat(64)), "DIGEST_INVALID"),
        (format!("/v2/{repository}/manifests/sha256:0123"), "DIGEST_INVALID"),
        (format!("/v2/{repository}/manifests/{}", "t".repeat(129)), "TAG_INVALID"),
        (format!("/v2/{repository}/manifests/-x"), "TAG_INVALID"),
    ];
    for (path, code) in malformed {
        // Registries that route by pattern do not find a malformed path, which says the same.
        let answer = context.send(Request::get(path)).await?.expect(&[400, 404])?;
        if answer.status == 400 {
            answer.refused(&[400], &[code, "MANIFEST_INVALID"])?;
        }
    }
    let unknown = [
        (format!("/v2/{repository}/manifests/unknown"), "MANIFEST_UNKNOWN"),
        (format!("/v2/{repository}/manifests/{digest}"), "MANIFEST_UNKNOWN"),
        (format!("/v2/{repository}/blobs/{digest}"), "BLOB_UNKNOWN"),
    ];
    for (path, code) in unknown {
        context.send(Request::get(&path)).await?.refused(&[404], &[code])?;
        context.send(Request::head(&path)).await?.expect(&[404])?;
    }
    let upload = context.start_upload(&repository).await?;
    let put = |digest: &str| Request::put(super::context::with_query(&upload, &format!("digest={digest}")));
    context.send(put("sha256:0123").body("x")).await?.refused(&[400], &["DIGEST_INVALID"])?;
    context
        .send(put("md5:d41d8cd98f00b204e9800998ecf8427e").body("x"))
        .await?
        .refused(&[400], &["DIGEST_INVALID"])?;
    context.send(Request::put(&upload).body("x")).await?.refused(&[400], &["DIGEST_INVALID"])?;
    // None of these ended the upload.
    context.send(Request::get(&upload)).await?.expect(&[204])?;
    context.send(Request::delete(&upload)).await?.expect(&[204])?;
    Ok(())
}

async fn method_not_allowed(context: &Context) -> Verdict {
    let repository = context.repository("error-method-not-allowed");
    let manifest = context.push_image(&repository, "x").await?;
    let cases = [
        (Method::DELETE, "/v2/".to_owned(), "GET"),
        (Method::POST, format!("/v2/{repository}/manifests/x"), "PUT"),
        (Method::PUT, format!("/v2/{repository}/blobs/{}", manifest.digest), "GET"),
        (Method::DELETE, format!("/v2/{repository}/tags/list"), "GET"),
        (Method::GET, format!("/v2/{repository}/blobs/uploads/"), "POST"),
        (Method::PATCH, format!("/v2/{repository}/referrers/{}", manifest.digest), "GET"),
    ];
    for (method, path, allowed) in cases {
        let answer = context.send(Request::new(method, path)).await?.expect(&[405])?;
        let allow = answer.required("allow")?;
        hold!(
            allow.split(',').any(|method| method.trim() == allowed),
            "{answer}: Allow ({allow}) lacks {allowed}"
        );
    }
    Ok(())
}

async fn api_version(context: &Context) -> Verdict {
    let repository = context.repository("api-version-header");
    let paths = [
        "/v2/".to_owned(),
        format!("/v2/{repository}/manifests/unknown"),
        format!("/v2/{repository}/UPPER/tags/list"),
    ];
    for path in paths {
        for answer in [
            context.send(Request::get(&path)).await?,
            context.session().send_plain(&Request::get(&path)).await?,
        ] {
            let version = answer.required("docker-distribution-api-version")?;
            hold!(version == "registry/2.0", "{answer}: the API version is {version}, not registry/2.0");
        }
    }
    Ok(())
}

fn need_tokens(context: &Context) -> Verdict {
    if context.session().is_open() {
        return Err(Finding::Skipped("the registry lets everyone in"));
    }
    if !context.session().asks_for_tokens() {
        return Err(Finding::Skipped("the registry asks for a password, not for a token"));
    }
    Ok(())
}

async fn challenge_form(context: &Context) -> Verdict {
    need_tokens(context)?;
    let repository = context.repository("challenge-form");
    let digest = Digest::sha256(b"x");
    let cases = [
        (Request::get("/v2/"), None),
        (Request::get(format!("/v2/{repository}/blobs/{digest}")), Some("pull")),
        (Request::head(format!("/v2/{repository}/manifests/x")), Some("pull")),
        (Request::get(format!("/v2/{repository}/tags/list")), Some("pull")),
        (Request::post(format!("/v2/{repository}/blobs/uploads/")), Some("push")),
        (Request::delete(format!("/v2/{repository}/manifests/x")), Some("delete")),
    ];
    for (request, action) in cases {
        let answer = context.session().send_plain(&request).await?.expect(&[401])?;
        if request.method != Method::HEAD {
            is_enveloped(&answer)?;
        }
        let lines = answer.headers.get_all("www-authenticate").iter().count();
        hold!(lines == 1, "{answer}: {lines} challenges, where clients read one");
        let value = answer.required("www-authenticate")?;
        hold!(
            value.starts_with("Bearer realm=\""),
            "{answer}: clients look for Bearer realm=\"...\", not {value}"
        );
        let read = parse_challenges(value);
        let Some(Challenge::Bearer { realm, service, scope, .. }) = read.first() else {
            return Err(Finding::Failed(format!("{answer}: {value} cannot be read")));
        };
        hold!(
            realm.starts_with("http://") || realm.starts_with("https://"),
            "{answer}: the realm {realm} is no URL"
        );
        hold!(service.is_some(), "{answer}: {value} names no service");
        let Some(action) = action else { continue };
        let scope = scope.as_deref().unwrap_or_default();
        let actions = scope.strip_prefix(&format!("repository:{repository}:")).unwrap_or_default();
        hold!(
            actions.split(',').any(|one| one == action),
            "{answer}: the scope {scope:?} does not ask for {action}"
        );
    }
    Ok(())
}

async fn wrong_credentials(context: &Context) -> Verdict {
    need_tokens(context)?;
    let repository = context.repository("challenge-wrong-credentials");
    let path = format!("/v2/{repository}/tags/list");
    for token in ["nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        let request = Request::get(&path).header("authorization", format!("Bearer {token}"));
        let answer = context.session().send_plain(&request).await?.expect(&[401])?;
        is_enveloped(&answer)?;
        let value = answer.required("www-authenticate")?;
        hold!(value.starts_with("Bearer "), "{answer}: {value} is no challenge for a token");
    }
    let scopes = [crate::client::repository_scope(&repository)];
    let name = context.session().credentials().map_or("nobody", |known| known.username.as_str());
    let wrong = Credentials::new(name, "this is not the password");
    context.session().ask_for_token(&scopes, Some(&wrong)).await?.expect(&[401, 403])?;
    // Who says nothing gets a token without rights, or none.
    let anonymous = context.session().ask_for_token(&scopes, None).await?.expect(&[200, 401, 403])?;
    if anonymous.status == 200 {
        let body = anonymous.json()?;
        let token =
            ["token", "access_token"].iter().find_map(|name| body.get(name)?.as_str()).unwrap_or_default();
        let upload = Request::post(format!("/v2/{repository}/blobs/uploads/"));
        let upload = upload.header("authorization", format!("Bearer {token}"));
        context.session().send_plain(&upload).await?.expect(&[401, 403])?;
    }
    Ok(())
}
