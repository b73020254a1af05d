//! Admits so many requests at once, lets so many more wait in order, and refuses the rest.
//!
//! Source: knative/serving `pkg/queue/breaker.go`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit with a bounded line before it.
#[derive(Clone, Debug)]
pub struct Breaker {
    shared: Arc<Shared>,
}

/// A place within the limit, until dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _slot: Slot,
}

/// The line is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pending request queue full")]
pub struct Full;

#[derive(Debug)]
struct Shared {
    /// Serves those who wait in the order in which they came.
    places: Arc<Semaphore>,
    total: usize,
    inside: AtomicUsize,
}

#[derive(Debug)]
struct Slot(Arc<Shared>);

impl Breaker {
    /// Admits `limit` at once; `depth` more may wait.
    pub fn new(limit: usize, depth: usize) -> Breaker {
        let shared = Shared {
            places: Arc::new(Semaphore::new(limit)),
            total: limit + depth,
            inside: AtomicUsize::new(0),
        };
        Breaker { shared: Arc::new(shared) }
    }

    /// Waits for a place. Whoever stops waiting leaves the line.
    pub async fn enter(&self) -> Result<Place, Full> {
        let inside = self.shared.inside.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(self.shared.clone());
        if inside >= self.shared.total {
            return Err(Full);
        }
        let permit = self.shared.places.clone().acquire_owned().await;
        Ok(Place { _permit: permit.expect("the semaphore is never closed"), _slot: slot })
    }

    /// Those that are admitted or wait.
    pub fn inside(&self) -> usize {
        self.shared.inside.load(Ordering::Relaxed)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn admits_then_queues_in_order_then_refuses() {
        let breaker = Breaker::new(1, 2);
        let Poll::Ready(Ok(first)) = poll(pin!(breaker.enter())) else { panic!("a free place") };
        let mut second = pin!(breaker.enter());
        let mut third = Box::pin(breaker.enter());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        assert!(matches!(poll(pin!(breaker.enter())), Poll::Ready(Err(Full))));
        assert_eq!(breaker.inside(), 3);
        drop(first);
        assert!(poll(third.as_mut()).is_pending(), "the one before it goes first");
        let Poll::Ready(Ok(second)) = poll(second.as_mut()) else { panic!("it is its turn") };
        drop(third);
        assert_eq!(breaker.inside(), 1, "who stops waiting leaves the line");
        drop(second);
        assert!(matches!(poll(pin!(breaker.enter())), Poll::Ready(Ok(_))));
        assert_eq!(breaker.inside(), 0);
    }
}
