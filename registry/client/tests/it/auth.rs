//! Tokens and logins: asked for once, with the right scopes, renewed in time, and shown to nobody else.

use http::header;
use registry_client::{BlobContent, Credential, Error};
use registry_types::{Digest, MediaType};

use crate::fake::{Fake, Trick, answer, builder, content, text};

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn login() -> Credential {
    Credential::Basic { user: "ci".to_owned(), password: "hunter2".into() }
}

#[tokio::test]
async fn the_scope_is_asked_for_up_front_and_the_token_is_shared() {
    let fake = Fake::start().await;
    fake.challenge(None);
    fake.hold_manifest("v1", MediaType::OCI_INDEX, INDEX);
    let repository = fake.client();
    let pulls = (0..12).map(|_| async { repository.manifest(&"v1".parse().unwrap(), &[]).await.unwrap() });
    futures_util::future::join_all(pulls).await;
    let tokens = fake.seen("GET", "/token");
    assert_eq!(tokens.len(), 1, "concurrent pulls share one token");
    assert!(tokens[0].target.contains("scope=repository%3Aroot%2Fapp%3Apull&"), "{}", tokens[0].target);
    assert!(tokens[0].target.contains("service=fake"));
    assert_eq!(tokens[0].header("authorization"), None, "there is no login to send");
    // Only the first question was without a token.
    assert!(fake.seen("GET", "/manifests/").iter().all(|seen| seen.header("authorization").is_some()));
    repository.upload(&Digest::sha256(b""), &BlobContent::bytes("")).await.unwrap();
    assert!(fake.seen("GET", "/token")[1].target.contains("%3Apull%2Cpush"));
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_renewed() {
    let fake = Fake::start().await;
    fake.challenge(None);
    let content = content(20_000);
    let digest = Digest::sha256(&content);
    let client = builder().chunk_length(4000).build().unwrap();
    let repository = fake.repository(&client);
    let state = std::sync::Arc::clone(&fake.state);
    // Every token dies while the stream is read.
    let pieces = futures_util::stream::iter(
        content.chunks(3000).map(bytes::Bytes::copy_from_slice).collect::<Vec<_>>(),
    );
    let pieces = futures_util::StreamExt::map(pieces, move |piece| {
        let mut tokens = state.tokens.lock().unwrap();
        let dead: Vec<_> = (0..tokens.len()).map(|at| format!("dead-{at}")).collect();
        tokens.clear();
        tokens.extend(dead);
        Ok::<_, std::io::Error>(piece)
    });
    repository.upload_stream(pieces, Some(&digest)).await.unwrap();
    assert_eq!(fake.blob(&digest).unwrap(), content);
    assert!(fake.seen("GET", "/token").len() > 1);
    // And on a pull.
    fake.state.tokens.lock().unwrap().insert("dead".to_owned());
    fake.state.tokens.lock().unwrap().retain(|token| token.starts_with("dead"));
    assert_eq!(repository.blob_bytes(&digest, 1 << 20).await.unwrap(), content);
}

#[tokio::test]
async fn a_login_goes_to_the_realm_that_the_registry_names() {
    let realm = Fake::start().await;
    let fake =
        Fake::tricky(|seen| seen.is("GET", "/manifests/").then(|| Trick::Answer(text(answer(200), INDEX))))
            .await;
    fake.challenge(Some(&format!("http://{}/token", realm.address)));
    let repository = fake.logged_in(builder(), login());
    repository.manifest(&"v1".parse().unwrap(), &[MediaType::known(MediaType::OCI_INDEX)]).await.unwrap_err();
    let basic = realm.seen("GET", "/token")[0].header("authorization").unwrap().to_owned();
    assert_eq!(basic, "Basic Y2k6aHVudGVyMg==");
    // The registry itself gets the token only.
    assert!(
        fake.seen("GET", "")
            .iter()
            .all(|seen| { seen.header("authorization").is_none_or(|value| value.starts_with("Bearer ")) })
    );
}

#[tokio::test]
async fn a_realm_that_redirects_elsewhere_does_not_pass_the_login_on() {
    let thief = Fake::start().await;
    let place = format!("http://{}/token", thief.address);
    let fake = Fake::tricky(move |seen| {
        seen.is("GET", "/token")
            .then(|| Trick::Answer(text(answer(302).header(header::LOCATION, &place), "")))
    })
    .await;
    fake.challenge(None);
    let repository = fake.logged_in(builder(), login());
    let _ = repository.manifest(&"v1".parse().unwrap(), &[]).await;
    let seen = thief.seen("GET", "/token");
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn a_login_in_the_clear_to_a_stranger_is_refused() {
    let fake = Fake::start().await;
    fake.challenge(Some("http://192.0.2.1/token"));
    let repository = fake.logged_in(builder(), login());
    let error = repository.manifest(&"v1".parse().unwrap(), &[]).await.unwrap_err();
    assert!(matches!(&error, Error::InsecureRefused { host } if host == "192.0.2.1"), "{error}");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_in_the_body() {
    let fake = Fake::start().await;
    fake.challenge(None);
    fake.hold_manifest("v1", MediaType::OCI_INDEX, INDEX);
    let repository = fake.logged_in(builder(), Credential::IdentityToken("refresh-me".into()));
    repository.manifest(&"v1".parse().unwrap(), &[]).await.unwrap();
    let seen = fake.seen("POST", "/token");
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].target.contains("refresh-me"), "a secret in a URL");
    assert_eq!(seen[0].header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn a_registry_token_is_used_as_it_is() {
    let fake = Fake::start().await;
    fake.challenge(None);
    fake.state.tokens.lock().unwrap().insert("Bearer ready".to_owned());
    fake.hold_manifest("v1", MediaType::OCI_INDEX, INDEX);
    let repository = fake.logged_in(builder(), Credential::RegistryToken("ready".into()));
    repository.manifest(&"v1".parse().unwrap(), &[]).await.unwrap();
    assert!(fake.seen("GET", "/token").is_empty());
}

#[tokio::test]
async fn basic_is_answered_with_the_login_and_only_if_there_is_one() {
    let fake = Fake::start().await;
    *fake.state.challenge.lock().unwrap() = Some("Basic realm=\"r\"".to_owned());
    fake.state.tokens.lock().unwrap().insert("Basic Y2k6aHVudGVyMg==".to_owned());
    fake.hold_manifest("v1", MediaType::OCI_INDEX, INDEX);
    fake.logged_in(builder(), login()).manifest(&"v1".parse().unwrap(), &[]).await.unwrap();
    let error = fake.client().manifest(&"v1".parse().unwrap(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(error.to_string().contains(&format!("docker login {}", fake.address)), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_being_shown() {
    let fake =
        Fake::tricky(|seen| seen.is("GET", "/token").then(|| Trick::Answer(text(answer(401), "")))).await;
    fake.challenge(None);
    let error = fake.logged_in(builder(), login()).manifest(&"v1".parse().unwrap(), &[]).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(shown.contains("the given login") && !shown.contains("hunter2"), "{shown}");
    assert_eq!(fake.seen("GET", "/token").len(), 1, "a wrong password is not repeated");
}

#[tokio::test]
async fn a_registry_that_refuses_every_token_is_left_soon() {
    let fake = Fake::tricky(|seen| {
        seen.is("GET", "/manifests/").then(|| {
            let challenge = format!("Bearer realm=\"http://{}/token\"", seen.header("host").unwrap());
            Trick::Answer(text(answer(401).header(header::WWW_AUTHENTICATE, challenge), ""))
        })
    })
    .await;
    let error = fake.client().manifest(&"v1".parse().unwrap(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(fake.seen("GET", "/manifests/").len() <= 3);
}

#[tokio::test]
async fn a_rule_of_the_registry_is_told_in_its_words() {
    let fake = Fake::tricky(|seen| {
        let body = r#"{"errors":[{"code":"DENIED","message":"the tag is protected"}]}"#;
        seen.is("PUT", "/manifests/").then(|| Trick::Answer(text(answer(403), body)))
    })
    .await;
    let index = MediaType::known(MediaType::OCI_INDEX);
    let error = fake.client().put_manifest(&"v1".parse().unwrap(), INDEX.into(), &index).await.unwrap_err();
    assert!(matches!(&error, Error::Denied { message, .. } if message == "the tag is protected"), "{error}");
}

#[tokio::test]
async fn a_right_that_the_registry_asks_for_beyond_ours_is_added() {
    let fake = Fake::tricky(|seen| {
        let challenge =
            |host: &str| format!("Bearer realm=\"http://{host}/token\",scope=\"registry:extra:read\"");
        (seen.is("GET", "/manifests/") && seen.nth == 0).then(|| {
            let value = challenge(seen.header("host").unwrap());
            Trick::Answer(text(answer(401).header(header::WWW_AUTHENTICATE, value), ""))
        })
    })
    .await;
    fake.challenge(None);
    fake.hold_manifest("v1", MediaType::OCI_INDEX, INDEX);
    fake.client().manifest(&"v1".parse().unwrap(), &[]).await.unwrap();
    let tokens = fake.seen("GET", "/token");
    assert!(!tokens[0].target.contains("registry%3Aextra%3Aread"));
    let last = &tokens[tokens.len() - 1].target;
    assert!(last.contains("scope=registry%3Aextra%3Aread&scope=repository%3Aroot%2Fapp%3Apull"), "{last}");
}
