//! `slipway registry ...`

mod accounts;
mod rules;
mod serve;

use registry_server::ServerError;
use registry_types::AccountKind;

use crate::{
    arguments::{KeyCommand, RegistryCommand},
    failure::{Failure, runtime},
};

pub(crate) fn run(command: RegistryCommand) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match command {
            RegistryCommand::Serve(arguments) => serve::run(arguments).await,
            RegistryCommand::User(command) => accounts::run(AccountKind::User, command).await,
            RegistryCommand::Robot(command) => accounts::run(AccountKind::Robot, command).await,
            RegistryCommand::Rule(command) => rules::run(command).await,
            RegistryCommand::Key(KeyCommand::Rotate { data, leaked }) => {
                rules::rotate_key(&data.data, leaked).await
            }
        }
    })
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
