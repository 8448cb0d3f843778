//! `slipway registry ...`

mod accounts;
mod collection;
mod events;
mod policies;
mod retention;
mod rules;
mod serve;

use registry_server::{Administration, Config, Overrides, ServerError};
use registry_types::AccountKind;

use crate::{
    arguments::{DataOption, KeyCommand, RegistryCommand},
    failure::{Failure, runtime},
};

pub(crate) fn run(command: RegistryCommand) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match command {
            RegistryCommand::Serve(arguments) => serve::run(arguments).await,
            RegistryCommand::User(command) => accounts::run(AccountKind::User, command).await,
            RegistryCommand::Robot(command) => accounts::run(AccountKind::Robot, command).await,
            RegistryCommand::Rule(command) => rules::run(command).await,
            RegistryCommand::Events(command) => events::run(command).await,
            RegistryCommand::Key(KeyCommand::Rotate { data, leaked }) => {
                rules::rotate_key(&data, leaked).await
            }
            RegistryCommand::Gc(command) => collection::run(command).await,
            RegistryCommand::TagRule(command) => policies::tag_rule(command).await,
            RegistryCommand::Quota(command) => policies::quota(command).await,
            RegistryCommand::Retention(command) => retention::run(command).await,
            RegistryCommand::Explain(question) => policies::explain(question).await,
        }
    })
}

impl DataOption {
    /// The configuration of the registry that is meant, as its server reads it.
    fn config(&self) -> Result<Config, Failure> {
        let mut flags = Overrides::default();
        flags.set("data", serve::text(self.data.as_ref())?);
        Ok(Config::load(self.config.as_deref(), serve::registry_variables(), flags)?)
    }

    async fn administration(&self) -> Result<Administration, Failure> {
        Ok(Administration::of(&self.config()?).await?)
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let message = error.to_string();
        match error {
            ServerError::Config(_) => Self::Usage(message),
            ServerError::UnknownAccount { .. } => Self::NotFound(message),
            _ => Self::Failed(message),
        }
    }
}
