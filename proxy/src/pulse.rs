//! A beat that is finer than the runtime's clock, which counts in milliseconds and rounds up.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Beats at a steady pace for as long as it lives; beats that nobody waited for are one.
pub struct Pulse {
    timer: AsyncFd<OwnedFd>,
}

impl Pulse {
    /// The first beat comes after `period`, which is shorter than a second. Needs a tokio runtime.
    pub fn every(period: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let period = Timespec { tv_sec: 0, tv_nsec: period.subsec_nanos().into() };
        let beats = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(timer.as_fd(), TimerfdTimerFlags::empty(), &beats)?;
        #[allow(
            deprecated,
            reason = "the safe form; an owned descriptor keeps its meaning while registered"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Waits for the next beat.
    pub async fn beat(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            match rustix::io::read(ready.get_inner(), &mut [0u8; 8]) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beats_faster_than_the_runtimes_clock() {
        let period = Duration::from_micros(100);
        let pulse = Pulse::every(period).unwrap();
        let begin = tokio::time::Instant::now();
        for _ in 0..50 {
            pulse.beat().await.unwrap();
        }
        assert!(begin.elapsed() >= period, "not all at once");
        let mut quickest = Duration::MAX;
        for _ in 0..200 {
            let before = tokio::time::Instant::now();
            pulse.beat().await.unwrap();
            quickest = quickest.min(before.elapsed());
        }
        assert!(quickest < Duration::from_millis(1), "{quickest:?}");
    }
}
