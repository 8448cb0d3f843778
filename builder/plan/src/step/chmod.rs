//! `--chmod=MODE`, octal or symbolic as in chmod(1) with an empty umask.

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;
const OTHERS: u32 = 0o007;
/// All bits that `a` stands for.
const EVERYONE: u32 = SET_USER | SET_GROUP | 0o777;

/// A mode, or changes to one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chmod {
    written: String,
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Change {
    Clear(u32),
    Set(u32),
    /// `X`: only for directories and what someone can already execute.
    SetIfExecutable(u32),
    /// `u`, `g` or `o` behind an operator: the bits of that class, given to the classes in `who`.
    Class {
        shift: u32,
        who: u32,
        operator: char,
    },
}

impl Chmod {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)?;
            return Some(Self {
                written: text.to_owned(),
                changes: vec![Change::Clear(0o7777), Change::Set(mode)],
            });
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut changes)?;
        }
        Some(Self { written: text.to_owned(), changes })
    }

    /// The mode as it was given.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The mode of a file that had `mode`; permission bits only, the file's type is kept out of both.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let executable = is_directory || mode & EXECUTE != 0;
        self.changes.iter().fold(mode & 0o7777, |mode, change| match *change {
            Change::Clear(bits) => mode & !bits,
            Change::Set(bits) => mode | bits,
            Change::SetIfExecutable(bits) if executable => mode | bits,
            Change::SetIfExecutable(_) => mode,
            Change::Class { shift, who, operator } => {
                let class = mode >> shift & OTHERS;
                let bits = (class << 6 | class << 3 | class) & who;
                match operator {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => mode & !(who & 0o777) | bits,
                }
            }
        })
    }
}

/// `[ugoa]*([+-=][rwxXstugo]*)+`
fn parse_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let classes = clause.find(|c| !matches!(c, 'u' | 'g' | 'o' | 'a'))?;
    let (classes, mut rest) = clause.split_at(classes);
    let who = classes.chars().fold(0, |who, class| {
        who | match class {
            'u' => SET_USER | 0o700,
            'g' => SET_GROUP | 0o070,
            'o' => OTHERS,
            _ => EVERYONE,
        }
    });
    let others_only = who == OTHERS;
    let who = if who == 0 { EVERYONE } else { who };
    while let Some(operator) = rest.chars().next() {
        if !matches!(operator, '+' | '-' | '=') {
            return None;
        }
        rest = rest.get(1..)?;
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        let (permissions, next) = rest.split_at(end);
        rest = next;
        if operator == '=' {
            changes.push(Change::Clear(who));
        }
        for permission in permissions.chars() {
            let bits = match permission {
                'r' => 0o444 & who,
                'w' => 0o222 & who,
                'x' => EXECUTE & who,
                'X' if operator == '-' => EXECUTE & who,
                'X' => {
                    changes.push(Change::SetIfExecutable(EXECUTE & who));
                    continue;
                }
                's' => (SET_USER | SET_GROUP) & who,
                't' if others_only => 0,
                't' => STICKY,
                'u' | 'g' | 'o' => {
                    let shift = match permission {
                        'u' => 6,
                        'g' => 3,
                        _ => 0,
                    };
                    changes.push(Change::Class { shift, who, operator });
                    continue;
                }
                _ => return None,
            };
            changes.push(if operator == '-' { Change::Clear(bits) } else { Change::Set(bits) });
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, mode, is_directory, expected) in [
            ("755", 0o600, false, 0o755),
            ("0", 0o777, false, 0),
            ("4755", 0o600, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o777, false, 0o700),
            ("go=", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("g=u-w", 0o640, false, 0o640),
            ("o+g", 0o750, false, 0o755),
            ("u+s,g+s,+t", 0o755, false, 0o7755),
            ("u=", 0o4755, false, 0o055),
            ("o+s", 0o644, false, 0o644),
            ("o+t", 0o644, false, 0o644),
            ("u+x-w", 0o644, false, 0o544),
            ("a-X", 0o755, false, 0o644),
            ("ugo=r", 0o777, false, 0o444),
        ] {
            let chmod = Chmod::parse(text).expect(text);
            assert_eq!(
                format!("{:o}", chmod.apply(mode, is_directory)),
                format!("{expected:o}"),
                "{text} on {mode:o}"
            );
        }
    }

    #[test]
    fn bad_modes() {
        for text in ["", "8", "77777", "10000", "rwx", "u", "u+z", "u=rw,", ",u=r", "é", "+é", "u x", "0o755"]
        {
            assert_eq!(Chmod::parse(text), None, "{text}");
        }
    }
}
