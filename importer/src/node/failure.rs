//! Turns what a failed command in a node wrote into an error that a caller can act on.

use crate::{ImportError, docker::ExecOutput};

impl ExecOutput {
    /// An error unless `command` ended well. The Engine writes its own reasons, such as a program that does
    /// not exist, to standard output.
    pub(crate) fn succeeded(&self, command: &str) -> Result<(), ImportError> {
        match self.exit_code {
            0 => Ok(()),
            code if self.stderr.is_empty() => {
                Err(classify(command, code, &String::from_utf8_lossy(&self.stdout)))
            }
            code => Err(classify(command, code, &self.stderr)),
        }
    }
}

/// Exit code of a process ended by SIGKILL, as when its container ends.
const KILLED: i64 = 137;

/// The error of `command`, which ended with `code` after writing `stderr`.
pub(super) fn classify(command: &str, code: i64, stderr: &str) -> ImportError {
    let reason = reason(stderr).unwrap_or_else(|| match code {
        KILLED => "it was killed; did the node or its containerd end?".to_owned(),
        _ => "it gave no reason".to_owned(),
    });
    let lower = stderr.to_lowercase();
    let says = |words: &str| lower.contains(words);
    if says("no space left on device") || says("disk quota exceeded") {
        ImportError::NodeFull { reason }
    } else if says("content digest") && says("not found") {
        ImportError::MissingContent { reason }
    } else if says("connection refused")
        || says("failed to dial")
        || says("error reading from server")
        || says("transport is closing")
        || says("code = unavailable")
    {
        ImportError::ContainerdDown { reason }
    } else {
        ImportError::NodeCommand { command: command.to_owned(), code, reason }
    }
}

/// The line that tells why: the last one of `ctr` itself, else the last that is no log line about something
/// else, such as a deprecation.
pub(super) fn reason(stderr: &str) -> Option<String> {
    let is_by_the_way = |line: &&str| {
        (line.starts_with("time=") && !line.contains("level=error") && !line.contains("level=fatal"))
            || line.starts_with("WARN")
    };
    let lines = || stderr.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    lines()
        .find_map(|line| line.strip_prefix("ctr: "))
        .or_else(|| lines().find(|line| !is_by_the_way(line)))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let classify = |stderr: &str| classify("ctr images import", 1, stderr);
        let missing = classify(
            "time=\"x\" level=warning msg=\"DEPRECATION: cgroup v1\"\n\
             ctr: failed to extract layer: content digest sha256:ab: not found\ntime=\"y\" level=info",
        );
        match missing {
            ImportError::MissingContent { reason } => {
                assert_eq!(reason, "failed to extract layer: content digest sha256:ab: not found");
            }
            other => panic!("{other}"),
        }
        assert!(matches!(classify("ctr: write /x: no space left on device"), ImportError::NodeFull { .. }));
        assert!(matches!(
            classify("ctr: error reading from server: EOF: unavailable"),
            ImportError::ContainerdDown { .. }
        ));
        assert!(matches!(
            classify("ctr: failed to dial \"/run/x\": context deadline exceeded"),
            ImportError::ContainerdDown { .. }
        ));
        assert!(matches!(
            classify("ctr: image might be filtered out"),
            ImportError::NodeCommand { code: 1, .. }
        ));
        for silent in ["", "time=\"x\" level=warning msg=\"DEPRECATION: cgroup v1\""] {
            assert!(classify(silent).to_string().contains("it gave no reason"));
            assert!(super::classify("ctr", KILLED, silent).to_string().contains("it was killed"));
        }
    }
}
