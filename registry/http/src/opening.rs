//! What a connection speaks, told from its first bytes, which stay where they are.

use std::time::Duration;

use tokio::{
    io::Interest,
    net::TcpStream,
    time::{sleep, timeout},
};

/// Time for the rest of `PRI` once its first letter is there. A sender that wants to be understood sends it in
/// one packet.
const REST_TIME: Duration = Duration::from_secs(5);
/// Pauses between two looks; the socket is readable all the while, so readiness cannot be waited for.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    Tls,
    Http1,
    Http2,
}

/// A TLS record of a handshake begins with 0x16 (RFC 8446 section 5.1), HTTP/2 without TLS with `PRI` (RFC 9113
/// section 3.4), which is no HTTP/1.1 method of ours. `None` when the peer closed before that was clear.
pub(crate) async fn opening(stream: &TcpStream) -> Option<Opening> {
    let first = look(stream).await?;
    let Err(Undecided) = first else { return first.ok() };
    // Whoever stops within a method's name is left to HTTP/1's own time limit.
    timeout(REST_TIME, rest(stream)).await.unwrap_or(Some(Opening::Http1))
}

async fn rest(stream: &TcpStream) -> Option<Opening> {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        if let Ok(opening) = look(stream).await? {
            return Some(opening);
        }
        if stream.ready(Interest::READABLE).await.ok()?.is_read_closed() {
            return None;
        }
    }
}

/// The bytes so far begin more than one protocol.
struct Undecided;

async fn look(stream: &TcpStream) -> Option<Result<Opening, Undecided>> {
    let mut first = [0; 3];
    let seen = stream.peek(&mut first).await.ok()?;
    match first.get(..seen)? {
        [] => None,
        [0x16, ..] => Some(Ok(Opening::Tls)),
        b"PRI" => Some(Ok(Opening::Http2)),
        b"P" | b"PR" => Some(Err(Undecided)),
        _ => Some(Ok(Opening::Http1)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (near, far) = tokio::join!(listener.accept(), TcpStream::connect(address));
        (near.expect("accepted").0, far.expect("connected"))
    }

    #[tokio::test]
    async fn protocols_are_told_apart() {
        for (bytes, expected) in [
            (&b"PRI * HTTP/2.0"[..], Opening::Http2),
            (b"PUT / HTTP/1.1", Opening::Http1),
            (b"\x16\x03\x01", Opening::Tls),
            (b"G", Opening::Http1),
        ] {
            let (near, mut far) = pair().await;
            far.write_all(bytes).await.expect("written");
            assert_eq!(opening(&near).await, Some(expected));
        }
    }

    #[tokio::test]
    async fn a_beginning_in_pieces_is_waited_for() {
        let (near, mut far) = pair().await;
        let sender = async {
            for byte in [b"P", b"R", b"I"] {
                far.write_all(byte).await.expect("written");
                sleep(Duration::from_millis(30)).await;
            }
        };
        assert_eq!(tokio::join!(opening(&near), sender).0, Some(Opening::Http2));
    }

    #[tokio::test]
    async fn a_peer_that_closed_is_not_waited_for() {
        for bytes in [&b"P"[..], b""] {
            let (near, mut far) = pair().await;
            far.write_all(bytes).await.expect("written");
            drop(far);
            let told = timeout(Duration::from_secs(1), opening(&near)).await;
            assert_eq!(told.expect("at once"), None);
        }
    }
}
