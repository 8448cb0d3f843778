//! `RUN [flags] COMMAND`

use super::Parts;
use super::csv::fields;
use super::flags::{Flags, bad_value};
use super::mount::parse_mount;
use crate::ast::{Device, Network, Run, RunFlags, Security, Text};
use crate::error::Error;
use crate::source::Spanned;

pub(super) fn parse(parts: Parts<'_>) -> Result<Run, Error> {
    let mut flags = Flags::read(&parts, &["mount", "network", "security", "device"])?;
    let mounts = flags
        .values("mount")?
        .into_iter()
        .map(|given| parse_mount(given, parts.escape))
        .collect::<Result<_, _>>()?;
    let network = flags.value("network")?.map(network).transpose()?;
    let security = flags.value("security")?.map(security).transpose()?;
    let devices = flags.values("device")?.into_iter().map(device).collect::<Result<_, _>>()?;
    let command = parts.command()?;
    Ok(Run { flags: RunFlags { mounts, network, security, devices }, command, heredocs: parts.heredocs })
}

fn network(given: Text) -> Result<Spanned<Network>, Error> {
    let network = match given.value.as_str() {
        "default" => Network::Default,
        "none" => Network::None,
        "host" => Network::Host,
        _ => return Err(bad_value("network", given, "default, none or host")),
    };
    Ok(Spanned::new(network, given.span))
}

fn security(given: Text) -> Result<Spanned<Security>, Error> {
    let security = match given.value.as_str() {
        "sandbox" => Security::Sandbox,
        "insecure" => Security::Insecure,
        _ => return Err(bad_value("security", given, "sandbox or insecure")),
    };
    Ok(Spanned::new(security, given.span))
}

/// `NAME[,required]` or `name=NAME[,required=BOOL]`; a name such as `vendor.com/class=device` may hold a `=`.
fn device(given: Text) -> Result<Spanned<Device>, Error> {
    const EXPECTED: &str = "a device name, and required where the step cannot do without it";
    let mut name: Option<String> = None;
    let mut required = false;
    let Some(fields) = fields(&given.value) else {
        return Err(bad_value("device", given, EXPECTED));
    };
    for field in fields {
        let known = match field.split_once('=') {
            None if field.eq_ignore_ascii_case("required") => Some(true),
            Some((key, value)) if key.eq_ignore_ascii_case("required") => {
                match super::mount::parse_bool(value) {
                    Some(value) => Some(value),
                    None => return Err(bad_value("device", given, EXPECTED)),
                }
            }
            _ => None,
        };
        match (known, field.split_once('=')) {
            (Some(value), _) => required = value,
            (None, Some((key, value))) if name.is_none() && key.eq_ignore_ascii_case("name") => {
                name = Some(value.to_owned());
            }
            (None, _) if name.is_none() => name = Some(field),
            (None, _) => return Err(bad_value("device", given, EXPECTED)),
        }
    }
    match name.filter(|name| !name.is_empty()) {
        Some(name) => Ok(Spanned::new(Device { name, required }, given.span)),
        None => Err(bad_value("device", given, EXPECTED)),
    }
}
