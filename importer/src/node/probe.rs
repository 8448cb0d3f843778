//! Asks a node, in one exec, everything an import must know of it: where its containerd is, what that can do,
//! what machine it is, which snapshotter its CRI uses, and what content it has.

use registry_types::Platform;

use super::{Node, inventory::Inventory, sections::Sections};
use crate::ImportError;

/// Where k3s and plain containerd listen.
const SOCKETS: [&str; 2] = ["/run/k3s/containerd/containerd.sock", "/run/containerd/containerd.sock"];
/// Exit code of the probe when the node has none of the sockets.
const NO_SOCKET: i64 = 42;
/// `$@` are the sockets to try. The config files are those of k3s and of plain containerd.
const SCRIPT: &str = r#"
a=; for s in "$@"; do if [ -S "$s" ]; then a=$s; break; fi; done
[ -n "$a" ] || exit 42
config() {
    for f in /var/lib/rancher/k3s/agent/etc/containerd/config.toml /etc/containerd/config.toml; do
        if [ -f "$f" ]; then cat "$f"; return; fi
    done
}
section address echo "$a"
section machine uname -m
section version c version
section import-help c images import --help
section images c images ls
section content c content ls
section config config
section crictl command -v crictl
"#;

/// What a node is and has.
#[derive(Debug, Clone)]
pub(crate) struct NodeFacts {
    pub(crate) address: String,
    pub(crate) containerd: String,
    pub(crate) platform: Platform,
    /// Whether `ctr images import` knows `--local`: there since 1.7, many times faster on 2.x.
    pub(crate) local_import: bool,
    /// The snapshotter of the node's CRI when it is not containerd's default.
    pub(crate) snapshotter: Option<String>,
    pub(crate) crictl: bool,
    /// Whether the containerd is k3s's, which pins with a label of its own as well.
    pub(crate) k3s: bool,
    pub(crate) inventory: Inventory,
}

impl Node {
    /// Asks the node.
    pub(crate) async fn probe(&self) -> Result<NodeFacts, ImportError> {
        let output = self.run_script(SCRIPT, &SOCKETS.map(str::to_owned)).await?;
        if output.exit_code == NO_SOCKET {
            return Err(ImportError::NoContainerd { looked: SOCKETS.join(", ") });
        }
        output.succeeded("the probe")?;
        let sections = Sections::parse(&String::from_utf8_lossy(&output.stdout));
        facts_of(&sections, &output.stderr)
    }
}

/// Reads the probe's output.
fn facts_of(sections: &Sections, stderr: &str) -> Result<NodeFacts, ImportError> {
    let address = sections.succeeded("address", "looking for containerd", stderr)?.trim().to_owned();
    let machine = sections.succeeded("machine", "uname -m", stderr)?.trim();
    let version = sections.succeeded("version", "ctr version", stderr)?;
    let images = sections.succeeded("images", "ctr images ls", stderr)?;
    let content = sections.succeeded("content", "ctr content ls", stderr)?;
    let help = sections.succeeded("import-help", "ctr images import --help", stderr)?;
    let config = sections.text("config");
    Ok(NodeFacts {
        containerd: server_version(version).ok_or_else(|| ImportError::NodeAnswer {
            command: "ctr version".to_owned(),
            reason: "it names no server version".to_owned(),
        })?,
        platform: platform_of(machine)
            .ok_or_else(|| ImportError::UnknownMachine { machine: machine.to_owned() })?,
        local_import: has_flag(help, "--local"),
        snapshotter: snapshotter(config),
        crictl: sections.succeeded("crictl", "", "").is_ok(),
        k3s: address.starts_with("/run/k3s/"),
        inventory: Inventory::parse(images, content),
        address,
    })
}

/// Whether a help text lists `flag` as a flag of its own.
fn has_flag(help: &str, flag: &str) -> bool {
    help.split([' ', ',', '\n', '\t', '\r']).any(|word| word == flag)
}

/// The version behind `Server:` in the output of `ctr version`.
fn server_version(text: &str) -> Option<String> {
    let (_, server) = text.split_once("Server:")?;
    server
        .lines()
        .find_map(|line| line.trim().strip_prefix("Version:"))
        .map(|version| version.trim().trim_start_matches('v').to_owned())
        .filter(|version| !version.is_empty())
}

/// The image platform of a Linux machine name (`uname -m`).
fn platform_of(machine: &str) -> Option<Platform> {
    let (architecture, variant) = match machine {
        "x86_64" | "amd64" => ("amd64", None),
        "aarch64" | "arm64" => ("arm64", Some("v8")),
        "armv8l" | "armv7l" => ("arm", Some("v7")),
        "armv6l" => ("arm", Some("v6")),
        "i386" | "i486" | "i586" | "i686" => ("386", None),
        "ppc64le" => ("ppc64le", None),
        "s390x" => ("s390x", None),
        "riscv64" => ("riscv64", None),
        "loongarch64" => ("loong64", None),
        _ => return None,
    };
    Some(Platform::new("linux", architecture, variant))
}

