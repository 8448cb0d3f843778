//! `COPY` and `ADD`

use builder_dockerfile::{Add, Copy, CopySource, Expander, Span, Spanned, Text, clean_path, has_wildcards};

use super::{Dispatcher, expand_error};
use crate::error::{Error, Problem};
use crate::graph::CopyFrom;
use crate::step::{Chmod, CopyFile, CopyPath, CopyStep, Ownership};

/// What `COPY` and `ADD` have in common.
struct Parts<'a> {
    keyword: &'static str,
    from: CopyFrom,
    chown: Option<&'a Text>,
    chmod: Option<&'a Text>,
    sources: &'a [CopySource],
    destination: &'a Text,
    unpack: bool,
}

impl Dispatcher<'_> {
    pub(super) fn copy(&mut self, copy: Copy, from: CopyFrom) -> Result<CopyStep, Error> {
        self.refuse_switch("COPY --link", copy.link.as_ref(), "leave --link away: the image is the same")?;
        self.refuse_switch("COPY --parents", copy.parents.as_ref(), "copy each directory by itself")?;
        self.refuse_exclude("COPY --exclude", &copy.exclude)?;
        self.files(Parts {
            keyword: "COPY",
            from,
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            sources: &copy.sources,
            destination: &copy.destination,
            unpack: false,
        })
    }

    pub(super) fn add(&mut self, add: Add) -> Result<CopyStep, Error> {
        self.refuse_switch("ADD --link", add.link.as_ref(), "leave --link away: the image is the same")?;
        self.refuse_exclude("ADD --exclude", &add.exclude)?;
        const FETCHED: &str = "fetch it in a RUN step";
        if let Some(checksum) = &add.checksum {
            return Err(self.not_supported("ADD --checksum", checksum.span, FETCHED));
        }
        if let Some(keep) = &add.keep_git_dir {
            return Err(self.not_supported("ADD --keep-git-dir", keep.span, FETCHED));
        }
        for source in &add.sources {
            let CopySource::Path(written) = source else {
                continue;
            };
            let path = self.expand(written)?;
            if is_git(&path) {
                return Err(self.not_supported("ADD of a Git repository", written.span, FETCHED));
            }
            if is_url(&path) {
                return Err(self.not_supported("ADD of a URL", written.span, FETCHED));
            }
        }
        self.files(Parts {
            keyword: "ADD",
            from: CopyFrom::Context,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            sources: &add.sources,
            destination: &add.destination,
            // The files are local, of which archives are unpacked unless the flag says otherwise.
            unpack: add.unpack.is_none_or(|unpack| unpack.value),
        })
    }

    fn refuse_switch(
        &self,
        what: &str,
        switch: Option<&Spanned<bool>>,
        instead: &'static str,
    ) -> Result<(), Error> {
        match switch {
            Some(switch) if switch.value => Err(self.not_supported(what, switch.span, instead)),
            _ => Ok(()),
        }
    }

    fn refuse_exclude(&self, what: &str, exclude: &[Text]) -> Result<(), Error> {
        match exclude.first() {
            Some(first) => Err(self.not_supported(what, first.span, "name the files in .dockerignore")),
            None => Ok(()),
        }
    }

    fn files(&mut self, parts: Parts<'_>) -> Result<CopyStep, Error> {
        let mut created_by = parts.keyword.to_owned();
        let chown = self.expand_option(parts.chown)?;
        let chmod = self.expand_option(parts.chmod)?;
        for (flag, value) in [("chown", &chown), ("chmod", &chmod)] {
            if let Some(value) = value {
                created_by.push_str(&format!(" --{flag}={value}"));
            }
        }
        let ownership = chown.map(|text| Ownership::parse(&text));
        let chmod = chmod
            .map(|text| {
                Chmod::parse(&text).ok_or_else(|| {
                    Error::new(Problem::Chmod { text }, parts.chmod.map_or(Span::default(), |text| text.span))
                })
            })
            .transpose()?;

        let (mut paths, mut files) = (Vec::new(), Vec::new());
        let (mut path_names, mut file_names) = (String::new(), String::new());
        for source in parts.sources {
            match source {
                CopySource::Path(written) => {
                    let path = self.expand(written)?;
                    if parts.keyword == "COPY" && (is_url(&path) || is_git(&path)) {
                        return Err(Error::new(Problem::CopyRemote { source_text: path }, written.span));
                    }
                    path_names.push_str(&format!(" {path}"));
                    paths.push(copy_path(&path));
                }
                CopySource::Heredoc(heredoc) => {
                    let mut content = heredoc.file_content();
                    if heredoc.expand {
                        let expansion = Expander::for_heredoc().word(&content, &self.state.scope);
                        content = expansion.map_err(|problem| expand_error(problem, heredoc.span))?.text;
                    }
                    file_names.push_str(&format!(" <<{}", heredoc.name));
                    files.push(CopyFile { name: heredoc.name.clone(), content });
                }
            }
        }
        let written = self.expand(parts.destination)?;
        created_by.push_str(&format!("{path_names}{file_names} {written} # buildkit"));
        self.state.config.record(created_by, true);
        let (destination, into_directory) = destination(&self.state.config.config.working_dir, &written);
        Ok(CopyStep {
            from: parts.from,
            paths,
            files,
            destination,
            into_directory,
            ownership,
            chmod,
            unpack: parts.unpack,
        })
    }
}

