//! The few calls of the Kubernetes container runtime interface (runtime.v1) that start a container, spoken as
//! gRPC over a node's socket. Messages are written and read field by field: there are six of them.

use std::{path::Path, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

/// A message in the making (Protocol Buffers encoding, "Message Structure").
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

fn read_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("the runtime's messages are whole");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

/// All values of `field` in a message.
fn values(mut message: &[u8], field: u64) -> Vec<Value> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = read_varint(&mut message);
        let value = match key & 7 {
            0 => Value::Number(read_varint(&mut message)),
            2 => {
                let length = read_varint(&mut message) as usize;
                let (value, rest) = message.split_at(length);
                message = rest;
                Value::Bytes(value.to_vec())
            }
            other => panic!("wire type {other} is in no message used here"),
        };
        if key >> 3 == field {
            found.push(value);
        }
    }
    found
}

fn text_of(message: &[u8], field: u64) -> String {
    match values(message, field).pop() {
        Some(Value::Bytes(bytes)) => String::from_utf8(bytes).unwrap(),
        _ => String::new(),
    }
}

fn number_of(message: &[u8], field: u64) -> u64 {
    match values(message, field).pop() {
        Some(Value::Number(number)) => number,
        _ => 0,
    }
}

fn message_of(message: &[u8], field: u64) -> Option<Vec<u8>> {
    match values(message, field).pop() {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// An image as a node's runtime knows it.
#[derive(Debug)]
pub(crate) struct RuntimeImage {
    pub(crate) id: String,
    pub(crate) tags: Vec<String>,
    pub(crate) digests: Vec<String>,
    pub(crate) pinned: bool,
}

/// A node's container runtime.
pub(crate) struct Runtime {
    sender: http2::SendRequest<Full<Bytes>>,
}

const HOST_NAMESPACE: u64 = 2;
const EXITED: u64 = 2;

impl Runtime {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    async fn call(&mut self, method: &str, message: &Message) -> Result<Vec<u8>, String> {
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(message.0.len() as u32);
        body.put_slice(&message.0);
        let request = Request::post(format!("http://localhost/runtime.v1.{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(body.freeze()))
            .unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let headers = response.headers().clone();
        let collected = response.into_body().collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let field = |name: &str| trailers.get(name).or_else(|| headers.get(name)).cloned();
        match field("grpc-status") {
            Some(status) if status == "0" => Ok(collected.to_bytes().slice(5..).to_vec()),
            status => Err(format!("{method}: status {status:?}, {:?}", field("grpc-message"))),
        }
    }

    /// What the runtime knows as `name`.
    pub(crate) async fn image(&mut self, name: &str) -> Option<RuntimeImage> {
        let request = Message::default().message(1, &Message::default().text(1, name));
        let answer = self.call("ImageService/ImageStatus", &request).await.unwrap();
        let image = message_of(&answer, 1)?;
        let texts = |field| -> Vec<String> {
            values(&image, field)
                .into_iter()
                .map(|value| match value {
                    Value::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                    Value::Number(_) => String::new(),
                })
                .collect()
        };
        Some(RuntimeImage {
            id: text_of(&image, 1),
            tags: texts(2),
            digests: texts(3),
            pinned: number_of(&image, 8) == 1,
        })
    }

    /// Runs `image` in a pod of its own, as a kubelet does when it need not pull, and gives the exit code.
    /// Its output goes to `/tmp/{name}.log` in the node.
    pub(crate) async fn run_to_end(&mut self, name: &str, image: &str) -> Result<u64, String> {
        let metadata = Message::default().text(1, name).text(2, name).text(3, "default");
        let namespaces = Message::default().number(1, HOST_NAMESPACE);
        let linux = Message::default().message(2, &Message::default().message(1, &namespaces));
        let sandbox = Message::default().message(1, &metadata).text(3, "/tmp").message(8, &linux);
        let answer =
            self.call("RuntimeService/RunPodSandbox", &Message::default().message(1, &sandbox)).await?;
        let pod = text_of(&answer, 1);
        let config = Message::default()
            .message(1, &Message::default().text(1, name))
            .message(2, &Message::default().text(1, image))
            .text(11, &format!("{name}.log"));
        let request = Message::default().text(1, &pod).message(2, &config).message(3, &sandbox);
        let container = text_of(&self.call("RuntimeService/CreateContainer", &request).await?, 1);
        let by_id = Message::default().text(1, &container);
        self.call("RuntimeService/StartContainer", &by_id).await?;
        let status = loop {
            let answer = self.call("RuntimeService/ContainerStatus", &by_id).await?;
            let status = message_of(&answer, 1).ok_or("the container has no status")?;
            if number_of(&status, 3) == EXITED {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let by_pod = Message::default().text(1, &pod);
        self.call("RuntimeService/StopPodSandbox", &by_pod).await?;
        self.call("RuntimeService/RemovePodSandbox", &by_pod).await?;
        Ok(number_of(&status, 7))
    }
}
