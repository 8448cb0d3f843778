//! `slipway registry retention ...`

use registry_server::{
    NewestOf, PolicyOrigin, RetentionDecision, RetentionPolicy, RetentionRule, RunMode, StoredPolicy, Text,
};
use registry_types::PathPrefix;
use serde_json::{Value, json};

use super::policies::{CONFIGURATION, OPERATOR, removed, to_json};
use crate::{
    arguments::{DataOption, OutputFormat, RetentionAdd, RetentionCommand},
    failure::Failure,
};

pub(crate) async fn run(command: RetentionCommand) -> Result<(), Failure> {
    match command {
        RetentionCommand::Add(arguments) => add(arguments).await,
        RetentionCommand::List { data, output } => list(&data, output).await,
        RetentionCommand::Remove { id, data } => {
            let done = data.administration().await?.remove_retention(id).await?;
            removed("retention policy", "retention", id, done)
        }
        RetentionCommand::Run { dry_run, prefix, data, output } => {
            let mode = if dry_run { RunMode::DryRun } else { RunMode::Remove };
            carry_out(prefix.as_ref(), mode, &data, output).await
        }
    }
}

async fn add(arguments: RetentionAdd) -> Result<(), Failure> {
    let texts = |patterns: Vec<_>| patterns.into_iter().map(Text).collect();
    let newest_of = arguments.keep_newest_of.into_iter();
    let rule = RetentionRule {
        keep_newest: arguments.keep_newest,
        keep_newest_of: newest_of.map(|(tags, count)| NewestOf { tags, count }).collect(),
        keep_tags: texts(arguments.keep_tags),
        keep_pushed_within: arguments.keep_pushed_within.map(Text),
        keep_pulled_within: arguments.keep_pulled_within.map(Text),
        remove_tags: texts(arguments.remove_tags),
        remove_older_than: arguments.remove_older_than.map(Text),
    };
    let (prefix, schedule) = (arguments.prefix, arguments.schedule);
    let policy = RetentionPolicy { prefix, schedule, rule, origin: PolicyOrigin::Operator };
    println!("{}", arguments.data.administration().await?.add_retention(&policy).await?);
    Ok(())
}

async fn list(data: &DataOption, output: OutputFormat) -> Result<(), Failure> {
    let policies = data.administration().await?.retention_policies().await?;
    match output {
        OutputFormat::Json => {
            let list: Result<Vec<Value>, Failure> = policies.iter().map(policy_json).collect();
            println!("{}", Value::from(list?));
        }
        OutputFormat::Text => {
            for StoredPolicy { id, policy, started_at } in &policies {
                let (prefix, schedule) = (policy.prefix.to_string(), policy.schedule.to_string());
                let ran = started_at.map_or_else(|| "never ran".to_owned(), |at| format!("ran at {at}"));
                let (origin, rule) = (origin(policy.origin), to_json(&policy.rule)?);
                println!("{id:>4}  {prefix:24} {schedule:12} {origin:13} {ran}\n      {rule}");
            }
        }
    }
    Ok(())
}

fn origin(origin: PolicyOrigin) -> &'static str {
    match origin {
        PolicyOrigin::Configuration => CONFIGURATION,
        PolicyOrigin::Operator => OPERATOR,
    }
}

fn policy_json(stored: &StoredPolicy) -> Result<Value, Failure> {
    Ok(json!({
        "id": stored.id,
        "prefix": stored.policy.prefix.to_string(),
        "schedule": stored.policy.schedule.to_string(),
        "origin": origin(stored.policy.origin),
        "started_at": stored.started_at.map(|at| at.to_string()),
        "rule": to_json(&stored.policy.rule)?,
    }))
}

async fn carry_out(
    only: Option<&PathPrefix>,
    mode: RunMode,
    data: &DataOption,
    output: OutputFormat,
) -> Result<(), Failure> {
    let administration = data.administration().await?;
    // Each decision goes out as it is made, so that a million of them take no room: in JSON one to a line, and the
    // totals on the last.
    let told = |decision: RetentionDecision| match output {
        OutputFormat::Json => match to_json(&decision) {
            Ok(value) => println!("{value}"),
            Err(error) => eprintln!("{error}"),
        },
        OutputFormat::Text => {
            let RetentionDecision { repository, tag, verdict, .. } = &decision;
            let verb = if verdict.removes() { "remove" } else { "keep" };
            println!("{verb:6}  {repository}:{tag}: {}", verdict.reason());
        }
    };
    let run = administration.run_retention(only, mode, told).await?;
    match output {
        OutputFormat::Json => println!("{}", to_json(&run)?),
        OutputFormat::Text => {
            let removed = if mode == RunMode::DryRun { "would be removed" } else { "were removed" };
            println!(
                "{} tags {removed} and {} stay in {} repositories",
                run.removed, run.kept, run.repositories
            );
        }
    }
    Ok(())
}
