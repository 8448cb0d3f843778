//! Tokens as GitLab makes them: the members and their order are those of its Rails code, the key has the 4096
//! bits its packages make, and the key id is computed here a second time, from the certificate.

use std::sync::OnceLock;

use aws_lc_rs::digest;
use data_encoding::BASE32;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use super::*;
use crate::{
    Access, AuthType, Delete, Pull, Push, SigningKey, TokenError,
    fixture::{NOW, now, sign_text},
};

/// GitLab's key and the PEM text of its certificate.
fn gitlab_key() -> &'static (SigningKey, String) {
    static KEY: OnceLock<(SigningKey, String)> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096).unwrap();
        let certificate = CertificateParams::default().self_signed(&pair).unwrap();
        (SigningKey::from_pem(pair.serialize_pem().as_bytes(), "GitLab's key").unwrap(), certificate.pem())
    })
}

fn gitlab() -> GitLab {
    GitLab::new(&GitLabConfig {
        realm: "https://gitlab.iceymoss/jwt/auth".to_owned(),
        issuer: GITLAB_ISSUER.to_owned(),
        service: GITLAB_SERVICE.to_owned(),
        bundle: gitlab_key().1.as_bytes().to_vec(),
    })
    .unwrap()
}

/// The key id the way Rails computes it: from the public key within the certificate.
fn key_id() -> String {
    let (_, pem) = x509_parser::pem::parse_x509_pem(gitlab_key().1.as_bytes()).unwrap();
    let info = pem.parse_x509().unwrap().tbs_certificate.subject_pki.raw;
    let hash = digest::digest(&digest::SHA256, info);
    let text = BASE32.encode(&hash.as_ref()[..30]);
    text.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect::<Vec<_>>().join(":")
}

/// What differs from one of GitLab's tokens to the next, as JSON text: `sub` is left out when absent.
struct Minted {
    access: Value,
    subject: Option<&'static str>,
    auth_type: Option<&'static str>,
    user_info: Option<Value>,
}

