use proptest::prelude::*;

use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn expand(text: &str, pairs: &[(&str, &str)]) -> String {
    Expander::new('\\').word(text, variables(pairs).as_slice()).expect(text).text
}

fn problem(text: &str, pairs: &[(&str, &str)]) -> ExpandProblem {
    Expander::new('\\').word(text, variables(pairs).as_slice()).expect_err(text)
}

#[test]
fn every_form_of_substitution() {
    let pairs = [("x", "value"), ("empty", ""), ("path", "/usr/local/lib.tar.gz"), ("star", "a*b")];
    for (text, expected) in [
        ("$x", "value"),
        ("${x}", "value"),
        ("a${x}b", "avalueb"),
        ("$x$x", "valuevalue"),
        ("$xy", ""),
        ("$x.y", "value.y"),
        ("$unset", ""),
        ("${x:-d}", "value"),
        ("${unset:-d}", "d"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${unset-d}", "d"),
        ("${x:+d}", "d"),
        ("${empty:+d}", ""),
        ("${empty+d}", "d"),
        ("${unset+d}", ""),
        ("${x:?no}", "value"),
        ("${empty?no}", ""),
        ("${unset:-$x}", "value"),
        ("${unset:-${empty:-${x}}}", "value"),
        ("${unset:-a\\}b}", "a}b"),
        ("${unset:-'a}b'}", "a}b"),
        ("${unset:-a b}", "a b"),
        ("${path#*/}", "usr/local/lib.tar.gz"),
        ("${path##*/}", "lib.tar.gz"),
        ("${path%.*}", "/usr/local/lib.tar"),
        ("${path%%.*}", "/usr/local/lib"),
        ("${path#$x}", "/usr/local/lib.tar.gz"),
        ("${path/l/L}", "/usr/Local/lib.tar.gz"),
        ("${path//l/L}", "/usr/LocaL/Lib.tar.gz"),
        ("${path//\\//-}", "-usr-local-lib.tar.gz"),
        ("${path/lib/$x}", "/usr/local/value.tar.gz"),
        ("${star/\\*/-}", "a-b"),
        ("${star#\"a*\"}", "*b"),
        ("${star///}", "a*b"),
        ("${unset/a/b}", ""),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$$x", "x"),
        ("$1a", "a"),
        ("$?", ""),
        ("é${x}é", "évalueé"),
    ] {
        assert_eq!(expand(text, &pairs), expected, "{text}");
    }
}

#[test]
fn quotes_and_escapes() {
    let pairs = [("x", "v w")];
    for (text, expected) in [
        ("'$x'", "$x"),
        ("\"$x\"", "v w"),
        ("\\$x", "$x"),
        ("\"\\$x\"", "$x"),
        ("'a\\b'", "a\\b"),
        ("\"a\\b\"", "a\\b"),
        ("\"a\\\\b\"", "a\\b"),
        ("\"a\\\"b\"", "a\"b"),
        ("a\\b", "ab"),
        ("a\\\\b", "a\\b"),
        ("a\\", "a"),
        ("a\\ b", "a b"),
        ("  a  ", "  a  "),
        ("\"it's\"", "it's"),
        ("'say \"x\"'", "say \"x\""),
        ("a''b\"\"c", "abc"),
    ] {
        assert_eq!(expand(text, &pairs), expected, "{text}");
    }
    let windows = Expander::new('`').word("C:\\dir`$x\\$x", variables(&pairs).as_slice()).expect("a path");
    assert_eq!(windows.text, "C:\\dir$x\\v w");
}

#[test]
fn here_documents_keep_their_quotes() {
    let pairs = variables(&[("x", "v")]);
    let body = Expander::for_heredoc().word("it's \"$x\" \\$x\n", pairs.as_slice()).expect("a body");
    assert_eq!(body.text, "it's \"v\" $x\n");
}

#[test]
fn words_split_outside_quotes_after_expansion() {
    let pairs = variables(&[("two", "a b"), ("lead", "  c ")]);
    for (text, expected) in [
        ("$two", vec!["a", "b"]),
        ("\"$two\"", vec!["a b"]),
        ("x$two", vec!["xa", "b"]),
        ("x${lead}y", vec!["x", "c", "y"]),
        ("a\\ b c", vec!["a b", "c"]),
        ("''", vec![]),
        ("<< EOF x", vec!["<< EOF", "x"]),
    ] {
        assert_eq!(Expander::new('\\').words(text, pairs.as_slice()).expect(text), expected, "{text}");
    }
}

#[test]
fn kept_text() {
    let raw = Expander::new('\\').quotes(Quotes::Keep).keep_escapes().keep_unset();
    for text in
        ["\"a\\\"b\" \"\\$FOO\"", "$FOO ${FOO} ${FOO:-x} ${FOO#a} ${FOO//a/b}", "C:\\a\\b \"C:\\a\" 'x\\y'"]
    {
        assert_eq!(raw.word(text, &[]).expect(text).text, text);
    }
}

#[test]
fn used_and_unset_names_are_reported() {
    let pairs = variables(&[("A", "1")]);
    let expansion = Expander::new('\\').word("$A ${B:-$C}", pairs.as_slice()).expect("a word");
    assert_eq!(expansion.used, BTreeSet::from(["A".to_owned()]));
    assert_eq!(expansion.unset, BTreeSet::from(["B".to_owned(), "C".to_owned()]));
}

#[test]
fn problems() {
    let name = "x".to_owned();
    let modifier =
        |modifier: &str| ExpandProblem::Modifier { name: name.clone(), modifier: modifier.to_owned() };
    assert!(matches!(problem("'a", &[]), ExpandProblem::OpenQuote { quote: "single", .. }));
    assert!(matches!(problem("\"a", &[]), ExpandProblem::OpenQuote { quote: "double", .. }));
    for text in ["${", "${x", "${x:", "${x:-a", "${x#a", "${x/a/b"] {
        assert!(matches!(problem(text, &[]), ExpandProblem::OpenBrace { .. }), "{text}");
    }
    for text in ["${}", "${:-a}", "${{x}}"] {
        assert!(matches!(problem(text, &[]), ExpandProblem::NoName { .. }), "{text}");
    }
    assert_eq!(problem("${x/a", &[]), ExpandProblem::OpenPattern { name: name.clone() });
    assert_eq!(problem("${x=a}", &[]), modifier("="));
    assert_eq!(problem("${x:#a}", &[]), modifier(":#"));
    assert_eq!(problem("${x#\\a}", &[("x", "")]), ExpandProblem::Pattern { pattern: "\\a".to_owned() });
    let required =
        |message: &str| ExpandProblem::Required { name: name.clone(), message: message.to_owned() };
    assert_eq!(problem("${x:?set it}", &[]), required("set it"));
    assert_eq!(problem("${x?}", &[]), required("is not allowed to be unset"));
    assert_eq!(problem("${x:?}", &[("x", "")]), required("is not allowed to be empty"));
    let deep = "${x:-".repeat(100) + &"}".repeat(100);
    assert!(matches!(problem(&deep, &[]), ExpandProblem::TooDeep { .. }));
    let long = "v".repeat(9 << 20);
    assert!(matches!(problem("$x$x", &[("x", &long)]), ExpandProblem::TooLong { .. }));
    assert!(matches!(problem("\"$x$x\"", &[("x", &long)]), ExpandProblem::TooLong { .. }));
}

proptest! {
    #[test]
    fn any_text_gives_an_answer(text in "[$\\{\\}:#%/?*+a-c'\"\\\\` <-]{0,60}", value in "[ab*?\\\\/\n]{0,12}") {
        let pairs = variables(&[("a", &value), ("b", "")]);
        for escape in ['\\', '`'] {
            let _ = Expander::new(escape).word(&text, pairs.as_slice());
            let _ = Expander::new(escape).words(&text, pairs.as_slice());
        }
        let _ = Expander::for_heredoc().word(&text, pairs.as_slice());
    }

    #[test]
    fn text_without_special_characters_is_unchanged(text in "[a-zA-Z0-9 ./=,:é-]{0,40}") {
        prop_assert_eq!(expand(&text, &[]), text);
    }

    #[test]
    fn a_quoted_value_stays_one_word(value in "[a-z \t]{1,20}") {
        let pairs = variables(&[("x", &value)]);
        let words = Expander::new('\\').words("\"$x\"", pairs.as_slice());
        prop_assert_eq!(words, Ok(vec![value]));
    }

    #[test]
    fn the_longest_match_drops_at_least_what_the_shortest_does(value in "[ab/]{0,12}", pattern in "[ab/*?]{0,6}") {
        let pairs = variables(&[("x", &value), ("p", &pattern)]);
        let longest = Expander::new('\\').word("${x##$p}", pairs.as_slice()).map(|word| word.text);
        let shortest = Expander::new('\\').word("${x#$p}", pairs.as_slice()).map(|word| word.text);
        if let (Ok(longest), Ok(shortest)) = (longest, shortest) {
            prop_assert!(value.ends_with(&longest) && value.ends_with(&shortest));
            prop_assert!(longest.len() <= shortest.len());
        }
    }
}
