//! Our registry: one port takes HTTP and TLS.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use base64::Engine;

use super::{Contestant, REPOSITORY, Tls, free_port, plain};
use crate::{Options, certificate::Certificate, process::Server, wire::Connection};

fn command(options: &Options, port: u16, data: &Path) -> Command {
    let mut command = Command::new(&options.binary);
    command.args(["registry", "serve", "--listen"]).arg(format!("127.0.0.1:{port}")).arg("--data").arg(data);
    command.env("SLIPWAY_LOG", "warn");
    command
}

/// With token authentication, and a token for it; by HTTP, and by TLS.
pub(super) async fn start(
    options: &Options,
    folder: &Path,
    certificate: &Certificate,
    tls: &Tls,
) -> Result<(Contestant, Contestant)> {
    let (port, data) = (free_port()?, folder.join("slipway"));
    let mut command = command(options, port, &data);
    command.env("SLIPWAY_REGISTRY_AUTH_TOKEN_SECONDS", "86400");
    command.arg("--tls-cert").arg(&certificate.certificate).arg("--tls-key").arg(&certificate.key);
    let server = Server::start(command, port, &folder.join("slipway.log"))?;
    let password =
        fs::read_to_string(data.join("admin-password")).context("no admin password was written")?;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("admin:{}", password.trim()));
    let mut connection = Connection::open(port, None, Some(format!("Basic {basic}").into())).await?;
    let path = format!("/jwt/auth?service=container_registry&scope=repository:{REPOSITORY}:pull,push");
    let (head, body) = connection.request("GET", &path, "", b"").await?;
    ensure!(head.status == 200, "no token: {} {}", head.status, String::from_utf8_lossy(&body));
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    let token = answer["token"].as_str().context("the answer has no token")?;
    let by_http = plain("slipway", server, Some(format!("Bearer {token}").into()));
    let by_tls = Contestant { tls: Some(tls.clone()), ..by_http.clone() };
    Ok((by_http, by_tls))
}

/// Without authentication.
pub(super) fn start_open(options: &Options, folder: &Path) -> Result<Contestant> {
    let port = free_port()?;
    let mut command = command(options, port, &folder.join("slipway"));
    command.args(["--auth", "none"]);
    Ok(plain("slipway", Server::start(command, port, &folder.join("slipway.log"))?, None))
}