impl Minted {
    fn token(&self) -> String {
        let key = &gitlab_key().0;
        let header = format!(r#"{{"kid":"{}","typ":"JWT","alg":"RS256"}}"#, key_id());
        let user = self.user_info.as_ref().map(|info| {
            let claims = format!(
                r#"{{"user_info":{info},"jti":"0e1c8f2a-6d53-4b33-9f0e-5d2b7f6a1c02","iat":{NOW},"nbf":{},"exp":{}}}"#,
                NOW - 5,
                NOW + 300
            );
            sign_text(key, &header, &claims)
        });
        let mut claims = format!(r#"{{"access":{}"#, self.access);
        if let Some(auth_type) = self.auth_type {
            claims.push_str(&format!(r#","auth_type":"{auth_type}""#));
        }
        if let Some(user) = user {
            claims.push_str(&format!(r#","user":"{user}""#));
        }
        claims.push_str(r#","jti":"7f0a54c0-4f6e-4a0e-8c8b-0e0e6d1d7b11","aud":"container_registry""#);
        if let Some(subject) = self.subject {
            claims.push_str(&format!(r#","sub":"{subject}""#));
        }
        claims.push_str(&format!(
            r#","iss":"omnibus-gitlab-issuer","iat":{NOW},"nbf":{},"exp":{}}}"#,
            NOW - 5,
            NOW + 300
        ));
        sign_text(key, &header, &claims)
    }

    fn verified(&self) -> Access {
        gitlab().verifier().verify(&self.token(), now()).unwrap()
    }
}

fn repository_access(actions: &[&str]) -> Value {
    json!([{
        "type": "repository",
        "name": "hichat/hichat",
        "actions": actions,
        "meta": {
            "project_path": "hichat/hichat",
            "project_id": 42,
            "root_namespace_id": 7,
            "tag_deny_access_patterns": {"push": ["^v"], "delete": ["^v"]},
            "tag_immutable_patterns": ["^release-"],
        },
    }])
}

#[test]
fn the_key_id_is_the_one_rails_computes() {
    let id = key_id();
    assert_eq!((id.len(), id.matches(':').count()), (59, 11));
    assert_eq!(id, gitlab_key().0.public().key_id());
}

#[test]
fn a_user_pushes_and_what_gitlab_said_of_the_project_is_kept() {
    let minted = Minted {
        access: repository_access(&["pull", "push"]),
        subject: Some("root"),
        auth_type: Some("personal_access_token"),
        user_info: Some(json!({"token_type": "personal_access_token", "username": "root", "user_id": 1})),
    };
    let access = minted.verified();
    let grant = access.grant::<Push>(&"hichat/hichat".parse().unwrap()).unwrap();
    assert_eq!(grant.meta(), Some(&minted.access[0]["meta"]));
    assert_eq!(grant.identity().subject.as_deref(), Some("root"));
    assert_eq!(grant.identity().auth_type, AuthType::PersonalAccessToken);
    assert!(access.grant::<Delete>(grant.repository()).is_err());
}

#[test]
fn the_nested_user_token_is_handed_on_untouched_and_is_no_token_itself() {
    let info = json!({"token_type": "gitlab_or_ldap", "username": "root", "user_id": 1});
    let minted = Minted {
        access: json!([]),
        subject: Some("root"),
        auth_type: Some("gitlab_or_ldap"),
        user_info: Some(info.clone()),
    };
    let token = minted.token();
    let payload = token.split('.').nth(1).unwrap();
    let claims: Value =
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap();
    let gitlab = gitlab();
    let access = gitlab.verifier().verify(&token, now()).unwrap();
    let nested = access.identity().user_token.as_ref().unwrap();
    assert_eq!(nested.as_str(), claims["user"]);
    let misused = gitlab.verifier().verify(nested.as_str(), now()).unwrap_err();
    assert!(matches!(misused, TokenError::Issuer { .. }), "{misused:?}");
}

#[test]
fn anonymous_ci_and_deploy_tokens_have_no_subject() {
    let cases = [
        ("none", AuthType::None, "anonymous", None, ["pull"].as_slice()),
        (
            "build",
            AuthType::Build,
            "build",
            Some(json!({"token_type": "build", "username": null})),
            &["pull", "push"],
        ),
        ("ci", AuthType::Ci, "ci", None, &["pull", "push", "delete"]),
        (
            "deploy_token",
            AuthType::DeployToken,
            "deploy_token",
            Some(
                json!({"token_type": "deploy_token", "username": "gitlab+deploy-token-1", "deploy_token_id": 1}),
            ),
            &["pull", "push"],
        ),
    ];
    for (text, auth_type, shown, user_info, actions) in cases {
        let minted =
            Minted { access: repository_access(actions), subject: None, auth_type: Some(text), user_info };
        let access = minted.verified();
        assert_eq!(access.identity().auth_type, auth_type);
        assert_eq!(access.identity().subject, None);
        assert_eq!(access.identity().to_string(), shown);
        assert_eq!(access.identity().user_token.is_some(), minted.user_info.is_some());
        let repository = "hichat/hichat".parse().unwrap();
        assert!(access.grant::<Pull>(&repository).is_ok());
        assert_eq!(access.grant::<Push>(&repository).is_ok(), actions.contains(&"push"), "{text}");
        assert_eq!(access.grant::<Delete>(&repository).is_ok(), actions.contains(&"delete"), "{text}");
    }
}

#[test]
fn gitlabs_own_requests_are_served() {
    let own = |access| Minted { access, subject: None, auth_type: None, user_info: None };
    let nothing = own(json!([])).verified();
    assert!(nothing.require_token().is_ok() && nothing.grant::<Pull>(&"a".parse().unwrap()).is_err());
    let full = own(json!([{"type": "repository", "name": "hichat/hichat", "actions": ["*"]}])).verified();
    let repository = "hichat/hichat".parse().unwrap();
    assert!(full.grant::<Push>(&repository).is_ok() && full.grant::<Delete>(&repository).is_ok());
    let catalog = own(json!([{"type": "registry", "name": "catalog", "actions": ["*"]}])).verified();
    assert!(catalog.grant_catalog().is_ok());
    let descendants = own(json!([
        {"type": "repository", "name": "hichat", "actions": ["pull"]},
        {"type": "repository", "name": "hichat/*", "actions": ["pull"]},
    ]));
    let access = descendants.verified();
    assert!(access.grant::<Pull>(&"hichat".parse().unwrap()).is_ok());
    assert!(access.grant::<Pull>(&repository).is_err(), "a literal name was read as a pattern");
}

#[test]
fn another_gitlab_is_not_trusted() {
    let config = GitLabConfig {
        realm: "https://gitlab.iceymoss/jwt/auth".to_owned(),
        issuer: GITLAB_ISSUER.to_owned(),
        service: GITLAB_SERVICE.to_owned(),
        bundle: crate::fixture::certificate(crate::fixture::signing_key()).pem().into_bytes(),
    };
    let token = Minted { access: json!([]), subject: None, auth_type: None, user_info: None }.token();
    let error = GitLab::new(&config).unwrap().verifier().verify(&token, now()).unwrap_err();
    assert_eq!(error, TokenError::UnknownKey { id: key_id() });
    let mut renamed = config.clone();
    renamed.bundle = gitlab_key().1.as_bytes().to_vec();
    renamed.issuer = "gitlab-issuer".to_owned();
    let error = GitLab::new(&renamed).unwrap().verifier().verify(&token, now()).unwrap_err();
    assert!(error.to_string().contains("expects \"gitlab-issuer\""), "{error}");
    assert!(GitLab::new(&GitLabConfig { bundle: Vec::new(), ..config }).is_err());
}

#[test]
fn the_challenge_sends_clients_to_gitlab() {
    let denied = Access::without_token(crate::MissingToken::Absent)
        .grant::<Pull>(&"hichat/hichat".parse().unwrap())
        .unwrap_err();
    assert_eq!(
        gitlab().challenger().bearer(&denied),
        concat!(
            r#"Bearer realm="https://gitlab.iceymoss/jwt/auth",service="container_registry","#,
            r#"scope="repository:hichat/hichat:pull""#
        )
    );
}
