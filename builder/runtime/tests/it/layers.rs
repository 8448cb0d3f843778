//! Overlays of many layers, of none, and read-only views of several.

use std::fs;
use std::path::PathBuf;

use crate::kit::{Sandbox, Who, everywhere};

/// Docker allows 127; names are long enough that they could never fit the old option text.
const MANY: usize = 130;

fn add_layers(sandbox: &Sandbox) -> Vec<PathBuf> {
    let padding = "a-directory-name,with:separators-".repeat(4);
    let mut layers = Vec::new();
    for number in (0..MANY).rev() {
        let layer = sandbox.path(&format!("{padding}{number}"));
        fs::create_dir_all(layer.join("data")).unwrap();
        fs::write(layer.join(format!("data/{number}")), "").unwrap();
        fs::write(layer.join("data/latest"), number.to_string()).unwrap();
        layers.push(layer);
    }
    sandbox.give_away();
    layers
}

#[test]
fn more_than_a_hundred_layers_are_merged() {
    for sandbox in everywhere() {
        let mut spec = sandbox.step("ls /data | wc -l; cat /data/latest; echo new >/data/latest");
        let layers = add_layers(&sandbox);
        spec.root.lower.splice(0..0, layers.iter().cloned());
        let outcome = sandbox.run(&spec);
        assert_eq!(outcome.out, format!("{}\n{}", MANY + 1, MANY - 1), "{:?}: {outcome:?}", sandbox.who);
        assert_eq!(fs::read_to_string(sandbox.path("upper/data/latest")).unwrap(), "new\n");
        assert_eq!(fs::read_to_string(layers[0].join("data/latest")).unwrap(), (MANY - 1).to_string());
    }
}

#[test]
fn a_removed_file_is_a_whiteout_in_the_upper_directory() {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    for sandbox in everywhere() {
        sandbox.output_of("rm /bin/ls");
        let metadata = fs::symlink_metadata(sandbox.path("upper/bin/ls")).unwrap();
        assert!(metadata.file_type().is_char_device() && metadata.rdev() == 0, "{:?}", sandbox.who);
        assert_eq!(sandbox.changes(), ["bin", "bin/ls"]);
    }
}

#[test]
fn a_replaced_directory_is_marked_opaque_for_any_user() {
    for sandbox in everywhere() {
        sandbox.output_of("rm -r /tmp && mkdir /tmp");
        let mut mark = [0; 8];
        let length =
            rustix::fs::getxattr(sandbox.path("upper/tmp"), "user.overlay.opaque", &mut mark[..]).unwrap();
        assert_eq!(&mark[..length], b"y", "{:?}", sandbox.who);
    }
}

#[test]
fn a_step_without_layers_runs_in_what_the_upper_directory_holds() {
    for sandbox in everywhere() {
        fs::create_dir(sandbox.path("upper/bin")).unwrap();
        fs::copy("/bin/busybox", sandbox.path("upper/bin/sh")).unwrap();
        sandbox.give_away();
        let mut spec = sandbox.step("echo made >/made");
        spec.root.lower.clear();
        let outcome = sandbox.run(&spec);
        assert_eq!(outcome.code, 0, "{:?}: {outcome:?}", sandbox.who);
        assert_eq!(sandbox.changes(), ["bin", "bin/sh", "made"]);
    }
}

#[test]
fn the_same_directories_serve_one_step_after_the_other() {
    for sandbox in everywhere() {
        sandbox.output_of("echo one >/one");
        assert_eq!(fs::read_dir(sandbox.path("work")).unwrap().count(), 0);
        assert_eq!(sandbox.output_of("cat /one; echo two >/two"), "one\n");
        assert_eq!(sandbox.changes(), ["one", "two"]);
    }
}

#[test]
fn a_missing_layer_is_named() {
    let sandbox = Sandbox::open(Who::AsIs).unwrap();
    let mut spec = sandbox.step("true");
    spec.root.lower.insert(0, sandbox.path("not-there"));
    let outcome = sandbox.run(&spec);
    assert_eq!(outcome.code, 125);
    assert!(outcome.err.contains("not-there"), "{outcome:?}");
}

#[test]
fn a_merged_view_is_read_only_and_gone_when_dropped() {
    for sandbox in everywhere() {
        let mut layers = add_layers(&sandbox);
        layers.push(sandbox.path("lower"));
        let storage = sandbox.path("upper");
        let list = |layers: &[PathBuf]| {
            let input = serde_json::to_string(layers).unwrap();
            sandbox.call(&["list", storage.to_str().unwrap()], &input)
        };
        let outcome = list(&layers);
        assert_eq!(outcome.out, "bin data tmp\nwriting: refused\nafter drop: gone\n", "{outcome:?}");
        let empty = list(&[]);
        assert_eq!(empty.out, "\nwriting: refused\nafter drop: gone\n", "{empty:?}");
        assert!(sandbox.changes().is_empty(), "{:?}", sandbox.changes());
    }
}
