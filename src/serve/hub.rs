//! What all who listen share: the way to the daemon, the journal, and the end.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::watch::daemon::{Ask, Channels, Message};

/// How long, and how often, the daemon is asked for what a locked journal keeps it from.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);

type Reading = Box<dyn FnOnce(&Journal) + Send>;

/// What every session shares.
#[derive(Debug)]
pub struct Hub {
    pub(super) channels: Channels,
    /// To the thread that reads the journal, away from those that serve sockets.
    readings: Sender<Reading>,
    /// Cancelled when the daemon ends.
    pub(super) ends: CancellationToken,
}

impl Hub {
    /// `journal` is opened for reading; `ends` is cancelled when the daemon ends.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(channels: Channels, journal: Journal, ends: CancellationToken) -> Arc<Self> {
        let (readings, wanted) = channel::<Reading>();
        // One thread for all and for good: where no more may start, the runtime would panic for want of one.
        tokio::task::spawn_blocking(move || {
            for read in wanted {
                // Whoever wanted it hears that there is no answer.
                let _ = catch_unwind(AssertUnwindSafe(|| read(&journal)));
            }
        });
        Arc::new(Self { channels, readings, ends })
    }

    /// What is read of the journal.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Journal) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let reading = move |journal: &Journal| {
            // One who left wants nothing.
            if !answer.is_closed() {
                let _ = answer.send(read(journal));
            }
        };
        // Where it cannot be sent, the answer's end is dropped with it.
        let _ = self.readings.send(Box::new(reading));
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Asks the daemon itself. It does not wait for who holds the journal: that is done here.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.ask_once(ask.clone()).await {
                Err(error) if error.is_of_lock() && Instant::now() < end => tokio::time::sleep(AGAIN).await,
                answer => return answer,
            }
        }
    }

    async fn ask_once(&self, ask: Ask) -> Result<Value> {
        let (answer, answered) = oneshot::channel();
        if !self.channels.send(Message::Ask(ask, answer)).await {
            return Err(gone());
        }
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// What a daemon that ends says that it is.
pub const ENDS: &str = "one that ends";

fn gone() -> Error {
    Error::setting("request", "a daemon that runs", ENDS)
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

/// The next client, and where it is.
pub(super) async fn accept(listener: &TcpListener) -> std::io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    // What is said is short, and wanted at once.
    let _ = stream.set_nodelay(true);
    Ok((stream, address))
}
