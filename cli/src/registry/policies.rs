//! `slipway registry tag-rule ...`, `slipway registry quota ...` and `slipway registry explain ...`

use registry_server::{ByteSize, Question, Ruling, TagEffect, TagRule, TagRuleForm};
use serde_json::{Value, json};

use crate::{
    arguments::{DataOption, Explain, OutputFormat, QuotaCommand, TagRuleCommand},
    failure::Failure,
};

/// How the lists name what only the configuration changes.
pub(super) const CONFIGURATION: &str = "configuration";
pub(super) const OPERATOR: &str = "operator";

pub(crate) async fn tag_rule(command: TagRuleCommand) -> Result<(), Failure> {
    match command {
        TagRuleCommand::Add { repositories, tags, immutable, allow, data, .. } => {
            let effect =
                if immutable { TagEffect::Immutable } else { TagEffect::Protected { allowed: allow } };
            let rule = TagRule { repositories, tags, effect };
            println!("{}", data.administration().await?.add_tag_rule(&rule).await?.id);
            Ok(())
        }
        TagRuleCommand::List { data, output } => list_tag_rules(&data, output).await,
        TagRuleCommand::Remove { id, data } => {
            removed("tag rule", "tag-rule", id, data.administration().await?.remove_tag_rule(id).await?)
        }
    }
}

/// What became of a removal by number.
pub(super) fn removed(what: &str, command: &str, id: i64, removed: bool) -> Result<(), Failure> {
    if removed {
        return Ok(());
    }
    Err(Failure::NotFound(format!("there is no {what} {id}; `slipway registry {command} list` shows them")))
}

async fn list_tag_rules(data: &DataOption, output: OutputFormat) -> Result<(), Failure> {
    let (configured, stored) = data.administration().await?.tag_rules().await?;
    let rows = configured
        .into_iter()
        .map(|rule| (None, rule))
        .chain(stored.into_iter().map(|record| (Some(record.id), record.rule)));
    match output {
        OutputFormat::Json => {
            let list: Result<Vec<Value>, Failure> = rows
                .map(|(id, rule)| {
                    let mut value = to_json(&TagRuleForm::from(rule))?;
                    value["id"] = json!(id);
                    value["origin"] = json!(if id.is_some() { OPERATOR } else { CONFIGURATION });
                    Ok(value)
                })
                .collect();
            println!("{}", Value::from(list?));
        }
        OutputFormat::Text => {
            for (id, TagRule { repositories, tags, effect }) in rows {
                let id = id.map_or_else(|| CONFIGURATION.to_owned(), |id| id.to_string());
                let effect = match effect {
                    TagEffect::Immutable => "immutable".to_owned(),
                    TagEffect::Protected { allowed } if allowed.is_empty() => "for administrators".to_owned(),
                    TagEffect::Protected { allowed } => {
                        let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                        format!("for {}", names.join(", "))
                    }
                };
                println!("{id:>13}  {:24} {:18} {effect}", repositories.as_str(), tags.as_str());
            }
        }
    }
    Ok(())
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::Failed(error.to_string()))
}

pub(crate) async fn quota(command: QuotaCommand) -> Result<(), Failure> {
    match command {
        QuotaCommand::Add { prefix, bytes, data } => {
            let quota = data.administration().await?.set_quota(&prefix, bytes.0).await?;
            println!("{}", quota.id);
            if quota.used_bytes > quota.limit_bytes {
                eprintln!(
                    "{} bytes are used under {prefix} already: nothing more is taken",
                    quota.used_bytes
                );
            }
            Ok(())
        }
        QuotaCommand::List { data, output } => list_quotas(&data, output).await,
        QuotaCommand::Remove { id, data } => {
            removed("quota", "quota", id, data.administration().await?.remove_quota(id).await?)
        }
    }
}

async fn list_quotas(data: &DataOption, output: OutputFormat) -> Result<(), Failure> {
    let quotas = data.administration().await?.quotas().await?;
    let origin = |configured: bool| if configured { CONFIGURATION } else { OPERATOR };
    match output {
        OutputFormat::Json => {
            let list: Vec<Value> = quotas
                .iter()
                .map(|listed| {
                    json!({
                        "id": listed.quota.id,
                        "prefix": listed.quota.prefix.to_string(),
                        "limit_bytes": listed.quota.limit_bytes,
                        "used_bytes": listed.quota.used_bytes,
                        "origin": origin(listed.configured),
                    })
                })
                .collect();
            println!("{}", Value::from(list));
        }
        OutputFormat::Text => {
            for listed in quotas {
                let (quota, limit) = (&listed.quota, ByteSize(listed.quota.limit_bytes).to_string());
                let (prefix, origin) = (quota.prefix.to_string(), origin(listed.configured));
                println!(
                    "{:>4}  {prefix:24} {limit:>12}  {} bytes used  {origin}",
                    quota.id, quota.used_bytes
                );
            }
        }
    }
    Ok(())
}

/// The name that stands for somebody who is not logged in; no account of it is asked for.
const ANONYMOUS: &str = "anonymous";

pub(crate) async fn explain(arguments: Explain) -> Result<(), Failure> {
    let Explain { user, action, target, data, output } = arguments;
    let question = Question {
        account: (user.as_str() != ANONYMOUS).then_some(user),
        action,
        repository: target.repository,
        tag: target.tag,
    };
    let explained = data.administration().await?.explain_rights(&question).await?;
    match output {
        OutputFormat::Json => println!("{}", to_json(&explained)?),
        OutputFormat::Text => {
            println!("{}", if explained.allowed { "allowed" } else { "refused" });
            for ruling in &explained.rulings {
                let (says, rule) = match ruling {
                    Ruling::Allows(rule) => ("allows", rule),
                    Ruling::Refuses(rule) => ("refuses", rule),
                    Ruling::Notes(rule) => ("notes", rule),
                };
                println!("  {says:8} {rule}");
            }
        }
    }
    Ok(())
}
