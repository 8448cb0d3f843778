use tar::{Builder, Header};

use super::*;

/// An archive of files, folders (`name/`), hard links (`name=target`) and whiteouts, all by their names.
pub(crate) fn layer(names: &[&str]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for name in names {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if let Some((name, target)) = name.split_once('=') {
            header.set_entry_type(EntryType::Link);
            tar.append_link(&mut header, name, target).expect("memory can be written to");
        } else {
            let kind = if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular };
            header.set_entry_type(kind);
            tar.append_data(&mut header, name, &b""[..]).expect("memory can be written to");
        }
    }
    tar.into_inner().expect("memory can be written to")
}

fn paths(layers: &[&[&str]]) -> Vec<String> {
    let mut tree = Tree::default();
    for names in layers {
        tree.apply(&layer(names)).expect("the layer is good");
    }
    tree.paths()
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .filter(|path| !path.is_empty())
        .collect()
}

#[test]
fn whiteouts_remove_what_is_below_and_not_what_is_beside() {
    assert_eq!(paths(&[&["a/", "a/b/", "a/b/c", "d"], &["a/.wh.b", "a/new"]]), ["a", "a/new", "d"]);
    assert_eq!(paths(&[&["a/", "a/b"], &["a/b/", "a/b/x", "a/.wh.b"]]), ["a", "a/b", "a/b/x"]);
    assert_eq!(paths(&[&["ab", "a/", "a/b"], &[".wh.a"]]), ["ab"]);
}

#[test]
fn opaque_folders_hide_what_is_below() {
    assert_eq!(paths(&[&["a/", "a/b", "a/c/", "a/c/d"], &["a/", "a/e", "a/.wh..wh..opq"]]), ["a", "a/e"]);
    assert_eq!(paths(&[&["a", "b"], &["c", ".wh..wh..opq"]]), ["c"]);
}

#[test]
fn a_folder_gives_way_to_a_file_and_keeps_its_content_under_a_folder() {
    assert_eq!(paths(&[&["a/", "a/b"], &["a"]]), ["a"]);
    assert_eq!(paths(&[&["a/", "a/b"], &["a/"]]), ["a", "a/b"]);
    assert_eq!(paths(&[&["a"], &["a/", "a/b"]]), ["a", "a/b"]);
}

#[test]
fn names_of_one_file_are_known() {
    let mut tree = Tree::default();
    tree.apply(&layer(&["z", "a=z", "c"])).expect("the layer is good");
    assert_eq!(tree.first_name(b"z"), Some(&b"a"[..]));
    assert_eq!(tree.first_name(b"c"), Some(&b"c"[..]));
    tree.apply(&layer(&["z"])).expect("the layer is good");
    assert_eq!(tree.first_name(b"z"), Some(&b"z"[..]), "a file put anew is another");
}

#[test]
fn layers_that_no_unpacker_takes_are_errors() {
    assert!(Tree::default().apply(&layer(&["a", "a/b"])).is_err());
    assert!(Tree::default().apply(&layer(&["a=missing"])).is_err());
    let whole = layer(&["a"]);
    assert!(Tree::default().apply(&whole[..100]).is_err());
}
