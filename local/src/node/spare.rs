//! Things that take a while to make, made ahead, so that a cold start does not wait for them.

use std::{io, time::Duration};

use tokio::sync::{Mutex, mpsc};

/// How many are kept. Making one takes about 1 ms, so a burst takes these and then goes on at that pace.
const KEPT: usize = 32;
/// With fewer than so many, the next is made at once; with more there is time until the start that took the last one
/// is over.
const FEW: usize = 8;
/// How long that is at most, and how long after a failure the next is tried.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one is waited for. A burst of a thousand pods has its last after some ten seconds; later than this they cannot
/// be made at all, and whoever waits says so.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at how many are left meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// What was made ahead.
pub struct Spares<T> {
    made: Mutex<mpsc::Receiver<T>>,
}

/// The making side.
pub struct Places<T> {
    made: mpsc::Sender<T>,
}

/// A place for spare things, and who fills it.
pub fn spares<T>() -> (Places<T>, Spares<T>) {
    let (places, made) = mpsc::channel(KEPT);
    (Places { made: places }, Spares { made: Mutex::new(made) })
}

impl<T> Spares<T> {
    /// One that was made ahead, or the next.
    ///
    /// # Errors
    /// When nobody makes them any more, or none could be made for a minute; the log has the reason.
    pub async fn take(&self) -> io::Result<T> {
        let next = async { self.made.lock().await.recv().await };
        let made = tokio::time::timeout(PATIENCE, next).await.map_err(|_| {
            let why = "none could be made ahead for a minute; see the log before this";
            io::Error::new(io::ErrorKind::TimedOut, why)
        })?;
        made.ok_or_else(|| {
            io::Error::other("what is made ahead is not made any more; see the log before this")
        })
    }
}

impl<T> Places<T> {
    /// Makes them on the calling thread until nobody takes them any more. `what` is for the log.
    pub fn fill(self, what: &str, mut make: impl FnMut() -> io::Result<T>) {
        loop {
            for _ in 0..PAUSE.div_duration_f32(LOOK) as u32 {
                if self.made.max_capacity() - self.made.capacity() < FEW {
                    break;
                }
                std::thread::sleep(LOOK);
            }
            match make() {
                Ok(made) => {
                    if self.made.blocking_send(made).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "make {what}");
                    if self.made.is_closed() {
                        return;
                    }
                    // Perhaps there are too many: wait for a pod to end.
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_never_made_is_not_waited_for_without_end() {
        let (places, spares) = spares::<()>();
        let begin = tokio::time::Instant::now();
        assert_eq!(spares.take().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed(), PATIENCE);
        places.made.send(()).await.unwrap();
        spares.take().await.unwrap();
        drop(places);
        assert!(spares.take().await.is_err());
    }
}
