//! Where an image is, as the command line names it: in a registry, an OCI layout, or an archive.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use registry_client::{ArchiveFormat, Client, LocalImages, Source, Target, TargetName};
use registry_types::{DEFAULT_TAG, ImageReference, RegistryHost, RepositoryName, Tag};

use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Registry(ImageReference),
    Layout { path: PathBuf, name: Option<String> },
    Archive { path: PathBuf, name: Option<String>, format: ArchiveFormat },
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let local = |rest: &str| {
            let (path, name) = match rest.split_once(':') {
                Some((path, name)) => (path, Some(name)),
                None => (rest, None),
            };
            if path.is_empty() {
                return Err(format!("{text:?} names no file or folder"));
            }
            if name.is_some_and(str::is_empty) {
                return Err(format!("{text:?} ends in a colon without a name"));
            }
            Ok((PathBuf::from(path), name.map(str::to_owned)))
        };
        let archive = |rest, format| local(rest).map(|(path, name)| Self::Archive { path, name, format });
        match text.split_once(':') {
            Some(("oci", rest)) => local(rest).map(|(path, name)| Self::Layout { path, name }),
            Some(("oci-archive", rest)) => archive(rest, ArchiveFormat::Oci),
            Some(("docker-archive", rest)) => {
                let location = archive(rest, ArchiveFormat::Docker)?;
                if let Self::Archive { name: Some(name), .. } = &location {
                    name.parse::<ImageReference>().map_err(|error| error.to_string())?;
                }
                Ok(location)
            }
            Some(("docker", rest)) if rest.starts_with("//") => {
                rest.trim_start_matches('/').parse().map(Self::Registry).map_err(error_text)
            }
            Some(("docker-daemon" | "dir" | "containers-storage", _)) => Err(format!(
                "{text:?} names a place that is not read: use a registry, oci:, oci-archive: or docker-archive:"
            )),
            _ => text.parse().map(Self::Registry).map_err(error_text),
        }
    }
}

fn error_text(error: registry_types::ParseError) -> String {
    error.to_string()
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, name) = match self {
            Self::Registry(image) => return image.fmt(f),
            Self::Layout { path, name } => ("oci", path, name),
            Self::Archive { path, name, format: ArchiveFormat::Oci } => ("oci-archive", path, name),
            Self::Archive { path, name, format: ArchiveFormat::Docker } => ("docker-archive", path, name),
        };
        write!(f, "{kind}:{}", path.display())?;
        name.iter().try_for_each(|name| write!(f, ":{name}"))
    }
}

impl Location {
    /// Whether it says which image is meant, and not only where.
    pub(crate) fn names_an_image(&self) -> bool {
        match self {
            Self::Registry(image) => image.tag.is_some() || image.digest.is_some(),
            Self::Layout { name, .. } | Self::Archive { name, .. } => name.is_some(),
        }
    }

    /// Whether it is an archive on standard input or output.
    pub(crate) fn is_standard(&self) -> bool {
        matches!(self, Self::Archive { path, .. } if path == Path::new("-"))
    }

    /// All images of a layout or archive; `None` for a registry.
    pub(crate) async fn local(&self) -> Result<Option<LocalImages>, Failure> {
        Ok(match self {
            Self::Registry(_) => None,
            Self::Layout { path, .. } => Some(LocalImages::layout(path).await?),
            Self::Archive { .. } if self.is_standard() => {
                Some(LocalImages::stream(tokio::io::stdin()).await?)
            }
            Self::Archive { path, .. } => Some(LocalImages::archive(path).await?),
        })
    }

    /// The image to read.
    pub(crate) async fn source(&self, client: &Client) -> Result<Source, Failure> {
        match (self, self.local().await?) {
            (Self::Registry(image), _) => Ok(Source::registry(client, image)),
            (Self::Layout { name, .. } | Self::Archive { name, .. }, Some(images)) => {
                Ok(images.image(name.as_deref()).await?)
            }
            _ => Err(Failure::Failed(format!("{self} cannot be read"))),
        }
    }

    /// The place to write to.
    pub(crate) async fn target(&self, client: &Client) -> Result<Target, Failure> {
        Ok(match self {
            Self::Registry(image) => Target::Registry(client.repository(image)),
            Self::Layout { path, .. } => Target::layout(path).await?,
            Self::Archive { path, format, .. } => Target::archive(path, *format).await?,
        })
    }

    /// What an image is called at this place. Where it says nothing, a registry means `latest`, and a layout or archive
    /// keeps the name that the image has at its source.
    pub(crate) fn target_names(
        &self,
        from: &Self,
        own_name: Option<&str>,
    ) -> Result<Vec<TargetName>, Failure> {
        let name = match self {
            Self::Registry(image) if image.digest.is_some() => return Ok(Vec::new()),
            Self::Registry(image) => Some(TargetName::image(image)),
            Self::Archive { name: Some(name), format: ArchiveFormat::Docker, .. } => {
                let image: ImageReference = name.parse().map_err(registry_client::Error::from)?;
                Some(TargetName::image(&image))
            }
            Self::Layout { name: Some(name), .. } | Self::Archive { name: Some(name), .. } => {
                Some(TargetName::reference(name))
            }
            _ => match from {
                Self::Registry(image) if image.tag.is_none() && image.digest.is_some() => None,
                Self::Registry(image) => Some(TargetName::image(image)),
                _ => own_name.map(whole_or_reference),
            },
        };
        Ok(name.into_iter().collect())
    }

