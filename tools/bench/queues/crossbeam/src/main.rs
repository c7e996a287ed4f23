// SPDX-License-Identifier: LGPL-3.0-or-later

//! crossbeam-channel in the cells of cell.h, with the same messages, checks and figures.

mod check;
mod loops;

use check::{check_all, wrong, Element, Ledger, Pace, Side};
use crossbeam_channel::{bounded, unbounded};
use std::process::exit;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

const CAPACITY_N: usize = 5_000_000;
const THREADS_MAX: usize = 64;
const FLAVOURS: [(&str, Option<usize>); 5] = [
    ("bounded_0", Some(0)),
    ("bounded_1", Some(1)),
    ("bounded_1024", Some(1024)),
    ("bounded_n", Some(CAPACITY_N)),
    ("unbounded", None),
];
const SHAPES: [&str; 6] = ["seq", "spsc", "mpsc", "mpmc", "select_rx", "select_both"];

#[derive(Clone)]
struct Cell {
    shape: &'static str,
    capacity: Option<usize>,
    messages: u64,
    elem: usize,
    dynamic: bool,
    stall: Duration,
    n_tx: usize,
    n_rx: usize,
    n_queues: usize,
}

fn cannot(why: &str) -> ! {
    println!("{}", why);
    exit(77)
}

fn no_setting(arg: &str) -> ! {
    eprintln!("{}: not a setting", arg);
    exit(2)
}

fn parse(args: &[String]) -> Cell {
    let (mut shape, mut capacity) = ("", None);
    for (flavour, c) in FLAVOURS {
        for s in SHAPES {
            if args[0] == format!("{}_{}", flavour, s) && (s != "seq" || c != Some(0)) {
                shape = s;
                capacity = c;
            }
        }
    }
    if shape.is_empty() {
        cannot("no such cell");
    }
    let (mut messages, mut threads, mut elem, mut dynamic, mut stall) = (CAPACITY_N as u64, 4, 8, false, 10);
    for arg in &args[1..] {
        let (key, value) = arg.split_once('=').unwrap_or_else(|| no_setting(arg));
        let n = match value.parse::<u64>() {
            Ok(n) if n >= 1 => n,
            _ => no_setting(arg),
        };
        match key {
            "messages" => messages = n,
            "threads" if n <= THREADS_MAX as u64 => threads = n as usize,
            "elem" => elem = n as usize,
            "stall" => stall = n,
            "dynamic" => dynamic = n == 1,
            "batch" if n > 1 => cannot("crossbeam-channel has no batches"),
            "batch" => (),
            _ => no_setting(arg),
        }
    }
    if capacity == Some(CAPACITY_N) {
        capacity = Some(CAPACITY_N.min(messages as usize));
    }
    threads = threads.min(messages as usize);
    let many = |yes: bool| if yes { threads } else { 1 };
    let selects = shape.starts_with("select");
    Cell {
        shape,
        capacity,
        messages,
        elem,
        dynamic,
        stall: Duration::from_secs(stall),
        n_tx: many(shape != "seq" && shape != "spsc"),
        n_rx: many(shape == "mpmc" || shape == "select_both"),
        n_queues: many(selects),
    }
}

fn goals(messages: u64, n: usize) -> Vec<u64> {
    let n = n as u64;
    (0..n).map(|i| messages / n + u64::from(i < messages % n)).collect()
}

#[repr(C)]
struct Timespec {
    sec: std::os::raw::c_long,
    nsec: std::os::raw::c_long,
}

extern "C" {
    fn clock_gettime(clock: std::os::raw::c_int, ts: *mut Timespec) -> std::os::raw::c_int;
}

/// What all threads of this process have run, those that have ended too.
fn cpu_ns() -> u64 {
    const CLOCK_PROCESS_CPUTIME_ID: std::os::raw::c_int = 2;
    let mut ts = Timespec { sec: 0, nsec: 0 };
    // Safe: ts is the C library's struct timespec on 64-bit Linux, and ours alone.
    if unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut ts) } != 0 {
        return 0;
    }
    ts.sec as u64 * 1_000_000_000 + ts.nsec as u64
}

/// Waits for all threads; where nothing moves any more, a message was lost.
fn watch(cell: &Cell, tx: &Side, rx: &Side, running: &AtomicUsize) {
    let (mut before, mut since) = (u64::MAX, Instant::now());
    while running.load(SeqCst) > 0 {
        thread::park_timeout(Duration::from_millis(200));
        let (sent, got) = (tx.done(), rx.done());
        if sent + got != before {
            before = sent + got;
            since = Instant::now();
        } else if since.elapsed() > cell.stall && running.load(SeqCst) > 0 {
            wrong(format!(
                "nothing has moved for {} s: {} of {} are put and {} got",
                cell.stall.as_secs(),
                sent,
                cell.messages,
                got
            ));
        }
    }
}

struct Shared {
    cell: Cell,
    tx: Side,
    rx: Side,
    running: AtomicUsize,
    start: Barrier,
    main: thread::Thread,
}

