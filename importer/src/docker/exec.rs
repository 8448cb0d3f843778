//! Commands in containers: create an exec, start it with its streams on the hijacked connection, feed its
//! standard input, end that by closing our half, and ask for the exit code.

use std::time::Duration;

use hyper::{
    Method, StatusCode,
    header::{CONNECTION, HeaderValue, UPGRADE},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::{sleep, timeout},
};

use super::{
    Answer, Docker,
    demux::{Channel, Demux},
    protocol,
};
use crate::ImportError;

/// Most of a command's standard output that is kept: the content list of a node with 100,000 blobs.
const LARGEST_STDOUT: usize = 64 << 20;
/// How much of the end of standard error is kept: the reason stands there.
const KEPT_STDERR: usize = 64 << 10;
/// Size of one read from the connection.
const READ_SIZE: usize = 64 << 10;
/// The Engine closes the streams a moment before it knows the exit code.
const EXIT_CODE_POLL: Duration = Duration::from_millis(20);
const EXIT_CODE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct ExecOutput {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) exit_code: i64,
}

/// A started command with its streams.
pub(crate) struct ExecSession {
    id: String,
    input: WriteHalf<TokioIo<Upgraded>>,
    output: ReadHalf<TokioIo<Upgraded>>,
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "Running")]
    running: bool,
    #[serde(rename = "ExitCode")]
    exit_code: Option<i64>,
}

/// The streams of a command until their end.
struct Collected {
    stdout: Vec<u8>,
    stderr: String,
}

impl Docker {
    /// Runs `command` in `container` to its end, without standard input.
    pub(crate) async fn run(
        &self,
        container: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<ExecOutput, ImportError> {
        let name = command.first().map_or("a command", String::as_str);
        let run = async {
            let session = self.start(container, command, false).await?;
            let collected = collect(session.output).await?;
            self.finished(&session.id, collected).await
        };
        timeout(limit, run).await.unwrap_or_else(|_| {
            Err(ImportError::TimedOut { action: format!("{name} in the node"), seconds: limit.as_secs() })
        })
    }

    /// Starts `command` in `container` with its streams attached.
    pub(crate) async fn start(
        &self,
        container: &str,
        command: &[String],
        stdin: bool,
    ) -> Result<ExecSession, ImportError> {
        let body = json!({
            "AttachStdin": stdin, "AttachStdout": true, "AttachStderr": true, "Tty": false, "Cmd": command,
        });
        let path = format!("/containers/{container}/exec");
        let Created { id } = self.json("create an exec", Method::POST, &path, Some(body)).await?;
        let action = "start an exec";
        let body = json!({ "Detach": false, "Tty": false });
        let mut request = self.request(Method::POST, &format!("/exec/{id}/start"), Some(&body));
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
        let answer = self.send(action, request).await?;
        let answer = self.accepted(action, answer, &[StatusCode::SWITCHING_PROTOCOLS]).await?;
        // The connection's task ends with the upgrade, which takes the stream out of it.
        let Answer { response, connection: _connection } = answer;
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| protocol(action, error))?;
        let (output, input) = tokio::io::split(TokioIo::new(upgraded));
        Ok(ExecSession { id, input, output })
    }

    async fn finished(&self, id: &str, collected: Collected) -> Result<ExecOutput, ImportError> {
        let action = "inspect an exec";
        let path = format!("/exec/{id}/json");
        let poll = async {
            loop {
                let state: Inspected = self.json(action, Method::GET, &path, None).await?;
                match state.exit_code {
                    Some(exit_code) if !state.running => return Ok(exit_code),
                    _ => sleep(EXIT_CODE_POLL).await,
                }
            }
        };
        let exit_code: Result<i64, ImportError> = timeout(EXIT_CODE_TIMEOUT, poll).await.map_err(|_| {
            ImportError::TimedOut { action: action.to_owned(), seconds: EXIT_CODE_TIMEOUT.as_secs() }
        })?;
        Ok(ExecOutput { stdout: collected.stdout, stderr: collected.stderr, exit_code: exit_code? })
    }
}

impl ExecSession {
    /// Lets `feed` write the command's standard input, closes it, and waits for the command's end, after the
    /// feeding at most for `limit`.
    ///
    /// A command may end before it has read everything; then its output tells why, so a broken pipe while
    /// feeding is no error of its own. An error of `feed` that is not about the pipe ends the session at
    /// once, which makes the command see an unfinished stream.
    pub(crate) async fn feed<F>(
        self,
        docker: &Docker,
        feed: F,
        limit: Duration,
    ) -> Result<ExecOutput, ImportError>
    where
        F: AsyncFnOnce(&mut WriteHalf<TokioIo<Upgraded>>) -> Result<(), FeedError>,
    {
        let Self { id, mut input, output } = self;
        let feeding = async {
            feed(&mut input).await?;
            input.shutdown().await.map_err(|_| FeedError::Pipe)
        };
        let collecting = collect(output);
        tokio::pin!(feeding, collecting);
        let collected = tokio::select! {
            fed = &mut feeding => {
                if let Err(FeedError::Other(error)) = fed {
                    return Err(error);
                }
                timeout(limit, &mut collecting).await.map_err(|_| ImportError::TimedOut {
                    action: "unpacking in the node".to_owned(),
                    seconds: limit.as_secs(),
                })??
            }
            collected = &mut collecting => collected?,
        };
        docker.finished(&id, collected).await
    }
}

/// Why feeding a command's standard input stopped.
#[derive(Debug)]
pub(crate) enum FeedError {
    /// The command no longer reads.
    Pipe,
    Other(ImportError),
}

/// Reads both streams to their end.
async fn collect(mut output: ReadHalf<TokioIo<Upgraded>>) -> Result<Collected, ImportError> {
    let action = "read an exec's output";
    let mut demux = Demux::default();
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let length = output.read(&mut buffer).await.map_err(|error| protocol(action, error))?;
        if length == 0 {
            break;
        }
        demux
            .push(&buffer[..length], |channel, piece| match channel {
                Channel::Stdout => stdout.extend_from_slice(piece),
                Channel::Stderr => {
                    stderr.extend_from_slice(piece);
                    if stderr.len() > 2 * KEPT_STDERR {
                        stderr.drain(..stderr.len() - KEPT_STDERR);
                    }
                }
            })
            .map_err(|error| protocol(action, error))?;
        if stdout.len() > LARGEST_STDOUT {
            return Err(protocol(action, format!("it is longer than {LARGEST_STDOUT} bytes")));
        }
    }
    demux.finish().map_err(|error| protocol(action, error))?;
    Ok(Collected { stdout, stderr: String::from_utf8_lossy(&stderr).trim().to_owned() })
}
