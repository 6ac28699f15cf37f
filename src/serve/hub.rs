//! What all who listen share: the way to the daemon, the journal, and the end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::watch::daemon::{Ask, Channels, Message};

/// What every session shares.
#[derive(Debug)]
pub struct Hub {
    pub(super) channels: Channels,
    journal: Mutex<Journal>,
    /// Cancelled when the daemon ends.
    pub(super) ends: CancellationToken,
}

impl Hub {
    /// `journal` is opened for reading; `ends` is cancelled when the daemon ends.
    #[must_use]
    pub fn new(channels: Channels, journal: Journal, ends: CancellationToken) -> Arc<Self> {
        Arc::new(Self { channels, journal: Mutex::new(journal), ends })
    }

    /// Reads the journal away from the threads that serve sockets.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Journal) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let hub = Arc::clone(self);
        let work = move || read(&hub.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::setting("read", "a result", error)))
    }

    /// Asks the daemon itself.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Value> {
        let (answer, answered) = oneshot::channel();
        let messages = self.channels.messages.clone();
        let gone = || Error::setting("request", "a daemon that runs", "one that ends");
        let sent = tokio::task::spawn_blocking(move || messages.send(Message::Ask(ask, answer))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Err(gone());
        }
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Listens at the address that `flag` names.
pub(super) async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::setting(
            flag,
            "a free port, such as 0 for any that is",
            format!("{address}, where a program listens already"),
        ),
        _ => Error::io(address.to_string().as_ref(), "listen at")(error),
    })
}