    /// What the image called `own_name` at a source is called here when all of a repository is copied.
    pub(crate) fn target_name_of_many(&self, from: &Self, own_name: &str) -> Result<TargetName, Failure> {
        let tag = tag_of(own_name);
        match (self, from) {
            (Self::Registry(image), _) => {
                let tag: Tag = tag.parse().map_err(registry_client::Error::from)?;
                Ok(TargetName::image(&image.with_tag(tag)))
            }
            (_, Self::Registry(image)) => {
                let tag: Tag = tag.parse().map_err(registry_client::Error::from)?;
                Ok(TargetName::image(&image.with_tag(tag)))
            }
            _ => Ok(whole_or_reference(own_name)),
        }
    }
}

fn whole_or_reference(name: &str) -> TargetName {
    match name.parse::<ImageReference>() {
        Ok(image) if name.contains('/') => TargetName::image(&image),
        _ => TargetName::reference(name),
    }
}

/// The tag that a name in a layout or archive stands for.
pub(crate) fn tag_of(name: &str) -> String {
    if !name.contains(['/', ':']) {
        return name.to_owned();
    }
    let image = name.parse::<ImageReference>().ok();
    image.and_then(|image| image.tag).map_or_else(|| DEFAULT_TAG.to_owned(), |tag| tag.to_string())
}

/// A registry, or a part of it.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    pub(crate) host: RegistryHost,
    path: Option<String>,
}

impl FromStr for Catalog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("leave the scheme away, write host:port or host:port/path".to_owned());
        }
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let path = path.trim_end_matches('/');
        if !path.is_empty() {
            path.parse::<RepositoryName>().map_err(error_text)?;
        }
        let path = Some(path.to_owned()).filter(|path| !path.is_empty());
        Ok(Self { host: host.parse().map_err(error_text)?, path })
    }
}

impl Catalog {
    /// Whether a repository is the one named, or lies below it.
    pub(crate) fn holds(&self, repository: &RepositoryName) -> bool {
        self.path.as_ref().is_none_or(|path| {
            repository
                .as_str()
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn locations_parse_and_print_to_themselves() {
        for text in [
            "localhost:5050/team/app:v1",
            "oci:./folder",
            "oci:/a/b:v1",
            "oci:x:localhost:5050/team/app:v1",
            "oci-archive:a.tar",
            "docker-archive:-:localhost:5050/app:v1",
        ] {
            assert_eq!(location(text).to_string(), text);
        }
        assert_eq!(location("docker://h.test/a:v1"), location("h.test/a:v1"));
        assert!(matches!(location("alpine:3"), Location::Registry(_)));
        for bad in ["oci:", "oci:a:", "docker-archive:a.tar:b a", "dir:x", "https://h.test/a", ""] {
            assert!(bad.parse::<Location>().is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_target_without_a_name_keeps_the_source_s() {
        let names = |target: &str, from: &str, own: Option<&str>| -> Vec<String> {
            let names = location(target).target_names(&location(from), own).unwrap();
            names.iter().map(|name| name.as_str().to_owned()).collect()
        };
        assert_eq!(names("oci:x", "h.test/a:v1", None), ["v1"]);
        assert_eq!(names("oci:x", "h.test/a", None), ["latest"]);
        assert_eq!(names("oci:x:mine", "h.test/a:v1", None), ["mine"]);
        assert_eq!(names("oci-archive:x", "oci:y", Some("h.test/a:v2")), ["v2"]);
        assert_eq!(names("docker-archive:x:b:v3", "h.test/a:v1", None), ["v3"]);
        assert_eq!(names("h.test/b", "h.test/a:v1", None), ["latest"]);
        let digest = registry_types::Digest::sha256(b"");
        assert!(names("oci:x", &format!("h.test/a@{digest}"), None).is_empty());
        assert!(names(&format!("h.test/b@{digest}"), "h.test/a:v1", None).is_empty());
    }

    #[test]
    fn a_part_of_a_registry_ends_at_a_slash() {
        let holds =
            |catalog: &str, name: &str| catalog.parse::<Catalog>().unwrap().holds(&name.parse().unwrap());
        assert!(holds("h.test", "a/b") && holds("h.test/", "a"));
        assert!(holds("h.test/team", "team") && holds("h.test/team/", "team/app"));
        assert!(!holds("h.test/team", "teamwork/app"));
        assert!("https://h.test".parse::<Catalog>().is_err() && "h.test/A b".parse::<Catalog>().is_err());
    }
}
