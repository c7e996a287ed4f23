// SPDX-License-Identifier: LGPL-3.0-or-later

//! What crossbeam-channel's Select costs as it grows: the cells and figures of ../../scale.c, as far as it has them.
//!
//! Its channels need no descriptor, so every number of cases is possible. Options: n=MESSAGES of each, cases=MESSAGES
//! times cases that all waits together may look at, scans= the same for scans.

use crossbeam_channel::{bounded, Receiver, Select, Sender};
use std::time::{Duration, Instant};

const BLOCK: usize = 500;
const CELLS: [usize; 4] = [2, 100, 10000, 20000];
const WAYS: [&str; 3] = ["wait", "putget", "scan"];

type Chan = (Sender<u64>, Receiver<u64>);

fn end(status: i32, what: &str) -> ! {
    println!("{}", what);
    std::process::exit(status)
}

fn option(key: &str, fallback: usize) -> usize {
    for arg in std::env::args().skip(2) {
        if let Some((name, value)) = arg.split_once('=') {
            if name == key {
                return value.parse().unwrap_or_else(|_| end(2, &format!("{} is not a number", arg)));
            }
        }
    }
    fallback
}

fn figure(name: &str, value: f64) {
    println!("figure {} {}", name, value);
}

fn check(got: u64, sent: u64) {
    if got != sent {
        end(1, &format!("wrong: message {} came as number {}", sent, got));
    }
}

fn take(select: &mut Select, receivers: &[Receiver<u64>], at: usize, sent: u64) {
    let operation = select.select();
    let index = operation.index();
    if index != at {
        end(1, &format!("wrong: select returned {} instead of {}", index, at));
    }
    match operation.recv(&receivers[index]) {
        Ok(got) => check(got, sent),
        Err(error) => end(1, &format!("wrong: {}", error)),
    }
}

fn put(sender: &Sender<u64>, sent: u64) {
    if let Err(error) = sender.send(sent) {
        end(1, &format!("wrong: {}", error));
    }
}

fn scan(plain: &[Chan], at: usize, sent: u64) {
    put(&plain[at].0, sent);
    for (i, chan) in plain.iter().enumerate() {
        if let Ok(got) = chan.1.try_recv() {
            if i != at {
                end(1, &format!("wrong: the scan found channel {} instead of {}", i, at));
            }
            check(got, sent);
            return;
        }
    }
    end(1, "wrong: the scan found nothing")
}

fn putget(chan: &Chan, sent: u64) {
    put(&chan.0, sent);
    match chan.1.recv() {
        Ok(got) => check(got, sent),
        Err(error) => end(1, &format!("wrong: {}", error)),
    }
}

struct State {
    senders: Vec<Sender<u64>>,
    receivers: Vec<Receiver<u64>>,
    plain: Vec<Chan>,
    seq: u64,
    random: u64,
}

impl State {
    fn draw(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % n as u64) as usize
    }

    fn number(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}

/// In turns by blocks; how many messages a way gets is bounded by its budget of looks at cases.
fn compare(s: &mut State, select: &mut Select, receivers: &[Receiver<u64>], order: &str, n: usize) {
    let cases = s.plain.len();
    let budget = [option("cases", 20_000_000), usize::MAX, option("scans", 20_000_000)];
    let mut took = [Duration::ZERO; 3];
    let mut done = [0usize; 3];
    for from in (0..n).step_by(BLOCK) {
        let at: Vec<usize> =
            (0..BLOCK).map(|_| if order == "moving" { s.draw(cases) } else { cases / 2 }).collect();
        for k in 0..WAYS.len() {
            let way = (from / BLOCK + k) % WAYS.len();
            let count = if (done[way] + BLOCK).saturating_mul(cases) <= budget[way] {
                BLOCK
            } else if done[way] == 0 {
                20
            } else {
                0
            };
            let start = Instant::now();
            for &chosen in &at[..count] {
                let sent = s.number();
                match way {
                    0 => {
                        put(&s.senders[chosen], sent);
                        take(select, receivers, chosen, sent);
                    }
                    1 => putget(&s.plain[chosen], sent),
                    _ => scan(&s.plain, chosen, sent),
                }
            }
            took[way] += start.elapsed();
            done[way] += count;
        }
    }
    let each: Vec<f64> = (0..WAYS.len()).map(|way| took[way].as_nanos() as f64 / done[way] as f64).collect();
    for (way, name) in WAYS.iter().enumerate() {
        figure(&format!("{}.{}", order, name), each[way]);
    }
    figure(&format!("{}.over", order), each[0] - each[1]);
}

fn stream(s: &State, select: &mut Select, receivers: &[Receiver<u64>], n: usize) {
    let at = s.plain.len() / 2;
    let n = n.min(option("cases", 20_000_000) / s.plain.len()).max(20);
    let sender = s.senders[at].clone();
    let start = Instant::now();
    let producer = std::thread::spawn(move || {
        for i in 0..n {
            put(&sender, i as u64);
        }
    });
    for i in 0..n {
        take(select, receivers, at, i as u64);
    }
    figure("stream.wait", start.elapsed().as_nanos() as f64 / n as f64);
    if producer.join().is_err() {
        end(1, "wrong: the producer panicked");
    }
}

fn run(cases: usize) {
    let n = option("n", 200_000);
    if n == 0 {
        end(2, "n is 0");
    }
    let (senders, receivers) = (0..cases).map(|_| bounded(16)).unzip();
    let plain = (0..cases).map(|_| bounded(16)).collect();
    let mut s = State { senders, receivers, plain, seq: 0, random: 88172645463325252 };
    let receivers = s.receivers.clone();
    figure("cases", cases as f64);
    let start = Instant::now();
    let mut select = Select::new();
    for receiver in &receivers {
        select.recv(receiver);
    }
    figure("setup", start.elapsed().as_nanos() as f64 / cases as f64);
    compare(&mut s, &mut select, &receivers, "fixed", n);
    compare(&mut s, &mut select, &receivers, "moving", n);
    stream(&s, &mut select, &receivers, n);
}

fn main() {
    let cell = match std::env::args().nth(1) {
        Some(cell) => cell,
        None => end(2, "usage: select_crossbeam CELL [KEY=VALUE ...] | --list | --about"),
    };
    if cell == "--about" {
        println!("crossbeam-channel {}, Select as it grows", env!("CROSSBEAM_VERSION"));
        return;
    }
    if cell == "--list" {
        CELLS.iter().for_each(|n| println!("cases-{}", n));
        return;
    }
    match CELLS.iter().find(|n| cell == format!("cases-{}", n)) {
        Some(&n) => run(n),
        None => end(2, &format!("no cell {}; --list lists them", cell)),
    }
}
