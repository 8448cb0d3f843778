//! From who is asking, the access rules and what is wanted to what is given. Total and pure: refused actions
//! are dropped and a scope with none left is left out, so the answer is a smaller token and never an error.

use registry_types::{AccessRule, AccountName, ActionSet, RepositoryName};

use crate::{AccessEntry, Scope, ScopeActions};

/// An account that has proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    pub name: &'a AccountName,
    /// An administrator may do everything, listing all repositories included.
    pub admin: bool,
}

/// What was given. Only [`decide`] makes one (or [`GrantedScopes::default`], which gives nothing), so what a
/// token or an access says has passed the rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrantedScopes(Vec<Scope>);

impl GrantedScopes {
    pub fn as_slice(&self) -> &[Scope] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As entries of the `access` claim.
    pub(crate) fn entries(&self) -> Vec<AccessEntry> {
        self.0.iter().map(entry).collect()
    }
}

fn entry(scope: &Scope) -> AccessEntry {
    let every = || vec!["*".to_owned()];
    let (kind, name, actions) = match scope {
        Scope::Repository { name, actions: ScopeActions::Every } => ("repository", name.as_str(), every()),
        Scope::Repository { name, actions: ScopeActions::Listed(actions) } => {
            ("repository", name.as_str(), actions.iter().map(|action| action.to_string()).collect())
        }
        Scope::Catalog => ("registry", "catalog", every()),
    };
    AccessEntry { kind: kind.to_owned(), name: name.to_owned(), actions, meta: None }
}

/// What `account` (`None` when not logged in) gets of `wanted` under `rules`.
///
/// As in GitLab, `*` is given as `*` to those who may do everything to the repository. Others who ask for `*`
/// get the actions they have by name, so a client that always asks for all still works.
pub fn decide(account: Option<Account<'_>>, rules: &[AccessRule], wanted: &[Scope]) -> GrantedScopes {
    let admin = account.is_some_and(|account| account.admin);
    let given = Scope::merged(wanted).into_iter().filter_map(|scope| match scope {
        Scope::Catalog => admin.then_some(Scope::Catalog),
        Scope::Repository { name, actions } => {
            let allowed = if admin { ActionSet::ALL } else { allowed(account, rules, &name) };
            let actions = match actions {
                ScopeActions::Every if allowed == ActionSet::ALL => ScopeActions::Every,
                asked => ScopeActions::Listed(asked.set().intersection(allowed)),
            };
            (!actions.set().is_empty()).then_some(Scope::Repository { name, actions })
        }
    });
    GrantedScopes(given.collect())
}

fn allowed(account: Option<Account<'_>>, rules: &[AccessRule], repository: &RepositoryName) -> ActionSet {
    let name = account.map(|account| account.name);
    rules.iter().map(|rule| rule.actions_for(name, repository)).fold(ActionSet::NONE, ActionSet::union)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use registry_types::{Action, PathPattern, Subject};

    use super::*;
    use crate::parse_scopes;

    fn rule(subject: &str, pattern: &str, actions: &str) -> AccessRule {
        AccessRule {
            subject: subject.parse::<Subject>().unwrap(),
            pattern: pattern.parse::<PathPattern>().unwrap(),
            actions: actions.parse().unwrap(),
        }
    }

    fn rules() -> Vec<AccessRule> {
        vec![
            rule("everyone", "public/**", "pull"),
            rule("logged-in", "shared/*", "pull"),
            rule("account:ci", "root/**", "pull,push"),
            rule("account:ci", "root/tmp", "delete"),
        ]
    }

    fn decided(account: Option<(&str, bool)>, wanted: &str) -> String {
        let named = account.map(|(name, admin)| (name.parse::<AccountName>().unwrap(), admin));
        let account = named.as_ref().map(|(name, admin)| Account { name, admin: *admin });
        let granted = decide(account, &rules(), &parse_scopes([wanted]));
        granted.as_slice().iter().map(Scope::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_each_kind_of_account_gets() {
        let (ci, eve, root) = (Some(("ci", false)), Some(("eve", false)), Some(("root", true)));
        let cases = [
            (None, "repository:public/a:pull,push", "repository:public/a:pull"),
            (None, "repository:shared/a:pull", ""),
            (None, "repository:root/a:pull registry:catalog:*", ""),
            (eve, "repository:shared/a:pull,push", "repository:shared/a:pull"),
            (eve, "repository:shared/a/b:pull", ""),
            (eve, "repository:root/a:push repository:public/x:pull", "repository:public/x:pull"),
            (ci, "repository:root/a:pull,push,delete", "repository:root/a:pull,push"),
            (ci, "repository:root/a:*", "repository:root/a:pull,push"),
            (ci, "repository:root/tmp:*", "repository:root/tmp:*"),
            (ci, "repository:rooted/a:pull registry:catalog:*", ""),
            (root, "repository:any/thing:delete", "repository:any/thing:delete"),
            (root, "repository:any/thing:* registry:catalog:*", "repository:any/thing:* registry:catalog:*"),
            (root, "", ""),
        ];
        for (account, wanted, given) in cases {
            assert_eq!(decided(account, wanted), given, "{account:?} asked for {wanted:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_more_or_less_than_was_asked_and_allowed(
            name in "(root|public|shared|x)/(tmp|a)",
            asked in "(pull|push|delete|\\*)(,(pull|push|delete|\\*)){0,2}",
            account in proptest::option::of("(ci|eve)"),
        ) {
            let wanted = parse_scopes([format!("repository:{name}:{asked}").as_str()]);
            let account: Option<AccountName> = account.map(|name| name.parse().unwrap());
            let who = account.as_ref().map(|name| Account { name, admin: false });
            let repository: RepositoryName = name.parse().unwrap();
            let granted = decide(who, &rules(), &wanted);
            let given = match granted.as_slice() {
                [] => ActionSet::NONE,
                [Scope::Repository { name, actions }] => {
                    prop_assert_eq!(name, &repository);
                    actions.set()
                }
                other => panic!("{other:?}"),
            };
            for action in Action::ALL {
                let may = rules().iter().any(|rule| rule.actions_for(account.as_ref(), &repository).contains(action));
                let was_asked = asked.contains(action.as_str()) || asked.contains('*');
                prop_assert_eq!(given.contains(action), may && was_asked);
            }
        }
    }
}
