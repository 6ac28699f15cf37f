//! Places for clients, as many as the limit of open files leaves. Where none is left, who came first gives way to who comes, those at the same
//! door before others, but nobody who follows events. These leave some places, so that who asks and leaves, as health checks do, is always
//! let in.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Those who follow events leave one place in so many.
const LEFT: usize = 16;
/// How long nobody is let in after that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Where clients come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Door {
    Unix,
    Tcp,
    Http,
}

/// Places for the clients of a daemon.
#[derive(Debug)]
pub struct Places {
    most: usize,
    free: Arc<Semaphore>,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    came: u64,
    /// By their door, in the order in which they came; without those who were told to leave.
    here: BTreeMap<(Door, u64), Client>,
    is_full_said: bool,
}

#[derive(Debug)]
struct Client {
    leaves: CancellationToken,
    follows: bool,
}

impl Places {
    /// For so many clients, two or more.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, free: Arc::new(Semaphore::new(most)), clients: Mutex::default() })
    }

    /// How many clients there may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Serves each client that `accept` brings to a door until the daemon ends and all have left.
    pub(super) async fn serve<C, A: Future<Output = Result<C>>, S: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        ends: &CancellationToken,
        door: Door,
        accept: impl Fn() -> A,
        serve: impl Fn(C, Arc<Place>) -> S,
    ) {
        let admit = async || {
            let client = accept().await?;
            // At once: there is somebody who gives way.
            Ok::<_, Error>((client, self.take(door).await?))
        };
        loop {
            let admitted = tokio::select! {
                () = ends.cancelled() => break,
                admitted = admit() => admitted,
            };
            match admitted {
                Ok((client, place)) => {
                    let served = serve(client, Arc::clone(&place));
                    tokio::spawn(async move {
                        tokio::select! {
                            () = served => {}
                            () = place.leaves.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    error!("cannot accept a client: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        let _ = self.free.acquire_many(self.most as u32).await;
    }

    /// A place for who comes to a door.
    pub(super) async fn take(self: &Arc<Self>, door: Door) -> Result<Arc<Place>> {
        let free = Arc::clone(&self.free);
        let permit = if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            permit
        } else {
            self.make_room(door);
            free.acquire_owned().await.map_err(Error::other)?
        };
        let (mut clients, leaves) = (self.clients(), CancellationToken::new());
        clients.came += 1;
        let name = (door, clients.came);
        clients.here.insert(name, Client { leaves: leaves.clone(), follows: false });
        drop(clients);
        Ok(Arc::new(Place { name, places: Arc::clone(self), leaves, _permit: permit }))
    }

    fn make_room(&self, door: Door) {
        let mut clients = self.clients();
        let others = clients.here.iter().filter(|(_, client)| !client.follows);
        let first = others.map(|(name, _)| *name).min_by_key(|(at, number)| (*at != door, *number));
        if let Some(client) = first.and_then(|name| clients.here.remove(&name)) {
            client.leaves.cancel();
        }
        if !std::mem::replace(&mut clients.is_full_said, true) {
            warn!("all {} places for clients are taken: who came first gives way to who comes", self.most);
        }
    }

    /// How many clients there are.
    pub(super) fn taken(&self) -> usize {
        self.clients().here.len()
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    name: (Door, u64),
    places: Arc<Places>,
    leaves: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Whether the client may follow events, and so keep its place as long as it likes: not those at one door take more than half.
    pub fn follow(&self) -> bool {
        let (mut clients, most) = (self.places.clients(), self.places.most);
        let following = || clients.here.iter().filter(|(_, client)| client.follows);
        let at_door = following().filter(|((door, _), _)| *door == self.name.0).count();
        let is_room = at_door < most / 2 && following().count() < most - most.div_ceil(LEFT);
        clients.here.get_mut(&self.name).is_some_and(|client| {
            client.follows |= is_room;
            client.follows
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.clients().here.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_gives_way_and_who_follows_events_stays() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let places = Places::new(4);
            let mut here = Vec::new();
            for door in [Door::Unix, Door::Unix, Door::Http, Door::Http] {
                here.push(places.take(door).await.expect("free"));
            }
            let is_asked =
                |here: &[Arc<Place>]| here.iter().map(|place| place.leaves.is_cancelled()).collect::<Vec<_>>();
            assert!(here[0].follow() && here[0].follow() && here[2].follow());
            assert!(here[1].follow() && !here[3].follow(), "one place is left");
            // The only one who can.
            let next = tokio::spawn({
                let places = Arc::clone(&places);
                async move { places.take(Door::Tcp).await }
            });
            tokio::task::yield_now().await;
            assert_eq!(is_asked(&here), [false, false, false, true]);
            assert_eq!(places.taken(), 3);
            here.pop();
            here.push(next.await.expect("no panic").expect("free"));
            assert_eq!(places.taken(), 4);

            here.truncate(1);
            for door in [Door::Unix, Door::Http, Door::Unix] {
                here.push(places.take(door).await.expect("free"));
            }
            places.make_room(Door::Http);
            assert_eq!(is_asked(&here), [false, false, true, false], "of the same door");
            places.make_room(Door::Http);
            assert_eq!(is_asked(&here), [false, true, true, false], "else of any");
        });
    }
}
