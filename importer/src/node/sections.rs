//! The output of a script that runs several commands in a node, taken apart: each command's output stands
//! between two marker lines, the second with its exit status.

use std::collections::HashMap;

use super::failure;
use crate::ImportError;

const OPEN: &str = "--slipway-section ";
const CLOSE: &str = "--slipway-status ";

/// Shell functions for such scripts: `section NAME COMMAND...`, and `c`, which is `ctr` at address `$a`.
pub(crate) const FUNCTIONS: &str = r#"
section() {
    printf '\n--slipway-section %s\n' "$1"; shift
    "$@"; printf '\n--slipway-status %s\n' "$?"
}
c() { ctr -a "$a" -n k8s.io "$@"; }
"#;

/// The parts of a script's output: text and exit status by name.
#[derive(Debug)]
pub(crate) struct Sections(HashMap<String, (String, i64)>);

impl Sections {
    pub(crate) fn parse(output: &str) -> Self {
        let mut sections = HashMap::new();
        let mut open: Option<(String, String)> = None;
        for line in output.lines() {
            if let Some(name) = line.strip_prefix(OPEN) {
                open = Some((name.to_owned(), String::new()));
            } else if let Some(status) = line.strip_prefix(CLOSE) {
                if let (Some((name, text)), Ok(status)) = (open.take(), status.trim().parse()) {
                    sections.insert(name, (text, status));
                }
            } else if let Some((_, text)) = &mut open {
                text.push_str(line);
                text.push('\n');
            }
        }
        Self(sections)
    }

    /// The text of a section whose command succeeded.
    pub(crate) fn succeeded(
        &self,
        name: &'static str,
        command: &str,
        stderr: &str,
    ) -> Result<&str, ImportError> {
        match self.0.get(name) {
            Some((text, 0)) => Ok(text),
            Some((_, status)) => Err(failure::classify(command, *status, stderr)),
            None => Err(ImportError::NodeAnswer {
                command: command.to_owned(),
                reason: failure::reason(stderr).unwrap_or_else(|| "its output ends early".to_owned()),
            }),
        }
    }

    /// The text of a section whatever its status; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |(text, _)| text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const OPEN_LINE: &str = OPEN;
    pub(crate) const CLOSE_LINE: &str = CLOSE;

    proptest! {
        #[test]
        fn sections_come_back_as_written(
            parts in proptest::collection::btree_map("[a-z]{1,8}", ("([ -,.-~]{0,20}\n){0,4}", 0_i64..256), 0..6),
        ) {
            let mut output = String::new();
            for (name, (text, status)) in &parts {
                output += &format!("noise\n{OPEN}{name}\n{text}{CLOSE}{status}\n");
            }
            let sections = Sections::parse(&output);
            for (name, (text, status)) in &parts {
                prop_assert_eq!(sections.0.get(name), Some(&(text.clone(), *status)));
            }
        }
    }
}
