// SPDX-License-Identifier: LGPL-3.0-or-later

//! Messages, what a thread keeps of them, and the checks.

use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Instant;

/// What travels: a word, or more that repeats it, inverted, at its end.
pub trait Element: Send + 'static {
    fn new(word: u64) -> Self;
    fn word(&self) -> u64;
}

impl Element for u64 {
    #[inline]
    fn new(word: u64) -> u64 {
        word
    }
    #[inline]
    fn word(&self) -> u64 {
        *self
    }
}

impl<const N: usize> Element for [u64; N] {
    #[inline]
    fn new(word: u64) -> [u64; N] {
        let mut e = [0; N];
        e[0] = word;
        e[N - 1] = !word;
        e
    }
    #[inline]
    fn word(&self) -> u64 {
        if self[N - 1] != !self[0] {
            wrong(format!("an element was torn: {:#x} and {:#x}", self[0], self[N - 1]));
        }
        self[0]
    }
}

pub fn wrong(what: String) -> ! {
    println!("wrong: {}", what);
    exit(1)
}

/// How far a thread is, on a line of its own, as others read it.
#[repr(align(128))]
#[derive(Default)]
pub struct Progress(AtomicU64);

impl Progress {
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
    pub fn set(&self, done: u64) {
        self.0.store(done, Relaxed)
    }
}

/// All senders, or all receivers.
pub struct Side {
    pub progress: Vec<Progress>,
    one_is_done: AtomicBool,
    share: AtomicU64,
}

impl Side {
    pub fn new(n: usize) -> Side {
        Side {
            progress: (0..n).map(|_| Progress::default()).collect(),
            one_is_done: AtomicBool::new(false),
            share: AtomicU64::new(1f64.to_bits()),
        }
    }

    pub fn done(&self) -> u64 {
        self.progress.iter().map(Progress::get).sum()
    }

    pub fn share(&self) -> f64 {
        f64::from_bits(self.share.load(SeqCst))
    }

    /// The first to finish compares how far the others are.
    fn finish(&self) {
        if self.one_is_done.swap(true, SeqCst) {
            return;
        }
        let done: Vec<u64> = self.progress.iter().map(Progress::get).collect();
        let sum: u64 = done.iter().sum();
        let least = done.iter().copied().min().unwrap_or(0);
        if sum > 0 {
            let share = least as f64 * done.len() as f64 / sum as f64;
            self.share.store(share.to_bits(), SeqCst);
        }
    }
}

/// A thread's pace: its progress, and the clock, read about every 8 us and at least at every 256th message; see cell.h.
pub struct Pace<'a> {
    side: &'a Side,
    index: usize,
    mark: Instant,
    marked: u64,
    next: u64,
    longest_ns: u64,
}

impl<'a> Pace<'a> {
    pub fn new(side: &'a Side, index: usize) -> Pace<'a> {
        Pace { side, index, mark: Instant::now(), marked: 0, next: 0, longest_ns: 0 }
    }

    #[inline(never)]
    fn sample(&mut self, done: u64) {
        let now = Instant::now();
        let took = (now - self.mark).as_nanos() as u64;
        let stride = (8192 * (done - self.marked)).checked_div(took).unwrap_or(256).clamp(1, 256);
        self.longest_ns = self.longest_ns.max(took);
        self.mark = now;
        self.marked = done;
        self.next = done + stride;
    }

    #[inline]
    pub fn note(&mut self, done: u64) {
        self.side.progress[self.index].set(done);
        if done >= self.next {
            self.sample(done);
        }
    }

    /// The longest that a wait can have been.
    pub fn finish(mut self) -> u64 {
        self.side.finish();
        self.sample(self.marked);
        self.longest_ns
    }
}

#[derive(Clone, Copy, Default, PartialEq)]
pub struct Tally {
    pub count: u64,
    pub sum: u64,
    pub squares: u64,
}

/// What a receiver has got: sums for each producer, and the last number of each on each queue.
pub struct Ledger {
    n_tx: usize,
    tallies: Vec<Tally>,
    last: Vec<u64>,
}

impl Ledger {
    pub fn new(n_tx: usize, n_queues: usize) -> Ledger {
        Ledger { n_tx, tallies: vec![Tally::default(); n_tx], last: vec![0; n_tx * n_queues] }
    }

    #[inline]
    pub fn check(&mut self, word: u64, queue: usize) {
        let (producer, number) = ((word >> 40) as usize, word & ((1 << 40) - 1));
        if producer >= self.n_tx {
            wrong(format!("{:#x} was never put", word));
        }
        let last = &mut self.last[queue * self.n_tx + producer];
        if number <= *last {
            wrong(format!("producer {}: {} after {}", producer, number, *last));
        }
        *last = number;
        let t = &mut self.tallies[producer];
        t.count += 1;
        t.sum += number;
        t.squares = t.squares.wrapping_add(number.wrapping_mul(number));
    }
}

/// Each producer's numbers, 1 to its goal, were got once each.
pub fn check_all(ledgers: &[Ledger], goals: &[u64]) {
    for (producer, goal) in goals.iter().enumerate() {
        let (mut got, mut put) = (Tally::default(), Tally::default());
        for ledger in ledgers {
            let t = &ledger.tallies[producer];
            got.count += t.count;
            got.sum += t.sum;
            got.squares = got.squares.wrapping_add(t.squares);
        }
        for n in 1..=*goal {
            put.count += 1;
            put.sum += n;
            put.squares = put.squares.wrapping_add(n.wrapping_mul(n));
        }
        if got != put {
            wrong(format!(
                "producer {}: {} messages got for {} put, sums {} and {}",
                producer, got.count, put.count, got.sum, put.sum
            ));
        }
    }
}
