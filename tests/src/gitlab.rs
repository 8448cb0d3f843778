//! A stand-in of GitLab's token endpoint, `GET /jwt/auth`: it answers as Rails does and mints tokens byte for
//! byte as Rails does, with a key of GitLab's size and name. It shares no code with the product.

mod endpoint;
mod key;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::Result;

pub use key::GitLabKey;

/// Somebody who may log in at GitLab, or the anonymous one without a name.
#[derive(Debug, Clone)]
pub struct Member {
    /// Name and password of Basic authentication; `None` for requests without.
    pub login: Option<(&'static str, &'static str)>,
    /// `auth_type` in the token.
    pub auth_type: &'static str,
    /// `sub` in the token: only users have one.
    pub subject: Option<&'static str>,
    /// What the nested token says about the user, as JSON text; Rails writes `null` for the anonymous one.
    pub user_info: Option<&'static str>,
    /// Path prefixes and the actions allowed under them.
    pub rights: &'static [(&'static str, &'static [&'static str])],
    pub admin: bool,
}

/// The endpoint, until this is dropped.
#[derive(Debug)]
pub struct GitLab {
    port: u16,
    stopping: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl GitLab {
    pub fn start(key: Arc<GitLabKey>, members: Vec<Member>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = listener.local_addr()?.port();
        let (stopping, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let endpoint = endpoint::Endpoint { key, members };
        let (seen, stop) = (asked.clone(), stopping.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                // One at a time: a client asks for one token at a time.
                if let Ok(stream) = stream {
                    serve(stream, &endpoint, &seen);
                }
            }
        });
        Ok(Self { port, stopping, asked, thread: Some(thread) })
    }

    /// The URL that registries send clients to, for a host name of this machine.
    pub fn realm(&self, host: &str) -> String {
        format!("http://{host}:{}/jwt/auth", self.port)
    }

    /// Its address on loopback.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The query of each request that got a token, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, endpoint: &endpoint::Endpoint, asked: &Mutex<Vec<String>>) {
    let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(10)));
    let Ok(request) = endpoint::Request::read(&mut stream) else { return };
    let answer = endpoint.answer(&request);
    if answer.status == "200 OK" {
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.query);
    }
    let text = format!(
        "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        answer.status,
        answer.body.len(),
        answer.body
    );
    let _ = stream.write_all(text.as_bytes());
}

impl Drop for GitLab {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread out of its wait.
        drop(TcpStream::connect(self.address()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
