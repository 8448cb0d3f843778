//! What a reverse proxy says of its client, and what anybody else may say.

use std::time::Duration;

use registry_http::HttpSettings;

use crate::kit::{Server, tokens};

async fn behind(proxies: &str) -> Server {
    let trusted_proxies = vec![proxies.parse().unwrap()];
    let body_idle = Duration::from_secs(60);
    Server::start_with(tokens, HttpSettings { body_idle, trusted_proxies, ..HttpSettings::default() }).await
}

#[tokio::test]
async fn the_realm_is_the_one_that_the_client_of_a_trusted_proxy_asked_for() {
    let forwarded = "Host: inner:5050\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: registry.example";
    for (proxies, realm) in
        [("127.0.0.0/8", "https://registry.example/jwt/auth"), ("192.0.2.0/24", "http://inner:5050/jwt/auth")]
    {
        let server = behind(proxies).await;
        let (head, _) = server.raw(&format!("GET /v2/ HTTP/1.1\r\n{forwarded}"), b"").await;
        assert!(head.contains(&format!("realm=\"{realm}\"")), "{proxies}: {head}");
    }
}

/// Guesses as many passwords as one address may, each for another name and said to come from another address;
/// whether the last was turned away unseen.
async fn slowed(server: &Server) -> bool {
    let mut last = String::new();
    for guess in 0..8 {
        let credentials = ["YTph", "Yjph", "Yzph", "ZDph", "ZTph", "Zjph", "Zzph", "aDph"][guess];
        let request = format!(
            "GET /jwt/auth?service=test HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\nX-Forwarded-For: 198.51.100.{guess}"
        );
        (last, _) = server.raw(&request, b"").await;
    }
    assert!(last.starts_with("http/1.1 4"), "{last}");
    last.starts_with("http/1.1 429")
}

#[tokio::test]
async fn logins_are_slowed_by_the_address_of_the_client() {
    assert!(!slowed(&behind("127.0.0.1").await).await, "clients of a proxy were slowed for each other");
    assert!(slowed(&behind("192.0.2.1").await).await, "a claim of another address gave another guess");
}
