//! A pretended node: what its containerd holds, and how it answers the importer's scripts.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::Read,
};

use registry_types::{Digest, ManifestView};

/// How a node behaves when an archive is imported.
#[derive(Debug, Clone)]
pub(crate) enum Import {
    /// As containerd does: takes everything, then misses what is neither sent nor there.
    Take,
    /// Reads everything, then fails.
    Fail(&'static str),
    /// Fails before it has read anything.
    FailAtOnce(&'static str),
    /// Never reads.
    Stall,
}

/// The output of a command.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit_code: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct FakeNode {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) state: &'static str,
    /// Whether its `ctr images import` knows `--local`.
    pub(crate) local: bool,
    /// What the next imports do; when it is empty, they take.
    pub(crate) imports: VecDeque<Import>,
    /// Blobs that go away after the next listing.
    pub(crate) losing: Vec<Digest>,
    /// Whether the CRI takes notice of images.
    pub(crate) managing: bool,
    pub(crate) records: BTreeMap<String, Digest>,
    pub(crate) pinned: BTreeSet<String>,
    /// Blobs with those they keep.
    pub(crate) content: BTreeMap<Digest, Vec<Digest>>,
    /// Every command that was run, script names in place of scripts.
    pub(crate) commands: Vec<Vec<String>>,
}

impl FakeNode {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role: "agent",
            state: "running",
            local: true,
            imports: VecDeque::new(),
            losing: Vec::new(),
            managing: true,
            records: BTreeMap::new(),
            pinned: BTreeSet::new(),
            content: BTreeMap::new(),
            commands: Vec::new(),
        }
    }

    pub(crate) fn importing(mut self, imports: impl IntoIterator<Item = Import>) -> Self {
        self.imports = imports.into_iter().collect();
        self
    }

    /// Answers a script of the importer.
    pub(crate) fn script(&mut self, script: &str, arguments: &[String]) -> Answer {
        let (name, answer) = match script {
            _ if script.contains("section config") => ("probe", self.probe()),
            _ if script.contains("section check") => ("outcome", self.outcome(&arguments[4..])),
            _ if script.contains("images label") => ("label", self.label(arguments)),
            _ if script.contains("images tag --force") => ("mend", self.mend(&arguments[1..])),
            other => panic!("the node does not know this script: {other}"),
        };
        self.commands.push([&[name.to_owned()], arguments].concat());
        answer
    }

    fn sections(sections: &[(&str, String)]) -> Answer {
        let text = |(name, text): &(&str, String)| {
            format!("\n--slipway-section {name}\n{text}\n--slipway-status 0\n")
        };
        Answer { stdout: sections.iter().map(text).collect(), ..Answer::default() }
    }

    fn probe(&mut self) -> Answer {
        let content = self.content.iter().map(|(blob, children)| {
            let labels: Vec<String> = children
                .iter()
                .enumerate()
                .map(|(index, child)| format!("containerd.io/gc.ref.content.{index}={child}"))
                .collect();
            format!(
                "{blob}\t1kB\t2 minutes\t{}\n",
                if labels.is_empty() { "-".to_owned() } else { labels.join(",") }
            )
        });
        let answer = Self::sections(&[
            ("address", "/run/k3s/containerd/containerd.sock".to_owned()),
            ("machine", "x86_64".to_owned()),
            ("version", "Server:\n  Version:  v2.1.4".to_owned()),
            ("import-help", if self.local { "   --local   Run import locally" } else { "" }.to_owned()),
            ("images", self.images()),
            ("content", content.collect()),
            ("config", String::new()),
        ]);
        for lost in std::mem::take(&mut self.losing) {
            self.content.remove(&lost).expect("a blob must be there to be lost");
        }
        answer
    }

    fn images(&self) -> String {
        let rows = self.records.iter().map(|(name, digest)| {
            let managed = if self.managing { "io.cri-containerd.image=managed" } else { "-" };
            let pinned = if self.pinned.contains(name) { ",io.cri-containerd.pinned=pinned" } else { "" };
            format!("{name} type/x {digest} 1.0 MiB linux/amd64 {managed}{pinned}\n")
        });
        format!("REF TYPE DIGEST SIZE PLATFORMS LABELS\n{}", rows.collect::<String>())
    }

    fn missing(&self, target: &Digest) -> Option<Digest> {
        match self.content.get(target) {
            None => Some(*target),
            Some(children) => children.iter().find(|child| !self.content.contains_key(child)).copied(),
        }
    }

    fn outcome(&mut self, arguments: &[String]) -> Answer {
        let end = arguments.iter().position(|argument| argument == "--").unwrap();
        let (to_pin, names) = (&arguments[..end], &arguments[end + 1..]);
        self.pinned.extend(to_pin.iter().filter(|name| self.records.contains_key(*name)).cloned());
        let rows = names.iter().filter_map(|name| {
            let digest = self.records.get(name)?;
            let status = if self.missing(digest).is_none() { "complete (3/3)" } else { "incomplete (2/3)" };
            Some(format!("{name} type/x {digest} {status} 1.0 MiB/1.0 MiB true\n"))
        });
        Self::sections(&[("images", self.images()), ("check", rows.collect())])
    }

    fn label(&mut self, arguments: &[String]) -> Answer {
        assert_eq!(arguments[1], "io.cri-containerd.pinned= io.cattle.k3s.pinned=");
        self.pinned.retain(|name| !arguments[2..].contains(name));
        Answer::default()
    }

    fn mend(&mut self, pairs: &[String]) -> Answer {
        for pair in pairs.chunks(2) {
            match self.records.get(&pair[0]).copied() {
                Some(digest) => self.records.insert(pair[1].clone(), digest),
                None => self.records.remove(&pair[1]),
            };
        }
        Answer::default()
    }

    /// Imports an archive as containerd 1.6 does, which records names before it unpacks.
    pub(crate) fn take(&mut self, archive: &[u8]) -> Answer {
        let failed =
            |reason: String| Answer { stderr: format!("ctr: {reason}\n"), exit_code: 1, ..Answer::default() };
        let mut index = None;
        let mut entries = tar::Archive::new(archive);
        for entry in entries.entries().unwrap() {
            let Ok(mut entry) = entry else { return failed("unexpected EOF".to_owned()) };
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            if entry.read_to_end(&mut content).is_err() {
                return failed("unexpected EOF".to_owned());
            }
            if let Some(hex) = path.strip_prefix("blobs/sha256/") {
                let digest = Digest::sha256(&content);
                assert_eq!(digest.hex(), hex);
                let children = match ManifestView::parse(&content, None) {
                    Ok(view) => view
                        .config
                        .iter()
                        .chain(&view.layers)
                        .chain(&view.manifests)
                        .map(|part| part.digest)
                        .collect(),
                    Err(_) => Vec::new(),
                };
                self.content.insert(digest, children);
            } else if path == "index.json" {
                index = Some(content);
            }
        }
        let Some(index) = index else { return failed("unrecognized image format".to_owned()) };
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        for manifest in index["manifests"].as_array().unwrap() {
            let name = manifest["annotations"]["io.containerd.image.name"].as_str().unwrap();
            let digest: Digest = manifest["digest"].as_str().unwrap().parse().unwrap();
            self.records.insert(name.to_owned(), digest);
            if let Some(missing) = self.missing(&digest) {
                return failed(format!("content digest {missing}: not found"));
            }
            if let Some(config) = self.content[&digest].first() {
                self.records.insert(config.to_string(), digest);
            }
        }
        Answer::default()
    }
}
