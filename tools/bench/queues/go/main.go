// SPDX-License-Identifier: LGPL-3.0-or-later

// Go's channels in the cells of cell.h, with the same messages, checks and figures.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	capacityN  = 5000000
	threadsMax = 64
)

type cell struct {
	shape                                 string
	capacity, threads, elem, nTx, nRx, nQ int
	messages                              uint64
	stall                                 time.Duration
}

type tally struct {
	count, sum, squares uint64
}

// A goroutine's own; the padding keeps the counter that others read on a line of its own.
type slot struct {
	_       [128]byte
	done    uint64
	_       [128]byte
	goal    uint64
	mark    time.Time
	marked  uint64
	next    uint64
	longest time.Duration
	side    *side
	index   int
	tallies []tally
	last    []uint64
	nTx     int
}

type side struct {
	slots     []slot
	oneIsDone uint32
	share     float64
}

// Elements are words, or arrays that repeat the word, inverted, at their end.
type element interface {
	uint64 | [8]uint64 | [128]uint64
}

func wrong(format string, args ...any) {
	fmt.Printf("wrong: "+format+"\n", args...)
	os.Exit(1)
}

func cannot(why string) {
	fmt.Println(why)
	os.Exit(77)
}

// The clock is read about every 8 us, and at least at every 256th message; see cell.h.
func (s *slot) sample(done uint64) {
	now := time.Now()
	took, n, stride := now.Sub(s.mark), done-s.marked, uint64(256)
	if took > s.longest {
		s.longest = took
	}
	if took > 0 {
		stride = 8192 * n / uint64(took)
	}
	if stride < 1 {
		stride = 1
	} else if stride > 256 {
		stride = 256
	}
	s.mark, s.marked, s.next = now, done, done+stride
}

func (s *slot) note(done uint64) {
	atomic.StoreUint64(&s.done, done)
	if done >= s.next {
		s.sample(done)
	}
}

func (s *slot) check(word uint64, queue int) {
	producer, number := word>>40, word&(1<<40-1)
	if producer >= uint64(s.nTx) {
		wrong("%#x was never put", word)
	}
	last := &s.last[queue*s.nTx+int(producer)]
	if number <= *last {
		wrong("producer %d: %d after %d", producer, number, *last)
	}
	*last = number
	t := &s.tallies[producer]
	t.count++
	t.sum += number
	t.squares += number * number
}

func (s *slot) finish() {
	side := s.side
	if atomic.SwapUint32(&side.oneIsDone, 1) != 0 {
		return
	}
	sum, least := 0.0, 1e300
	for i := range side.slots {
		done := float64(atomic.LoadUint64(&side.slots[i].done))
		sum += done
		if done < least {
			least = done
		}
	}
	side.share = 1
	if sum > 0 {
		side.share = least * float64(len(side.slots)) / sum
	}
}

func newSide(c *cell, n int, receives bool) *side {
	side := &side{slots: make([]slot, n)}
	for i := range side.slots {
		s := &side.slots[i]
		s.goal = c.messages / uint64(n)
		if uint64(i) < c.messages%uint64(n) {
			s.goal++
		}
		s.side, s.index, s.nTx = side, i, c.nTx
		if receives {
			s.tallies = make([]tally, c.nTx)
			s.last = make([]uint64, c.nTx*c.nQ)
		}
	}
	return side
}

func (side *side) done() uint64 {
	var n uint64
	for i := range side.slots {
		n += atomic.LoadUint64(&side.slots[i].done)
	}
	return n
}

func checkAll(tx, rx *side) {
	for p := range tx.slots {
		var got, put tally
		for i := range rx.slots {
			t := &rx.slots[i].tallies[p]
			got.count += t.count
			got.sum += t.sum
			got.squares += t.squares
		}
		for n := uint64(1); n <= tx.slots[p].goal; n++ {
			put.count++
			put.sum += n
			put.squares += n * n
		}
		if got != put {
			wrong("producer %d: %d messages got for %d put, sums %d and %d", p, got.count, put.count, got.sum, put.sum)
		}
	}
}

