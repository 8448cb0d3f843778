//! Tokens that must verify and what is remembered of them. The hostile ones are in `hostile`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    Account, Delete, GrantedScopes, Issuer, Pull, Push, compact::LONGEST_TOKEN, decide, fixture, parse_scopes,
};

mod hostile;

/// Trusts the fixture's signing key only.
pub(super) fn verifier() -> Verifier {
    let mut trusted = TrustedKeys::default();
    trusted.insert(fixture::public(fixture::signing_key()), None);
    Verifier::new(fixture::ISSUER, fixture::SERVICE, trusted)
}

pub(super) fn verify(token: &str) -> Result<Access, TokenError> {
    verifier().verify(token, fixture::now())
}

/// The token of GitLab's claims after `change`, signed by the trusted key.
pub(super) fn with_claims(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = fixture::gitlab_claims();
    change(&mut claims);
    fixture::sign(fixture::signing_key(), &fixture::gitlab_header(fixture::signing_key()), &claims)
}

fn good() -> String {
    with_claims(|_| {})
}

fn after(seconds: i64) -> SystemTime {
    fixture::now() + Duration::from_secs(seconds.cast_unsigned())
}

#[test]
fn a_good_token_gives_what_it_says() {
    let access = verify(&good()).unwrap();
    assert_eq!(access.identity().to_string(), "root");
    assert_eq!(access.identity().auth_type, AuthType::Password);
    let repository = "root/app".parse().unwrap();
    let push = access.grant::<Push>(&repository).unwrap();
    assert_eq!(push.meta().unwrap()["project_id"], 7);
    assert!(access.grant::<Delete>(&repository).is_err());
    assert!(access.grant_catalog().is_err());
    assert!(access.require_token().is_ok());
}

#[test]
fn the_freedoms_of_the_standards_are_taken() {
    let several = with_claims(|claims| claims["aud"] = json!(["other", fixture::SERVICE]));
    let fraction = with_claims(|claims| claims["exp"] = json!(fixture::NOW as f64 + 300.5));
    let no_begin = with_claims(|claims| claims["nbf"] = Value::Null);
    let late = with_claims(|claims| claims["exp"] = json!(fixture::NOW - 59));
    let early = with_claims(|claims| claims["nbf"] = json!(fixture::NOW + 60));
    let bare = with_claims(|claims| {
        let kept = ["iss", "aud", "exp"];
        claims.as_object_mut().unwrap().retain(|name, _| kept.contains(&name.as_str()));
    });
    for token in [several, fraction, no_begin, late, early, bare] {
        assert!(verify(&token).is_ok(), "{:?}", verify(&token));
    }
    let key = fixture::signing_key();
    let certificate = data_encoding::BASE64.encode(fixture::certificate(key).der());
    let mut jwk = key.public().to_jwk();
    jwk["kid"] = json!("whatever");
    let headers = [
        json!({"alg": "RS256", "kid": key.public().key_id()}),
        json!({"alg": "RS256", "typ": "jwt", "kid": key.public().thumbprint()}),
        json!({"alg": "RS256", "typ": "JWT", "x5c": [certificate], "kid": "unknown"}),
        json!({"alg": "RS256", "typ": "JWT", "jwk": jwk, "kid": "unknown"}),
        json!({"alg": "RS256", "x5c": [], "kid": key.public().key_id(), "jku": "https://evil.example/"}),
    ];
    for header in headers {
        let token = fixture::sign(key, &header, &fixture::gitlab_claims());
        assert!(verify(&token).is_ok(), "{header}: {:?}", verify(&token));
    }
}

/// Other readers see no rights in these, so neither do we.
#[test]
fn what_other_readers_would_read_otherwise_is_refused() {
    let key = fixture::signing_key();
    let listed = with_claims(|claims| claims["access"] = json!([["repository", "root/app", ["*"]]]));
    let in_capitals = with_claims(|claims| claims["ACCESS"] = json!([]));
    let jwk = key.public().to_jwk();
    let jwk = json!([jwk["kty"], jwk["n"], jwk["e"]]);
    let header = json!({"alg": "RS256", "jwk": jwk});
    let key_listed = fixture::sign(key, &header, &fixture::gitlab_claims());
    let not_text = fixture::sign_text(key, &fixture::gitlab_header(key).to_string(), "\u{feff}{}");
    for token in [listed, in_capitals, key_listed, not_text] {
        assert_eq!(verify(&token).unwrap_err(), TokenError::Malformed, "{token}");
    }
}

