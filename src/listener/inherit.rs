//! Listening sockets that another process opened: the Baton that ran before, or a service manager (`LISTEN_FDS`,
//! sd_listen_fds(3)).
//!
//! A listener of the configuration first looks here for its socket and binds one only when there is none. What nobody
//! wants is closed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::bind::{Bound, Claim, SocketFile};
use super::handover::Role;
use crate::config::model::ListenAddress;

/// How a service manager calls the admin listener's socket (`FileDescriptorName=`).
const ADMIN_NAME: &str = "admin";

/// Sockets waiting to be taken.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Offered>,
    /// How many the Baton before has passed on.
    passed: usize,
    taken: Taken,
}

/// What was taken of the Baton before.
#[derive(Debug, Default)]
pub struct Taken {
    /// Counted from 0 as they came.
    pub numbers: Vec<usize>,
    claims: Vec<Claim>,
}

impl Taken {
    /// The other process has left its place to this one, and with it the files of its sockets.
    pub fn claim_files(&self) {
        self.claims.iter().for_each(Claim::make);
    }
}

#[derive(Debug)]
struct Offered {
    /// Of a socket of the Baton before; a service manager knows names alone.
    origin: Option<Origin>,
    name: String,
    bound: Bound,
}

#[derive(Debug)]
struct Origin {
    role: Role,
    number: usize,
    owns_file: bool,
}

impl Inherited {
    /// What a service manager passed to this process. To be called once and early: the environment variables that tell of
    /// them are removed, so that no child takes them for its own.
    ///
    /// # Errors
    /// One line when one of them is no listening stream socket.
    pub fn from_service_manager() -> Result<Self, String> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = listenfd::ListenFd::from_env();
        let mut this = Self::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let problem = |error: &dyn std::fmt::Display| {
                format!("socket {name:?} (number {index}) of the service manager cannot be used: {error}")
            };
            let socket = match passed.take_unix_listener(index) {
                Ok(Some(unix)) => OwnedFd::from(unix),
                _ => match passed.take_tcp_listener(index) {
                    Ok(Some(tcp)) => OwnedFd::from(tcp),
                    Ok(None) => continue,
                    Err(error) => return Err(problem(&error)),
                },
            };
            let bound = adopt(socket).map_err(|error| problem(&error))?;
            this.sockets.push(Offered { origin: None, name: name.to_owned(), bound });
        }
        Ok(this)
    }

    /// Adds a socket of the Baton before. `owns_file`: whoever closes it last removes its file, which is that one until
    /// [`Taken::claim_files`].
    ///
    /// # Errors
    /// When it is no listening stream socket.
    pub fn add(&mut self, role: Role, name: String, socket: OwnedFd, owns_file: bool) -> io::Result<()> {
        let bound = adopt(socket)?;
        let origin = Some(Origin { role, number: self.passed, owns_file });
        self.sockets.push(Offered { origin, name, bound });
        self.passed += 1;
        Ok(())
    }

    /// Takes the socket for a listener, or for one of the others. A service manager's goes by its name, since there its
    /// address is written; every other one by its address, and by name where the address leaves the port to the kernel.
    pub fn take(&mut self, role: Role, name: &str, address: &ListenAddress) -> Option<Bound> {
        let named = match role {
            Role::Listener => name,
            Role::Admin => ADMIN_NAME,
            Role::Upgrade => "",
        };
        let by_name = |offered: &Offered| offered.origin.is_none() && !named.is_empty() && offered.name == named;
        let by_address = |offered: &Offered| match &offered.origin {
            None => fits(address, &offered.bound, false),
            Some(origin) => origin.role == role && fits(address, &offered.bound, offered.name == name),
        };
        let index = self.sockets.iter().position(by_name).or_else(|| self.sockets.iter().position(by_address))?;
        let Offered { origin, bound, .. } = self.sockets.remove(index);
        if let Some(Origin { number, owns_file, .. }) = origin {
            self.taken.numbers.push(number);
            if let (Bound::Unix(_, file), true) = (&bound, owns_file) {
                self.taken.claims.push(file.claim());
            }
        }
        Some(bound)
    }

    /// Closes what was not taken. Whoever opened it removes its file.
    #[must_use]
    pub fn finish(self) -> Taken {
        for Offered { name, bound, .. } in self.sockets.iter().filter(|offered| offered.origin.is_none()) {
            let address = bound.address();
            tracing::warn!(
                name,
                address,
                "no listener has the name or the address of this socket of the service manager"
            );
        }
        self.taken
    }
}

