//! Names and numbers of signals for `STOPSIGNAL`.

/// Linux's signals, without `SIG`.
const NAMES: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
];

/// How far the real-time signals reach from either end.
const REAL_TIME_REACH: std::ops::RangeInclusive<u8> = 1..=15;

pub(super) fn is_signal(text: &str) -> bool {
    if text.parse::<i32>().is_ok_and(|number| number > 0) {
        return true;
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |text: &str| {
        text.parse::<u8>().is_ok_and(|number| REAL_TIME_REACH.contains(&number) && number.to_string() == text)
    };
    NAMES.contains(&name)
        || name == "RTMAX"
        || name.strip_prefix("RTMIN+").is_some_and(offset)
        || name.strip_prefix("RTMAX-").is_some_and(|text| offset(text) && text != "15")
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn signals() {
        for text in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-14", "SIGRTMAX"] {
            assert!(is_signal(text), "{text}");
        }
        for text in ["", "0", "-1", "SIGNOPE", "RTMIN+16", "RTMAX-15", "RTMIN+x", "SIG"] {
            assert!(!is_signal(text), "{text}");
        }
    }
}
