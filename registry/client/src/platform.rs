//! Choosing an image out of an index.

use registry_types::{Descriptor, Platform};

use crate::Error;

/// The manifest of an index that runs on `wanted`. An exact match comes first, then the newest older variant of the
/// same architecture (`arm/v6` on `arm/v7`, plain `amd64` on `amd64/v3`), which such machines run as well.
///
/// # Errors
/// [`Error::PlatformMissing`], which lists what there is.
pub fn select_platform<'a>(
    manifests: &'a [Descriptor],
    wanted: &Platform,
    image: &str,
) -> Result<&'a Descriptor, Error> {
    let candidates =
        || manifests.iter().filter_map(|descriptor| Some((descriptor, descriptor.platform.as_ref()?)));
    if let Some((descriptor, _)) = candidates().find(|(_, platform)| platform.satisfies(wanted)) {
        return Ok(descriptor);
    }
    let newest_older = candidates()
        .filter(|(_, platform)| platform.os == wanted.os && platform.architecture == wanted.architecture)
        .filter_map(|(descriptor, platform)| Some((descriptor, level(platform)?)))
        .filter(|(_, found)| level(wanted).is_some_and(|most| *found <= most))
        .max_by_key(|(_, level)| *level);
    if let Some((descriptor, _)) = newest_older {
        return Ok(descriptor);
    }
    // `unknown/unknown` is how attestations are kept out of sight.
    let mut available: Vec<String> = candidates()
        .filter(|(_, platform)| platform.os != "unknown")
        .map(|(_, platform)| platform.to_string())
        .collect();
    available.sort();
    available.dedup();
    if available.is_empty() {
        available.push("no platform at all".to_owned());
    }
    Err(Error::PlatformMissing {
        image: image.to_owned(),
        wanted: wanted.to_string(),
        available: available.join(", "),
    })
}

/// The number of a variant where a higher one runs what is made for a lower one.
fn level(platform: &Platform) -> Option<u32> {
    match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("amd64", None) => Some(1),
        ("arm", None) => Some(7),
        ("amd64" | "arm", Some(variant)) => variant.strip_prefix('v')?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use registry_types::{Digest, MediaType};

    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        platforms
            .iter()
            .map(|platform| Descriptor {
                platform: Some(platform.parse().unwrap()),
                ..Descriptor::new(
                    MediaType::known(MediaType::OCI_MANIFEST),
                    Digest::sha256(platform.as_bytes()),
                    1,
                )
            })
            .collect()
    }

    fn choose(there: &[&str], wanted: &str) -> Result<String, Error> {
        let manifests = index(there);
        select_platform(&manifests, &wanted.parse().unwrap(), "h/a")
            .map(|chosen| chosen.platform.as_ref().unwrap().to_string())
    }

    #[test]
    fn the_exact_platform_comes_before_an_older_variant() {
        let all = ["linux/arm/v6", "linux/amd64", "linux/arm64/v8", "linux/arm/v7", "linux/arm/v5"];
        assert_eq!(choose(&all, "linux/amd64").unwrap(), "linux/amd64");
        assert_eq!(choose(&all, "linux/arm64").unwrap(), "linux/arm64/v8");
        assert_eq!(choose(&all, "linux/arm/v7").unwrap(), "linux/arm/v7");
        assert_eq!(choose(&all, "linux/arm/v8").unwrap(), "linux/arm/v7");
        assert_eq!(choose(&all, "linux/amd64/v3").unwrap(), "linux/amd64");
        assert!(choose(&["linux/arm/v7"], "linux/arm/v6").is_err());
    }

    #[test]
    fn what_there_is_is_listed_without_attestations() {
        let error = choose(&["linux/s390x", "unknown/unknown", "linux/amd64"], "linux/riscv64").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("linux/riscv64") && text.contains("linux/amd64, linux/s390x"), "{text}");
        assert!(!text.contains("unknown"), "{text}");
    }
}
