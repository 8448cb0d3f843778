//! Instructions whose effect shows in files or in what commands see.

use builder_engine::{BuildRequest, Event, Reproducibility};

use crate::kit::Kit;
use crate::tests;

tests!(
    commands_see_environment_directory_and_user,
    a_directory_belongs_to_the_user_in_force,
    a_directory_that_exists_makes_an_empty_layer,
    scripts_in_here_documents,
    removed_files_are_gone_in_every_later_layer,
    triggers_of_a_base_image_run_once,
    proxies_reach_commands_and_nothing_else,
    the_epoch_reaches_commands_that_declare_it,
    steps_leave_no_traces_of_their_own,
);

fn commands_see_environment_directory_and_user() {
    let built = Kit::new().build(
        "FROM base\nENV GREETING=\"hello world\"\nARG TARGETARCH\nWORKDIR /a\nWORKDIR b\nUSER app\n\
         SHELL [\"/bin/sh\", \"-e\", \"-c\"]\n\
         RUN echo \"$GREETING $TARGETARCH\"; pwd; id; echo $HOME\nRUN [\"echo\", \"$GREETING\"]\n",
    );
    let architecture = registry_types::Platform::host().architecture;
    let expected = format!(
        "hello world {architecture}\n/a/b\nuid=1234(app) gid=4321(staff) groups=77(wheel),4321(staff)\n/home/app\n$GREETING\n"
    );
    let log = built.log().replace("groups=4321(staff),77(wheel)", "groups=77(wheel),4321(staff)");
    assert_eq!(log, expected);
}

fn a_directory_belongs_to_the_user_in_force() {
    let files = Kit::new()
        .build(
            "FROM base\nWORKDIR /by/root\nUSER app\nWORKDIR /by/root/sub/app\nUSER 9:10\nWORKDIR by-number\n",
        )
        .files();
    assert_eq!((files.get("by/root").owner, files.get("by/root").mode), ((0, 0), 0o755));
    assert_eq!(files.get("by/root/sub").owner, (1234, 4321));
    assert_eq!(files.get("by/root/sub/app").owner, (1234, 4321));
    assert_eq!(files.get("by/root/sub/app/by-number").owner, (9, 10));
}

fn a_directory_that_exists_makes_an_empty_layer() {
    let built = Kit::new().build("FROM base\nRUN true\nWORKDIR /tmp\nWORKDIR /\n");
    let empty: Vec<bool> = built
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Layer { empty, .. } => Some(*empty),
            _ => None,
        })
        .collect();
    assert_eq!(empty, [true, true]);
    assert_eq!(built.image.layers.len(), 3, "BuildKit writes such layers, too");
    assert!(built.layer(1).paths().is_empty() && built.layer(2).paths().is_empty());
    let history = &built.config()["history"];
    assert_eq!(history[2]["empty_layer"], serde_json::Value::Null);
    assert_eq!(history[3]["empty_layer"], true, "the root needs no directory");
}

fn the_epoch_reaches_commands_that_declare_it() {
    let kit = Kit::new();
    let dockerfile = "FROM base\nRUN echo \"none ${SOURCE_DATE_EPOCH-}\"\nARG SOURCE_DATE_EPOCH\nRUN echo \"some $SOURCE_DATE_EPOCH\"\n";
    let with = |seconds| {
        let reproducibility = Reproducibility::Epoch(seconds);
        kit.build_request(BuildRequest { reproducibility, ..kit.request(dockerfile) })
    };
    let built = with(12);
    assert_eq!(built.log(), "none \nsome 12\n");
    assert!(built.warnings().is_empty(), "{:?}", built.warnings());
    assert_eq!(with(13).log(), "some 13\n", "what does not see it is taken over");
}

fn scripts_in_here_documents() {
    let built = Kit::new().build(
        "FROM base\nRUN <<EOF\necho one\necho two > /two\nEOF\n\
         RUN <<SCRIPT\n#!/bin/cat\nshown as it is\nSCRIPT\n\
         RUN cat <<A > /a && echo behind\nbody\nA\n",
    );
    assert_eq!(built.log(), "one\n#!/bin/cat\nshown as it is\nbehind\n");
    let files = built.files();
    assert_eq!((files.content("two"), files.content("a")), ("two\n", "body\n"));
    assert!(!files.has("dev/pipes"));
}

fn removed_files_are_gone_in_every_later_layer() {
    let built = Kit::new().build(
        "FROM base AS first\nRUN mkdir /d && echo 1 > /d/one && echo 2 > /d/two\n\
         FROM first AS second\nRUN rm /d/one && rm -r /tmp && mkdir /tmp && echo new > /tmp/new\n\
         FROM base AS copied\nCOPY --from=second /d /d\n\
         FROM second\nRUN rm -r /d\nCOPY --from=copied /d /copied\n",
    );
    assert!(built.layer(2).has("d/.wh.one"));
    let files = built.files();
    assert!(!files.has("d") && !files.has("d/two"));
    assert_eq!(files.below("copied"), ["two"]);
    assert_eq!(files.below("tmp"), ["new"]);
    assert!(built.layer(3).has(".wh.d"));
}

fn triggers_of_a_base_image_run_once() {
    let kit = Kit::new();
    kit.file("app", "the app\n");
    kit.build_as("parent", "FROM base\nONBUILD COPY app /app\nONBUILD RUN cat /app && echo triggered > /t\n");
    let built = kit.build("FROM parent\nRUN echo own\n");
    assert_eq!(built.log(), "the app\nown\n");
    assert_eq!(built.files().content("t"), "triggered\n");
    assert_eq!(built.config()["config"].get("OnBuild"), None);
    kit.build_as("child", "FROM parent\n");
    let grandchild = kit.build("FROM child\nRUN cat /t\n");
    assert_eq!(grandchild.log(), "triggered\n");
    assert_eq!(grandchild.outcomes().len(), 1);
}

fn proxies_reach_commands_and_nothing_else() {
    let kit = Kit::new();
    let dockerfile = "FROM base\nRUN echo \"$HTTP_PROXY $http_proxy\" > /seen\n";
    let with = |proxy: &str| {
        let mut request = kit.request(dockerfile);
        request.build_args.insert("HTTP_PROXY".to_owned(), proxy.to_owned());
        kit.build_request(request)
    };
    let built = with("http://user:hunter2@proxy");
    assert_eq!(built.files().content("seen"), "http://user:hunter2@proxy http://user:hunter2@proxy\n");
    assert!(!String::from_utf8_lossy(&built.image.config).contains("hunter2"));
    assert_eq!(with("http://other").executed(), 0);
}

fn steps_leave_no_traces_of_their_own() {
    let built = Kit::new().build("FROM base\nRUN cat /etc/hosts /etc/resolv.conf > /dev/null; echo x > /x\n");
    assert_eq!(built.layer(1).paths(), ["x"]);
}
