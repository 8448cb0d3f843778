//! A small Docker Engine API client: list containers, run a command in one, ask how it ended. One connection
//! per call; nothing is kept between calls, so a restarted Engine needs no care.
//!
//! Requests go to unversioned paths, which every Engine (and Podman's compatible API) answers in its own
//! version; only fields that all of them share are used.

mod address;
mod demux;
#[cfg(test)]
pub(crate) use demux::encode_frame;
mod exec;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};

pub use address::{DockerAddress, TlsFiles};
pub(crate) use exec::{ExecOutput, FeedError};

use crate::ImportError;

/// Longest wait for a connection and for the head of an answer: these calls do no long work.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read: a list of some thousand containers.
const LARGEST_ANSWER: usize = 16 << 20;

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// The task that moves one connection's bytes. It ends when this is dropped, whatever the other end does.
#[derive(Debug)]
struct ConnectionTask(JoinHandle<Result<(), hyper::Error>>);

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The head of an answer, and the connection that its body comes by.
#[derive(Debug)]
struct Answer {
    response: Response<Incoming>,
    connection: ConnectionTask,
}

/// A container as the Engine lists it. Only the labels that are needed are read: others hold secrets.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Container {
    #[serde(rename = "Id")]
    pub(crate) id: String,
    #[serde(rename = "Names", default)]
    names: Vec<String>,
    /// `running`, `exited`, `paused`, ...
    #[serde(rename = "State", default)]
    pub(crate) state: String,
    #[serde(rename = "Labels", default)]
    pub(crate) labels: ClusterLabels,
}

/// The labels that k3d puts on its containers and that an import needs.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ClusterLabels {
    #[serde(rename = "k3d.cluster")]
    pub(crate) cluster: Option<String>,
    #[serde(rename = "k3d.role")]
    pub(crate) role: Option<String>,
}

impl Container {
    /// The name without the slash that the Engine puts before it, or the short id.
    pub(crate) fn name(&self) -> &str {
        match self.names.first() {
            Some(name) => name.trim_start_matches('/'),
            None => self.id.get(..12).unwrap_or(&self.id),
        }
    }
}

#[derive(Deserialize)]
struct ErrorAnswer {
    message: String,
}

/// A Docker Engine.
#[derive(Debug, Clone)]
pub(crate) struct Docker {
    address: DockerAddress,
}

impl Docker {
    pub(crate) fn new(address: DockerAddress) -> Self {
        Self { address }
    }

    /// All containers, also stopped ones, that carry every label of `labels` (`key=value`).
    pub(crate) async fn containers(&self, labels: &[&str]) -> Result<Vec<Container>, ImportError> {
        let filters = serde_json::json!({ "label": labels }).to_string();
        let path =
            format!("/containers/json?all=1&filters={}", utf8_percent_encode(&filters, NON_ALPHANUMERIC));
        self.json("list containers", Method::GET, &path, None).await
    }

    /// One call with a JSON answer.
    async fn json<T: DeserializeOwned>(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<T, ImportError> {
        let call = async {
            let request = self.request(method, path, body.as_ref());
            let answer = self.send(action, request).await?;
            let answer = self.accepted(action, answer, &[StatusCode::OK, StatusCode::CREATED]).await?;
            let body = read_body(action, answer).await?;
            serde_json::from_slice(&body).map_err(|error| protocol(action, error))
        };
        timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| {
            Err(ImportError::TimedOut { action: action.to_owned(), seconds: CALL_TIMEOUT.as_secs() })
        })
    }

    fn request(&self, method: Method, path: &str, body: Option<&serde_json::Value>) -> Request<Full<Bytes>> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.host_header())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .expect("the paths of this module and a checked authority make a request")
    }

    /// Sends `request` over a new connection, which ends with the answer.
    async fn send(&self, action: &str, request: Request<Full<Bytes>>) -> Result<Answer, ImportError> {
        let stream = timeout(CALL_TIMEOUT, self.connect()).await.unwrap_or_else(|_| {
            Err(self.unreachable(&format!("no connection within {} s", CALL_TIMEOUT.as_secs())))
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| protocol(action, error))?;
        let connection = ConnectionTask(tokio::spawn(connection.with_upgrades()));
        let response = timeout(CALL_TIMEOUT, sender.send_request(request))
            .await
            .map_err(|_| ImportError::TimedOut {
                action: action.to_owned(),
                seconds: CALL_TIMEOUT.as_secs(),
            })?
            .map_err(|error| protocol(action, error))?;
        Ok(Answer { response, connection })
    }

    async fn connect(&self) -> Result<Box<dyn Connection>, ImportError> {
        match &self.address {
            DockerAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| self.unreachable(&error))?;
                Ok(Box::new(stream))
            }
            DockerAddress::Tcp { authority, tls } => {
                let stream = TcpStream::connect(authority).await.map_err(|error| self.unreachable(&error))?;
                stream.set_nodelay(true).map_err(|error| self.unreachable(&error))?;
                let Some(files) = tls else { return Ok(Box::new(stream)) };
                let connector = tls::connector(files).await.map_err(|reason| ImportError::DockerAddress {
                    address: self.address.to_string(),
                    reason,
                })?;
                let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name =
                    rustls_pki_types::ServerName::try_from(host).map_err(|error| self.unreachable(&error))?;
                let stream =
                    connector.connect(name, stream).await.map_err(|error| self.unreachable(&error))?;
                Ok(Box::new(stream))
            }
        }
    }

    /// `answer` if its status is one of `wanted`, else the Engine's own message as an error.
    async fn accepted(
        &self,
        action: &str,
        answer: Answer,
        wanted: &[StatusCode],
    ) -> Result<Answer, ImportError> {
        let status = answer.response.status();
        if wanted.contains(&status) {
            return Ok(answer);
        }
        let body = read_body(action, answer).await?;
        let message = match serde_json::from_slice::<ErrorAnswer>(&body) {
            Ok(answer) => answer.message,
            Err(_) => status.canonical_reason().unwrap_or("no message").to_owned(),
        };
        Err(ImportError::DockerRefused { action: action.to_owned(), status: status.as_u16(), message })
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> ImportError {
        ImportError::DockerUnreachable { address: self.address.to_string(), reason: reason.to_string() }
    }
}

async fn read_body(action: &str, answer: Answer) -> Result<Bytes, ImportError> {
    let Answer { response, connection: _connection } = answer;
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
    Ok(body.map_err(|error| protocol(action, error))?.to_bytes())
}

fn protocol(action: &str, reason: impl std::fmt::Display) -> ImportError {
    ImportError::DockerProtocol { action: action.to_owned(), reason: reason.to_string() }
}