// Waits for all; where nothing moves any more, a message was lost.
func watch(c *cell, tx, rx *side, all *sync.WaitGroup) {
	over := make(chan bool)
	go func() {
		all.Wait()
		close(over)
	}()
	before, since := ^uint64(0), time.Now()
	for {
		select {
		case <-over:
			return
		case <-time.After(200 * time.Millisecond):
		}
		sent, got := tx.done(), rx.done()
		if sent+got != before {
			before, since = sent+got, time.Now()
		} else if time.Since(since) > c.stall {
			wrong("nothing has moved for %v: %d of %d are put and %d got", c.stall, sent, c.messages, got)
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func parse(args []string) *cell {
	c := &cell{messages: capacityN, threads: 4, elem: 8, stall: 10 * time.Second}
	var flavour string
	for _, f := range []string{"bounded_0", "bounded_1", "bounded_1024", "bounded_n", "unbounded"} {
		if strings.HasPrefix(args[0], f+"_") {
			flavour, c.shape = f, args[0][len(f)+1:]
		}
	}
	c.capacity = map[string]int{"bounded_1": 1, "bounded_1024": 1024, "bounded_n": capacityN}[flavour]
	switch c.shape {
	case "seq":
		if flavour == "bounded_0" {
			cannot("no such cell")
		}
	case "spsc", "mpsc", "mpmc", "select_rx", "select_both":
	default:
		cannot("no such cell")
	}
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || key == "threads" && n > threadsMax {
			fmt.Fprintf(os.Stderr, "%s: not a setting\n", arg)
			os.Exit(2)
		}
		switch key {
		case "messages":
			c.messages = uint64(n)
		case "threads":
			c.threads = n
		case "elem":
			c.elem = n
		case "batch":
			if n > 1 {
				cannot("a Go channel has no batches")
			}
		case "stall":
			c.stall = time.Duration(n) * time.Second
		default:
			fmt.Fprintf(os.Stderr, "%s: not a setting\n", arg)
			os.Exit(2)
		}
	}
	if flavour == "unbounded" {
		cannot("a Go channel is bounded")
	}
	if c.capacity == capacityN && c.messages < capacityN {
		c.capacity = int(c.messages)
	}
	if uint64(c.threads) > c.messages {
		c.threads = int(c.messages)
	}
	selects := c.shape == "select_rx" || c.shape == "select_both"
	if selects && c.threads != 4 {
		cannot("a select statement has as many cases as are written down: 4")
	}
	c.nTx, c.nRx, c.nQ = c.threads, 1, 1
	if c.shape == "seq" || c.shape == "spsc" {
		c.nTx = 1
	}
	if c.shape == "mpmc" || c.shape == "select_both" {
		c.nRx = c.threads
	}
	if selects {
		c.nQ = c.threads
	}
	return c
}

func list() {
	for _, f := range []string{"bounded_0", "bounded_1", "bounded_1024", "bounded_n"} {
		for _, s := range []string{"seq", "spsc", "mpsc", "mpmc", "select_rx", "select_both"} {
			if f != "bounded_0" || s != "seq" {
				fmt.Println(f + "_" + s)
			}
		}
	}
}

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: go CELL [messages=N] [threads=N] [elem=BYTES] [stall=SECONDS] | --list | --about")
		os.Exit(2)
	}
	switch args[0] {
	case "--list":
		list()
		return
	case "--about":
		fmt.Printf("channels of %s, GOMAXPROCS %d\n", runtime.Version(), runtime.GOMAXPROCS(0))
		return
	}
	c := parse(args)
	switch c.elem {
	case 8:
		measure(c, func(e *uint64, w uint64) { *e = w }, func(e *uint64) uint64 { return *e })
	case 64:
		measure(c, func(e *[8]uint64, w uint64) { e[0], e[7] = w, ^w }, func(e *[8]uint64) uint64 {
			return whole(e[0], e[7])
		})
	case 1024:
		measure(c, func(e *[128]uint64, w uint64) { e[0], e[127] = w, ^w }, func(e *[128]uint64) uint64 {
			return whole(e[0], e[127])
		})
	default:
		cannot("elements of 8, 64 or 1024 bytes")
	}
}

func whole(word, end uint64) uint64 {
	if end != ^word {
		wrong("an element was torn: %#x and %#x", word, end)
	}
	return word
}
