//! The exit codes that `slipway --help` promises.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use crate::kit::{Kit, run};

/// A registry that gives everybody the same answer to everything.
fn registry(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            let mut piece = [0; 1024];
            while !asked.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => asked.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let head = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }
    });
    address.to_string()
}

#[test]
fn a_base_image_that_cannot_be_had_says_why_by_exit_code() {
    let kit = Kit::new();
    for (answer, code) in [
        ("401 Unauthorized\r\nwww-authenticate: Basic realm=\"here\"", 3),
        ("403 Forbidden", 3),
        ("404 Not Found", 4),
        ("400 Bad Request", 1),
    ] {
        let dockerfile = format!("FROM {}/library/base:1\n", registry(answer));
        let (ended, _, said) = run(kit.build(&dockerfile, &[]));
        assert_eq!(ended, Some(code), "{answer}: {said}");
        assert!(said.contains("Dockerfile:1: the image"), "{said}");
    }
    let (ended, _, said) = run(kit.build("FROM 127.0.0.1:1/library/base:1\n", &[]));
    assert_eq!(ended, Some(1), "{said}");
}

#[test]
fn what_is_wrong_with_the_command_or_the_dockerfile_is_two() {
    let kit = Kit::new();
    let (ended, _, said) = run(kit.build("FROM scratch\nCPOY a /\n", &[]));
    assert_eq!(ended, Some(2), "{said}");
    let (ended, _, said) = run(kit.build("FROM scratch\n", &["--no-such-option"]));
    assert_eq!(ended, Some(2), "{said}");
}
