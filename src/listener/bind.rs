//! Binding a listening socket, with messages that say what to do when it fails.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::model::ListenAddress;

/// Connections that wait in the kernel to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound, non-blocking socket.
#[derive(Debug)]
pub enum Bound {
    Tcp(TcpListener),
    /// To be closed before its file goes.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket. Dropping it removes the file, unless that is somebody else's to do.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    ours: Arc<AtomicBool>,
}

/// A right to a [`SocketFile`] that has not been made use of.
#[derive(Debug)]
pub struct Claim(Arc<AtomicBool>);

/// A second hold on a bound socket, by which it can be passed on to another process.
#[derive(Debug)]
pub struct Hold {
    socket: OwnedFd,
    file: Option<Arc<AtomicBool>>,
}

impl Bound {
    /// The address as bound: with the port that the kernel chose where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            Self::Unix(_, file) => format!("unix:{}", file.path.display()),
        }
    }

    /// A second hold on it. The socket closes when both are gone.
    ///
    /// # Errors
    /// When this process has no descriptor left.
    pub fn hold(&self) -> io::Result<Hold> {
        let (socket, file) = match self {
            Self::Tcp(listener) => (listener.as_fd(), None),
            Self::Unix(listener, file) => (listener.as_fd(), Some(file.ours.clone())),
        };
        Ok(Hold { socket: socket.try_clone_to_owned()?, file })
    }
}

impl SocketFile {
    /// `ours`: whether this process removes it.
    #[must_use]
    pub fn new(path: PathBuf, ours: bool) -> Self {
        Self { path, ours: Arc::new(AtomicBool::new(ours)) }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// By which it becomes this process's to remove.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim(self.ours.clone())
    }
}

impl Claim {
    /// From now on this process removes the file.
    pub fn make(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.ours.load(Ordering::Acquire) {
            // It has done its service; should it be gone already, so much the better.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Hold {
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether this process removes the socket's file.
    #[must_use]
    pub fn owns_file(&self) -> bool {
        self.file.as_ref().is_some_and(|ours| ours.load(Ordering::Acquire))
    }

    /// Another process uses the socket from now on: closing it here leaves its file.
    pub fn passed_on(&self) {
        if let Some(ours) = &self.file {
            ours.store(false, Ordering::Release);
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
        ListenAddress::Unix(path) => {
            bind_unix(path).map(|listener| Bound::Unix(listener, SocketFile::new(path.clone(), true)))
        }
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
        assert!(!address_path(&address).exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_socket_that_was_passed_on_keeps_its_file() {
        let directory = std::env::temp_dir().join(format!("baton-passed-on-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let address = ListenAddress::Unix(directory.join("socket"));
        let bound = bind(&address, "listener gateway").unwrap();
        let hold = bound.hold().unwrap();
        assert!(hold.owns_file());
        hold.passed_on();
        drop(bound);
        assert!(address_path(&address).exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    fn address_path(address: &ListenAddress) -> &Path {
        let ListenAddress::Unix(path) = address else { panic!("{address} is no path") };
        path
    }
}
