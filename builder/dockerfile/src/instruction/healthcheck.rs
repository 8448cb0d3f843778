//! `HEALTHCHECK NONE` and `HEALTHCHECK [flags] CMD ...`

use super::Parts;
use super::flags::{Flags, bad_value};
use crate::ast::{CommandLine, Healthcheck, Probe};
use crate::duration::parse_duration;
use crate::error::{Error, Problem};
use crate::split::trimmed;

/// Docker's shortest interval, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

pub(super) fn parse(parts: &Parts<'_>) -> Result<Healthcheck, Error> {
    let known = &["interval", "timeout", "start-period", "start-interval", "retries"];
    let mut flags = Flags::read(parts, known)?;
    let text = parts.text();
    let length = text.value.find(char::is_whitespace).unwrap_or(text.value.len());
    let (kind, _) = text.value.split_at(length);
    let start = parts.arguments.start;
    let rest = trimmed(&parts.line.text, start + length..parts.arguments.end);
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(parts.wrong_arguments("CMD and a command, or NONE")),
        "NONE" if rest.is_empty() && parts.flags.is_empty() => Ok(Healthcheck::None),
        "NONE" => Err(parts.error(Problem::HealthcheckNone)),
        "CMD" => {
            let command = parts.command_in(&rest)?;
            let empty = match &command {
                CommandLine::Shell(text) => text.value.is_empty(),
                CommandLine::Exec(words) => words.is_empty(),
            };
            if empty {
                return Err(parts.wrong_arguments("a command after CMD"));
            }
            Ok(Healthcheck::Probe(Probe {
                command,
                interval: duration(&mut flags, "interval")?,
                timeout: duration(&mut flags, "timeout")?,
                start_period: duration(&mut flags, "start-period")?,
                start_interval: duration(&mut flags, "start-interval")?,
                retries: retries(&mut flags)?,
            }))
        }
        _ => {
            let span = parts.line.source_span(start, start + length);
            Err(Error::new(Problem::HealthcheckKind { found: kind.to_owned() }, span))
        }
    }
}

fn duration(flags: &mut Flags, flag: &'static str) -> Result<i64, Error> {
    let Some(given) = flags.value(flag)?.filter(|given| !given.value.is_empty()) else {
        return Ok(0);
    };
    match parse_duration(&given.value) {
        Some(value) if value == 0 || value >= SHORTEST => Ok(value),
        Some(_) => Err(bad_value(flag, given, "a duration of at least 1ms")),
        None => Err(bad_value(flag, given, "a duration such as 30s, 1m30s or 500ms")),
    }
}

fn retries(flags: &mut Flags) -> Result<u32, Error> {
    let Some(given) = flags.value("retries")?.filter(|given| !given.value.is_empty()) else {
        return Ok(0);
    };
    match given.value.parse::<i32>().ok().and_then(|retries| u32::try_from(retries).ok()) {
        Some(retries) => Ok(retries),
        None => Err(bad_value("retries", given, "a number that is not negative")),
    }
}
