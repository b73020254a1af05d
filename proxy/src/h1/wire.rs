//! A socket with what was read from it and what is to be written to it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

/// Room for the first read: a head and a small body.
const SMALL_READ: usize = 8 * 1024;
/// Room for a read once the other side sends as fast as we read.
const LARGE_READ: usize = 64 * 1024;

/// Pieces up to this size are copied behind the head: one plain write is cheaper than a vectored one.
const COPIED: usize = 2 * 1024;

/// The reading side of a socket, and the socket.
pub struct Wire<S> {
    /// The socket.
    pub stream: S,
    /// What was read and not yet used.
    pub read: BytesMut,
    /// Whether the other side has closed its half.
    pub eof: bool,
    room: usize,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// A wire on `stream`, of which `read` was read before.
    pub fn new(stream: S, read: BytesMut) -> Wire<S> {
        Wire { stream, read, eof: false, room: SMALL_READ }
    }

    /// Reads more; `Ok(0)` when the other side has closed its half.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        // What is left of the last buffer is used up to its last eighth; a new one costs an allocation.
        if self.read.capacity() - self.read.len() < self.room / 8 {
            self.read.reserve(self.room);
        }
        let space = self.read.capacity() - self.read.len();
        let stream = Pin::new(&mut self.stream);
        let count = ready!(tokio_util::io::poll_read_buf(stream, cx, &mut self.read))?;
        self.eof = count == 0;
        self.room = if count == space { LARGE_READ } else { SMALL_READ };
        Poll::Ready(Ok(count))
    }

    /// Gives the buffer back while nothing is in it.
    pub fn release(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
    }
}

/// What is to be written: text, then a piece of a body, then an end.
#[derive(Default)]
pub struct Outgoing {
    text: Vec<u8>,
    written: usize,
    data: Bytes,
    end: &'static [u8],
}

impl Outgoing {
    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.text.len() == self.written && self.data.is_empty() && self.end.is_empty()
    }

    /// Where heads and chunk sizes are appended.
    pub fn text(&mut self) -> &mut Vec<u8> {
        if self.is_empty() {
            self.clear();
        }
        debug_assert!(self.data.is_empty() && self.end.is_empty());
        &mut self.text
    }

    /// Adds a piece of a body, after which `end` follows. Only when no other piece is waiting.
    pub fn put(&mut self, data: Bytes, end: &'static [u8]) {
        debug_assert!(self.data.is_empty() && self.end.is_empty());
        if data.len() <= COPIED && !self.is_empty() {
            self.text.extend_from_slice(&data);
            self.text.extend_from_slice(end);
            return;
        }
        self.data = data;
        self.end = end;
    }

    /// Adds a chunk; its size goes after a head that still waits. Only when no other piece is waiting.
    pub fn put_chunk(&mut self, data: Bytes, end: &'static [u8]) {
        super::head::write_chunk_size(self.text(), data.len());
        self.put(data, end);
    }

    /// Adds the end of a chunked body. Only when no piece of a body is waiting.
    pub fn put_trailers(&mut self, trailers: &http::HeaderMap) {
        super::head::write_trailers(self.text(), trailers);
    }

    /// Whether nothing of what was put in has been written.
    pub fn is_untouched(&self) -> bool {
        self.written == 0
    }

    /// Adds `end` after what is waiting; true if there was room for it.
    pub fn put_end(&mut self, end: &'static [u8]) -> bool {
        if self.end.is_empty() {
            self.end = end;
            true
        } else {
            false
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.text.clear();
        self.written = 0;
        self.data = Bytes::new();
        self.end = &[];
    }

    /// Writes until all is written, and out of the stream's own buffer if it has one.
    pub fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut count = {
                let slices = [
                    IoSlice::new(&self.text[self.written..]),
                    IoSlice::new(&self.data),
                    IoSlice::new(self.end),
                ];
                let stream = Pin::new(&mut *stream);
                if slices[1].is_empty() && slices[2].is_empty() {
                    ready!(stream.poll_write(cx, &slices[0]))?
                } else {
                    ready!(stream.poll_write_vectored(cx, &slices))?
                }
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let text = count.min(self.text.len() - self.written);
            self.written += text;
            count -= text;
            let data = count.min(self.data.len());
            self.data.advance(data);
            count -= data;
            self.end = &self.end[count..];
        }
        self.data = Bytes::new();
        Pin::new(stream).poll_flush(cx)
    }
}
