//! The text behind `-o`, parsed into destinations. A key that has no effect here is an error.

use std::path::{Path, PathBuf};

use registry_types::{DEFAULT_TAG, ImageReference, Tag};

use crate::error::{OutputError, Result};

/// How an image lies in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// OCI image layout.
    Oci,
    /// An OCI image layout that also holds what `docker load` reads.
    Docker,
}

/// An image in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTarget {
    pub format: FileFormat,
    /// A tar archive, or a directory to put the layout in; `-` is the standard output.
    pub path: PathBuf,
    pub directory: bool,
    /// Names the image gets in it.
    pub names: Vec<ImageReference>,
}

impl FileTarget {
    /// Whether the archive goes to the standard output.
    pub fn is_standard_output(&self) -> bool {
        !self.directory && self.path == Path::new("-")
    }
}

/// One place where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A tag in a registry.
    Registry(ImageReference),
    /// A name in the local store.
    Store(ImageReference),
    File(FileTarget),
}

impl Destination {
    /// Parses `type=TYPE[,KEY=VALUE]...` as BuildKit's tools take it; values that hold a comma stand in double quotes.
    ///
    /// `names` are the names given apart from it (`-t`), which `name=` replaces. Types: `registry` pushes to every
    /// name, `image` keeps the names in the local store (and pushes with `push=true`), `oci` and `docker` write to
    /// `dest=`: a directory if that is one or ends in a slash, else a tar archive.
    pub fn parse(text: &str, names: &[ImageReference]) -> Result<Vec<Self>> {
        let bad = |reason: String| OutputError::Destination { text: text.to_owned(), reason };
        let fields = fields(text).ok_or_else(|| bad("a double quote is not closed".to_owned()))?;
        let (mut kind, mut dest, mut push, mut tar) = (None, None, false, None);
        let mut names = names.to_vec();
        for field in &fields {
            let (key, value) = field.split_once('=').ok_or_else(|| {
                bad(format!("{field:?} is not KEY=VALUE; did you mean type=oci,dest={field}"))
            })?;
            match key.trim().to_ascii_lowercase().as_str() {
                "type" => kind = Some(value.to_owned()),
                "dest" | "destination" => dest = Some(value.to_owned()),
                "name" => {
                    let parsed = value.split(',').map(|name| name.trim().parse());
                    names = parsed
                        .collect::<Result<_, registry_types::ParseError>>()
                        .map_err(|error| bad(error.to_string()))?;
                }
                "push" => {
                    push = boolean(value).ok_or_else(|| bad(format!("push={value} is not true or false")))?;
                }
                "tar" => {
                    let value =
                        boolean(value).ok_or_else(|| bad(format!("tar={value} is not true or false")))?;
                    tar = Some(value);
                }
                other => {
                    return Err(bad(format!(
                        "{other:?} is no key of an output: use type, dest, name, push or tar"
                    )));
                }
            }
        }
        let kind =
            kind.ok_or_else(|| bad("type= is missing: use type=registry, image, oci or docker".to_owned()))?;
        let misplaced = match kind.as_str() {
            "registry" | "image" if dest.is_some() => Some("dest"),
            "registry" | "image" if tar.is_some() => Some("tar"),
            "oci" | "docker" if push => Some("push"),
            _ => None,
        };
        if let Some(key) = misplaced {
            return Err(bad(format!("{key}= has no meaning for type={kind}")));
        }
        if let Some(name) = names.iter().find(|name| name.digest.is_some()) {
            return Err(bad(format!("{name} has a digest, which only the finished image has: give a tag")));
        }
        let names_wanted = |names: Vec<ImageReference>| {
            if names.is_empty() {
                return Err(bad("it needs a name: give -t NAME or name=NAME".to_owned()));
            }
            Ok(names.into_iter().map(with_tag).collect::<Vec<_>>())
        };
        match kind.as_str() {
            "registry" => Ok(names_wanted(names)?.into_iter().map(Self::Registry).collect()),
            "image" => {
                let names = names_wanted(names)?;
                let pushed = names.iter().filter(|_| push).cloned().map(Self::Registry).collect::<Vec<_>>();
                Ok(names.into_iter().map(Self::Store).chain(pushed).collect())
            }
            "oci" | "docker" => {
                let path =
                    dest.ok_or_else(|| bad("dest= is missing: the file or directory to write".to_owned()))?;
                let format = if kind == "oci" { FileFormat::Oci } else { FileFormat::Docker };
                let directory = match tar {
                    Some(tar) => !tar,
                    None => path.ends_with('/') || Path::new(&path).is_dir(),
                };
                let names = names.into_iter().map(with_tag).collect();
                Ok(vec![Self::File(FileTarget { format, path: path.into(), directory, names })])
            }
            other => Err(bad(format!("there is no type={other}: use registry, image, oci or docker"))),
        }
    }
}

