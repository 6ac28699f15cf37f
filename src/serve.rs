//! Who is listening: line sockets (protocol 1, docs/protocol.md) that replay the journal and then follow it live, HTTP, and
//! files that TensorBoard reads.

mod tensorboard;
mod feed;
mod http;
mod hub;
mod places;
mod session;
mod token;

use std::fs::Permissions;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tracing::info;

pub use feed::Feed;
pub use http::Http;
pub use hub::{ENDS, Hub};
pub use places::Places;
pub use session::Request;
pub use tensorboard::{DrawImages, TensorBoard};
pub use token::Token;

use crate::error::{Error, Result};
use hub::{accept, listen};
use places::Door;

/// Sockets that clients can connect to.
#[derive(Debug)]
pub struct Listeners {
    unix: UnixListener,
    tcp: Option<(TcpListener, Arc<Token>)>,
    file: SocketFile,
}

/// Longest path of a Unix socket on Linux, bytes.
const MAX_SOCKET_PATH: usize = 107;

impl Listeners {
    /// Listens at the Unix socket `path`, for its owner only, and at `tcp`, which must be on loopback, for who shows the token.
    ///
    /// # Errors
    /// `Setting` for a path that is too long or a file that is no dead socket, or an address that is not loopback; `Io` if
    /// listening fails.
    pub async fn bind(path: &Path, tcp: Option<(SocketAddr, Token)>) -> Result<Self> {
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            let found = format!("{} ({} bytes)", path.display(), path.as_os_str().len());
            return Err(Error::setting("--socket", format!("a path of at most {MAX_SOCKET_PATH} bytes"), found));
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        }
        if let Ok(file) = std::fs::symlink_metadata(path) {
            if !file.file_type().is_socket() || !is_dead(path).await {
                return Err(Error::setting("--socket", "a path that is free", format!("{} in use", path.display())));
            }
            std::fs::remove_file(path).map_err(Error::io(path, "remove"))?;
        }
        let unix = UnixListener::bind(path).map_err(Error::io(path, "listen at"))?;
        let file = SocketFile::of(path);
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(Error::io(path, "protect"))?;
        let tcp = match tcp {
            Some((address, _)) if !address.ip().is_loopback() => {
                return Err(Error::setting("--tcp", "an address on loopback, such as 127.0.0.1:7777", address));
            }
            Some((address, token)) => Some((listen(address, "--tcp").await?, Arc::new(token))),
            None => None,
        };
        Ok(Self { unix, tcp, file })
    }

    /// Where TCP clients connect.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.0.local_addr().ok()
    }

    /// Serves clients until the daemon ends and each has heard goodbye.
    pub async fn serve(self, hub: Arc<Hub>, places: Arc<Places>) {
        let Self { unix, tcp, file: _file } = self;
        let unix = places.serve(
            &hub.ends,
            Door::Unix,
            || unix.accept(),
            |(stream, _), place| session::run(stream, Arc::clone(&hub), "a client".to_owned(), None, place),
        );
        let tcp = async {
            let Some((listener, token)) = &tcp else { return };
            let serve = |(stream, address): (_, SocketAddr), place| {
                session::run(stream, Arc::clone(&hub), address.to_string(), Some(Arc::clone(token)), place)
            };
            places.serve(&hub.ends, Door::Tcp, || accept(listener), serve).await;
        };
        let end = async {
            hub.ends.cancelled().await;
            info!("saying goodbye to {} clients", places.taken());
        };
        tokio::join!(unix, tcp, end);
    }
}

/// Whether nobody listens at the socket `path`: where that cannot be asked, or clients queue there, somebody may.
async fn is_dead(path: &Path) -> bool {
    UnixStream::connect(path).await.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Removes the socket's file when the daemon ends, unless it is another's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Device and inode of the file itself.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
