//! The demo's registry: in this process, with its own data folder and token server.

use std::path::{Path, PathBuf};

use registry_client::Secret as ClientSecret;
use registry_server::{Administration, Config, NewAccount, Overrides, Secret, Server, ServerError};
use registry_types::{AccessRule, AccountKind, AccountName, RegistryHost, Subject};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{failed, login::Login};
use crate::failure::Failure;

/// The user that builds, pushes and pulls.
const USER: &str = "demo";

#[derive(Debug)]
pub(super) struct DemoRegistry {
    host: RegistryHost,
    wanted: u16,
    port: u16,
    data: PathBuf,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl DemoRegistry {
    /// Starts on `port`, or on a free one if that is taken.
    pub(super) async fn start(port: u16, data: &Path) -> Result<Self, Failure> {
        let server = match Server::prepare(config(port, data)?).await {
            Err(ServerError::Listen { .. }) => Server::prepare(config(0, data)?).await?,
            other => other?,
        };
        let bound = server.address().port();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone()));
        let host = format!("localhost:{bound}").parse().map_err(failed)?;
        Ok(Self { host, wanted: port, port: bound, data: data.to_owned(), stop, serving })
    }

    pub(super) fn host(&self) -> &RegistryHost {
        &self.host
    }

    pub(super) fn describe(&self) -> String {
        if self.port == self.wanted {
            format!("{}, own tokens, SQLite and files", self.host)
        } else {
            format!("{}, since port {} is taken", self.host, self.wanted)
        }
    }

    /// Makes the user of the demo, as `slipway registry user add` and `rule add` do beside a running registry.
    pub(super) async fn add_user(&self) -> Result<Login, Failure> {
        let administration = Administration::open(&self.data).await?;
        let password = Secret::generate().map_err(failed)?;
        let login = Login {
            host: self.host.clone(),
            user: USER.to_owned(),
            password: ClientSecret::new(password.expose()),
        };
        let name: AccountName = USER.parse().map_err(failed)?;
        let rule = AccessRule {
            subject: Subject::Account(name.clone()),
            pattern: "demo/**".parse().map_err(failed)?,
            actions: "pull,push".parse().map_err(failed)?,
        };
        let account = NewAccount { name, kind: AccountKind::User, admin: false, password, replace: false };
        administration.add_account(account).await?;
        administration.add_rule(&rule).await?;
        Ok(login)
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.serving.await {
            eprintln!("the registry ended by a fault: {error}");
        }
    }
}

/// Embedded defaults: a configuration of the environment must not change what the demo shows.
fn config(port: u16, data: &Path) -> Result<Config, Failure> {
    let mut flags = Overrides::default();
    flags.set("data", Some(data.to_string_lossy().into_owned()));
    flags.set("listen", Some(format!("127.0.0.1:{port}")));
    Ok(Config::load(None, std::iter::empty(), flags)?)
}
