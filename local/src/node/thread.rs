//! Work on threads of their own: such as moves into namespaces or gives up rights, and so ends with its thread.

use std::io;

use tokio::sync::{Semaphore, oneshot};

use crate::node::namespace;

/// Threads at once. What they do the kernel mostly does one after the other; a few more keep it busy.
const AT_ONCE: usize = 4;

/// Starts the threads.
pub struct Threads {
    places: Semaphore,
    /// Whether they enter mount namespaces.
    move_about: bool,
}

impl Threads {
    /// `move_about` says whether the work enters mount namespaces, which needs root.
    pub fn new(move_about: bool) -> Self {
        Self { places: Semaphore::new(AT_ONCE), move_about }
    }

    /// Runs `act` on a new thread. Those who wait for a place are runs of containers, as many as the node has.
    pub async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let move_about = self.move_about;
        let (tell, done) = oneshot::channel();
        std::thread::Builder::new().name("weft-container".to_owned()).spawn(move || {
            let ready = if move_about { namespace::detach_file_system() } else { Ok(()) };
            // Nobody hears it when the container was given up meanwhile.
            let _ = tell.send(ready.and_then(|()| act()));
        })?;
        done.await.map_err(|_| io::Error::other("a thread ended before its work did"))?
    }
}
