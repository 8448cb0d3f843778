//! Scopes against access rules. The first line is what is asked for, each further one a rule of subject, pattern
//! and actions. What is given is asked for and allowed, by a second reading of the rules.

use registry_auth::{Account, MOST_SCOPES, Scope, decide, parse_scopes};
use registry_types::{AccessRule, AccountName, ActionSet, PathPattern, RepositoryName, Subject};

pub(crate) fn run(input: &[u8]) {
    let (asked, rest) = super::first_line(input);
    let asked = super::text(asked);
    let wanted = parse_scopes([&*asked]);
    assert!(wanted.len() <= MOST_SCOPES);
    let printed: Vec<String> = wanted.iter().map(Scope::to_string).collect();
    assert_eq!(parse_scopes([&*printed.join(" ")]), wanted, "{asked:?} is not what it prints as");

    let rules: Vec<AccessRule> = super::text(rest).lines().take(8).filter_map(rule).collect();
    let anna: AccountName = "anna".parse().expect("a name");
    for (account, admin) in [(None, false), (Some(&anna), false), (Some(&anna), true)] {
        let account = account.map(|name| Account { name, admin });
        let given = decide(account, &rules, &wanted);
        for scope in given.as_slice() {
            match scope {
                Scope::Catalog => assert!(admin && wanted.contains(&Scope::Catalog)),
                Scope::Repository { name, actions } => {
                    let asked = wanted.iter().find_map(|scope| match scope {
                        Scope::Repository { name: own, actions } if own == name => Some(actions.set()),
                        _ => None,
                    });
                    let asked = asked.expect("only what was asked for is given");
                    let may = if admin { ActionSet::ALL } else { allowed(account.is_some(), &rules, name) };
                    assert_eq!(actions.set(), asked.intersection(may), "{name} under {rules:?}");
                }
            }
        }
    }
}

fn rule(line: &str) -> Option<AccessRule> {
    let mut words = line.split(' ');
    Some(AccessRule {
        subject: words.next()?.parse().ok()?,
        pattern: words.next()?.parse().ok()?,
        actions: words.next()?.parse().ok()?,
    })
}

fn allowed(is_anna: bool, rules: &[AccessRule], name: &RepositoryName) -> ActionSet {
    let meant = |rule: &&AccessRule| match &rule.subject {
        Subject::Everyone => true,
        Subject::LoggedIn => is_anna,
        Subject::Account(account) => is_anna && account.as_str() == "anna",
    };
    let fitting = rules.iter().filter(meant).filter(|rule| matches(&rule.pattern, name));
    fitting.fold(ActionSet::NONE, |all, rule| all.union(rule.actions))
}

/// By a table of which start of the pattern fits which start of the name, first of components, then of letters.
fn matches(pattern: &PathPattern, name: &RepositoryName) -> bool {
    let pattern: Vec<&str> = pattern.as_str().split('/').collect();
    let name: Vec<&str> = name.as_str().split('/').collect();
    fits(
        &pattern,
        &name,
        |part| *part == "**",
        |part, component| {
            fits(part.as_bytes(), component.as_bytes(), |byte| *byte == b'*', |one, other| one == other)
        },
    )
}

fn fits<T>(pattern: &[T], text: &[T], is_star: impl Fn(&T) -> bool, same: impl Fn(&T, &T) -> bool) -> bool {
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for part in pattern {
        let mut next = vec![false; text.len() + 1];
        if is_star(part) {
            next[0] = row[0];
            for end in 1..=text.len() {
                next[end] = row[end] || next[end - 1];
            }
        } else {
            for end in 1..=text.len() {
                next[end] = row[end - 1] && same(part, &text[end - 1]);
            }
        }
        row = next;
    }
    row[text.len()]
}
