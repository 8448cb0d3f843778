//! The distribution registry on files, without authentication. It speaks HTTP or TLS, not both: for both, two
//! processes share the files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{Contestant, Tls, free_port, plain};
use crate::{Options, certificate::Certificate, process::Server};

pub(super) fn program(options: &Options) -> Option<PathBuf> {
    options.tools.as_ref().map(|tools| tools.join("distribution")).filter(|path| path.exists())
}

pub(super) fn start(
    program: &Path,
    folder: &Path,
    data: &Path,
    secure: Option<(&Certificate, &Tls)>,
) -> Result<Contestant> {
    let port = free_port()?;
    let (kind, http) = match secure {
        None => ("plain", String::new()),
        Some((files, _)) => (
            "tls",
            format!(", tls: {{certificate: {}, key: {}}}", files.certificate.display(), files.key.display()),
        ),
    };
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}, \
         delete: {{enabled: true}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"{http}}}\n",
        data.display()
    );
    let file = folder.join(format!("distribution-{kind}.yml"));
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
    let server = Server::start(command, port, &folder.join(format!("distribution-{kind}.log")))?;
    let contestant = plain("distribution", server, None);
    Ok(Contestant { tls: secure.map(|(_, tls)| tls.clone()), ..contestant })
}