fn copy_path(written: &str) -> CopyPath {
    let pattern = clean_path(&format!("/{written}"));
    let literal = (!has_wildcards(&pattern)).then(|| {
        let mut path = String::with_capacity(pattern.len());
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            path.extend(if character == '\\' { characters.next() } else { Some(character) });
        }
        path
    });
    CopyPath { pattern, literal }
}

/// The absolute destination, and whether it was written as a directory.
fn destination(working_dir: &str, written: &str) -> (String, bool) {
    let into_directory = matches!(written, "" | "." | "..")
        || written.ends_with('/')
        || written.ends_with("/.")
        || written.ends_with("/..");
    let path =
        if written.starts_with('/') { written.to_owned() } else { format!("/{working_dir}/{written}") };
    (clean_path(&path), into_directory)
}

fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Whether Docker takes a source for a Git repository: a Git or SSH URL, `user@host:path`, or a web URL whose path
/// ends in `.git`.
fn is_git(source: &str) -> bool {
    let lower = source.to_ascii_lowercase();
    if lower.starts_with("git://") || lower.starts_with("ssh://") {
        return true;
    }
    if let Some(rest) = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://")) {
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        return path.contains('/') && path.strip_suffix(".git").is_some();
    }
    let Some((user, rest)) = source.split_once('@') else {
        return false;
    };
    let word = |text: &str, extra: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || extra.contains(&c))
    };
    rest.split_once(':').is_some_and(|(host, _)| word(user, &['_']) && word(host, &['.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        for (directory, written, expected) in [
            ("/app", ".", ("/app", true)),
            ("/app", "", ("/app", true)),
            ("/app", "x", ("/app/x", false)),
            ("/app", "x/", ("/app/x", true)),
            ("/app", "./x/.", ("/app/x", true)),
            ("/app", "../y", ("/y", false)),
            ("/app", "..", ("/", true)),
            ("", "x", ("/x", false)),
            ("/app", "/a//b/../c/", ("/a/c", true)),
            ("/app", "/", ("/", true)),
        ] {
            assert_eq!(
                destination(directory, written),
                (expected.0.to_owned(), expected.1),
                "{directory} {written}"
            );
        }
    }

    #[test]
    fn sources() {
        let path = |written: &str| copy_path(written);
        assert_eq!(path("a/./b/").literal.as_deref(), Some("/a/b"));
        assert_eq!(path("../../etc").literal.as_deref(), Some("/etc"));
        assert_eq!(path(".").pattern, "/");
        assert_eq!(path("a/*.txt"), CopyPath { pattern: "/a/*.txt".to_owned(), literal: None });
        assert_eq!(path("a\\*b").literal.as_deref(), Some("/a*b"));
    }

    #[test]
    fn git_repositories() {
        for source in [
            "git://h/r",
            "SSH://git@h/r",
            "git@github.com:a/b.git",
            "https://h/r.git",
            "http://h/r.git#main:sub",
        ] {
            assert!(is_git(source), "{source}");
        }
        for source in ["https://h/r.tar.gz", "a@b", "dir/a@b:c", "r.git", "github.com/a/b", "https://h.git"] {
            assert!(!is_git(source), "{source}");
        }
    }
}
