//! `slipway builder prune` and `slipway builder usage`: what the builder's store holds, and less of it.

use builder_runtime::BuilderNamespace;
use builder_store::store::{PruneLimits, PruneReport, Usage, UsagePart};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{failed, open_store};
use crate::{
    arguments::{OutputFormat, Prune, UsageOptions},
    failure::Failure,
};

pub(super) fn prune(namespace: &BuilderNamespace, arguments: &Prune) -> Result<(), Failure> {
    let mut store = open_store(namespace, &arguments.storage)?;
    let size = if arguments.all { Some(0) } else { arguments.keep_storage };
    let limits = PruneLimits { size, unused_for: arguments.older_than, names: arguments.all };
    let report = if arguments.dry_run { store.would_prune(&limits) } else { store.prune(&limits) };
    let report = report.map_err(failed)?;
    match arguments.output {
        OutputFormat::Json => println!("{}", report_json(&report, arguments.dry_run)),
        OutputFormat::Text => println!("{}", report_text(&report, arguments.dry_run)),
    }
    Ok(())
}

pub(super) fn usage(namespace: &BuilderNamespace, arguments: &UsageOptions) -> Result<(), Failure> {
    let usage = open_store(namespace, &arguments.storage)?.usage().map_err(failed)?;
    match arguments.output {
        OutputFormat::Json => println!("{}", usage_json(&usage)),
        OutputFormat::Text => println!("{}", usage_text(&usage)),
    }
    Ok(())
}

fn report_json(report: &PruneReport, dry_run: bool) -> Value {
    json!({
        "dry_run": dry_run,
        "removed": {
            "names": report.names, "steps": report.steps, "snapshots": report.snapshots, "blobs": report.blobs,
        },
        "freed_bytes": report.freed,
        "left_bytes": report.left,
    })
}

fn report_text(report: &PruneReport, dry_run: bool) -> String {
    let removed: Vec<String> = [
        (report.names, "name"),
        (report.steps, "step"),
        (report.snapshots, "snapshot"),
        (report.blobs, "blob"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
    .collect();
    let removed = if removed.is_empty() { "nothing".to_owned() } else { removed.join(", ") };
    let (freed, left) = (bytes(report.freed), bytes(report.left));
    if dry_run {
        format!("would remove {removed}: would free {freed} and leave {left}")
    } else {
        format!("removed {removed}: {freed} freed, {left} left")
    }
}

fn usage_json(usage: &Usage) -> Value {
    let part = |part: &UsagePart| {
        json!({
            "count": part.count, "bytes": part.size, "reclaimable_bytes": part.reclaimable,
            "oldest_use": oldest_use(part),
        })
    };
    let images = usage.images.iter().map(|(name, digest)| json!({ "name": name, "digest": digest }));
    json!({
        "bytes": usage.size(),
        "reclaimable_bytes": usage.reclaimable(),
        "blobs": part(&usage.blobs),
        "snapshots": part(&usage.snapshots),
        "steps": part(&usage.steps),
        "images": images.collect::<Vec<_>>(),
    })
}

fn usage_text(usage: &Usage) -> String {
    let mut lines =
        vec![format!("{:10} {:>7} {:>12} {:>12}  {}", "KIND", "COUNT", "SIZE", "RECLAIMABLE", "OLDEST USE")];
    for (kind, part) in [("blobs", usage.blobs), ("snapshots", usage.snapshots), ("steps", usage.steps)] {
        let (size, reclaimable) = (bytes(part.size), bytes(part.reclaimable));
        let oldest = oldest_use(&part).unwrap_or_default();
        lines.push(format!("{kind:10} {:>7} {size:>12} {reclaimable:>12}  {oldest}", part.count));
    }
    let (size, reclaimable) = (bytes(usage.size()), bytes(usage.reclaimable()));
    lines.push(format!("{:18} {size:>12} {reclaimable:>12}", "all"));
    if !usage.images.is_empty() {
        lines.extend([String::new(), "IMAGES".to_owned()]);
        lines.extend(usage.images.iter().map(|(name, digest)| format!("{name}  {digest}")));
    }
    lines.join("\n")
}

/// To the second, in UTC.
fn oldest_use(part: &UsagePart) -> Option<String> {
    let time = OffsetDateTime::from(part.oldest_use?).replace_nanosecond(0).ok()?;
    time.format(&Rfc3339).ok()
}

/// In the largest unit of which there is at least one.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (count as f64, "B");
    for next in UNITS {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, next);
    }
    if unit == "B" { format!("{count} B") } else { format!("{amount:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_only_what_was_removed() {
        let report = PruneReport { steps: 1, blobs: 2, freed: 3 << 20, left: 5, ..PruneReport::default() };
        assert_eq!(report_text(&report, false), "removed 1 step, 2 blobs: 3.0 MiB freed, 5 B left");
        assert_eq!(
            report_text(&PruneReport::default(), true),
            "would remove nothing: would free 0 B and leave 0 B"
        );
    }

    #[test]
    fn amounts_are_readable() {
        let shown = [0, 1023, 1024, 1 << 30, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.0 GiB", "16777216.0 TiB"]);
    }
}