/// The snapshotter that containerd's configuration gives its CRI, unless it is the default. A configuration
/// that cannot be read counts as the default: the check after the import finds a wrong guess.
fn snapshotter(config: &str) -> Option<String> {
    const DEFAULT: &str = "overlayfs";
    let config: toml::Table = config.parse().ok()?;
    let plugins = config.get("plugins")?;
    // Configuration versions 2 (containerd 1.x) and 3 (2.x).
    let version_2 =
        || plugins.get("io.containerd.grpc.v1.cri").and_then(|cri| cri.get("containerd")?.get("snapshotter"));
    let version_3 =
        || plugins.get("io.containerd.cri.v1.images").and_then(|images| images.get("snapshotter"));
    let name = version_3().or_else(version_2)?.as_str()?;
    (!name.is_empty() && name != DEFAULT).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::sections::tests::{CLOSE_LINE as CLOSE, OPEN_LINE as OPEN},
        *,
    };

    const HELP_1_6: &str =
        "OPTIONS:\n   --base-name value  base\n   --no-unpack   skip unpacking locally --localx\n";
    const HELP_2: &str = "OPTIONS:\n   --local    Run import locally rather than through transfer API\n";

    fn output(help: &str) -> String {
        let mut text = String::new();
        for (name, body, status) in [
            ("address", "/run/k3s/containerd/containerd.sock", 0),
            ("machine", "aarch64", 0),
            (
                "version",
                "Client:\n  Version:  v9\n\nServer:\n  Version:  v2.1.4-k3s1\n  Revision: x\n  UUID: y",
                0,
            ),
            ("import-help", help, 0),
            ("images", "REF TYPE DIGEST SIZE PLATFORMS LABELS", 0),
            ("content", "DIGEST SIZE AGE LABELS", 0),
            ("config", "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = \"native\"", 0),
            ("crictl", "", 127),
        ] {
            text += &format!("\n{OPEN}{name}\n{body}\n{CLOSE}{status}\n");
        }
        text
    }

    #[test]
    fn a_node_s_facts_are_read() {
        let facts = facts_of(&Sections::parse(&output(HELP_2)), "").unwrap();
        assert_eq!(facts.address, "/run/k3s/containerd/containerd.sock");
        assert_eq!(facts.containerd, "2.1.4-k3s1");
        assert_eq!(facts.platform.to_string(), "linux/arm64/v8");
        assert_eq!(facts.snapshotter.as_deref(), Some("native"));
        assert!(facts.local_import && facts.k3s && !facts.crictl);
        assert!(!facts_of(&Sections::parse(&output(HELP_1_6)), "").unwrap().local_import);
    }

    #[test]
    fn a_failed_part_tells_its_reason() {
        let broken = output(HELP_2).replace(
            &format!("DIGEST SIZE AGE LABELS\n{CLOSE}0"),
            &format!("DIGEST SIZE AGE LABELS\n{CLOSE}1"),
        );
        let error =
            facts_of(&Sections::parse(&broken), "ctr: failed to dial \"/run/x.sock\": connection refused")
                .unwrap_err();
        assert!(matches!(error, ImportError::ContainerdDown { .. }), "{error}");
        let cut = output(HELP_2);
        let (cut, _) = cut.split_once(&format!("{OPEN}content")).unwrap();
        assert!(matches!(facts_of(&Sections::parse(cut), ""), Err(ImportError::NodeAnswer { .. })));
    }

    #[test]
    fn the_snapshotter_is_found_in_both_configuration_versions() {
        let version_2 =
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  snapshotter = \"fuse-overlayfs\"\n";
        assert_eq!(snapshotter(version_2).as_deref(), Some("fuse-overlayfs"));
        for default in ["", "version = 2", "not toml [", &version_2.replace("fuse-overlayfs", "overlayfs")] {
            assert_eq!(snapshotter(default), None, "{default}");
        }
    }

    #[test]
    fn an_unknown_machine_has_no_platform() {
        assert_eq!(platform_of("vax"), None);
        assert_eq!(platform_of("x86_64").unwrap().to_string(), "linux/amd64");
    }

    proptest! {
        #[test]
        fn any_output_is_read_without_panic(text in "(--slipway-(section|status) |[ -~\n]){0,60}") {
            let _ = facts_of(&Sections::parse(&text), &text);
        }
    }
}
