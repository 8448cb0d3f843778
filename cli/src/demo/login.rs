//! The login, as `docker login` does it: the registry's challenge is answered with name and password, and only a
//! login that the registry took is written to a `config.json`, from where every later request gets it.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use registry_client::{Client, Credential, Credentials, Secret};
use registry_types::RegistryHost;
use serde_json::json;

use super::failed;
use crate::failure::Failure;

/// A user of a registry.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) host: RegistryHost,
    pub(super) user: String,
    pub(super) password: Secret,
}

impl Login {
    /// Logs in, and gives the logins of the file written into `folder`.
    pub(super) async fn log_in(self, folder: &Path) -> Result<Credentials, Failure> {
        let given = Credential::Basic { user: self.user.clone(), password: self.password.clone() };
        let client =
            Client::builder().credentials(Credentials::none().with(self.host.clone(), given)).build()?;
        client.check(&self.host).await?;
        self.write(folder)
    }

    fn write(&self, folder: &Path) -> Result<Credentials, Failure> {
        fs::create_dir_all(folder).map_err(failed)?;
        let file = folder.join("config.json");
        let auth = STANDARD.encode(format!("{}:{}", self.user, self.password.expose()));
        let config = json!({ "auths": { (self.host.as_str()): { "auth": auth } } }).to_string();
        // For its owner only, from the first byte on.
        let mut opened =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).map_err(failed)?;
        opened.write_all(config.as_bytes()).map_err(failed)?;
        Ok(Credentials::none().with_file(file))
    }
}
