use proptest::prelude::*;

use super::*;

fn ignored(file: &str, path: &str) -> bool {
    IgnoreFile::parse(file).expect(file).is_ignored(path)
}

#[test]
fn single_patterns() {
    for (pattern, path, expected) in [
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir", false),
        ("dir/**", "dir2/file", false),
        ("**/dir", "dir", true),
        ("**/dir", "a/b/dir", true),
        ("**/dir", "a/b/dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir2/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**file", "dir/otherfile", true),
        ("**/file", "dir/otherfile", false),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aze", false),
        ("a[^b-d]e", "aze", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a.b", "axb", false),
        ("a(b)+", "a(b)+", true),
        ("*.o", "x.o", true),
        ("*.o", "sub/x.o", false),
        ("*", "sub/x.o", true),
        ("?", "é", true),
        ("/root/file", "root/file", true),
        ("trailing/", "trailing/file", true),
        ("./a/../b", "b", true),
        ("a", "ab", false),
        ("*/b", "a/b/c", true),
        ("** /", "any", true),
        ("/ file", "file", true),
    ] {
        assert_eq!(ignored(pattern, path), expected, "{pattern} {path}");
    }
}

#[test]
fn the_last_match_wins() {
    let file = "*.md\n!README*.md\nREADME-secret.md\n";
    assert!(ignored(file, "notes.md"));
    assert!(!ignored(file, "README.md"));
    assert!(ignored(file, "README-secret.md"));
    assert!(!ignored("docs\n!docs/keep\n", "docs/keep/file"));
    assert!(ignored("docs\n!docs/keep\n", "docs/other"));
    assert!(ignored("!docs/keep\ndocs\n", "docs/keep"));
    assert!(!ignored("**\n!src\n", "src/main.rs"));
}

#[test]
fn a_rule_that_changes_nothing_about_a_directory_decides_nothing_in_it() {
    assert!(ignored("dir/**\n!dir\n", "dir/file"));
    assert!(!ignored("dir/**\n!dir\n", "dir"));
    assert!(ignored("**/3\n!three\n", "three/3"));
    assert!(!ignored("**/3\n!three\n", "three/4"));
    assert!(!ignored("dir/**\n!dir/**\n", "dir/file"), "it names the file itself");
    // The exception decided about a directory further out, and holds further in.
    assert!(!ignored("a/b\n!a/b/c\n", "a/b/c/d/e"));
    assert!(!ignored("a\n!a\n", "a/b"));
    // So does what came before it.
    assert!(ignored("a\n!a\na/b\n", "a/b/c"));
}

#[test]
fn comments_blank_lines_and_spaces() {
    let file = "\u{feff}# note\n\n  *.log  \r\n ! keep.log\n #not-a-comment\n";
    assert!(ignored(file, "a.log"));
    assert!(!ignored(file, "keep.log"));
    assert!(ignored(file, "#not-a-comment"));
    assert!(!ignored(file, "note"));
}

#[test]
fn malformed_lines_are_named() {
    let problem = IgnoreFile::parse("ok\n!\n").expect_err("nothing follows !");
    assert_eq!((problem.line, problem.pattern.as_str()), (2, "!"));
    let problem = IgnoreFile::parse("a[\n").expect_err("an open class");
    assert_eq!((problem.line, problem.pattern.as_str()), (1, "a["));
    assert!(IgnoreFile::parse("a\\\n").is_err());
}

#[test]
fn directories_are_skipped_unless_an_exception_may_lie_below() {
    let file = IgnoreFile::parse("node_modules\nbuild\n!build/out/*.bin\n").expect("patterns");
    assert!(file.may_skip_directory("node_modules"));
    assert!(file.may_skip_directory("node_modules/a"));
    assert!(!file.may_skip_directory("build"));
    assert!(!file.may_skip_directory("build/out"));
    assert!(file.may_skip_directory("build/tmp"));
    assert!(!file.may_skip_directory("src"));
    let file = IgnoreFile::parse("**\n!**/keep\n").expect("patterns");
    assert!(!file.may_skip_directory("any/where"));
    let file = IgnoreFile::parse("a\n!a/b/**/c\n").expect("patterns");
    assert!(!file.may_skip_directory("a/b/x/y"));
    assert!(!file.may_skip_directory("a"));
}

#[test]
fn names_put_the_dockerfiles_own_first() {
    assert_eq!(ignore_file_names("docker/Dev"), ["docker/Dev.dockerignore", ".dockerignore"]);
}

#[test]
fn cleaned_paths() {
    for (path, expected) in [
        ("", "."),
        ("/", "/"),
        ("a//b/./c/", "a/b/c"),
        ("../a/../..", "../.."),
        ("/../a", "/a"),
        ("a/..", "."),
        ("/a/../..", "/"),
    ] {
        assert_eq!(clean_path(path), expected, "{path}");
    }
}

proptest! {
    #[test]
    fn any_file_and_path_give_an_answer(file in "[ab*?!/\\\\\\[\\]^.\n-]{0,40}", path in "[ab/.]{0,20}") {
        if let Ok(file) = IgnoreFile::parse(&file) {
            file.is_ignored(&path);
            file.may_skip_directory(&path);
        }
    }

    /// Skipping a directory must never lose a path that is not ignored.
    #[test]
    fn a_skipped_directory_holds_nothing(file in "(!?[ab*/]{1,6}\n){1,5}", path in "[ab](/[ab]{1,2}){1,3}") {
        let file = IgnoreFile::parse(&file);
        prop_assume!(file.is_ok());
        let file = file.unwrap_or_default();
        for (end, _) in path.match_indices('/') {
            if file.may_skip_directory(&path[..end]) {
                prop_assert!(file.is_ignored(&path), "{} was lost with {}", path, &path[..end]);
            }
        }
    }
}
