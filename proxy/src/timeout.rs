//! Bounds how long a response takes: in all, until it begins, and between its pieces.
//!
//! Source: knative/serving `pkg/http/handler/timeout.go`. As upstream: the total bound ends whatever
//! goes on, and a response that has begun ends with the text in place of its rest. Unlike upstream, a
//! connection that was upgraded is idle only while nothing moves, and its response begins with the
//! first bytes after the upgrade; upstream never notices that they move and ends it (its issue 16169).

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::{body::Body, hop::plain};

/// The bounds; absent is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// From the request's arrival to the response's end.
    pub total: Option<Duration>,
    /// From the request's arrival to the first byte of the response.
    pub response_start: Option<Duration>,
    /// Between two pieces of the response, and from the request's arrival to the first.
    pub idle: Option<Duration>,
}

/// Applies `limits` to `reply`; what is late is answered with 504 and `text`. By reference, since
/// each level of futures that owns another doubles its size.
pub async fn limit(
    limits: Limits,
    text: &'static str,
    reply: Pin<&mut impl Future<Output = Response<Body>>>,
) -> Response<Body> {
    let Some(first) = earliest([limits.total, limits.response_start, limits.idle]) else {
        return reply.await;
    };
    let begun = Instant::now();
    match tokio::time::timeout_at(begun + first, reply).await {
        // All of it is here, or nothing will come.
        Ok(response) if response.body().is_whole() => response,
        Ok(response) => {
            let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            response.map(|body| {
                Body::new(Timed {
                    body,
                    total: limits.total.map(|total| begun + total),
                    start: limits.response_start.filter(|_| upgraded).map(|start| begun + start),
                    idle: limits.idle,
                    moved: Instant::now(),
                    sleep: None,
                    text: if upgraded { "" } else { text },
                    ended: false,
                })
            })
        }
        Err(_) => plain(StatusCode::GATEWAY_TIMEOUT, text.into()),
    }
}

struct Timed {
    body: Body,
    total: Option<Instant>,
    start: Option<Instant>,
    idle: Option<Duration>,
    moved: Instant,
    /// Set for the earliest moment that may be a deadline; looked at again when it comes.
    sleep: Option<Pin<Box<Sleep>>>,
    text: &'static str,
    ended: bool,
}

impl Timed {
    fn deadline(&self) -> Option<Instant> {
        let idle = self.idle.map(|idle| self.moved + idle);
        earliest([self.total, self.start, idle])
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.deadline() else { return false };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // A stream that never pauses must end too: its deadline is looked at even while it flows.
        if self.total.is_some_and(|total| frame.is_ready() && total <= Instant::now())
            || (frame.is_pending() && self.poll_late(cx))
        {
            self.ended = true;
            self.body = Body::empty();
            return Poll::Ready(match self.text {
                "" => Some(Err(io::ErrorKind::TimedOut.into())),
                text => Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))),
            });
        }
        if frame.is_ready() {
            self.start = None;
            if self.idle.is_some() {
                self.moved = Instant::now();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn earliest<T: Ord>(bounds: [Option<T>; 3]) -> Option<T> {
    bounds.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// A response that begins after `start` seconds and then sends a byte each `gap` seconds, thrice.
    async fn play(start: u64, gap: u64, status: StatusCode) -> Response<Body> {
        tokio::time::sleep(Duration::from_secs(start)).await;
        let bytes = futures::stream::unfold(0, move |count| async move {
            if count == 3 {
                return None;
            }
            tokio::time::sleep(Duration::from_secs(gap)).await;
            Some((Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"."))), count + 1))
        });
        let mut response = Response::new(Body::new(StreamBody::new(Box::pin(bytes))));
        *response.status_mut() = status;
        response
    }

    #[tokio::test(start_paused = true)]
    async fn ends_what_is_late() {
        const OK: u16 = 200;
        const UPGRADED: u16 = 101;
        for (total, response_start, idle, start, gap, status, found) in [
            (0, 0, 0, 1000, 1000, OK, (200, "...")),
            (10, 0, 0, 5, 1, OK, (200, "...")),
            (10, 0, 0, 11, 1, OK, (504, "late")),
            (10, 0, 0, 5, 3, OK, (200, ".late")),
            (100, 4, 0, 5, 1, OK, (504, "late")),
            (100, 6, 0, 5, 20, OK, (200, "...")),
            (100, 0, 4, 5, 1, OK, (504, "late")),
            (100, 0, 6, 5, 5, OK, (200, "...")),
            (100, 0, 6, 5, 7, OK, (200, "late")),
            // Upgraded: what moves goes on, up to the total.
            (100, 0, 6, 0, 5, UPGRADED, (101, "...")),
            (100, 0, 6, 0, 7, UPGRADED, (101, "!")),
            (100, 6, 0, 0, 5, UPGRADED, (101, "...")),
            (100, 6, 0, 0, 7, UPGRADED, (101, "!")),
            (12, 0, 0, 0, 5, UPGRADED, (101, "..!")),
        ] {
            let seconds = |count| (count > 0).then(|| Duration::from_secs(count));
            let limits = Limits {
                total: seconds(total),
                response_start: seconds(response_start),
                idle: seconds(idle),
            };
            let status = StatusCode::from_u16(status).expect("valid");
            let response = limit(limits, "late", std::pin::pin!(play(start, gap, status))).await;
            let (status, mut body) = (response.status().as_u16(), response.into_body());
            let mut text = String::new();
            while let Some(frame) = body.frame().await {
                match frame.map(Frame::into_data) {
                    Ok(Ok(data)) => text.push_str(std::str::from_utf8(&data).expect("text")),
                    Ok(Err(_)) => panic!("no trailers were sent"),
                    Err(_) => text.push('!'),
                }
            }
            assert_eq!((status, text.as_str()), found, "{limits:?} {start} {gap}");
        }
    }
}
