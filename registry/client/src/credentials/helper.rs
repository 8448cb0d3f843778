//! Credential helpers: programs named `docker-credential-NAME` that answer `get` for a server address given on
//! their standard input. What they print is a secret and is never repeated, not even in an error.

use std::{process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use super::{Credential, file::TOKEN_USER};
use crate::{Error, secret::Secret};

/// How long a helper may take: some ask a cloud's token service, none should ask a person.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest answer that is read, in bytes; a cloud's tokens have a few kilobytes.
const LONGEST_ANSWER: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

/// Asks the helper; `None` when it knows no login for `server`.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credential>, Error> {
    let program = format!("docker-credential-{name}");
    let unusable = |reason: String| Error::Credentials { place: program.clone(), reason };
    // The name comes from a file and becomes a program's name: it must not become a path.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(unusable("its name may hold only letters, digits, . _ and -".to_owned()));
    }
    match tokio::time::timeout(PATIENCE, ask(&program, server)).await {
        Ok(Ok(answer)) => read(&answer).map_err(|reason| unusable(reason.to_owned())),
        Ok(Err(error)) => Err(unusable(format!("it cannot be run: {error}"))),
        Err(_) => Err(unusable(format!("it gave no answer within {} s", PATIENCE.as_secs()))),
    }
}

struct Output {
    success: bool,
    text: Vec<u8>,
}

async fn ask(program: &str, server: &str) -> std::io::Result<Output> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that ends without reading answers by its exit code.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let mut text = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(LONGEST_ANSWER).read_to_end(&mut text).await?;
    }
    Ok(Output { success: child.wait().await?.success(), text })
}

fn read(output: &Output) -> Result<Option<Credential>, &'static str> {
    if !output.success {
        // The helpers' protocol tells this case by its text alone.
        let text = String::from_utf8_lossy(&output.text).to_lowercase();
        return if text.contains("credentials not found") {
            Ok(None)
        } else {
            Err("it failed; run it by hand to see why")
        };
    }
    let answer: Answer =
        serde_json::from_slice(&output.text).map_err(|_| "its answer is not the JSON of a helper")?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(if answer.username == TOKEN_USER {
        Credential::IdentityToken(answer.secret)
    } else {
        Credential::Basic { user: answer.username, password: answer.secret }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(success: bool, text: &str) -> Output {
        Output { success, text: text.as_bytes().to_vec() }
    }

    #[test]
    fn answers_are_read() {
        let basic = Credential::Basic { user: "u".to_owned(), password: "p".into() };
        assert_eq!(read(&output(true, r#"{"ServerURL":"h","Username":"u","Secret":"p"}"#)), Ok(Some(basic)));
        assert_eq!(
            read(&output(true, r#"{"ServerURL":"h","Username":"<token>","Secret":"t"}"#)),
            Ok(Some(Credential::IdentityToken("t".into())))
        );
        assert_eq!(read(&output(false, "credentials not found in native keychain\n")), Ok(None));
        assert!(read(&output(false, "no such store")).is_err());
        assert!(read(&output(true, "{}")).is_err());
    }

    #[tokio::test]
    async fn a_helper_s_name_cannot_be_a_path() {
        assert!(get("../../bin/sh", "h").await.is_err());
    }

    #[tokio::test]
    async fn a_program_gets_the_server_on_standard_input() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker-credential-test");
        std::fs::write(
            &path,
            "#!/bin/sh\nread -r server\nprintf '{\"Username\":\"%s\",\"Secret\":\"%s\"}' \"$1\" \"$server\"\n",
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let answer = ask(path.to_str().unwrap(), "h.test:5050\n").await.unwrap();
        assert_eq!(
            read(&answer),
            Ok(Some(Credential::Basic { user: "get".to_owned(), password: "h.test:5050".into() }))
        );
    }
}
