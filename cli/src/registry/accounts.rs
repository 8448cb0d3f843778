//! `slipway registry user|robot ...`

use registry_server::{NewAccount, Secret};
use registry_types::{AccountKind, AccountName};
use serde_json::json;

use crate::{
    arguments::{AccountCommand, DataOption, OutputFormat},
    failure::Failure,
    standard_input,
};

pub(crate) async fn run(kind: AccountKind, command: AccountCommand) -> Result<(), Failure> {
    match command {
        AccountCommand::Add { name, data, generate, admin, replace, .. } => {
            let password = if generate { made()? } else { Secret::new(standard_input::password()?.expose()) };
            let shown = generate.then(|| password.expose().to_owned());
            let account = NewAccount { name, kind, admin, password, replace };
            data.administration().await?.add_account(account).await?;
            // The only place where a made password is ever shown.
            if let Some(password) = shown {
                println!("{password}");
            }
            Ok(())
        }
        AccountCommand::List { data, output } => list(kind, &data, output).await,
        AccountCommand::Remove { name, data } => remove(kind, &name, &data).await,
        AccountCommand::Import { file, data, replace } => {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", file.display())))?;
            let names = data.administration().await?.import_htpasswd(&text, kind, replace).await?;
            for name in &names {
                println!("{name}");
            }
            Ok(())
        }
    }
}

fn made() -> Result<Secret, Failure> {
    Secret::generate().map_err(|error| Failure::Failed(error.to_string()))
}

async fn list(kind: AccountKind, data: &DataOption, output: OutputFormat) -> Result<(), Failure> {
    let mut accounts = data.administration().await?.accounts().await?;
    accounts.retain(|account| account.kind == kind);
    match output {
        OutputFormat::Json => {
            let list: Vec<_> = accounts
                .iter()
                .map(|account| {
                    json!({ "name": account.name, "admin": account.admin, "created_at": account.created_at.to_string() })
                })
                .collect();
            println!("{}", serde_json::Value::from(list));
        }
        OutputFormat::Text => {
            for account in accounts {
                println!("{:32} {}", account.name.as_str(), if account.admin { "admin" } else { "" });
            }
        }
    }
    Ok(())
}

async fn remove(kind: AccountKind, name: &AccountName, data: &DataOption) -> Result<(), Failure> {
    if data.administration().await?.remove_account(kind, name).await? {
        Ok(())
    } else {
        let kind = match kind {
            AccountKind::User => "user",
            AccountKind::Robot => "robot",
        };
        Err(Failure::NotFound(format!("there is no {kind} {name}")))
    }
}
