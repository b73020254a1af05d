//! Counts what is in flight and waits for it to end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// How many things are in flight, and whether the end has been announced.
#[derive(Clone, Default)]
pub struct Count {
    shared: Arc<Shared>,
}

/// One thing in flight, until dropped.
pub struct Entry {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    in_flight: AtomicUsize,
    closed: AtomicBool,
    changed: Notify,
}

impl Count {
    /// Counts one more until the entry is dropped. Also when closed: closing refuses nothing.
    pub fn enter(&self) -> Entry {
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        Entry { shared: self.shared.clone() }
    }

    /// What is in flight now.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// Announces the end.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }

    /// Takes the announcement back.
    pub fn reopen(&self) {
        self.shared.closed.store(false, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }

    /// Whether the end has been announced.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::SeqCst)
    }

    /// Waits until the end is announced.
    pub async fn closed(&self) {
        self.changed(|shared| shared.closed.load(Ordering::SeqCst)).await;
    }

    /// Waits until the end is announced and nothing is in flight.
    pub async fn empty(&self) {
        self.changed(|shared| {
            shared.closed.load(Ordering::SeqCst) && shared.in_flight.load(Ordering::SeqCst) == 0
        })
        .await;
    }

    async fn changed(&self, done: impl Fn(&Shared) -> bool) {
        loop {
            let notified = self.shared.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if done(&self.shared) {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // The waiter looks only once the end is announced, so that a busy hop wakes nobody.
        if self.shared.in_flight.fetch_sub(1, Ordering::SeqCst) == 1
            && self.shared.closed.load(Ordering::SeqCst)
        {
            self.shared.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_end_and_for_the_last_entry() {
        let count = Count::default();
        let entry = count.enter();
        let waiting = tokio::spawn({
            let count = count.clone();
            async move { count.empty().await }
        });
        count.close();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(entry);
        waiting.await.expect("the waiter ends");
        assert_eq!(count.in_flight(), 0);
    }
}
