//! What the command itself sees: code, output, environment, user, directory, files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use builder_runtime::StepFile;

use crate::kit::{Sandbox, Who, everywhere, wherever_ids_are_mapped};

fn here() -> Sandbox {
    Sandbox::open(Who::AsIs).unwrap().with_accounts()
}

#[test]
fn exit_codes_and_signals_come_through() {
    for sandbox in everywhere() {
        assert_eq!(sandbox.run(&sandbox.step("exit 0")).code, 0);
        assert_eq!(sandbox.run(&sandbox.step("exit 42")).code, 42);
        // The command is not the first process of its namespace, so signals act on it as anywhere.
        assert_eq!(sandbox.run(&sandbox.step("kill -TERM $$; sleep 5")).code, 128 + 15);
    }
}

#[test]
fn both_streams_arrive_whole_and_in_order() {
    let sandbox = here();
    let outcome = sandbox.run(&sandbox.step("seq 1 100000; seq 1 50000 >&2; printf end"));
    assert_eq!(outcome.code, 0);
    let numbers = |last: u32| (1..=last).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
    assert!(outcome.out == numbers(100_000) + "\nend", "standard output differs");
    assert!(outcome.err == numbers(50_000) + "\n", "standard error differs");
}

#[test]
fn standard_input_is_empty() {
    assert_eq!(here().output_of("cat; echo end"), "end\n");
}

#[test]
fn the_environment_is_the_steps_own() {
    let sandbox = here();
    let mut spec = sandbox.step("env | sort");
    spec.env = vec![("B".into(), "two words".into()), ("A".into(), "1".into())];
    let outcome = sandbox.run(&spec);
    let names: Vec<&str> =
        outcome.out.lines().filter(|line| !line.starts_with("PWD=") && !line.starts_with("SHLVL=")).collect();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(names, ["A=1", "B=two words", "HOME=/root", path], "{outcome:?}");
}

#[test]
fn the_builders_environment_is_nowhere_to_be_seen() {
    for sandbox in everywhere() {
        let script = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c hunter2; true";
        assert_eq!(sandbox.output_of(script), "0\n", "{:?}", sandbox.who);
    }
}

#[test]
fn users_groups_and_home_come_from_the_image() {
    for sandbox in wherever_ids_are_mapped() {
        let sandbox = sandbox.with_accounts();
        let run = |user: &str| {
            let mut spec = sandbox.step("echo $(id -u) $(id -g) $(id -G) $HOME; echo seen >/dev/stderr");
            spec.user = user.to_owned();
            let outcome = sandbox.run(&spec);
            assert_eq!(outcome.err, "seen\n", "{:?}: {outcome:?}", sandbox.who);
            outcome.out
        };
        assert_eq!(run(""), "0 0 0 /root\n");
        assert_eq!(run("ana"), "1000 1000 1000 10 /home/ana\n");
        assert_eq!(run("1000"), "1000 1000 1000 10 /home/ana\n");
        assert_eq!(run("ana:wheel"), "1000 10 10 /home/ana\n");
        assert_eq!(run("4000:4001"), "4000 4001 4001 /\n");
    }
}

#[test]
fn a_user_that_is_not_there_is_named() {
    let sandbox = here();
    let mut spec = sandbox.step("true");
    spec.user = "bob".into();
    let outcome = sandbox.run(&spec);
    assert_eq!(outcome.code, 125);
    assert!(outcome.err.contains("user \"bob\" is not known: /etc/passwd"), "{outcome:?}");
    spec.user = "ana:staff".into();
    assert!(sandbox.run(&spec).err.contains("group \"staff\" is not known: /etc/group"));
}

#[test]
fn a_program_that_does_not_start_is_explained() {
    let sandbox = here();
    let run = |program: &str| {
        let mut spec = sandbox.step("");
        spec.argv = vec![program.to_owned()];
        let outcome = sandbox.run(&spec);
        (outcome.code, outcome.err)
    };
    let (code, text) = run("no-such-program");
    assert_eq!(code, 127);
    assert!(
        text.contains("\"no-such-program\"") && text.contains("not found in PATH /usr/local/sbin"),
        "{text}"
    );
    let (code, text) = run("/bin/missing");
    assert!(code == 127 && text.contains("no such file"), "{code} {text}");
    let (code, text) = run("/etc/passwd");
    assert!(code == 126 && text.contains("Permission denied"), "{code} {text}");
    fs::write(sandbox.path("lower/bin/text"), "echo no interpreter line\n").unwrap();
    fs::set_permissions(sandbox.path("lower/bin/text"), fs::Permissions::from_mode(0o755)).unwrap();
    let (code, text) = run("text");
    assert!(code == 126 && text.contains("interpreter line"), "{code} {text}");
}

#[test]
fn a_working_directory_is_used_and_must_exist() {
    let sandbox = here();
    let mut spec = sandbox.step("pwd");
    spec.cwd = "/tmp".into();
    assert_eq!(sandbox.run(&spec).out, "/tmp\n");
    spec.cwd = "/missing".into();
    let outcome = sandbox.run(&spec);
    assert_eq!(outcome.code, 125);
    assert!(outcome.err.contains("working directory /missing"), "{outcome:?}");
}

#[test]
fn host_name_hosts_and_name_servers_are_set() {
    let sandbox = here();
    let mut spec = sandbox.step("hostname; cat /etc/hosts; cat /etc/resolv.conf; echo x >/etc/hosts");
    spec.extra_hosts = vec![("registry.test".into(), [10, 1, 2, 3].into())];
    let outcome = sandbox.run(&spec);
    assert!(
        outcome.out.starts_with("buildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n"),
        "{outcome:?}"
    );
    assert!(outcome.out.contains("10.1.2.3\tregistry.test\n"), "{outcome:?}");
    let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert!(outcome.out.ends_with(&servers), "{outcome:?}");
    assert!(outcome.err.contains("Read-only file system"), "{outcome:?}");
}

#[test]
fn files_of_the_step_are_there_with_their_mode_and_leave_no_trace() {
    for sandbox in everywhere() {
        let mut spec = sandbox.step("/dev/pipes/EOF; cat /run/secret/deep; stat -c %a /run/secret/deep");
        let script = b"#!/bin/sh\necho ran as $0\n".to_vec();
        spec.files = vec![
            StepFile { path: "/dev/pipes/EOF".into(), content: script, mode: 0o755 },
            StepFile { path: "/run/secret/deep".into(), content: b"content\n".to_vec(), mode: 0o400 },
        ];
        let outcome = sandbox.run(&spec);
        assert_eq!(outcome.out, "ran as /dev/pipes/EOF\ncontent\n400\n", "{:?}: {outcome:?}", sandbox.who);
        assert!(sandbox.changes().is_empty(), "{:?}: {:?}", sandbox.who, sandbox.changes());
    }
}

#[test]
fn the_file_mask_is_dockers() {
    assert_eq!(here().output_of("umask; touch /tmp/f; stat -c %a /tmp/f"), "0022\n644\n");
}

#[test]
fn a_time_limit_ends_the_step_and_says_so() {
    for sandbox in everywhere() {
        let mut spec = sandbox.step("trap '' TERM; sleep 600 & sleep 601");
        spec.time_limit = Some(Duration::from_millis(500));
        let started = Instant::now();
        let outcome = sandbox.run(&spec);
        assert!(started.elapsed() < Duration::from_mins(1));
        assert_eq!(outcome.code, 125);
        assert!(outcome.err.contains("time limit of 0.5 s"), "{outcome:?}");
    }
}
