//! A table of tokens made to deceive. Each differs from a good one in what its name says, and each must fail
//! the very check that is there for it; those that are honest tokens must not give more than they say.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};

use super::*;
use crate::{
    SigningKey,
    fixture::{NOW, gitlab_claims, gitlab_header, other_key, sign, sign_text, signing_key},
};

type Check = fn(&TokenError) -> bool;

/// A row of the table: the trick, the token, and the check that must catch it.
macro_rules! rows {
    ($($trick:literal, $token:expr => $error:ident;)*) => {
        vec![$(($trick, String::from($token), (|error| matches!(error, TokenError::$error { .. })) as Check)),*]
    };
}

fn part(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

/// The good claims under `header`, signed by `key`.
fn with_header(key: &SigningKey, header: Value) -> String {
    sign(key, &header, &gitlab_claims())
}

/// The good header with one member set, signed by the trusted key.
fn header_with(name: &str, value: Value) -> String {
    let mut header = gitlab_header(signing_key());
    header[name] = value;
    with_header(signing_key(), header)
}

fn claim(name: &str, value: Value) -> String {
    with_claims(|claims| claims[name] = value)
}

fn without(name: &str) -> String {
    with_claims(|claims| {
        claims.as_object_mut().unwrap().remove(name);
    })
}

/// Signed with another algorithm by another implementation, under the trusted key's id.
fn other_algorithm(algorithm: Algorithm, key: &EncodingKey) -> String {
    let mut header = Header::new(algorithm);
    header.kid = Some(signing_key().public().key_id().to_owned());
    jsonwebtoken::encode(&header, &gitlab_claims(), key).unwrap()
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(signing_key().to_pem().unwrap().expose().as_bytes()).unwrap()
}

/// An honest RS256 header over a signature of `algorithm`.
fn swapped_signature(algorithm: Algorithm) -> String {
    let message =
        format!("{}.{}", part(&gitlab_header(signing_key()).to_string()), part(&gitlab_claims().to_string()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &rsa(), algorithm).unwrap();
    format!("{message}.{signature}")
}

fn with_signature(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let token = good();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    change(&mut signature);
    format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// The good token with one of its parts replaced after signing.
fn with_part(number: usize, text: &str) -> String {
    let token = good();
    let mut parts: Vec<&str> = token.split('.').collect();
    parts[number] = text;
    parts.join(".")
}

fn certificate_of(key: &SigningKey) -> String {
    BASE64.encode(fixture::certificate(key).der())
}

/// A certificate for the stranger's key, issued by the trusted key as if that were an authority.
fn certificate_by_trusted_authority() -> String {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pair = fixture::rcgen_pair(signing_key());
    let issuer = Issuer::from_params(&authority, &pair);
    let leaf = CertificateParams::default().signed_by(&fixture::rcgen_pair(other_key()), &issuer).unwrap();
    BASE64.encode(leaf.der())
}

#[test]
fn hostile_signatures_and_algorithms_are_refused() {
    let public = signing_key().public();
    let body = part(&gitlab_claims().to_string());
    let unsigned =
        |alg: &str| format!("{}.{body}.", part(&format!(r#"{{"alg":"{alg}","kid":"{}"}}"#, public.key_id())));
    let hmac = |secret: &[u8], alg| other_algorithm(alg, &EncodingKey::from_secret(secret));
    let pem = public.to_pem();
    let jwk = public.to_jwk().to_string();
    refuse(rows![
        "a stranger signs under a trusted id", with_header(other_key(), gitlab_header(signing_key())) => Signature;
        "a stranger signs under his id", with_header(other_key(), gitlab_header(other_key())) => UnknownKey;
        "a stranger signs under his thumbprint",
            with_header(other_key(), json!({"alg": "RS256", "kid": other_key().public().thumbprint()})) => UnknownKey;
        "alg none, no signature", unsigned("none") => Algorithm;
        "alg None", unsigned("None") => Algorithm;
        "alg NONE", unsigned("NONE") => Algorithm;
        "alg nOnE", unsigned("nOnE") => Algorithm;
        "alg empty", unsigned("") => Algorithm;
        "alg none with a good signature", header_with("alg", json!("none")) => Algorithm;
        "HS256 keyed with the public key's PEM", hmac(pem.as_bytes(), Algorithm::HS256) => Algorithm;
        "HS256 keyed with the PEM without its last line end", hmac(pem.trim_end().as_bytes(), Algorithm::HS256) => Algorithm;
        "HS256 keyed with the JWK", hmac(jwk.as_bytes(), Algorithm::HS256) => Algorithm;
        "HS256 keyed with nothing", hmac(b"", Algorithm::HS256) => Algorithm;
        "HS512 keyed with the public key's PEM", hmac(pem.as_bytes(), Algorithm::HS512) => Algorithm;
        "RS384 by the trusted key", other_algorithm(Algorithm::RS384, &rsa()) => Algorithm;
        "RS512 by the trusted key", other_algorithm(Algorithm::RS512, &rsa()) => Algorithm;
        "PS256 by the trusted key", other_algorithm(Algorithm::PS256, &rsa()) => Algorithm;
        "alg ES256", header_with("alg", json!("ES256")) => Algorithm;
        "alg EdDSA", header_with("alg", json!("EdDSA")) => Algorithm;
        "alg in lower case", header_with("alg", json!("rs256")) => Algorithm;
        "alg with a space", header_with("alg", json!("RS256 ")) => Algorithm;
        "alg null", header_with("alg", json!(null)) => Malformed;
        "alg a list", header_with("alg", json!(["RS256"])) => Malformed;
        "alg missing", with_header(signing_key(), json!({"kid": public.key_id()})) => Malformed;
        "alg twice, none first",
            sign_text(signing_key(), r#"{"alg":"none","alg":"RS256"}"#, &gitlab_claims().to_string()) => Malformed;
        "alg twice, none last",
            sign_text(signing_key(), r#"{"alg":"RS256","alg":"none"}"#, &gitlab_claims().to_string()) => Malformed;
        "an RS256 header over a PS256 signature", swapped_signature(Algorithm::PS256) => Signature;
        "an RS256 header over an RS512 signature", swapped_signature(Algorithm::RS512) => Signature;
        "the signature is empty", with_signature(Vec::clear) => Signature;
        "the signature is zeros", with_signature(|bytes| bytes.fill(0)) => Signature;
        "the signature is one", with_signature(|bytes| { bytes.fill(0); bytes[383] = 1; }) => Signature;
        "the signature is short of a byte", with_signature(|bytes| { bytes.pop(); }) => Signature;
        "the signature has a byte more", with_signature(|bytes| bytes.push(0)) => Signature;
        "the signature has a zero before it", with_signature(|bytes| bytes.insert(0, 0)) => Signature;
        "the signature is another token's",
            with_part(2, claim("sub", json!("eve")).rsplit_once('.').unwrap().1) => Signature;
        "the claims were changed after signing", with_part(1, &body.replace('a', "b")) => Signature;
        "the header was changed after signing",
            with_part(0, &part(&json!({"alg": "RS256", "kid": public.key_id()}).to_string())) => Signature;
    ]);
}

#[test]
fn hostile_key_selection_is_refused() {
    let id = signing_key().public().key_id();
    let by = |key, header: Value| with_header(key, header);
    let kid = |kid: &str| header_with("kid", json!(kid));
    let own_jwk = || other_key().public().to_jwk();
    refuse(rows![
        "no key is named", by(signing_key(), json!({"alg": "RS256"})) => NoKey;
        "kid is empty", kid("") => NoKey;
        "kid is null", header_with("kid", json!(null)) => NoKey;
        "kid in lower case", kid(&id.to_lowercase()) => UnknownKey;
        "kid without colons", kid(&id.replace(':', "")) => UnknownKey;
        "kid cut short", kid(&id[..id.len() - 5]) => UnknownKey;
        "kid with a space", kid(&format!("{id} ")) => UnknownKey;
        "kid with a zero byte", kid(&format!("{id}\0")) => UnknownKey;
        "kid climbs to a file", kid("../../../../dev/null") => UnknownKey;
        "kid speaks SQL", kid("' OR '1'='1") => UnknownKey;
        "kid is a wildcard", kid("*") => UnknownKey;
        "kid is a list", header_with("kid", json!([id])) => Malformed;
        "kid is a number", header_with("kid", json!(0)) => Malformed;
        "kid twice", sign_text(other_key(),
            &format!(r#"{{"alg":"RS256","kid":"{id}","kid":"x"}}"#), &gitlab_claims().to_string()) => Malformed;
        "jku and x5u name a stranger's keys", by(other_key(),
            json!({"alg": "RS256", "jku": "https://evil.example/jwks", "x5u": "https://evil.example/c"})) => NoKey;
        "jku beside a trusted id", by(other_key(),
            json!({"alg": "RS256", "kid": id, "jku": "https://evil.example/jwks"})) => Signature;
        "the stranger's key comes along", by(other_key(), json!({"alg": "RS256", "jwk": own_jwk()})) => UnknownKey;
        "the stranger's key beside a trusted id", by(other_key(),
            json!({"alg": "RS256", "jwk": own_jwk(), "kid": id})) => UnknownKey;
        "the stranger's key under a trusted id of its own", by(other_key(), {
            let mut jwk = own_jwk();
            jwk["kid"] = json!(id);
            json!({"alg": "RS256", "jwk": jwk})
        }) => UnknownKey;
        "the trusted key comes along, a stranger signs", by(other_key(),
            json!({"alg": "RS256", "jwk": signing_key().public().to_jwk()})) => Signature;
        "a secret key comes along", by(signing_key(),
            json!({"alg": "RS256", "jwk": {"kty": "oct", "k": "AA"}, "kid": id})) => Key;
        "a key without a modulus", by(signing_key(),
            json!({"alg": "RS256", "jwk": {"kty": "RSA", "e": "AQAB"}, "kid": id})) => Key;
        "a key of zeros", by(signing_key(),
            json!({"alg": "RS256", "jwk": {"kty": "RSA", "n": "AAAA", "e": ""}})) => UnknownKey;
        "an elliptic key", by(signing_key(),
            json!({"alg": "RS256", "jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}})) => Key;
        "the stranger's certificate", by(other_key(),
            json!({"alg": "RS256", "x5c": [certificate_of(other_key())]})) => UnknownKey;
        "the stranger's certificate beside a trusted id", by(other_key(),
            json!({"alg": "RS256", "x5c": [certificate_of(other_key())], "kid": id})) => UnknownKey;
        "a trusted certificate appended to the stranger's", by(other_key(),
            json!({"alg": "RS256", "x5c": [certificate_of(other_key()), certificate_of(signing_key())]})) => UnknownKey;
        "the trusted certificate, a stranger signs", by(other_key(),
            json!({"alg": "RS256", "x5c": [certificate_of(signing_key())]})) => Signature;
        "a certificate that the trusted key issued", by(other_key(), json!({"alg": "RS256",
            "x5c": [certificate_by_trusted_authority(), certificate_of(signing_key())]})) => UnknownKey;
        "a certificate that is none", by(signing_key(), json!({"alg": "RS256", "x5c": ["AAAA"], "kid": id})) => Certificate;
        "a certificate that is not base64", by(signing_key(), json!({"alg": "RS256", "x5c": ["%"], "kid": id})) => Certificate;
        "an empty chain and no id", by(signing_key(), json!({"alg": "RS256", "x5c": []})) => NoKey;
        "an extension that must be understood", header_with("crit", json!(["exp"])) => CriticalExtension;
        "an empty list of extensions", header_with("crit", json!([])) => CriticalExtension;
        "an unencoded payload", header_with("crit", json!(["b64"])) => CriticalExtension;
        "typ of an OAuth2 access token", header_with("typ", json!("at+jwt")) => Type;
        "typ of an encrypted token", header_with("typ", json!("JOSE+JSON")) => Type;
    ]);
    let mut retired = TrustedKeys::default();
    retired.insert(fixture::public(signing_key()), Some(fixture::now()));
    let verifier = Verifier::new(fixture::ISSUER, fixture::SERVICE, retired);
    assert_eq!(verifier.verify(&good(), fixture::now()).unwrap_err(), TokenError::RetiredKey);
}

#[test]
fn hostile_claims_are_refused() {
    let text = gitlab_claims().to_string();
    let raw = |claims: &str| sign_text(signing_key(), &gitlab_header(signing_key()).to_string(), claims);
    let twice = |more: &str| raw(&format!("{},{more}}}", text.strip_suffix('}').unwrap()));
    let nested_user = || {
        let claims = json!({
            "user_info": {"token_type": "personal_access_token", "username": "root", "user_id": 1},
            "jti": "b", "iat": NOW, "nbf": NOW - 5, "exp": NOW + 300,
        });
        sign(signing_key(), &gitlab_header(signing_key()), &claims)
    };
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    refuse(rows![
        "another issuer", claim("iss", json!("evil")) => Issuer;
        "no issuer", without("iss") => Issuer;
        "an empty issuer", claim("iss", json!("")) => Issuer;
        "the issuer's start", claim("iss", json!("omnibus-gitlab-issue")) => Issuer;
        "the issuer and more", claim("iss", json!("omnibus-gitlab-issuer/")) => Issuer;
        "the issuer in capitals", claim("iss", json!("Omnibus-GitLab-Issuer")) => Issuer;
        "a list of issuers", claim("iss", json!([fixture::ISSUER])) => Malformed;
        "another audience", claim("aud", json!("dependency_proxy")) => Audience;
        "no audience", without("aud") => Audience;
        "a null audience", claim("aud", json!(null)) => Audience;
        "an empty list of audiences", claim("aud", json!([])) => Audience;
        "other audiences", claim("aud", json!(["a", "container_registry2"])) => Audience;
        "the audience in capitals", claim("aud", json!("Container_Registry")) => Audience;
        "the audience's start", claim("aud", json!("container")) => Audience;
        "audiences in one text", claim("aud", json!("other,container_registry")) => Audience;
        "an audience object", claim("aud", json!({"container_registry": true})) => Malformed;
        "expired, leeway included", claim("exp", json!(NOW - 60)) => Expired;
        "expired long ago", claim("exp", json!(1)) => Expired;
        "expired in 1969", claim("exp", json!(-1)) => Expired;
        "expired at the dawn of time", claim("exp", json!(i64::MIN)) => Expired;
        "no expiry", without("exp") => NoExpiry;
        "a null expiry", claim("exp", json!(null)) => NoExpiry;
        "an expiry in words", claim("exp", json!((NOW + 300).to_string())) => Malformed;
        "an expiry beyond numbers", claim("exp", json!(1e300)) => Malformed;
        "an expiry that is true", claim("exp", json!(true)) => Malformed;
        "not yet valid, leeway included", claim("nbf", json!(NOW + 61)) => NotYetValid;
        "valid at the end of time", claim("nbf", json!(i64::MAX)) => NotYetValid;
        "a begin in words", claim("nbf", json!("now")) => Malformed;
        "the nested user token as a token", nested_user() => Issuer;
        "issuer twice", twice(r#""iss":"omnibus-gitlab-issuer""#) => Malformed;
        "expiry twice", twice(r#""exp":99999999999"#) => Malformed;
        "access twice", twice(r#""access":[]"#) => Malformed;
        "access that is a text", claim("access", json!("repository:root/app:*")) => Malformed;
        "access that is an object", claim("access", json!({"type": "repository"})) => Malformed;
        "access without a name", claim("access", json!([{"type": "repository", "actions": ["*"]}])) => Malformed;
        "access to a list of names",
            claim("access", json!([{"type": "repository", "name": ["root/app"], "actions": ["*"]}])) => Malformed;
        "actions in one text",
            claim("access", json!([{"type": "repository", "name": "root/app", "actions": "*"}])) => Malformed;
        "a type twice",
            raw(&text.replace(r#""type":"repository""#, r#""type":"x","type":"repository""#)) => Malformed;
        "facts nested without end",
            claim("access", json!([{"type": "repository", "name": "a", "actions": [], "meta": deep}])) => Malformed;
        "claims that are a list", raw("[]") => Malformed;
        "claims that are no JSON", raw("{") => Malformed;
        "claims with something after", raw(&format!("{text}{text}")) => Malformed;
    ]);
}

#[test]
fn hostile_shapes_are_refused() {
    let token = good();
    let [header, claims, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    refuse(rows![
        "nothing", "" => Malformed;
        "a dot", "." => Malformed;
        "two dots", ".." => Malformed;
        "two parts", format!("{header}.{claims}") => Malformed;
        "no header", format!(".{claims}.{signature}") => Malformed;
        "no claims", format!("{header}..{signature}") => Signature;
        "four parts", format!("{header}.{claims}.{signature}.{signature}") => Signature;
        "five parts, as if encrypted", format!("{header}.a.b.c.{signature}") => Signature;
        "the signature padded", format!("{token}==") => Malformed;
        "the header padded", format!("{header}=.{claims}.{signature}") => Malformed;
        "the other base64", token.replace('-', "+").replace('_', "/") => Malformed;
        "a space before", format!(" {token}") => Malformed;
        "a line end after", format!("{token}\n") => Malformed;
        "a zero byte after", format!("{token}\0") => Malformed;
        "the scheme left on", format!("Bearer {token}") => Malformed;
        "quoted", format!("\"{token}\"") => Malformed;
        "letters beyond ASCII", format!("{header}.é.{signature}") => Signature;
        "the JSON serialization",
            json!({"protected": header, "payload": claims, "signature": signature}).to_string() => Malformed;
        "endless", format!("{token}{}", "A".repeat(LONGEST_TOKEN)) => TooLong;
        "a header that is a list", sign_text(signing_key(), "[]", "{}") => Malformed;
        "a header that is a list of what would be good",
            sign_text(signing_key(), &json!(["RS256", "JWT", signing_key().public().key_id(), null, null, null]).to_string(),
                &gitlab_claims().to_string()) => Malformed;
        "a header that is no JSON", sign_text(signing_key(), "RS256", "{}") => Malformed;
    ]);
}

/// Refuses every row for its own reason, with no word of the token in the message, and remembers none.
fn refuse(rows: Vec<(&str, String, Check)>) {
    let verifier = verifier();
    assert!(rows.len() > 10);
    for (trick, token, is_expected) in rows {
        let error = match verifier.verify(&token, fixture::now()) {
            Ok(_) => panic!("{trick}: the token was taken"),
            Err(error) => error,
        };
        assert!(is_expected(&error), "{trick}: refused for another reason: {error:?}");
        let message = error.to_string();
        for part in token.split('.').filter(|part| part.len() > 20) {
            assert!(!message.contains(part), "{trick}: the message repeats the token");
        }
    }
    assert_eq!(verifier.remembered.lock().unwrap().len(), 0);
    assert!(verifier.verify(&good(), fixture::now()).is_ok(), "the good token itself is refused");
}

#[test]
fn honest_tokens_give_no_more_than_they_say() {
    let entry =
        |kind: &str, name: &str, actions: Value| json!([{"type": kind, "name": name, "actions": actions}]);
    let repository = |name: &str| entry("repository", name, json!(["*"]));
    let actions = |actions: Value| entry("repository", "root/app", actions);
    let rows = [
        ("the name's start", repository("root/ap")),
        ("the name and more", repository("root/app2")),
        ("the parent", repository("root")),
        ("a child", repository("root/app/api")),
        ("the name in capitals", repository("Root/App")),
        ("a slash after", repository("root/app/")),
        ("a slash before", repository("/root/app")),
        ("two slashes", repository("root//app")),
        ("a way around", repository("root/x/../app")),
        ("a star in the name", repository("root/*")),
        ("two stars", repository("**")),
        ("a star for a name", repository("*")),
        ("no name", repository("")),
        ("a tag in the name", repository("root/app:latest")),
        ("a host in the name", repository("localhost:5050/root/app")),
        ("the name escaped", repository("root%2Fapp")),
        ("a zero byte in the name", repository("root/app\0")),
        ("a look-alike letter", repository("root/\u{430}pp")),
        ("the type in capitals", entry("Repository", "root/app", json!(["*"]))),
        ("a type with a class", entry("repository(plugin)", "root/app", json!(["*"]))),
        ("the catalog's type", entry("registry", "root/app", json!(["*"]))),
        ("no type", entry("", "root/app", json!(["*"]))),
        ("an action in capitals", actions(json!(["PULL"]))),
        ("actions in one text", actions(json!(["pull,push"]))),
        ("a space in the action", actions(json!([" pull"]))),
        ("two stars for an action", actions(json!(["**"]))),
        ("a pattern for an action", actions(json!(["pu*"]))),
        ("an empty action", actions(json!([""]))),
        ("no action", actions(json!([]))),
        ("actions that are null", actions(json!(null))),
        ("push alone is no push and no pull", actions(json!(["push"]))),
        ("delete alone", actions(json!(["delete"]))),
        ("the catalog", entry("registry", "catalog", json!(["*"]))),
        ("access that is null", json!(null)),
    ];
    let target = "root/app".parse().unwrap();
    for (trick, claimed) in rows {
        let access = verify(&claim("access", claimed)).unwrap_or_else(|error| panic!("{trick}: {error}"));
        assert!(access.grant::<Pull>(&target).is_err(), "{trick}: gave pull");
        assert!(access.grant::<Push>(&target).is_err(), "{trick}: gave push");
        assert_eq!(access.grant::<Delete>(&target).is_ok(), trick == "delete alone", "{trick}: delete");
        assert_eq!(access.grant_catalog().is_ok(), trick == "the catalog", "{trick}: catalog");
    }
}

#[test]
fn a_mount_needs_a_pull_from_its_source() {
    let access = verify(&good()).unwrap();
    let push = access.grant::<Push>(&"root/app".parse().unwrap());
    let source = access.grant::<Pull>(&"root/secret".parse().unwrap());
    assert!(push.is_ok());
    assert_eq!(source.unwrap_err().needed()[0].to_string(), "repository:root/secret:pull");
}
