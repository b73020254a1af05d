//! The thread that delivers: what one event needs on its way out stays on one core, and no thread is woken for another's work.

use std::io;

use tokio::{runtime::Handle, sync::oneshot};

/// A thread with a runtime of its own. It ends when this is dropped, and what runs there with it.
pub struct Thread {
    handle: Handle,
    /// Dropped to end the thread.
    runs: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Thread {
    /// Starts a thread of that name.
    pub fn start(name: &str) -> io::Result<Thread> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (runs, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            // Nothing is sent: the sender is dropped.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Thread { handle, runs: Some(runs), thread: Some(thread) })
    }

    /// Where tasks are spawned that shall run there.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.runs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic of the thread was reported when it happened.
        }
    }
}
