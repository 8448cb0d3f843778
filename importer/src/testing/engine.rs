//! A Docker Engine that is a socket in a temporary folder: the five calls of the importer, answered for
//! pretended nodes.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};

use super::{
    node::{Answer, FakeNode, Import},
    tls,
};
use crate::{DockerAddress, TlsFiles, docker::encode_frame};

pub(crate) struct FakeEngine {
    folder: TempDir,
    address: DockerAddress,
    state: Arc<Mutex<State>>,
}

struct State {
    nodes: Vec<FakeNode>,
    /// Commands by exec id, with the node's position.
    execs: Vec<(usize, Vec<String>)>,
    exit_codes: HashMap<usize, i64>,
}

impl State {
    fn new(nodes: impl IntoIterator<Item = FakeNode>) -> Arc<Mutex<Self>> {
        let nodes = nodes.into_iter().collect();
        Arc::new(Mutex::new(Self { nodes, execs: Vec::new(), exit_codes: HashMap::new() }))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

impl FakeEngine {
    /// Listens on a socket in the folder.
    pub(crate) fn start(nodes: impl IntoIterator<Item = FakeNode>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let engine = Self { folder, address: DockerAddress::Unix(path), state: State::new(nodes) };
        let state = engine.state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, state.clone()));
            }
        });
        engine
    }

    /// Listens on TCP with TLS and asks clients for a certificate; the folder has the client's files.
    pub(crate) async fn start_tls(nodes: impl IntoIterator<Item = FakeNode>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let acceptor = tls::acceptor(folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let tls = Some(TlsFiles::in_directory(folder.path()));
        let address = DockerAddress::Tcp { authority, tls };
        let engine = Self { folder, address, state: State::new(nodes) };
        let state = engine.state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), state.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, state).await;
                    }
                });
            }
        });
        engine
    }

    pub(crate) fn address(&self) -> DockerAddress {
        self.address.clone()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A copy of the node as it is now.
    pub(crate) fn node(&self, name: &str) -> FakeNode {
        self.state.lock().unwrap().nodes.iter().find(|node| node.name == name).unwrap().clone()
    }

    /// Changes a node.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut FakeNode)) {
        change(self.state.lock().unwrap().nodes.iter_mut().find(|node| node.name == name).unwrap());
    }
}

async fn serve(mut stream: impl Stream, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_lowercase().strip_prefix("content-length: ").map(|length| length.parse().unwrap())
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let path: Vec<&str> = target.split(['/', '?']).skip(1).collect();
    match path.as_slice() {
        ["containers", "json", ..] => {
            let list = state.lock().unwrap().nodes.iter().map(listed).collect::<Vec<_>>();
            reply(stream, 200, &serde_json::json!(list)).await;
        }
        ["containers", id, "exec"] => {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let created = {
                let mut state = state.lock().unwrap();
                let position =
                    state.nodes.iter().position(|node| node.name == *id && node.state == "running");
                position.map(|position| {
                    state.execs.push((position, serde_json::from_value(body["Cmd"].clone()).unwrap()));
                    state.execs.len() - 1
                })
            };
            match created {
                Some(exec) => reply(stream, 201, &serde_json::json!({"Id": exec.to_string()})).await,
                None => reply(stream, 409, &serde_json::json!({"message": format!("{id} is gone")})).await,
            }
        }
        ["exec", id, "start"] => start(stream, &state, id.parse().unwrap()).await,
        ["exec", id, "json"] => {
            let code = state.lock().unwrap().exit_codes.get(&id.parse().unwrap()).copied();
            reply(stream, 200, &serde_json::json!({"Running": code.is_none(), "ExitCode": code})).await;
        }
        other => panic!("the importer called {other:?}"),
    }
}

fn listed(node: &FakeNode) -> serde_json::Value {
    serde_json::json!({
        "Id": node.name, "Names": [format!("/{}", node.name)], "State": node.state,
        "Labels": {"app": "k3d", "k3d.cluster": "c", "k3d.role": node.role},
    })
}

async fn reply(mut stream: impl Stream, status: u16, body: &serde_json::Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // The importer may have given up meanwhile.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Hijacks the connection and runs the command.
async fn start(mut stream: impl Stream, state: &Mutex<State>, exec: usize) {
    let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (position, command) = state.lock().unwrap().execs[exec].clone();
    let answer = if let [shell, flag, script, _, arguments @ ..] = command.as_slice()
        && shell == "sh"
        && flag == "-c"
    {
        state.lock().unwrap().nodes[position].script(script, arguments)
    } else {
        let behaviour = {
            let node = &mut state.lock().unwrap().nodes[position];
            node.commands.push(command);
            node.imports.pop_front().unwrap_or(Import::Take)
        };
        import(&mut stream, state, position, behaviour).await
    };
    // Frames as the Engine sends them: several a stream, errors and output in turn.
    let mut wire = Vec::new();
    for (number, text) in [(1, &answer.stdout), (2, &answer.stderr)] {
        text.as_bytes().chunks(1000).for_each(|piece| wire.extend(encode_frame(number, piece)));
    }
    let _ = stream.write_all(&wire).await;
    let _ = stream.shutdown().await;
    state.lock().unwrap().exit_codes.insert(exec, answer.exit_code);
}

async fn import(
    stream: &mut impl Stream,
    state: &Mutex<State>,
    position: usize,
    behaviour: Import,
) -> Answer {
    let failed = |stderr: &str| Answer { stderr: stderr.to_owned(), exit_code: 1, ..Answer::default() };
    let mut archive = Vec::new();
    match behaviour {
        Import::FailAtOnce(stderr) => failed(stderr),
        Import::Stall => std::future::pending().await,
        Import::Fail(stderr) => {
            stream.read_to_end(&mut archive).await.unwrap();
            failed(stderr)
        }
        Import::Take => {
            stream.read_to_end(&mut archive).await.unwrap();
            state.lock().unwrap().nodes[position].take(&archive)
        }
    }
}
