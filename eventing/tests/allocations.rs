//! How often the codec asks for memory: it is on the way of each event.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use api::cesql::Value;
use bytes::Bytes;
use eventing::event::{Event, decode, encode};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The system's allocator, which counts what is asked of it. No other thread runs here, for the test is `main`.
struct Counting {
    count: AtomicUsize,
}

// An allocator cannot be written otherwise; this one passes everything on.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, from: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count.fetch_add(1, Relaxed);
        unsafe { System.realloc(from, layout, size) }
    }

    unsafe fn dealloc(&self, from: *mut u8, layout: Layout) {
        unsafe { System.dealloc(from, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { count: AtomicUsize::new(0) };

#[track_caller]
fn at_most<T>(count: usize, of: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.count.load(Relaxed);
    let made = of();
    let have = ALLOCATOR.count.load(Relaxed) - before;
    assert!(have <= count, "memory was asked for {have} times, at most {count} are promised");
    made
}

/// A usual event: eight attributes and two headers that go along, among others that do not.
fn came() -> HeaderMap {
    let fields = [
        ("host", "broker-ingress.knative-eventing.svc.cluster.local"),
        ("ce-specversion", "1.0"),
        ("ce-type", "com.example.order.created"),
        ("ce-source", "/orders/eu"),
        ("ce-id", "6f1c1c9e-6d0b-4a0e-9d8e-7a3a3a3a3a3a"),
        ("ce-time", "2026-11-22T07:08:09.123456Z"),
        ("ce-subject", "order-17"),
        ("ce-tenant", "acme"),
        ("content-type", "application/json"),
        ("x-request-id", "17"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("content-length", "1024"),
    ];
    let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    fields.map(field).into_iter().collect()
}

fn main() {
    let (came, body) = (came(), [b'7'; 1024]);
    let now = "2026-11-22T07:08:09.123456789Z".parse().ok();
    let event = at_most(1, || decode::one(&came, &body, now)).expect("it is good");
    let event = at_most(0, || event.with_hops(Some(254)));
    let bytes: Bytes = event.stored_bytes().clone();
    let event = at_most(0, || Event::stored(bytes)).expect("it was stored");
    at_most(0, || {
        assert_eq!(event.attribute("tenant"), Some(Value::String("acme")));
        assert_eq!((event.kind(), event.source()), ("com.example.order.created", "/orders/eu"));
        assert_eq!(event.attributes().count(), 9);
        assert_eq!(event.passed().count(), 2);
        assert_eq!(event.data().map(|it| it.len()), Some(1024));
    });
    // Two for the room of the headers, one for the name of an extension.
    let mut left = HeaderMap::new();
    at_most(3, || encode::binary(&event, &mut left));
    assert_eq!(left["ce-knativearrivaltime"], "2026-11-22T07:08:09.123456789Z");
    let text = at_most(1, || encode::structured(&event));

    let envelope = HeaderValue::from_static(encode::STRUCTURED);
    let envelope: HeaderMap = [(http::header::CONTENT_TYPE, envelope)].into_iter().collect();
    let again = at_most(1, || decode::one(&envelope, &text, None)).expect("it is good");
    assert_eq!(again.data(), event.data());
    // A text with escapes asks twice, an odd number and Base64 once.
    let odd = br#"{"specversion":"1.0","id":"\u0031","source":"a","type":"b","c":"\"","d":5.0,"data_base64":"AAAA"}"#;
    at_most(8, || decode::one(&envelope, odd, now)).expect("it is good");
}
