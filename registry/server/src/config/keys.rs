//! Dotted keys: which there are, which one a misspelt one may have meant, and their environment variables.

use std::{collections::BTreeSet, net::SocketAddr};

use toml::{Table, Value};

use registry_core::{ByteSize, Text};

use super::{
    AdminConfig, AuthConfig, BlobsConfig, CollectionConfig, Config, DatabaseUrl, GitlabConfig, LimitsConfig,
    MetadataConfig, TlsConfig,
};
use crate::ServerError;

const PREFIX: &str = "SLIPWAY_REGISTRY_";

/// Lists of tables, which no variable can hold.
const TABLES: [&str; 5] = ["tag_rules", "quotas", "retention", "events.endpoints", "upstreams"];

/// Every key with a value of its type, derived from a configuration in which all optional keys are set.
fn known() -> Vec<(String, Value)> {
    let url = "http://host".parse().ok();
    let path = || Some("path".into());
    let full = Config {
        external_url: url.clone(),
        tls: TlsConfig { certificate: path(), key: path(), ..TlsConfig::default() },
        auth: AuthConfig {
            issuer: Some("name".to_owned()),
            gitlab: GitlabConfig { realm: url.clone(), certificates: path() },
            ..AuthConfig::default()
        },
        limits: LimitsConfig { layer_bytes: Some(Text(ByteSize(1))), ..LimitsConfig::default() },
        collection: CollectionConfig { untagged_seconds: Some(1), ..CollectionConfig::default() },
        metadata: MetadataConfig {
            url: Some(DatabaseUrl::new("postgres://host")),
            ..MetadataConfig::default()
        },
        blobs: BlobsConfig {
            url: url.clone(),
            endpoint: url.clone(),
            region: Some("name".to_owned()),
            ..BlobsConfig::default()
        },
        admin: AdminConfig { listen: Some(SocketAddr::from(([127, 0, 0, 1], 1))), ..AdminConfig::default() },
        ..Config::default()
    };
    let mut keys = Vec::new();
    if let Ok(table) = Table::try_from(full) {
        flatten("", &table, &mut keys);
    }
    keys
}

fn flatten(prefix: &str, table: &Table, keys: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, keys),
            _ => keys.push((key, value.clone())),
        }
    }
}

/// Refuses keys of a file that are not known.
pub(super) fn refuse_unknown(table: &Table) -> Result<(), ServerError> {
    let names: BTreeSet<String> = known().into_iter().map(|(key, _)| key).collect();
    let mut given = Vec::new();
    flatten("", table, &mut given);
    for (key, _) in given {
        if !names.contains(&key) {
            return Err(unknown(&key, names.iter().map(String::as_str)));
        }
    }
    Ok(())
}

fn unknown<'n>(key: &str, names: impl Iterator<Item = &'n str>) -> ServerError {
    let nearest = names.min_by_key(|name| distance(key, name)).unwrap_or_default();
    ServerError::Config(format!("configuration: there is no key {key}; did you mean {nearest}?"))
}

/// Values from variables such as `SLIPWAY_REGISTRY_AUTH_MODE`, read as their key's type.
pub(super) fn from_environment(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<(String, Value)>, ServerError> {
    let known = known();
    let variable_of = |key: &str| format!("{PREFIX}{}", key.replace('.', "_").to_uppercase());
    let mut values = Vec::new();
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        if is_service_link(rest) {
            continue;
        }
        let Some((key, example)) = known.iter().find(|(key, _)| variable_of(key) == variable) else {
            let names: Vec<String> = known.iter().map(|(key, _)| variable_of(key)).collect();
            return Err(unknown(&variable, names.iter().map(String::as_str)));
        };
        if TABLES.contains(&key.as_str()) {
            // Without the text: it may hold a secret.
            return Err(ServerError::Config(format!(
                "{variable}: {key} can only be set in the configuration file"
            )));
        }
        let value = match example {
            Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
            Value::Integer(_) => text.parse().ok().map(Value::Integer),
            Value::Array(_) => Some(list(&text)),
            _ => Some(Value::String(text.clone())),
        };
        let value = value.ok_or_else(|| {
            ServerError::Config(format!("{variable} is {text:?}, but it must be {}", kind(example)))
        })?;
        values.push((key.clone(), value));
    }
    Ok(values)
}

/// A list stands in one variable with commas between; an empty text is an empty list.
fn list(text: &str) -> Value {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Value::Array(entries.map(|entry| Value::String(entry.to_owned())).collect())
}

/// A value's type with its article.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Boolean(_) => "true or false",
        Value::Integer(_) => "a whole number",
        Value::Array(_) => "a list with commas between",
        _ => "a text",
    }
}

/// Kubernetes gives every pod variables for the services beside it; those of a service named `slipway-registry` begin
/// as ours do.
fn is_service_link(rest: &str) -> bool {
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

/// Puts a value under a dotted key, making the tables on the way.
pub(super) fn insert(table: &mut Table, key: impl AsRef<str>, value: Value) {
    match key.as_ref().split_once('.') {
        None => {
            table.insert(key.as_ref().to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Edits that turn one text into the other (Levenshtein's distance).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        for (slot, to) in row.iter_mut().skip(1).zip(&right) {
            let changed = diagonal + usize::from(from != *to);
            diagonal = *slot;
            *slot = changed.min(before + 1).min(diagonal + 1);
            before = *slot;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
