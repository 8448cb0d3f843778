//! `RUN --mount=...`: every kind of mount and every option of it.

use super::csv::fields;
use crate::ast::{MountKind, MountSharing, RunMount, Text};
use crate::error::{Error, Problem};
use crate::expand::{ExpandProblem, Expander};
use crate::suggest::nearest;

/// Names of the options, the last words of a suggestion.
const OPTIONS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
];
const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];

/// What is wrong with a mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountProblem {
    #[error("--mount={text} is no list of comma-separated options")]
    NotCsv { text: String },
    #[error("--mount has no option {name:?}")]
    UnknownOption { name: String },
    #[error("{value:?} is no value for {option} of --mount")]
    Value { option: &'static str, value: String, expected: &'static [&'static str] },
    #[error("{option} of --mount needs a value")]
    NoValue { option: String },
    #[error("a {kind} mount has no option {option}")]
    NotForKind { kind: &'static str, option: &'static str },
    #[error("from of --mount cannot hold a variable")]
    FromVariable,
    #[error("a secret mount needs one of id, source and target")]
    SecretWithoutName,
    #[error("a secret mount takes source or id, not both")]
    SecretNamedTwice,
}

impl MountProblem {
    pub(crate) fn mend(&self) -> Option<String> {
        match self {
            Self::NotCsv { .. } => Some("write --mount=type=TYPE,name=value,...".to_owned()),
            Self::UnknownOption { name } => match nearest(name, OPTIONS) {
                Some(option) => Some(format!("did you mean {option}?")),
                None => Some(format!("the options are {}", OPTIONS.join(", "))),
            },
            Self::Value { value, expected, .. } => match nearest(value, expected.iter().copied()) {
                Some(word) => Some(format!("did you mean {word}?")),
                None => Some(format!("use {}", expected.join(", "))),
            },
            Self::NoValue { option } => Some(format!("write {option}=VALUE")),
            Self::FromVariable => {
                Some("give the image a stage with FROM, where variables can be used".to_owned())
            }
            Self::NotForKind { .. } | Self::SecretWithoutName | Self::SecretNamedTwice => None,
        }
    }
}

/// A mount with its options read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub kind: MountKind,
    /// A stage, an image or a named context; empty for the build context.
    pub from: String,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub id: String,
    pub sharing: Option<MountSharing>,
    /// A step fails when the secret or agent is not there.
    pub required: bool,
    /// Limit of a tmpfs in bytes; zero for none.
    pub size: u64,
    /// The variable that holds a secret; empty for its default name.
    pub env: Option<String>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// Reads the fields of a mount, and checks them now if they hold no variable.
pub(super) fn parse_mount(given: Text, escape: char) -> Result<RunMount, Error> {
    let problem = |problem: MountProblem| Error::new(Problem::Mount(problem), given.span);
    let Some(fields) = fields(&given.value) else {
        return Err(problem(MountProblem::NotCsv { text: given.value.clone() }));
    };
    for field in &fields {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let name = name.to_ascii_lowercase();
        if !OPTIONS.contains(&name.as_str()) {
            return Err(problem(MountProblem::UnknownOption { name }));
        }
        // A single `$` at the end is no variable.
        if name == "from" && value.find('$').is_some_and(|at| at + 1 != value.len()) {
            return Err(problem(MountProblem::FromVariable));
        }
    }
    let mount = RunMount { fields, span: given.span };
    if !given.value.contains('$') {
        let expander = Expander::new(escape);
        Mount::resolve(&mount, |value| expander.word(value, &[]).map(|expansion| expansion.text))?;
    }
    Ok(mount)
}

impl Mount {
    /// Reads a mount; `expand` gives each value its variables.
    pub fn resolve(
        mount: &RunMount,
        expand: impl Fn(&str) -> Result<String, ExpandProblem>,
    ) -> Result<Self, Error> {
        let error = |problem: Problem| Error::new(problem, mount.span);
        let mut options = Vec::with_capacity(mount.fields.len());
        for field in &mount.fields {
            let (name, value) = match field.split_once('=') {
                Some((name, value)) => (name, Some(expand(value).map_err(|problem| error(problem.into()))?)),
                None => (field.as_str(), None),
            };
            options.push((name.to_ascii_lowercase(), value));
        }
        Self::from_options(options).map_err(|problem| error(problem.into()))
    }

    fn from_options(options: Vec<(String, Option<String>)>) -> Result<Self, MountProblem> {
        let mut mount = Self::of_kind(MountKind::Bind);
        let mut read_only = None;
        for (name, value) in options {
            let switch = |option: &'static str, value: Option<&str>| match value.map(parse_bool) {
                None => Ok(true),
                Some(Some(value)) => Ok(value),
                Some(None) => Err(bad(option, value.unwrap_or_default(), &["true", "false"])),
            };
            match (name.as_str(), value) {
                ("readonly" | "ro", value) => read_only = Some(switch("readonly", value.as_deref())?),
                ("readwrite" | "rw", value) => read_only = Some(!switch("readwrite", value.as_deref())?),
                ("required", value) => {
                    mount.only_for("required", &[MountKind::Secret, MountKind::Ssh])?;
                    mount.required = switch("required", value.as_deref())?;
                }
                (_, None) => return Err(MountProblem::NoValue { option: name }),
                ("type", Some(value)) => mount.kind = kind(&value)?,
                ("from", Some(value)) => mount.from = value,
                ("source" | "src", Some(value)) => mount.source = value,
                ("target" | "dst" | "destination", Some(value)) => mount.target = value,
                ("size", Some(value)) => {
                    mount.only_for("size", &[MountKind::Tmpfs])?;
                    mount.size = parse_size(&value).ok_or_else(|| {
                        bad("size", &value, &["a number of bytes", "a number with k, m or g"])
                    })?;
                }
                ("id", Some(value)) => mount.id = value,
                ("sharing", Some(value)) => mount.sharing = Some(sharing(&value)?),
                ("mode", Some(value)) => mount.mode = Some(number("mode", &value, 8)?),
                ("uid", Some(value)) => mount.uid = Some(number("uid", &value, 10)?),
                ("gid", Some(value)) => mount.gid = Some(number("gid", &value, 10)?),
                ("env", Some(value)) => mount.env = Some(value),
                (_, Some(_)) => return Err(MountProblem::UnknownOption { name }),
            }
        }
        mount.check()?;
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
        Ok(mount)
    }

    fn of_kind(kind: MountKind) -> Self {
        Self {
            kind,
            from: String::new(),
            source: String::new(),
            target: String::new(),
            read_only: false,
            id: String::new(),
            sharing: None,
            required: false,
            size: 0,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        }
    }

    fn only_for(&self, option: &'static str, kinds: &[MountKind]) -> Result<(), MountProblem> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        Err(MountProblem::NotForKind { kind: self.kind.name(), option })
    }

    fn check(&self) -> Result<(), MountProblem> {
        let owned = [MountKind::Secret, MountKind::Ssh, MountKind::Cache];
        for (option, given) in
            [("mode", self.mode.is_some()), ("uid", self.uid.is_some()), ("gid", self.gid.is_some())]
        {
            if given {
                self.only_for(option, &owned)?;
            }
        }
        if self.sharing.is_some() {
            self.only_for("sharing", &[MountKind::Cache])?;
        }
        if self.kind == MountKind::Secret {
            if !self.from.is_empty() {
                return Err(MountProblem::NotForKind { kind: "secret", option: "from" });
            }
            if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
                return Err(MountProblem::SecretWithoutName);
            }
            if !self.source.is_empty() && !self.id.is_empty() {
                return Err(MountProblem::SecretNamedTwice);
            }
        }
        Ok(())
    }
}

