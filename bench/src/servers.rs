//! The contestants: ours, nginx (files only) and the distribution registry.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result};
use base64::Engine;

use crate::{Options, process::Server, wire::Connection};

/// A running registry and the credentials for it.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    pub(crate) authorization: Option<Arc<str>>,
}

impl Contestant {
    pub(crate) async fn connect(&self) -> Result<Connection> {
        Connection::open(self.server.port, self.authorization.clone()).await
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The repository that all benchmarks push to.
pub(crate) const REPOSITORY: &str = "bench/image";

/// Our registry with token authentication, and a token for it.
pub(crate) async fn ours(options: &Options, folder: &Path) -> Result<Contestant> {
    let (port, data) = (free_port()?, folder.join("slipway"));
    let mut command = Command::new(&options.binary);
    command.args(["registry", "serve", "--listen"]).arg(format!("127.0.0.1:{port}")).arg("--data").arg(&data);
    command.env("SLIPWAY_LOG", "warn").env("SLIPWAY_REGISTRY_AUTH_TOKEN_SECONDS", "86400");
    let server = Server::start(command, port, &folder.join("slipway.log"))?;
    let password =
        fs::read_to_string(data.join("admin-password")).context("no admin password was written")?;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("admin:{}", password.trim()));
    let mut connection = Connection::open(port, Some(format!("Basic {basic}").into())).await?;
    let path = format!("/jwt/auth?service=container_registry&scope=repository:{REPOSITORY}:pull,push");
    let (head, body) = connection.request("GET", &path, "", b"").await?;
    anyhow::ensure!(head.status == 200, "no token: {} {}", head.status, String::from_utf8_lossy(&body));
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    let token = answer["token"].as_str().context("the answer has no token")?;
    Ok(Contestant { name: "slipway", server, authorization: Some(format!("Bearer {token}").into()) })
}

/// The distribution registry on files, without authentication; `None` if it is not installed.
pub(crate) fn distribution(options: &Options, folder: &Path) -> Result<Option<Contestant>> {
    let Some(program) =
        options.tools.as_ref().map(|tools| tools.join("distribution")).filter(|path| path.exists())
    else {
        return Ok(None);
    };
    let (port, data) = (free_port()?, folder.join("distribution"));
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}, \
         delete: {{enabled: true}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
        data.display()
    );
    let file = folder.join("distribution.yml");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
    let server = Server::start(command, port, &folder.join("distribution.log"))?;
    Ok(Some(Contestant { name: "distribution", server, authorization: None }))
}

/// nginx serving the files of `root` with sendfile; `None` if it is not installed.
pub(crate) fn nginx(folder: &Path, root: &Path) -> Result<Option<Contestant>> {
    let program = PathBuf::from("/usr/sbin/nginx");
    if !program.exists() {
        return Ok(None);
    }
    let port = free_port()?;
    let place = folder.join("nginx");
    fs::create_dir_all(&place)?;
    // nginx's workers give up root's rights and must still reach the files.
    let config = format!(
        "user root;\nworker_processes 2;\ndaemon off;\npid {place}/pid;\nerror_log {place}/error.log warn;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  \
         tcp_nodelay on;\n  keepalive_requests 1000000;\n  client_body_temp_path {place}/a;\n  proxy_temp_path {place}/b;\n  \
         fastcgi_temp_path {place}/c;\n  uwsgi_temp_path {place}/d;\n  scgi_temp_path {place}/e;\n  \
         server {{ listen 127.0.0.1:{port}; root {root}; }}\n}}\n",
        place = place.display(),
        root = root.display()
    );
    let file = place.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).arg("-e").arg(place.join("start.log"));
    let server = Server::start(command, port, &folder.join("nginx.log"))?;
    Ok(Some(Contestant { name: "nginx", server, authorization: None }))
}
