//! nginx serving files with sendfile, and by TLS: what a copy of bytes to a socket costs at best.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{Contestant, Tls, free_port, plain};
use crate::{certificate::Certificate, process::Server};

/// `None` if it is not installed. The files are those below `folder/www`.
pub(super) fn start(
    folder: &Path,
    certificate: &Certificate,
    tls: &Tls,
) -> Result<Option<(Contestant, Contestant)>> {
    let program = PathBuf::from("/usr/sbin/nginx");
    if !program.exists() {
        return Ok(None);
    }
    let (port, secure) = (free_port()?, free_port()?);
    let (place, root) = (folder.join("nginx"), folder.join("www"));
    fs::create_dir_all(&place)?;
    fs::create_dir_all(&root)?;
    // nginx's workers give up root's rights and must still reach the files. On TLS a buffer of a whole record is
    // what its manual advises for large files.
    let config = format!(
        "user root;\nworker_processes 2;\ndaemon off;\npid {place}/pid;\nerror_log {place}/error.log warn;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  \
         tcp_nodelay on;\n  keepalive_requests 1000000;\n  client_body_temp_path {place}/a;\n  proxy_temp_path {place}/b;\n  \
         fastcgi_temp_path {place}/c;\n  uwsgi_temp_path {place}/d;\n  scgi_temp_path {place}/e;\n  \
         ssl_certificate {certificate};\n  ssl_certificate_key {key};\n  ssl_buffer_size 16k;\n  \
         server {{ listen 127.0.0.1:{port}; listen 127.0.0.1:{secure} ssl; root {root}; }}\n}}\n",
        place = place.display(),
        root = root.display(),
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
    );
    let file = place.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).arg("-e").arg(place.join("start.log"));
    let server = Server::start(command, port, &folder.join("nginx.log"))?;
    let by_http = plain("nginx", server, None);
    let by_tls = Contestant { port: secure, tls: Some(tls.clone()), ..by_http.clone() };
    Ok(Some((by_http, by_tls)))
}
