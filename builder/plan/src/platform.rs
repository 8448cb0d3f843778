//! Platforms as people write them and as BuildKit writes them down.

use registry_types::Platform;

/// Operating systems that are recognised when a platform is one word; any other word is an architecture.
const SYSTEMS: [&str; 6] = ["linux", "windows", "darwin", "freebsd", "openbsd", "netbsd"];

/// The platform in its usual spelling: `x86_64` is `amd64`, `aarch64` and `arm64/v8` are `arm64`, `arm` is `arm/v7`.
pub fn normalized(platform: &Platform) -> Platform {
    let architecture = platform.architecture.to_ascii_lowercase();
    let variant = platform.variant.as_deref().unwrap_or_default().to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    let os = match platform.os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    };
    Platform {
        architecture: architecture.to_owned(),
        os,
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
        variant: (!variant.is_empty()).then(|| variant.to_owned()),
    }
}

/// Reads `os/architecture[/variant]`, or one of the first two alone: the other is then that of `default`.
pub fn parse_platform(text: &str, default: &Platform) -> Option<Platform> {
    let word = text.to_ascii_lowercase();
    let whole = match word.as_str() {
        "" => return None,
        word if word.contains('/') => text.to_owned(),
        word if SYSTEMS.contains(&word) => format!("{word}/{}", default.architecture),
        word => format!("{}/{word}", default.os),
    };
    whole.parse().ok().map(|platform| normalized(&platform))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let default = Platform::new("linux", "amd64", None);
        for (text, expected) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("Linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("arm64", "linux/arm64"),
            ("windows", "windows/amd64"),
        ] {
            assert_eq!(
                parse_platform(text, &default).map(|found| found.to_string()).as_deref(),
                Some(expected),
                "{text}"
            );
        }
        for text in ["", "linux/", "a b", "a/b/c/d"] {
            assert_eq!(parse_platform(text, &default), None, "{text}");
        }
    }
}
