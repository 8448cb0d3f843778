//! `--chmod`: an octal mode, or changes in chmod's symbolic form (POSIX chmod, "Extended Description").

use std::str::FromStr;

use crate::error::StoreError;

/// A mode or a change of mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange(Change);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Octal(u32),
    Clauses(Vec<Clause>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clause {
    /// Bits of the classes it speaks of, such as `0o700` for the user.
    classes: u32,
    operator: Operator,
    permissions: Permissions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permissions {
    Bits {
        /// `rwx` as 4, 2, 1.
        bits: u32,
        /// `X`: execution where it is a directory or anybody may execute it already.
        execute_if_useful: bool,
        /// `s` and `t`.
        set_id: bool,
        sticky: bool,
    },
    /// What a class has now, by its place in the mode.
    Copy { shift: u32 },
}

const USER: u32 = 0o700;
const GROUP: u32 = 0o070;
const OTHER: u32 = 0o007;
const ALL: u32 = USER | GROUP | OTHER;
const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const HIGHEST: u32 = 0o7777;

impl ModeChange {
    /// Who may read, write and execute, if that is given as a whole: in octal. Without set-id bits and sticky bit.
    pub fn permissions(&self) -> Option<u32> {
        match &self.0 {
            Change::Octal(octal) => Some(octal & ALL),
            Change::Clauses(_) => None,
        }
    }

    /// The mode of a file that has `mode` now.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match &self.0 {
            Change::Octal(octal) => *octal,
            Change::Clauses(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory))
            }
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let spread = |bits: u32| (bits | bits << 3 | bits << 6) & self.classes;
        let mut special = 0;
        let bits = match self.permissions {
            Permissions::Copy { shift } => spread(mode >> shift & 0o7),
            Permissions::Bits { bits, execute_if_useful, set_id, sticky } => {
                if set_id && self.classes & USER != 0 {
                    special |= SET_USER_ID;
                }
                if set_id && self.classes & GROUP != 0 {
                    special |= SET_GROUP_ID;
                }
                if sticky {
                    special |= STICKY;
                }
                let useful = execute_if_useful && (is_directory || mode & 0o111 != 0);
                spread(bits | u32::from(useful))
            }
        };
        match self.operator {
            Operator::Add => mode | bits | special,
            Operator::Remove => mode & !(bits | special),
            Operator::Set => {
                let mut cleared = self.classes;
                // A directory's set-id bits go only when they are named, as with chmod.
                if !is_directory {
                    cleared |= if self.classes & USER != 0 { SET_USER_ID } else { 0 };
                    cleared |= if self.classes & GROUP != 0 { SET_GROUP_ID } else { 0 };
                }
                mode & !cleared | bits | special
            }
        }
    }
}

impl FromStr for ModeChange {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        parse(text).map(Self).ok_or_else(|| StoreError::Malformed {
            text: crate::error::shown(text.as_bytes()),
            expected: "a file mode: write it in octal, such as 755, or as changes, such as u=rwX,go=rX",
        })
    }
}

fn parse(text: &str) -> Option<Change> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let mode = u32::from_str_radix(text, 8).ok()?;
        return (mode <= HIGHEST).then_some(Change::Octal(mode));
    }
    let mut clauses = Vec::new();
    for clause in text.split(',') {
        let start = clause.find(['+', '-', '='])?;
        let (who, mut actions) = clause.split_at(start);
        let classes = who.chars().try_fold(0, |classes, class| Some(classes | class_bits(class)?))?;
        let classes = if who.is_empty() { ALL } else { classes };
        while !actions.is_empty() {
            let operator = match actions.as_bytes()[0] {
                b'+' => Operator::Add,
                b'-' => Operator::Remove,
                _ => Operator::Set,
            };
            let rest = &actions[1..];
            let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
            let permissions = permissions(&rest[..end])?;
            clauses.push(Clause { classes, operator, permissions });
            actions = &rest[end..];
        }
    }
    Some(Change::Clauses(clauses))
}

fn class_bits(class: char) -> Option<u32> {
    match class {
        'u' => Some(USER),
        'g' => Some(GROUP),
        'o' => Some(OTHER),
        'a' => Some(ALL),
        _ => None,
    }
}

fn permissions(text: &str) -> Option<Permissions> {
    match text {
        "u" => return Some(Permissions::Copy { shift: 6 }),
        "g" => return Some(Permissions::Copy { shift: 3 }),
        "o" => return Some(Permissions::Copy { shift: 0 }),
        _ => {}
    }
    let (mut bits, mut execute_if_useful, mut set_id, mut sticky) = (0, false, false, false);
    for permission in text.chars() {
        match permission {
            'r' => bits |= 4,
            'w' => bits |= 2,
            'x' => bits |= 1,
            'X' => execute_if_useful = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(Permissions::Bits { bits, execute_if_useful, set_id, sticky })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn changes_are_chmods() {
        let cases = [
            ("755", 0o600, false, 0o755),
            ("04711", 0, false, 0o4711),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o610, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("go=", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("o=g-w", 0o660, false, 0o664),
            ("u+s,g+s,+t", 0o755, false, 0o7755),
            ("u=rwx", 0o4644, false, 0o744),
            ("g=rx", 0o2755, true, 0o2755),
            ("ug+rw-x", 0o111, false, 0o661),
        ];
        for (text, before, is_directory, after) in cases {
            let change: ModeChange = text.parse().unwrap();
            assert_eq!(change.apply(before, is_directory), after, "{text} of {before:o}");
        }
        for text in ["", "rwx", "u", "999", "10000", "u=q", "z+x", "u+x,", "u=rwx go"] {
            assert!(text.parse::<ModeChange>().is_err(), "{text:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails(text in ".{0,12}", mode in 0_u32..=0o7777) {
            if let Ok(change) = text.parse::<ModeChange>() {
                prop_assert!(change.apply(mode, true) <= HIGHEST);
            }
        }
    }
}
