//! Binding a listening socket, with messages that say what to do when it fails.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::model::ListenAddress;

/// Connections that wait in the kernel to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound, non-blocking socket.
#[derive(Debug)]
pub enum Bound {
    Tcp(TcpListener),
    /// The path is removed when the listener closes.
    Unix(UnixListener, PathBuf),
}

impl Bound {
    /// The address as bound: with the port that the kernel chose where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }
}

/// Binds the address. `used_by` names the setting in the message.
///
/// # Errors
/// One line that says which address, why, and what to do.
pub fn bind(address: &ListenAddress, used_by: &str) -> Result<Bound, String> {
    let bound = match address {
        ListenAddress::Tcp(address) => bind_tcp(*address).map(Bound::Tcp),
        ListenAddress::Unix(path) => bind_unix(path).map(|listener| Bound::Unix(listener, path.clone())),
    };
    bound.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "another program is listening there: stop it, or choose another address",
            io::ErrorKind::PermissionDenied => {
                "choose a port above 1023 or a writable path, or grant CAP_NET_BIND_SERVICE"
            }
            io::ErrorKind::AddrNotAvailable => "no network interface of this machine has that address",
            _ => "check the address",
        };
        format!("cannot listen on {address} ({used_by}): {error}; {advice}")
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A socket file that nobody listens on any more is left over from a crash and replaced; one in use is an error.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        match UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
        }
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_way_out() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(&ListenAddress::Tcp(address), "listener gateway").unwrap_err();
        assert!(error.starts_with(&format!("cannot listen on {address} (listener gateway): ")), "{error}");
        assert!(error.ends_with("stop it, or choose another address"), "{error}");
    }

    #[test]
    fn a_socket_file_left_over_is_replaced_and_one_in_use_is_not() {
        let directory = std::env::temp_dir().join(format!("baton-bind-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let address = ListenAddress::Unix(path);
        let bound = bind(&address, "listener gateway").unwrap();
        assert!(bind(&address, "listener gateway").unwrap_err().contains("another program"));
        drop(bound);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
