use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::*;

/// An image of one file.
fn image(config: Value, change: impl FnOnce(&mut Header), content: &[u8], xattr: &[u8]) -> Image {
    let mut tar = Builder::new(Vec::new());
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    change(&mut header);
    tar.append_pax_extensions([("SCHILY.xattr.user.note", xattr)]).expect("memory can be written to");
    tar.append_data(&mut header, "file", content).expect("memory can be written to");
    let layer = tar.into_inner().expect("memory can be written to");
    Image { manifest: Value::Null, config, layers: vec![layer] }
}

fn plain(config: Value) -> Image {
    image(config, |_| (), b"content", b"note")
}

fn places(ours: &Image, theirs: &Image) -> Vec<String> {
    let differences = compare(ours, theirs).expect("both images are good");
    differences.into_iter().map(|difference| difference.place).collect()
}

#[test]
fn every_property_of_a_file_counts() {
    let plain = plain(Value::Null);
    assert_eq!(places(&plain, &image(Value::Null, |_| (), b"content", b"note")), [""; 0]);
    assert_eq!(
        places(&plain, &image(Value::Null, |header| header.set_mtime(7), b"content", b"note")),
        [""; 0]
    );
    let others = [
        image(Value::Null, |header| header.set_mode(0o4644), b"content", b"note"),
        image(Value::Null, |header| header.set_uid(1), b"content", b"note"),
        image(Value::Null, |header| header.set_gid(1), b"content", b"note"),
        image(Value::Null, |header| header.set_entry_type(EntryType::Fifo), b"", b"note"),
        image(Value::Null, |_| (), b"CONTENT", b"note"),
        image(Value::Null, |_| (), b"content", b"other"),
    ];
    for other in others {
        assert_eq!(places(&plain, &other), ["/file"]);
    }
    let none = Image { manifest: Value::Null, config: Value::Null, layers: Vec::new() };
    assert_eq!(places(&plain, &none), ["/file"]);
    assert_eq!(places(&none, &plain), ["/file"]);
}

#[test]
fn every_value_of_the_config_counts_but_times() {
    let ours = plain(json!({
        "created": "then", "config": {"Env": ["A=1", "B=2"], "User": "app"},
        "history": [{"created": "then", "created_by": "RUN x"}], "rootfs": {"diff_ids": ["sha256:1"]}
    }));
    let same = plain(json!({
        "created": "now", "config": {"Env": ["A=1", "B=2"], "User": "app"},
        "history": [{"created": "now", "created_by": "RUN x"}], "rootfs": {"diff_ids": ["sha256:2"]}
    }));
    assert_eq!(places(&ours, &same), [""; 0]);
    let other = plain(json!({
        "config": {"Env": ["B=2", "A=1"], "Cmd": ["sh"], "User": ""},
        "history": [{"created": "now", "created_by": "RUN y"}],
        "rootfs": {"diff_ids": ["sha256:2", "sha256:3"]}
    }));
    assert_eq!(
        places(&ours, &other),
        [
            "config: config.Cmd",
            "config: config.Env[0]",
            "config: config.Env[1]",
            "config: config.User",
            "config: history[0].created_by",
            "config: rootfs.diff_ids",
        ]
    );
}

#[test]
fn names_of_one_file_count() {
    let layer = super::super::tree::tests::layer;
    let image =
        |names: &[&str]| Image { manifest: Value::Null, config: Value::Null, layers: vec![layer(names)] };
    assert_eq!(places(&image(&["a", "b=a"]), &image(&["a", "b"])), ["/b"]);
    assert_eq!(places(&image(&["a", "b=a"]), &image(&["b", "a=b"])), [""; 0]);
}
