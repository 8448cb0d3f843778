//! The builder's own namespace and the choice of a tier.

use crate::kit::{Sandbox, Who};

fn say(who: Who, what: &str) -> Option<String> {
    let sandbox = Sandbox::open(who)?;
    let storage = sandbox.path("upper");
    let arguments: &[&str] = if what == "probe" { &["probe", storage.to_str().unwrap()] } else { &["ids"] };
    let outcome = sandbox.call(arguments, "");
    assert_eq!(outcome.code, 0, "{who:?}: {outcome:?}");
    assert!(sandbox.changes().is_empty(), "the probe must clean up: {:?}", sandbox.changes());
    Some(outcome.out)
}

#[test]
fn an_ordinary_user_gets_the_subordinate_ids() {
    if let Some(text) = say(Who::User, "ids") {
        assert_eq!(text, "User: 65537 user ids and 65537 group ids\n");
    }
}

#[test]
fn a_user_without_subordinate_ids_gets_one_and_a_note() {
    if let Some(text) = say(Who::SingleId, "ids") {
        assert_eq!(text, "SingleId: 1 user ids and 1 group ids\n");
    }
    if let Some(text) = say(Who::SingleId, "probe") {
        assert!(text.starts_with("tier 1"), "{text}");
        assert!(
            text.contains("note: only one user id is usable") && text.contains("--add-subuids"),
            "{text}"
        );
    }
}

#[test]
fn a_containers_root_maps_all_ids_without_tools() {
    if let Some(text) = say(Who::ContainerRoot, "ids") {
        assert!(text.starts_with("ContainerRoot: "), "{text}");
        let count: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(count >= 65536, "{text}");
    }
}

#[test]
fn the_first_tier_is_found_wherever_proc_is_whole() {
    for who in [Who::AsIs, Who::User, Who::ContainerRoot] {
        if let Some(text) = say(who, "probe") {
            assert_eq!(text, "tier 1 (user, process and mount namespaces, own /proc)\n", "{who:?}");
        }
    }
}

#[test]
fn the_second_tier_is_found_where_proc_is_masked_and_says_why() {
    if let Some(text) = say(Who::MaskedProc, "probe") {
        assert!(text.starts_with("tier 2"), "{text}");
        assert!(text.contains("masked") && text.contains("systempaths=unconfined"), "{text}");
    }
}

#[test]
fn the_first_tier_asked_for_where_it_cannot_work_is_an_error_with_advice() {
    let Some(sandbox) = Sandbox::open(Who::MaskedProc) else { return };
    let spec = serde_json::to_string(&sandbox.step("true")).unwrap();
    let outcome = sandbox.call(&["run", "1"], &spec);
    assert_eq!(outcome.code, 125);
    assert!(outcome.err.contains("mounting /proc failed"), "{outcome:?}");
}

#[test]
fn the_second_tier_works_everywhere_and_shows_the_outer_processes() {
    for who in [Who::AsIs, Who::User, Who::ContainerRoot, Who::MaskedProc] {
        let Some(sandbox) = Sandbox::open(who) else { continue };
        let spec =
            serde_json::to_string(&sandbox.step("ls -d /proc/self/fd; cat /proc/$$/comm; true")).unwrap();
        let outcome = sandbox.call(&["run", "2"], &spec);
        assert_eq!((outcome.code, outcome.out.as_str()), (0, "/proc/self/fd\nsh\n"), "{who:?}: {outcome:?}");
        assert!(sandbox.changes().is_empty());
    }
}
