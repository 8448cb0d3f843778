//! `slipway registry rule ...` and `slipway registry key ...`

use std::{path::Path, time::Duration};

use registry_server::Administration;
use registry_types::AccessRule;
use serde_json::json;

use crate::{
    arguments::{OutputFormat, RuleCommand},
    failure::Failure,
};

/// How long tokens of a replaced key stay good: longer than any token that a sensible configuration issues.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn run(command: RuleCommand) -> Result<(), Failure> {
    match command {
        RuleCommand::Add { pattern, to, actions, data } => {
            let rule = AccessRule { subject: to, pattern, actions };
            let added = Administration::open(&data.data).await?.add_rule(&rule).await?;
            println!("{}", added.id);
            Ok(())
        }
        RuleCommand::List { data, output } => list(&data.data, output).await,
        RuleCommand::Remove { id, data } => {
            if Administration::open(&data.data).await?.remove_rule(id).await? {
                Ok(())
            } else {
                Err(Failure::NotFound(format!(
                    "there is no rule {id}; `slipway registry rule list` shows them"
                )))
            }
        }
    }
}

async fn list(data: &Path, output: OutputFormat) -> Result<(), Failure> {
    let rules = Administration::open(data).await?.rules().await?;
    match output {
        OutputFormat::Json => {
            let list: Vec<_> = rules
                .iter()
                .map(|row| {
                    let actions: Vec<_> = row.rule.actions.iter().collect();
                    json!({
                        "id": row.id,
                        "to": row.rule.subject.to_string(),
                        "actions": actions,
                        "pattern": row.rule.pattern
                    })
                })
                .collect();
            println!("{}", serde_json::Value::from(list));
        }
        OutputFormat::Text => {
            for row in rules {
                let (subject, actions) = (row.rule.subject.to_string(), row.rule.actions.to_string());
                println!("{:>4}  {subject:24} {actions:18} {}", row.id, row.rule.pattern);
            }
        }
    }
    Ok(())
}

pub(crate) async fn rotate_key(data: &Path, leaked: bool) -> Result<(), Failure> {
    let overlap = if leaked { Duration::ZERO } else { OVERLAP };
    Ok(Administration::open(data).await?.rotate_key(overlap).await?)
}