/// The name with the tag that a missing one means.
fn with_tag(name: ImageReference) -> ImageReference {
    if name.tag.is_some() {
        return name;
    }
    let tag: Tag = DEFAULT_TAG.parse().expect("the default tag is a tag");
    name.with_tag(tag)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Fields between commas; double quotes hold commas together and are doubled to stand for themselves (RFC 4180).
fn fields(text: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut()?;
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> ImageReference {
        text.parse().unwrap()
    }

    fn parse(text: &str) -> Result<Vec<Destination>> {
        Destination::parse(text, &[name("localhost:5050/app")])
    }

    #[test]
    fn outputs_are_read_as_buildkit_s_tools_write_them() {
        let tagged = name("localhost:5050/app:latest");
        assert_eq!(parse("type=registry").unwrap(), [Destination::Registry(tagged.clone())]);
        assert_eq!(
            parse("type=image,push=true").unwrap(),
            [Destination::Store(tagged.clone()), Destination::Registry(tagged.clone())]
        );
        assert_eq!(
            parse(r#"type=registry,"name=h.test/a:1,h.test/b""#).unwrap(),
            [Destination::Registry(name("h.test/a:1")), Destination::Registry(name("h.test/b:latest"))]
        );
        let Destination::File(target) = &parse("type=docker,dest=/no/such/image.tar").unwrap()[0] else {
            panic!("it is a file");
        };
        assert_eq!(
            (target.format, target.directory, target.names.as_slice()),
            (FileFormat::Docker, false, &[tagged][..])
        );
    }

    #[test]
    fn a_directory_is_told_by_its_slash_by_being_there_or_by_saying_so() {
        let place = tempfile::tempdir().unwrap();
        let is_directory = |text: &str| match &parse(text).unwrap()[0] {
            Destination::File(target) => target.directory,
            other => panic!("{other:?}"),
        };
        assert!(is_directory("type=oci,dest=out/"));
        assert!(is_directory(&format!("type=oci,dest={}", place.path().display())));
        assert!(is_directory("type=oci,dest=out,tar=false"));
        assert!(!is_directory("type=oci,dest=out.tar"));
    }

    #[test]
    fn what_has_no_effect_is_an_error() {
        for (text, reason) in [
            ("", "KEY=VALUE"),
            ("./out", "KEY=VALUE"),
            ("dest=x", "type="),
            ("type=local,dest=x", "type=local"),
            ("type=oci", "dest="),
            ("type=oci,dest=x,push=true", "push="),
            ("type=registry,dest=x", "dest="),
            ("type=oci,dest=x,compression=zstd", "compression"),
            ("type=image,push=yes", "push=yes"),
            ("type=registry,\"name=a", "quote"),
            ("type=registry,name=Not A Name", "image reference"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        assert!(Destination::parse("type=registry", &[]).unwrap_err().to_string().contains("-t NAME"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn quoting_keeps_a_value_whole(value in "[ -~]{0,20}") {
            let quoted = format!("\"{}\"", value.replace('"', "\"\""));
            prop_assert_eq!(fields(&quoted), Some(vec![value]));
        }
    }
}
