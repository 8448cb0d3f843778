//! `slipway registry rule ...` and `slipway registry key ...`

use std::time::Duration;

use registry_types::AccessRule;
use serde_json::json;

use crate::{
    arguments::{DataOption, OutputFormat, RuleCommand},
    failure::Failure,
};

/// How long tokens of a replaced key stay good: longer than any token that a sensible configuration issues.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn run(command: RuleCommand) -> Result<(), Failure> {
    match command {
        RuleCommand::Add { pattern, to, actions, data } => {
            let rule = AccessRule { subject: to, pattern, actions };
            let added = data.administration().await?.add_rule(&rule).await?;
            println!("{}", added.id);
            Ok(())
        }
        RuleCommand::List { data, output } => list(&data, output).await,
        RuleCommand::Remove { id, data } => {
            if data.administration().await?.remove_rule(id).await? {
                Ok(())
            } else {
                Err(Failure::NotFound(format!(
                    "there is no rule {id}; `slipway registry rule list` shows them"
                )))
            }
        }
    }
}

async fn list(data: &DataOption, output: OutputFormat) -> Result<(), Failure> {
    let rules = data.administration().await?.rules().await?;
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

pub(crate) async fn rotate_key(data: &DataOption, leaked: bool) -> Result<(), Failure> {
    let overlap = if leaked { Duration::ZERO } else { OVERLAP };
    Ok(data.administration().await?.rotate_key(overlap).await?)
}