#[test]
fn issued_tokens_verify_here_and_with_another_implementation() {
    let issuer = Issuer::new(fixture::ISSUER, fixture::SERVICE, Duration::from_mins(15));
    let admin = "root".parse().unwrap();
    let wanted = parse_scopes(["repository:root/app:pull,push registry:catalog:*"]);
    let granted = decide(Some(Account { name: &admin, admin: true }), &[], &wanted);
    let identity = Identity::named("root");
    let issued = issuer.issue_blocking(fixture::signing_key(), &identity, &granted, fixture::now()).unwrap();

    let access = verify(issued.token().expose()).unwrap();
    assert_eq!(access.identity(), &identity);
    assert!(access.grant::<Push>(&"root/app".parse().unwrap()).is_ok() && access.grant_catalog().is_ok());

    let answer = serde_json::to_value(&issued).unwrap();
    assert_eq!(answer["token"], issued.token().expose());
    assert_eq!(answer["access_token"], answer["token"]);
    assert_eq!((&answer["expires_in"], &answer["issued_at"]), (&json!(900), &json!("2026-11-18T11:06:40Z")));
    assert_eq!(answer.as_object().unwrap().len(), 4);
    assert!(!format!("{issued:?}").contains(issued.token().expose()));

    let key =
        jsonwebtoken::DecodingKey::from_rsa_pem(fixture::signing_key().public().to_pem().as_bytes()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    rules.set_issuer(&[fixture::ISSUER]);
    rules.set_audience(&[fixture::SERVICE]);
    rules.validate_exp = false;
    let read = jsonwebtoken::decode::<Value>(issued.token().expose(), &key, &rules).unwrap();
    assert_eq!(read.header.kid.as_deref(), Some(fixture::signing_key().public().key_id()));
    assert_eq!(read.claims["nbf"], fixture::NOW - 5);
    assert_eq!(read.claims["exp"], fixture::NOW + 900);
    assert_eq!(read.claims["auth_type"], "gitlab_or_ldap");
    assert_eq!(read.claims["jti"].as_str().unwrap().len(), 36);
    let access = json!([
        {"type": "repository", "name": "root/app", "actions": ["pull", "push"]},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
    ]);
    assert_eq!(read.claims["access"], access);
    assert!(read.claims.get("user").is_none());
}

#[test]
fn tokens_of_another_implementation_verify_and_the_jwk_set_serves_it() {
    let pem = fixture::signing_key().to_pem().unwrap();
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(pem.expose().as_bytes()).unwrap();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    header.kid = Some(fixture::signing_key().public().key_id().to_owned());
    let token = jsonwebtoken::encode(&header, &fixture::gitlab_claims(), &key).unwrap();
    assert!(verify(&token).is_ok());

    let set = verifier().trusted().to_jwks(fixture::now());
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(set).unwrap();
    let jwk = set.find(header.kid.as_deref().unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    rules.set_audience(&[fixture::SERVICE]);
    rules.validate_exp = false;
    let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
    assert!(jsonwebtoken::decode::<Value>(&good(), &key, &rules).is_ok());
}

#[test]
fn the_largest_token_that_can_be_asked_for_is_not_too_long() {
    let scopes: Vec<String> = (10..10 + crate::MOST_SCOPES)
        .map(|number| format!("repository:{}{number}:pull,push,delete", "a".repeat(253)))
        .collect();
    let admin = "a".repeat(64).parse().unwrap();
    let wanted = parse_scopes([scopes.join(" ").as_str()]);
    let granted = decide(Some(Account { name: &admin, admin: true }), &[], &wanted);
    assert_eq!(granted.as_slice().len(), crate::MOST_SCOPES);
    let issuer = Issuer::new(fixture::ISSUER, fixture::SERVICE, crate::TOKEN_LIFETIME);
    let issued = issuer
        .issue_blocking(fixture::signing_key(), &Identity::named(admin.as_str()), &granted, fixture::now())
        .unwrap();
    assert!(issued.token().expose().len() <= LONGEST_TOKEN);
    assert!(verify(issued.token().expose()).is_ok());
}

#[test]
fn an_anonymous_token_verifies_and_gives_nothing_by_itself() {
    let issuer = Issuer::new(fixture::ISSUER, fixture::SERVICE, crate::TOKEN_LIFETIME);
    let nothing = GrantedScopes::default();
    let issued = issuer
        .issue_blocking(fixture::signing_key(), &Identity::anonymous(), &nothing, fixture::now())
        .unwrap();
    let access = verify(issued.token().expose()).unwrap();
    assert_eq!(access.identity(), &Identity::anonymous());
    assert!(access.require_token().is_ok() && access.grant::<Pull>(&"a".parse().unwrap()).is_err());
}

/// Takes all trust away without forgetting, so that only what is remembered is still accepted.
fn distrust(verifier: &Verifier) {
    *verifier.trusted.write().unwrap() = TrustedKeys::default();
}

#[test]
fn a_verified_token_is_remembered_until_its_expiry_and_no_longer() {
    let (verifier, token) = (verifier(), good());
    verifier.verify(&token, fixture::now()).unwrap();
    distrust(&verifier);
    assert!(verifier.verify(&token, after(299)).is_ok(), "it was not remembered");
    let late = verifier.verify(&token, after(300));
    assert!(matches!(late, Err(TokenError::UnknownKey { .. })), "{late:?}");
    assert_eq!(verifier.remembered.lock().unwrap().len(), 0);
}

#[test]
fn a_token_within_the_leeway_is_accepted_and_not_remembered() {
    let (verifier, token) = (verifier(), good());
    assert!(verifier.verify(&token, after(359)).is_ok());
    assert_eq!(verifier.remembered.lock().unwrap().len(), 0);
    assert_eq!(verifier.verify(&token, after(360)).unwrap_err(), TokenError::Expired { seconds: 60 });
}

#[test]
fn a_token_is_not_remembered_beyond_the_trust_in_its_key() {
    let mut trusted = TrustedKeys::default();
    trusted.insert(fixture::public(fixture::signing_key()), Some(after(100)));
    let verifier = Verifier::new(fixture::ISSUER, fixture::SERVICE, trusted);
    verifier.verify(&good(), fixture::now()).unwrap();
    assert!(verifier.verify(&good(), after(99)).is_ok());
    assert_eq!(verifier.verify(&good(), after(100)).unwrap_err(), TokenError::RetiredKey);
}

#[test]
fn replaced_keys_forget_the_tokens_of_the_old_ones() {
    let (verifier, token) = (verifier(), good());
    verifier.verify(&token, fixture::now()).unwrap();
    let mut others = TrustedKeys::default();
    others.insert(fixture::public(fixture::other_key()), None);
    verifier.replace_keys(others);
    assert!(matches!(verifier.verify(&token, fixture::now()), Err(TokenError::UnknownKey { .. })));
}

#[test]
fn what_is_refused_is_not_remembered_and_memory_is_bounded() {
    let verifier = verifier();
    for bad in ["", "a.b.c", &with_claims(|claims| claims["iss"] = json!("other"))] {
        assert!(verifier.verify(bad, fixture::now()).is_err());
    }
    assert_eq!(verifier.remembered.lock().unwrap().len(), 0);
    let access = verify(&good()).unwrap();
    for number in 0..2 * MOST_REMEMBERED {
        let entry = Remembered { access: access.clone(), until: after(1) };
        verifier.remembered.lock().unwrap().insert(token_hash(&number.to_string()), entry);
    }
    assert!(verifier.remembered.lock().unwrap().len() <= MOST_REMEMBERED);
}

proptest! {
    #[test]
    fn a_token_with_any_one_byte_changed_is_refused(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = good().into_bytes();
        let at = place.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(verify(&changed).is_err());
        }
    }

    #[test]
    fn no_text_is_a_token(text in "\\PC{0,200}", head in "[A-Za-z0-9_-]{0,60}", body in "[A-Za-z0-9_-]{0,60}") {
        prop_assert!(verify(&text).is_err());
        let message = format!("{head}.{body}.{head}");
        prop_assert!(verify(&message).is_err());
    }

    #[test]
    fn signed_claims_of_any_shape_do_no_harm(name in "(iss|aud|exp|nbf|access|user|sub|auth_type|iat|jti)", value in 0_usize..12) {
        let values = [
            json!(null), json!(true), json!(-1), json!(u64::MAX), json!(1e300), json!(""), json!("x"),
            json!([]), json!([[]]), json!({}), json!({"type": 1}), json!([{"type": "repository", "name": "a", "actions": [1]}]),
        ];
        let token = with_claims(|claims| claims[name.as_str()] = values[value].clone());
        if let Ok(access) = verify(&token) {
            prop_assert!(access.grant::<Delete>(&"root/app".parse().unwrap()).is_err());
            prop_assert!(access.grant_catalog().is_err());
        }
    }
}
