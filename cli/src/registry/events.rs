//! `slipway registry events ...`

use registry_server::{EndpointName, EventBacklog};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    arguments::{DataOption, EventsCommand, OutputFormat},
    failure::Failure,
};

pub(crate) async fn run(command: EventsCommand) -> Result<(), Failure> {
    match command {
        EventsCommand::List { data, output } => list(&data, output).await,
        EventsCommand::Replay { endpoint, from, data } => {
            let administration = data.administration().await?;
            known(&endpoint, administration.replay_events(&endpoint, from).await?)
        }
        EventsCommand::Remove { endpoint, data } => {
            let administration = data.administration().await?;
            known(&endpoint, administration.remove_endpoint(&endpoint).await?)
        }
    }
}

fn known(endpoint: &EndpointName, known: bool) -> Result<(), Failure> {
    if known {
        return Ok(());
    }
    let message = format!("there is no event endpoint {endpoint}; `slipway registry events list` shows them");
    Err(Failure::NotFound(message))
}

async fn list(data: &DataOption, output: OutputFormat) -> Result<(), Failure> {
    let backlog = data.administration().await?.event_backlog().await?;
    match output {
        OutputFormat::Json => println!("{}", backlog.iter().map(as_json).collect::<Value>()),
        OutputFormat::Text => {
            println!(
                "{:24} {:>10} {:>10} {:>9}  {:20}  NEXT ATTEMPT",
                "ENDPOINT", "DELIVERED", "WAITING", "FAILURES", "OLDEST"
            );
            for entry in backlog {
                let cursor = &entry.cursor;
                let oldest = entry.oldest.map_or_else(|| "-".to_owned(), shown);
                let next = if cursor.attempts > 0 { shown(cursor.next_attempt_at) } else { "-".to_owned() };
                println!(
                    "{:24} {:>10} {:>10} {:>9}  {oldest:20}  {next}",
                    cursor.endpoint, cursor.event_id, entry.waiting, cursor.attempts
                );
            }
        }
    }
    Ok(())
}

fn as_json(entry: &EventBacklog) -> Value {
    let cursor = &entry.cursor;
    json!({
        "endpoint": cursor.endpoint,
        "delivered_up_to": cursor.event_id,
        "waiting": entry.waiting,
        "oldest": entry.oldest.map(shown),
        "failures": cursor.attempts,
        "next_attempt": (cursor.attempts > 0).then(|| shown(cursor.next_attempt_at)),
    })
}

/// To the second.
fn shown(time: OffsetDateTime) -> String {
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_default()
}
