//! Telling systemd how the server is (sd_notify(3)): a service of `Type=notify` counts as started when it is ready.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// What systemd can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Stopping,
}

/// Tells systemd, if it started this process and asked for it.
pub(crate) fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, ?state, "cannot tell systemd");
    }
}

fn send(socket: &OsStr, state: State) -> io::Result<()> {
    // A name that begins with `@` is in the abstract namespace.
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let message: &[u8] = match state {
        State::Ready => b"READY=1",
        State::Stopping => b"STOPPING=1",
    };
    let sender = UnixDatagram::unbound()?;
    // A full queue must not hold up the server.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message, &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(receiver: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn systemd_hears_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), State::Ready).unwrap();
        send(path.as_os_str(), State::Stopping).unwrap();
        assert_eq!((told(&receiver), told(&receiver)), (b"READY=1".to_vec(), b"STOPPING=1".to_vec()));

        let name = format!("slipway-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), State::Ready).unwrap();
        assert_eq!(told(&receiver), b"READY=1");

        send(folder.path().join("nobody").as_os_str(), State::Ready).unwrap_err();
    }
}