/// Whether a socket is what this address asks for. `namesake`: both have the same name.
fn fits(wanted: &ListenAddress, bound: &Bound, namesake: bool) -> bool {
    match (wanted, bound) {
        (ListenAddress::Tcp(wanted), Bound::Tcp(listener)) => listener.local_addr().is_ok_and(|found| {
            found == *wanted || (namesake && wanted.port() == 0 && found == SocketAddr::new(wanted.ip(), found.port()))
        }),
        (ListenAddress::Unix(wanted), Bound::Unix(_, file)) => file.path() == wanted,
        _ => false,
    }
}

fn adopt(socket: OwnedFd) -> io::Result<Bound> {
    let fd = socket.as_fd();
    if sockopt::socket_type(fd)? != SocketType::STREAM || !sockopt::socket_acceptconn(fd)? {
        return Err(io::Error::other("it does not listen"));
    }
    let domain = sockopt::socket_domain(fd)?;
    if domain == AddressFamily::UNIX {
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        let path = listener.local_addr()?.as_pathname().map(PathBuf::from);
        let path = path.ok_or_else(|| io::Error::other("it is a Unix socket without a file"))?;
        Ok(Bound::Unix(listener, SocketFile::new(path, false)))
    } else if domain == AddressFamily::INET || domain == AddressFamily::INET6 {
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(Bound::Tcp(listener))
    } else {
        Err(io::Error::other("it is neither TCP nor a Unix socket"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> (OwnedFd, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener.into(), address)
    }

    fn anywhere() -> ListenAddress {
        ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn a_socket_goes_to_its_address_whatever_the_listener_is_called_now() {
        let (socket, address) = tcp();
        let mut inherited = Inherited::default();
        inherited.add(Role::Listener, "old".into(), socket, false).unwrap();
        assert!(inherited.take(Role::Listener, "old", &ListenAddress::Tcp("127.0.0.1:1".parse().unwrap())).is_none());
        assert!(inherited.take(Role::Admin, "", &ListenAddress::Tcp(address)).is_none());
        let taken = inherited.take(Role::Listener, "new", &ListenAddress::Tcp(address)).unwrap();
        assert_eq!(taken.address(), address.to_string());
        assert!(inherited.take(Role::Listener, "new", &ListenAddress::Tcp(address)).is_none());
        assert_eq!(inherited.finish().numbers, [0]);
    }

    #[test]
    fn where_the_kernel_chose_the_port_the_name_decides() {
        let mut inherited = Inherited::default();
        let [(one, _), (two, second)] = [tcp(), tcp()];
        inherited.add(Role::Listener, "one".into(), one, false).unwrap();
        inherited.add(Role::Listener, "two".into(), two, false).unwrap();
        assert!(inherited.take(Role::Listener, "three", &anywhere()).is_none());
        assert_eq!(inherited.take(Role::Listener, "two", &anywhere()).unwrap().address(), second.to_string());
        assert_eq!(inherited.finish().numbers, [1]);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let (socket, address) = tcp();
        let connected = std::net::TcpStream::connect(address).unwrap();
        drop(socket);
        let error = Inherited::default().add(Role::Listener, "x".into(), connected.into(), false).unwrap_err();
        assert_eq!(error.to_string(), "it does not listen");
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        Inherited::default().add(Role::Listener, "x".into(), file.into(), false).unwrap_err();
    }

    #[test]
    fn a_file_is_removed_by_this_process_only_after_it_was_claimed() {
        let directory = std::env::temp_dir().join(format!("baton-inherit-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut there = Vec::new();
        for claimed in [None, Some(false), Some(true)] {
            let mut inherited = Inherited::default();
            inherited.add(Role::Listener, "x".into(), listener.try_clone().unwrap().into(), true).unwrap();
            let bound = claimed.and_then(|_| inherited.take(Role::Listener, "x", &ListenAddress::Unix(path.clone())));
            let taken = inherited.finish();
            if claimed == Some(true) {
                taken.claim_files();
            }
            drop(bound);
            there.push(path.exists());
        }
        assert_eq!(there, [true, true, false]);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