impl Shared {
    /// Runs body in a thread; the thread returns what it made and its longest wait.
    fn spawn<T: Send + 'static>(
        self: &Arc<Shared>,
        body: impl FnOnce(&Shared) -> (T, u64) + Send + 'static,
    ) -> thread::JoinHandle<(T, u64)> {
        let shared = self.clone();
        thread::spawn(move || {
            shared.start.wait();
            let result = body(&shared);
            if shared.running.fetch_sub(1, SeqCst) == 1 {
                shared.main.unpark();
            }
            result
        })
    }
}

/// The clock runs from before the channels are made until they are gone.
fn measure<E: Element>(cell: &Cell) {
    let (tx_goals, rx_goals) = (goals(cell.messages, cell.n_tx), goals(cell.messages, cell.n_rx));
    let n_threads = if cell.shape == "seq" { 1 } else { cell.n_tx + cell.n_rx };
    let shared = Arc::new(Shared {
        cell: cell.clone(),
        tx: Side::new(cell.n_tx),
        rx: Side::new(cell.n_rx),
        running: AtomicUsize::new(n_threads),
        start: Barrier::new(n_threads),
        main: thread::current(),
    });
    let new_ledger = |c: &Cell| Ledger::new(c.n_tx, c.n_queues);

    let (cpu, began) = (cpu_ns(), Instant::now());
    let (mut txs, mut rxs) = (Vec::new(), Vec::new());
    for _ in 0..cell.n_queues {
        let (t, r) = match cell.capacity {
            Some(n) => bounded::<E>(n),
            None => unbounded::<E>(),
        };
        txs.push(t);
        rxs.push(r);
    }
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    if cell.shape == "seq" {
        let (tx, rx, goal) = (txs[0].clone(), rxs[0].clone(), cell.messages);
        let capacity = cell.capacity.map_or(u64::MAX, |n| n as u64);
        receivers.push(shared.spawn(move |s| {
            let mut ledger = new_ledger(&s.cell);
            let (mut tx_pace, mut rx_pace) = (Pace::new(&s.tx, 0), Pace::new(&s.rx, 0));
            loops::seq(&mut tx_pace, &mut rx_pace, (&tx, &rx), (goal, capacity), &mut ledger);
            (ledger, 0)
        }));
    } else {
        for (index, goal) in tx_goals.iter().copied().enumerate() {
            let txs = txs.clone();
            senders.push(shared.spawn(move |s| {
                let mut pace = Pace::new(&s.tx, index);
                if s.cell.shape == "select_both" {
                    loops::send_selected(&mut pace, &txs, index, goal, s.cell.dynamic);
                } else {
                    loops::send(&mut pace, &txs[index % txs.len()], index, goal);
                }
                ((), pace.finish())
            }));
        }
        for (index, goal) in rx_goals.iter().copied().enumerate() {
            let rxs = rxs.clone();
            receivers.push(shared.spawn(move |s| {
                let mut ledger = new_ledger(&s.cell);
                let mut pace = Pace::new(&s.rx, index);
                if rxs.len() > 1 {
                    loops::receive_selected(&mut pace, &rxs, goal, &mut ledger, s.cell.dynamic);
                } else {
                    loops::receive(&mut pace, &rxs[0], goal, &mut ledger);
                }
                (ledger, pace.finish())
            }));
        }
    }
    watch(cell, &shared.tx, &shared.rx, &shared.running);
    let mut longest = 0;
    for t in senders {
        longest = longest.max(t.join().unwrap().1);
    }
    let mut ledgers = Vec::new();
    for t in receivers {
        let (ledger, wait) = t.join().unwrap();
        longest = longest.max(wait);
        ledgers.push(ledger);
    }
    drop(txs);
    drop(rxs);
    let elapsed = began.elapsed().as_nanos() as f64;
    let cpu = (cpu_ns() - cpu) as f64;

    check_all(&ledgers, &tx_goals);
    println!("figure ns_per_message {:.3}", elapsed / cell.messages as f64);
    println!("figure cpu_ns_per_message {:.3}", cpu / cell.messages as f64);
    println!("figure elapsed_ms {:.3}", elapsed / 1e6);
    if cell.n_tx > 1 {
        let share = if cell.n_rx > 1 { shared.tx.share().min(shared.rx.share()) } else { shared.tx.share() };
        println!("figure least_share {:.4}", share);
    }
    if cell.shape != "seq" {
        println!("figure longest_wait_us {:.1}", longest as f64 / 1e3);
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        None => {
            eprintln!("usage: crossbeam CELL [messages=N] [threads=N] [elem=BYTES] [dynamic=1] [stall=SECONDS]");
            eprintln!("       crossbeam --list | --about");
            exit(2);
        }
        Some("--list") => {
            for (flavour, c) in FLAVOURS {
                for s in SHAPES.iter().filter(|s| **s != "seq" || c != Some(0)) {
                    println!("{}_{}", flavour, s);
                }
            }
        }
        Some("--about") => println!("crossbeam-channel {}", env!("CROSSBEAM_VERSION")),
        Some(_) => {
            let cell = parse(&args);
            match cell.elem {
                8 => measure::<u64>(&cell),
                64 => measure::<[u64; 8]>(&cell),
                1024 => measure::<[u64; 128]>(&cell),
                _ => cannot("elements of 8, 64 or 1024 bytes"),
            }
        }
    }
}
