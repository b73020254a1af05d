//! Random input for a bounded time, the same again for the same seed.
//!
//! `WEFT_FUZZ_SEED` repeats the case that a failure names; `WEFT_FUZZ_SECONDS` sets how long each test goes on.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::time::Instant;

/// How long each test goes on: together they are a small part of a run, and repeated runs try other cases.
const USUAL: Duration = Duration::from_secs(5);
/// No case takes longer, on a busy machine and unoptimised; most take microseconds.
const LONGEST_CASE: Duration = Duration::from_secs(5);

/// A source of numbers. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to `end`, without it.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Some of them, in their order.
    pub fn some<'a, T>(&mut self, from: &'a [T]) -> Vec<&'a T> {
        from.iter().filter(|_| self.once_in(2)).collect()
    }

    /// Letters of an alphabet, fewer than `most` of them.
    pub fn text(&mut self, alphabet: &str, most: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..self.below(most)).map(|_| *self.pick(&letters)).collect()
    }

    /// Any JSON, at most so deep.
    pub fn json(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => self.once_in(2).into(),
            2 => (self.below(5) as i64 - 2).into(),
            3 => (self.below(100) as f64 / 8.0).into(),
            4 => self.text("ab/~.é", 4).into(),
            5 => (0..self.below(4)).map(|_| self.json(depth - 1)).collect(),
            _ => {
                let keys = ["a", "b", "c", "a/b", "m~n", "", "x.y"];
                let fields = (0..self.below(4))
                    .map(|_| ((*self.pick(&keys)).to_owned(), self.json(depth - 1)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// The bytes with a few of them changed, taken out, doubled or added.
    pub fn damaged(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    let again = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => {
                    let odd = [0, b'\n', b'\r', b' ', b'\t', b':', b',', b'"', 0x7f, 0x80, 0xff];
                    bytes.insert(at, *self.pick(&odd));
                }
            }
        }
        bytes
    }
}

/// Tells the seed when a case panics.
struct Case<'a>(&'a str, u64);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} fails: WEFT_FUZZ_SEED={} repeats the case", self.0, self.1);
        }
    }
}

/// Runs cases for a while, each with a source of its own. Panics when a case does, or takes too long.
pub fn cases(name: &str, mut case: impl FnMut(&mut Random)) {
    let number = |name: &str| {
        let text = std::env::var_os(name)?;
        Some(text.to_str()?.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let mut run = |seed: u64| {
        let _told = Case(name, seed);
        let begun = Instant::now();
        case(&mut Random::new(seed));
        let took = begun.elapsed();
        assert!(took < LONGEST_CASE, "the case took {took:?}");
    };
    if let Some(seed) = number("WEFT_FUZZ_SEED") {
        return run(seed);
    }
    let span = number("WEFT_FUZZ_SECONDS").map_or(USUAL, Duration::from_secs);
    // Another beginning in each run.
    let mut seed = RandomState::new().build_hasher().finish();
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < span {
        run(seed);
        seed = seed.wrapping_add(1);
        count += 1;
    }
    println!("{name}: {count} cases in {span:?}");
    assert!(count > 0, "there was time for a case");
}
