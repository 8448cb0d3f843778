//! Any other registry, started by a command line that the caller gives.

use std::{fs, path::Path, process::Command, str::FromStr};

use anyhow::{Context, Error, Result, ensure};

use super::{Contestant, free_port, plain};
use crate::process::Server;

/// `NAME=COMMAND`: a command line of a shell in which `{port}` and `{dir}` stand for where to listen, on 127.0.0.1 and
/// without authentication, and for an empty folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rival {
    name: String,
    command: String,
}

impl FromStr for Rival {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, command) = text.split_once('=').context("a rival is NAME=COMMAND")?;
        ensure!(!name.is_empty() && name != "slipway", "a rival has a name of its own, not {name:?}");
        ensure!(command.contains("{port}"), "the command of {name} does not say {{port}}");
        Ok(Self { name: name.to_owned(), command: command.to_owned() })
    }
}

impl Rival {
    fn line(&self, port: u16, folder: &Path) -> String {
        let folder = folder.display().to_string();
        self.command.replace("{port}", &port.to_string()).replace("{dir}", &folder)
    }

    pub(super) fn start(&self, folder: &Path) -> Result<Contestant> {
        let (port, data) = (free_port()?, folder.join(&self.name));
        fs::create_dir_all(&data)?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(self.line(port, &data));
        let server = Server::start(command, port, &folder.join(format!("{}.log", self.name)))?;
        Ok(plain(&self.name, server, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_is_a_name_and_a_command_with_places() {
        let rival: Rival = "zot=zot serve --at={port} {dir}/config".parse().unwrap();
        assert_eq!(rival.line(7, Path::new("/a")), "zot serve --at=7 /a/config");
        for wrong in ["zot", "=x {port}", "slipway=x {port}", "zot=no place"] {
            assert!(wrong.parse::<Rival>().is_err(), "{wrong}");
        }
    }
}
