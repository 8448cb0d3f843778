//! `slipway registry gc ...`

use std::time::Duration;

use registry_server::{
    Administration, Candidate, Chain, CollectionStatus, Decision, DryRun, Explanation, KeepReason,
    KindCounts, RemovalReason, Verdict,
};
use registry_types::Digest;
use serde_json::{Value, json};

use crate::{
    arguments::{GcCommand, OutputFormat},
    failure::Failure,
};

/// How often a running registry is asked whether it is done.
const POLL: Duration = Duration::from_secs(1);

pub(crate) async fn run(command: GcCommand) -> Result<(), Failure> {
    match command {
        GcCommand::Status { data, output } => {
            let status = data.administration().await?.collection_status().await?;
            print(output, &status_json(&status), || status_text(&status));
            Ok(())
        }
        GcCommand::Run { dry_run: true, limit, data, output } => {
            let run = data.administration().await?.collection_dry_run(limit).await?;
            print(output, &dry_run_json(&run), || dry_run_text(&run));
            Ok(())
        }
        GcCommand::Run { data, output, .. } => collect(&data.administration().await?, output).await,
        GcCommand::Explain { digest, limit, data, output } => {
            let found = data.administration().await?.explain_digest(&digest, limit).await?;
            if found.blob.is_none() && found.chains.is_empty() {
                return Err(Failure::NotFound(format!("the registry has no {digest}")));
            }
            print(output, &explanation_json(&digest, &found), || explanation_text(&digest, &found));
            Ok(())
        }
    }
}

fn print(output: OutputFormat, value: &Value, text: impl FnOnce() -> String) {
    match output {
        OutputFormat::Json => println!("{value}"),
        OutputFormat::Text => print!("{}", text()),
    }
}

/// Collects, or watches the running registry do so, until nothing is due.
async fn collect(administration: &Administration, output: OutputFormat) -> Result<(), Failure> {
    let before = administration.collection_status().await?;
    let collector = administration.collector().await?;
    loop {
        match &collector {
            Some(collector) => {
                let round = collector.collect().await?;
                if round.more || round.removed > 0 {
                    continue;
                }
            }
            None => tokio::time::sleep(POLL).await,
        }
        let status = administration.collection_status().await?;
        let due = status.due.links + status.due.manifests + status.due.blobs + status.removals;
        if due == 0 {
            let bytes = status.collected_bytes - before.collected_bytes;
            let removed = KindCounts {
                links: status.collected.links - before.collected.links,
                manifests: status.collected.manifests - before.collected.manifests,
                blobs: status.collected.blobs - before.collected.blobs,
            };
            let value = json!({ "removed": counts_json(&removed), "bytes": bytes });
            print(output, &value, || format!("removed {}, {bytes} bytes\n", counts_text(&removed)));
            return Ok(());
        }
        eprintln!("{due} entries are due");
    }
}

fn counts_json(counts: &KindCounts) -> Value {
    json!({ "links": counts.links, "manifests": counts.manifests, "blobs": counts.blobs })
}

fn counts_text(counts: &KindCounts) -> String {
    format!("{} links, {} manifests, {} blobs", counts.links, counts.manifests, counts.blobs)
}

fn status_json(status: &CollectionStatus) -> Value {
    json!({
        "queued": counts_json(&status.queued),
        "due": counts_json(&status.due),
        "oldest_due": status.oldest_due.map(|time| time.to_string()),
        "untagged_kept": status.untagged_kept,
        "removals": { "blobs": status.removals, "bytes": status.removal_bytes },
        "collected": counts_json(&status.collected),
        "collected_bytes": status.collected_bytes,
    })
}

fn status_text(status: &CollectionStatus) -> String {
    let oldest = status.oldest_due.map(|time| format!(", the oldest since {time}")).unwrap_or_default();
    format!(
        "queued     {}\ndue        {}{oldest}\nuntagged   {} manifests are kept by the policy\nremovals   {} blobs wait, {} bytes\ncollected  {}, {} bytes\n",
        counts_text(&status.queued),
        counts_text(&status.due),
        status.untagged_kept,
        status.removals,
        status.removal_bytes,
        counts_text(&status.collected),
        status.collected_bytes,
    )
}

