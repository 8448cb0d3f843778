//! What a step may not do, and what it may although it is confined.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::kit::{Sandbox, Who, everywhere, wherever_ids_are_mapped};

/// `capsh --decode=a80425fb`: Docker's fourteen.
const DOCKER_CAPABILITIES: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

#[test]
fn capabilities_are_dockers_for_root_and_none_for_others() {
    for sandbox in wherever_ids_are_mapped() {
        let capabilities = |user: &str| {
            let mut spec = sandbox.step("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status");
            spec.user = user.to_owned();
            let out = sandbox.run(&spec).out;
            out.lines().map(|line| line.replace('\t', "")).collect::<Vec<_>>()
        };
        let expected = |effective: &str| {
            vec![
                format!("CapInh:{NONE}"),
                format!("CapPrm:{effective}"),
                format!("CapEff:{effective}"),
                format!("CapBnd:{DOCKER_CAPABILITIES}"),
                format!("CapAmb:{NONE}"),
                "NoNewPrivs:0".to_owned(),
                "Seccomp:2".to_owned(),
            ]
        };
        assert_eq!(capabilities("0"), expected(DOCKER_CAPABILITIES), "{:?}", sandbox.who);
        assert_eq!(capabilities("1000"), expected(NONE), "{:?}", sandbox.who);
    }
}

#[test]
fn set_user_id_programs_work() {
    for sandbox in wherever_ids_are_mapped() {
        let sandbox = sandbox.with_accounts();
        let program = sandbox.path("lower/bin/busybox");
        fs::set_permissions(program, fs::Permissions::from_mode(0o4755)).unwrap();
        let mut spec = sandbox.step("id -u; su root -c 'id -u'");
        spec.user = "ana".into();
        let outcome = sandbox.run(&spec);
        assert_eq!(outcome.out, "1000\n0\n", "{:?}: {outcome:?}", sandbox.who);
    }
}

#[test]
fn root_may_give_files_away_and_change_user() {
    for sandbox in wherever_ids_are_mapped() {
        let sandbox = sandbox.with_accounts();
        let script =
            "touch /f; chown 33:44 /f; stat -c '%u %g' /f; su ana -c 'id -u'; mkfifo /p; ls / | grep -c p";
        assert!(sandbox.output_of(script).starts_with("33 44\n1000\n"), "{:?}", sandbox.who);
    }
}

#[test]
fn what_reaches_beyond_the_step_is_refused() {
    for sandbox in everywhere() {
        for attempt in [
            "mount -t tmpfs none /tmp",
            "mount -o remount,rw /sys",
            "umount /proc",
            "unshare -m true",
            "unshare -U true",
            "hostname other",
            "mknod /disk b 8 0",
            "swapoff /dev/null",
            // Harmless should it succeed: the same value again.
            "cat /proc/sys/kernel/panic >/proc/sys/kernel/panic",
            "mkdir /sys/fs/cgroup/escape",
            "mkdir /sys/kernel/escape",
            "chroot /proc/1/root true",
            "ls /proc/1/cwd/",
        ] {
            let outcome = sandbox.run(&sandbox.step(&format!("{attempt} && echo done")));
            assert_eq!(outcome.out, "", "{:?}: {attempt}: {outcome:?}", sandbox.who);
            assert!(!outcome.err.contains("not found"), "{attempt} did not even start: {outcome:?}");
            assert!(!outcome.err.starts_with("error:"), "{attempt}: the step itself failed: {outcome:?}");
        }
    }
}

#[test]
fn masked_kernel_files_are_empty() {
    for sandbox in everywhere() {
        let script = "for f in kcore keys timer_list interrupts; do [ ! -e /proc/$f ] || cat /proc/$f; done | wc -c
            for d in /proc/acpi /proc/scsi /sys/firmware /sys/kernel/debug; do [ ! -d $d ] || ls $d; done | wc -l";
        assert_eq!(sandbox.output_of(script), "0\n0\n", "{:?}", sandbox.who);
    }
}

#[test]
fn nothing_of_the_machine_is_in_the_root() {
    for sandbox in everywhere() {
        assert_eq!(sandbox.output_of("ls / && ls /.."), "bin\ndev\netc\nproc\nsys\ntmp\n".repeat(2));
        let devices = sandbox.output_of("ls /dev");
        let mut expected = vec![
            "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "urandom",
            "zero",
        ];
        let found: Vec<&str> =
            devices.lines().filter(|name| !["mqueue", "tty", "core"].contains(name)).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn only_the_steps_own_descriptors_are_open() {
    for sandbox in everywhere() {
        // The fourth is the directory `ls` itself reads.
        assert_eq!(sandbox.output_of("ls /proc/self/fd"), "0\n1\n2\n3\n", "{:?}", sandbox.who);
    }
}

#[test]
fn devices_and_terminals_work() {
    for sandbox in everywhere() {
        let script = "head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo x >/dev/null
            echo x >/dev/full 2>/dev/null || echo full; touch /dev/shm/f && echo shm; [ -c /dev/ptmx ] && echo ptmx";
        assert_eq!(sandbox.output_of(script), "4\n4\nfull\nshm\nptmx\n", "{:?}", sandbox.who);
    }
}

#[test]
fn links_in_the_image_lead_nowhere_outside() {
    let sandbox = Sandbox::open(Who::AsIs).unwrap();
    let outside = sandbox.path("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["proc", "dev", "etc"] {
        symlink(&outside, sandbox.path("lower").join(name)).unwrap();
    }
    symlink("../../../../../../../../etc", sandbox.path("lower/sys")).unwrap();
    let outcome = sandbox.run(&sandbox.step("ls -d /proc /dev"));
    // Whether such an image can run at all does not matter; it must not touch anything outside of its root.
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{outcome:?}");
}

#[test]
fn a_step_cannot_signal_anything_outside() {
    for sandbox in everywhere().into_iter().filter(|_| rustix::process::geteuid().is_root()) {
        // In a cage of its own, so that only this run would suffer if it could.
        let everybody = "kill -KILL -1 2>/dev/null; echo still here";
        let outcome = sandbox.run_caged(&sandbox.step(everybody));
        assert!(outcome.out == "still here\n" || outcome.code == 128 + 9, "{:?}: {outcome:?}", sandbox.who);
        let storage = sandbox.path("upper");
        let probe = sandbox.call(&["probe", storage.to_str().unwrap()], "");
        if probe.out.contains("can send signals") {
            eprintln!("skipped for {:?}: this kernel has no Landlock", sandbox.who);
            continue;
        }
        let one_by_one = "for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || kill -KILL ${p#/proc/} 2>/dev/null; done; echo still here";
        let outcome = sandbox.run_caged(&sandbox.step(one_by_one));
        assert_eq!(
            (outcome.code, outcome.out.as_str()),
            (0, "still here\n"),
            "{:?}: {outcome:?}",
            sandbox.who
        );
    }
}