impl MountKind {
    /// The word in `type=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

fn bad(option: &'static str, value: &str, expected: &'static [&'static str]) -> MountProblem {
    MountProblem::Value { option, value: value.to_owned(), expected }
}

fn kind(value: &str) -> Result<MountKind, MountProblem> {
    Ok(match value.to_ascii_lowercase().as_str() {
        "bind" => MountKind::Bind,
        "cache" => MountKind::Cache,
        "tmpfs" => MountKind::Tmpfs,
        "secret" => MountKind::Secret,
        "ssh" => MountKind::Ssh,
        _ => return Err(bad("type", value, &KINDS)),
    })
}

fn sharing(value: &str) -> Result<MountSharing, MountProblem> {
    Ok(match value.to_ascii_lowercase().as_str() {
        "shared" => MountSharing::Shared,
        "private" => MountSharing::Private,
        "locked" => MountSharing::Locked,
        _ => return Err(bad("sharing", value, &SHARINGS)),
    })
}

fn number(option: &'static str, value: &str, radix: u32) -> Result<u32, MountProblem> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let expected: &[&str] = if radix == 8 { &["an octal number"] } else { &["a number"] };
    u32::from_str_radix(value, radix).ok().filter(|_| digits).ok_or_else(|| bad(option, value, expected))
}

/// The truth values of Go's `strconv.ParseBool`.
pub(super) fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number with an optional binary unit: `100`, `64k`, `1.5GiB`.
fn parse_size(value: &str) -> Option<u64> {
    let end = value.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let size = number.parse::<f64>().ok()? * (1_u64 << shift) as f64;
    (size.is_finite() && size < u64::MAX as f64).then_some(size as u64)
}