fn candidate(candidate: &Candidate) -> (&'static str, String) {
    match candidate {
        Candidate::Link { repository, digest } => ("link", format!("{repository}@{digest}")),
        Candidate::Manifest { repository, digest } => ("manifest", format!("{repository}@{digest}")),
        Candidate::Blob { digest, .. } => ("blob", digest.to_string()),
    }
}

fn verdict(verdict: &Verdict) -> (bool, String) {
    match verdict {
        Verdict::Remove(reason) => (true, removal(reason)),
        Verdict::Keep(reason) => (false, keep(reason)),
    }
}

fn removal(reason: &RemovalReason) -> String {
    match reason {
        RemovalReason::Unreferenced => "no manifest of the repository names it".to_owned(),
        RemovalReason::Untagged { since } => format!("it has had no tag since {since}"),
        RemovalReason::SubjectDeleted { at } => format!("its subject was deleted at {at}"),
        RemovalReason::Unlinked => "no repository links it".to_owned(),
    }
}

fn keep(reason: &KeepReason) -> String {
    match reason {
        KeepReason::Leased { until } => format!("it is leased until {until}"),
        KeepReason::Named { by } => format!("the manifest {by} names it"),
        KeepReason::Tagged { tag } => format!("it has the tag {tag}"),
        KeepReason::Child { of } => format!("the index {of} names it"),
        KeepReason::Refers { to } => format!("it refers to {to}"),
        KeepReason::UntaggedKept => "the policy keeps untagged manifests".to_owned(),
        KeepReason::UntaggedUntil { until } => format!("the policy keeps it until {until}"),
        KeepReason::Linked { by } => format!("the repository {by} links it"),
    }
}

fn dry_run_json(run: &DryRun) -> Value {
    let decision = |decision: &Decision| {
        let (kind, name) = candidate(&decision.candidate);
        let (goes, reason) = verdict(&decision.verdict);
        json!({ "kind": kind, "name": name, "remove": goes, "reason": reason })
    };
    let decisions: Vec<Value> = run.decisions.iter().map(decision).collect();
    json!({ "decisions": decisions, "bytes": run.bytes, "more": run.more })
}

fn dry_run_text(run: &DryRun) -> String {
    let mut text = String::new();
    for decision in &run.decisions {
        let (kind, name) = candidate(&decision.candidate);
        let (goes, reason) = verdict(&decision.verdict);
        let verb = if goes { "remove" } else { "keep" };
        text.push_str(&format!("{verb:6}  {kind:8}  {name}: {reason}\n"));
    }
    let more = if run.more { "; more is due than is shown" } else { "" };
    text.push_str(&format!("{} bytes would be freed{more}\n", run.bytes));
    text
}

fn explanation_json(digest: &Digest, found: &Explanation) -> Value {
    let chain = |chain: &Chain| {
        let steps: Vec<String> = chain.steps.iter().map(keep).collect();
        json!({ "repository": chain.repository, "steps": steps, "ends": chain.ends })
    };
    let chains: Vec<Value> = found.chains.iter().map(chain).collect();
    json!({
        "digest": digest,
        "size": found.blob.as_ref().map(|(size, _)| size),
        "location": found.blob.as_ref().and_then(|(_, location)| location.key()).map(ToString::to_string),
        "chains": chains,
        "more": found.more,
    })
}

fn explanation_text(digest: &Digest, found: &Explanation) -> String {
    let mut text = match &found.blob {
        Some((size, _)) => format!("{digest} is a blob of {size} bytes\n"),
        None => format!("{digest} is a manifest\n"),
    };
    if found.chains.is_empty() {
        text.push_str("nothing holds it: its bytes go when their turn comes\n");
    }
    for chain in &found.chains {
        text.push_str(&format!("in {}\n", chain.repository));
        for step in &chain.steps {
            text.push_str(&format!("  {}\n", keep(step)));
        }
        if chain.ends {
            text.push_str("  nothing holds that: it goes when its turn comes\n");
        }
    }
    if found.more {
        text.push_str("there are more chains; --limit shows more\n");
    }
    text
}
