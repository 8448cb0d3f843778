use std::collections::BTreeSet;

use proptest::prelude::*;
use registry_types::MediaType;
use time::Duration;

use super::*;
use crate::Text;

fn at(minutes: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::minutes(minutes)
}

fn tag(name: &str, pushed: i64, pulled: Option<i64>) -> TagRecord {
    TagRecord {
        tag: name.parse().unwrap(),
        digest: Digest::sha256(name.as_bytes()),
        media_type: MediaType::known(MediaType::OCI_MANIFEST),
        size: 1,
        pushed_at: at(pushed),
        pulled_at: pulled.map(at),
    }
}

fn rule(json: &str) -> RetentionRule {
    let rule: RetentionRule = serde_json::from_str(json).unwrap();
    rule.check().unwrap();
    rule
}

fn free(_: &Tag) -> Option<String> {
    None
}

/// The names of the tags that go.
fn removed(tags: &[TagRecord], rules: &[&RetentionRule], now: i64) -> Vec<String> {
    let decided = decide(tags, rules, free, at(now));
    decided.iter().filter(|(_, verdict)| verdict.removes()).map(|(tag, _)| tag.tag.to_string()).collect()
}

#[test]
fn the_newest_stay_and_ties_fall_by_name() {
    let tags = [tag("a", 5, None), tag("b", 5, None), tag("c", 5, None), tag("d", 1, None)];
    assert_eq!(removed(&tags, &[&rule(r#"{"keep_newest":2}"#)], 9), ["a", "d"]);
    assert_eq!(removed(&tags, &[&rule(r#"{"keep_newest":0}"#)], 9), ["a", "b", "c", "d"]);
    assert_eq!(removed(&tags, &[&rule(r#"{"keep_newest":4}"#)], 9), [""; 0]);
}

#[test]
fn what_stays_anyway_takes_no_place_among_the_newest() {
    let tags = [tag("latest", 9, None), tag("v1", 8, None), tag("x1", 2, None), tag("x2", 3, None)];
    let rule = rule(r#"{"keep_newest":1,"keep_tags":["latest"],"remove_tags":["x*","latest"]}"#);
    assert_eq!(removed(&tags, &[&rule], 9), ["x1"]);
    let held = |tag: &Tag| (tag.as_str() == "x2").then(|| "a rule".to_owned());
    let decided = decide(&tags, &[&rule], held, at(9));
    assert!(decided.iter().all(|(_, verdict)| !verdict.removes()), "{decided:?}");
    assert_eq!(decided[3].1.reason().to_string(), "a rule");
}

#[test]
fn each_pattern_counts_its_own() {
    let tags = [
        tag("a-1", 1, None),
        tag("a-2", 2, None),
        tag("b-1", 3, None),
        tag("b-2", 4, None),
        tag("c", 0, None),
    ];
    let rule = rule(r#"{"keep_newest_of":[{"tags":"a-*","count":1},{"tags":"b-*","count":1}]}"#);
    assert_eq!(removed(&tags, &[&rule], 9), ["a-1", "b-1", "c"]);
}

#[test]
fn ages_are_counted_from_push_and_from_pull() {
    let tags = [tag("old", 0, None), tag("pulled", 0, Some(95)), tag("new", 90, None)];
    let rule = rule(r#"{"keep_pulled_within":"10m","remove_older_than":"50m"}"#);
    assert_eq!(removed(&tags, &[&rule], 100), ["old"]);
    assert_eq!(removed(&tags, &[&rule], 50), [""; 0], "an age is only over when it is exceeded");
    assert_eq!(removed(&tags, &[&rule], 141), ["old", "pulled", "new"]);
}

#[test]
fn a_tag_that_one_of_several_rules_keeps_stays() {
    let tags = [tag("a", 0, None), tag("b", 0, None)];
    let (all, a) = (rule(r#"{"keep_newest":0}"#), rule(r#"{"keep_tags":["a"],"remove_older_than":"1w"}"#));
    for rules in [[&all, &a], [&a, &all]] {
        assert_eq!(removed(&tags, &rules, 1), ["b"]);
    }
}

#[test]
fn a_decision_reads_well_as_json() {
    let record = tag("v1", 0, Some(60));
    let verdict =
        decide(std::slice::from_ref(&record), &[&rule(r#"{"keep_newest":3}"#)], free, at(0))[0].1.clone();
    let decision = RetentionDecision {
        repository: "team/app".parse().unwrap(),
        tag: record.tag,
        digest: record.digest,
        pushed_at: record.pushed_at,
        pulled_at: record.pulled_at,
        verdict,
    };
    let json = serde_json::to_value(&decision).unwrap();
    assert_eq!(json["repository"], "team/app");
    assert_eq!((&json["verdict"], &json["reason"]), (&"keep".into(), &"it is among the newest 3".into()));
    assert_eq!(
        (&json["pushed_at"], &json["pulled_at"]),
        (&"1970-01-01T00:00:00Z".into(), &"1970-01-01T01:00:00Z".into())
    );
}

fn any_tags() -> impl Strategy<Value = Vec<TagRecord>> {
    proptest::collection::btree_map("[ab][0-9]", (0_i64..8, proptest::option::of(0_i64..20)), 0..12)
        .prop_map(|tags| tags.iter().map(|(name, (pushed, pulled))| tag(name, *pushed, *pulled)).collect())
}

fn any_rule() -> impl Strategy<Value = RetentionRule> {
    let age =
        || proptest::option::of((0_u32..20).prop_map(|minutes| Text(format!("{minutes}m").parse().unwrap())));
    let patterns = || {
        proptest::collection::vec("(a\\*|b\\*|\\*1|a1)".prop_map(|text| Text(text.parse().unwrap())), 0..3)
    };
    (
        proptest::option::of(0_usize..5),
        proptest::collection::vec(("(a\\*|b\\*|\\*1)", 0_usize..3), 0..2),
        patterns(),
        age(),
        age(),
        patterns(),
        age(),
    )
        .prop_map(
            |(
                keep_newest,
                of,
                keep_tags,
                keep_pushed_within,
                keep_pulled_within,
                remove_tags,
                remove_older_than,
            )| RetentionRule {
                keep_newest,
                keep_newest_of: of
                    .into_iter()
                    .map(|(tags, count)| super::super::NewestOf { tags: tags.parse().unwrap(), count })
                    .collect(),
                keep_tags,
                keep_pushed_within,
                keep_pulled_within,
                remove_tags,
                remove_older_than,
            },
        )
}

proptest! {
    #[test]
    fn once_done_nothing_is_left_to_do(tags in any_tags(), rules in proptest::collection::vec(any_rule(), 1..3), now in 0_i64..40) {
        let rules: Vec<&RetentionRule> = rules.iter().collect();
        let gone: BTreeSet<String> = removed(&tags, &rules, now).into_iter().collect();
        let left: Vec<TagRecord> = tags.into_iter().filter(|tag| !gone.contains(tag.tag.as_str())).collect();
        prop_assert_eq!(removed(&left, &rules, now), [""; 0]);
    }

    #[test]
    fn what_goes_now_goes_later(tags in any_tags(), rule in any_rule(), now in 0_i64..40, later in 0_i64..40) {
        let (now_gone, later_gone) = (removed(&tags, &[&rule], now), removed(&tags, &[&rule], now + later));
        prop_assert!(now_gone.iter().all(|tag| later_gone.contains(tag)), "{now_gone:?} {later_gone:?}");
    }

    /// Against the rule's words, one after the other.
    #[test]
    fn nothing_that_a_word_keeps_goes_and_all_else_does(tags in any_tags(), rule in any_rule(), now in 0_i64..40) {
        let gone = removed(&tags, &[&rule], now);
        let matches = |patterns: &[Text<TagPattern>], tag: &Tag| patterns.iter().any(|pattern| pattern.0.matches(tag));
        let named = |tag: &TagRecord| rule.remove_tags.is_empty() || matches(&rule.remove_tags, &tag.tag);
        let mut counted: Vec<&TagRecord> = tags.iter().filter(|tag| named(tag) && !matches(&rule.keep_tags, &tag.tag)).collect();
        counted.sort_by_key(|tag| Reverse((tag.pushed_at, tag.tag.clone())));
        let minutes = |age: &Option<Text<Age>>| age.as_ref().map(|age| age.0.duration().as_secs() as i64 / 60);
        for tag in &tags {
            let newest = |count: usize, pattern: &str| {
                let pattern: TagPattern = pattern.parse().unwrap();
                counted.iter().filter(|tag| pattern.matches(&tag.tag)).take(count).any(|kept| kept.tag == tag.tag)
            };
            let age = |moment: OffsetDateTime| (at(now) - moment).whole_minutes();
            let kept = matches(&rule.keep_tags, &tag.tag)
                || rule.keep_newest.is_some_and(|count| newest(count, "*"))
                || rule.keep_newest_of.iter().any(|of| newest(of.count, of.tags.as_str()))
                || minutes(&rule.keep_pushed_within).is_some_and(|limit| age(tag.pushed_at) <= limit)
                || minutes(&rule.keep_pulled_within).is_some_and(|limit| tag.pulled_at.is_some_and(|pulled| age(pulled) <= limit));
            let old = minutes(&rule.remove_older_than).is_none_or(|limit| age(tag.pushed_at) > limit);
            prop_assert_eq!(gone.contains(&tag.tag.to_string()), named(tag) && old && !kept, "{}", tag.tag);
        }
    }
}
