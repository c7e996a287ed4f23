// SPDX-License-Identifier: LGPL-3.0-or-later

//! What runs for each message. With four queues a select is the macro, with other numbers it is `Select`.

use crate::check::{Element, Ledger, Pace};
use crossbeam_channel::{select, Receiver, Select, Sender};

#[inline]
fn word(index: usize, i: u64) -> u64 {
    (index as u64) << 40 | i
}

pub fn send<E: Element>(pace: &mut Pace, tx: &Sender<E>, index: usize, goal: u64) {
    for i in 1..=goal {
        tx.send(E::new(word(index, i))).unwrap();
        pace.note(i);
    }
}

pub fn receive<E: Element>(pace: &mut Pace, rx: &Receiver<E>, goal: u64, ledger: &mut Ledger) {
    for i in 1..=goal {
        ledger.check(rx.recv().unwrap().word(), 0);
        pace.note(i);
    }
}

pub fn send_selected<E: Element>(pace: &mut Pace, tx: &[Sender<E>], index: usize, goal: u64, dynamic: bool) {
    if tx.len() == 4 && !dynamic {
        let (a, b, c, d) = (&tx[0], &tx[1], &tx[2], &tx[3]);
        for i in 1..=goal {
            let w = word(index, i);
            select! {
                send(a, E::new(w)) -> r => r.unwrap(),
                send(b, E::new(w)) -> r => r.unwrap(),
                send(c, E::new(w)) -> r => r.unwrap(),
                send(d, E::new(w)) -> r => r.unwrap(),
            }
            pace.note(i);
        }
        return;
    }
    for i in 1..=goal {
        let mut set = Select::new();
        for t in tx {
            set.send(t);
        }
        let case = set.select();
        let t = &tx[case.index()];
        case.send(t, E::new(word(index, i))).unwrap();
        pace.note(i);
    }
}

pub fn receive_selected<E: Element>(
    pace: &mut Pace,
    rx: &[Receiver<E>],
    goal: u64,
    ledger: &mut Ledger,
    dynamic: bool,
) {
    if rx.len() == 4 && !dynamic {
        let (a, b, c, d) = (&rx[0], &rx[1], &rx[2], &rx[3]);
        for i in 1..=goal {
            let (m, queue) = select! {
                recv(a) -> m => (m.unwrap(), 0),
                recv(b) -> m => (m.unwrap(), 1),
                recv(c) -> m => (m.unwrap(), 2),
                recv(d) -> m => (m.unwrap(), 3),
            };
            ledger.check(m.word(), queue);
            pace.note(i);
        }
        return;
    }
    for i in 1..=goal {
        let mut set = Select::new();
        for r in rx {
            set.recv(r);
        }
        let case = set.select();
        let queue = case.index();
        ledger.check(case.recv(&rx[queue]).unwrap().word(), queue);
        pace.note(i);
    }
}

/// One thread sends until the channel is full or all is sent, then receives it all, and so on.
pub fn seq<E: Element>(
    tx_pace: &mut Pace,
    rx_pace: &mut Pace,
    (tx, rx): (&Sender<E>, &Receiver<E>),
    (goal, capacity): (u64, u64),
    ledger: &mut Ledger,
) {
    let mut done = 0;
    while done < goal {
        let end = goal.min(done.saturating_add(capacity));
        for i in done + 1..=end {
            tx.send(E::new(i)).unwrap();
        }
        tx_pace.note(end);
        for _ in done + 1..=end {
            ledger.check(rx.recv().unwrap().word(), 0);
        }
        rx_pace.note(end);
        done = end;
    }
}
