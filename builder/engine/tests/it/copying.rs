//! COPY and ADD in whole builds. The rules of the copy itself are tested where it is made.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::kit::Kit;
use crate::tests;

tests!(
    files_of_the_context_belong_to_root_and_keep_their_modes,
    owners_and_modes_are_as_stated,
    files_of_a_stage_keep_their_owner,
    wildcards_and_directories,
    ignored_files_are_not_there,
    links_do_not_lead_out_of_the_context,
    add_unpacks_archives_and_copy_does_not,
    files_of_an_image_can_be_copied,
    an_empty_stage_has_nothing_to_copy,
    here_documents_become_files,
);

fn files_of_the_context_belong_to_root_and_keep_their_modes() {
    let kit = Kit::new();
    let path = kit.file("script", "#!/bin/sh\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::chown(&path, Some(55), Some(66)).unwrap();
    let files = kit.build("FROM base\nCOPY script /usr/bin/\n").files();
    let script = files.get("usr/bin/script");
    assert_eq!((script.mode, script.owner), (0o750, (0, 0)));
    assert_eq!((files.get("usr/bin").mode, files.get("usr/bin").owner), (0o755, (0, 0)));
}

fn owners_and_modes_are_as_stated() {
    let kit = Kit::new();
    kit.file("a", "a");
    let files = kit
        .build(
            "FROM base\nCOPY --chown=app a /by-name\nCOPY --chown=app:wheel --chmod=600 a /with-group\n\
             COPY --chown=7:8 --chmod=u=rwX,go=rX a /by-number\nCOPY --chown=9 a new/a\n",
        )
        .files();
    assert_eq!(files.get("by-name").owner, (1234, 4321));
    assert_eq!((files.get("with-group").owner, files.get("with-group").mode), ((1234, 77), 0o600));
    assert_eq!((files.get("by-number").owner, files.get("by-number").mode), ((7, 8), 0o644));
    assert_eq!((files.get("new").owner, files.get("new/a").owner), ((9, 9), (9, 9)));
}

fn files_of_a_stage_keep_their_owner() {
    let files = Kit::new()
        .build(
            "FROM base AS made\nRUN mkdir /d && echo x > /d/x && chown -R 5:6 /d && chmod 4711 /d/x\n\
             FROM scratch\nCOPY --from=made /d /kept\nCOPY --from=made --chown=0 /d /root\n",
        )
        .files();
    assert_eq!((files.get("kept/x").owner, files.get("kept/x").mode), ((5, 6), 0o4711));
    assert_eq!(files.get("root/x").owner, (0, 0));
}

fn wildcards_and_directories() {
    let kit = Kit::new();
    for name in ["src/a.c", "src/b.c", "src/deep/c.c", "src/notes.md", "file"] {
        kit.file(name, name);
    }
    let files = kit.build(
        "FROM scratch\nCOPY src/*.c /c/\nCOPY src all\nCOPY file none* /new/name/\nCOPY file /renamed\n",
    );
    let files = files.files();
    assert_eq!(files.below("c"), ["a.c", "b.c"]);
    assert_eq!(files.below("all"), ["a.c", "b.c", "deep", "deep/c.c", "notes.md"]);
    assert_eq!(files.below("new"), ["name", "name/file"]);
    assert_eq!(files.content("renamed"), "file");
}

fn ignored_files_are_not_there() {
    let kit = Kit::new();
    for name in ["kept", "secret.key", "node_modules/x/y", "node_modules/keep/z", "log/a.log"] {
        kit.file(name, name);
    }
    kit.file(".dockerignore", "*.key\nnode_modules\n!node_modules/keep\nlog/*\n");
    let files = kit.build("FROM scratch\nCOPY . /app\n").files();
    assert_eq!(
        files.below("app"),
        [".dockerignore", "kept", "log", "node_modules", "node_modules/keep", "node_modules/keep/z"]
    );
    let error = kit.fail("FROM scratch\nCOPY secret.key /\n");
    assert!(error.to_string().contains("ignore file"), "{error}");
}

fn links_do_not_lead_out_of_the_context() {
    let kit = Kit::new();
    kit.file("inside", "inside");
    symlink("/etc/passwd", kit.context().join("absolute")).unwrap();
    symlink("../../../../../../../etc/passwd", kit.context().join("relative")).unwrap();
    symlink("/inside", kit.context().join("rooted")).unwrap();
    for name in ["absolute", "relative", "../../etc/passwd", "/etc/passwd"] {
        let error = kit.fail(&format!("FROM scratch\nCOPY {name} /stolen\n"));
        assert!(error.to_string().contains("does not exist"), "{name}: {error}");
        assert_eq!(error.line(), Some(2));
    }
    // A link met inside a directory stays a link, and an absolute one is taken from the context's root.
    let files = kit.build("FROM scratch\nCOPY . /all\nCOPY rooted /taken\n").files();
    assert_eq!(files.get("all/absolute").link, "/etc/passwd");
    assert_eq!(files.content("taken"), "inside");
}

fn add_unpacks_archives_and_copy_does_not() {
    let kit = Kit::new();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o640);
    header.set_uid(11);
    header.set_gid(12);
    archive.append_data(&mut header, "in/side", &b"hello"[..]).unwrap();
    kit.file("files.tar", archive.into_inner().unwrap());
    kit.file("plain", "plain");
    std::os::unix::fs::chown(kit.context().join("plain"), Some(55), Some(66)).unwrap();
    let files = kit
        .build(
            "FROM base\nADD files.tar plain /added/\nADD --chown=7:8 files.tar /owned/\nCOPY files.tar /copied/\n",
        )
        .files();
    let side = files.get("added/in/side");
    assert_eq!((side.content.as_str(), side.mode, side.owner), ("hello", 0o640, (11, 12)));
    assert_eq!(files.get("added/plain").owner, (0, 0));
    assert_eq!(files.get("owned/in/side").owner, (7, 8));
    assert_eq!(files.below("copied"), ["files.tar"]);
}

fn files_of_an_image_can_be_copied() {
    let kit = Kit::new();
    let files = kit.build("FROM scratch\nCOPY --from=base /etc/passwd /users\n").files();
    assert!(files.content("users").contains("app:x:1234"));
}

fn here_documents_become_files() {
    let files = Kit::new()
        .build("FROM base\nARG WHO=world\nCOPY <<EOF <<'RAW' /etc/greetings/\nhello $WHO\nEOF\nhello $WHO\nRAW\n")
        .files();
    assert_eq!(files.content("etc/greetings/EOF"), "hello world\n");
    assert_eq!(files.content("etc/greetings/RAW"), "hello $WHO\n");
    assert_eq!((files.get("etc/greetings/EOF").mode, files.get("etc/greetings/EOF").owner), (0o644, (0, 0)));
}

fn an_empty_stage_has_nothing_to_copy() {
    let kit = Kit::new();
    let dockerfile = "FROM scratch AS empty\nENV A=1\nFROM base\n";
    let error = kit.fail(&format!("{dockerfile}COPY --from=empty /a/file /\n"));
    assert!(error.to_string().contains("/a/file"), "{error}");
    let built = kit.build(&format!("{dockerfile}COPY --from=empty /a* /\n"));
    assert_eq!(built.image.layers.len(), 2);
}
