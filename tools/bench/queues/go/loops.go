// SPDX-License-Identifier: LGPL-3.0-or-later

package main

import (
	"fmt"
	"sync"
	"time"
)

// What runs for each message. Words take loops of their own, without a call through a function value.

func sendWords(s *slot, c chan uint64) {
	for i := uint64(1); i <= s.goal; i++ {
		c <- uint64(s.index)<<40 | i
		s.note(i)
	}
}

func receiveWords(s *slot, c chan uint64) {
	for i := uint64(1); i <= s.goal; i++ {
		s.check(<-c, 0)
		s.note(i)
	}
}

func sendWordsSelected(s *slot, c []chan uint64) {
	c0, c1, c2, c3 := c[0], c[1], c[2], c[3]
	for i := uint64(1); i <= s.goal; i++ {
		word := uint64(s.index)<<40 | i
		select {
		case c0 <- word:
		case c1 <- word:
		case c2 <- word:
		case c3 <- word:
		}
		s.note(i)
	}
}

func receiveWordsSelected(s *slot, c []chan uint64) {
	c0, c1, c2, c3 := c[0], c[1], c[2], c[3]
	for i := uint64(1); i <= s.goal; i++ {
		var word uint64
		var queue int
		select {
		case word = <-c0:
			queue = 0
		case word = <-c1:
			queue = 1
		case word = <-c2:
			queue = 2
		case word = <-c3:
			queue = 3
		}
		s.check(word, queue)
		s.note(i)
	}
}

func send[E element](s *slot, c chan E, write func(*E, uint64)) {
	var e E
	for i := uint64(1); i <= s.goal; i++ {
		write(&e, uint64(s.index)<<40|i)
		c <- e
		s.note(i)
	}
}

func receive[E element](s *slot, c chan E, read func(*E) uint64) {
	for i := uint64(1); i <= s.goal; i++ {
		e := <-c
		s.check(read(&e), 0)
		s.note(i)
	}
}

func sendSelected[E element](s *slot, c []chan E, write func(*E, uint64)) {
	c0, c1, c2, c3 := c[0], c[1], c[2], c[3]
	var e E
	for i := uint64(1); i <= s.goal; i++ {
		write(&e, uint64(s.index)<<40|i)
		select {
		case c0 <- e:
		case c1 <- e:
		case c2 <- e:
		case c3 <- e:
		}
		s.note(i)
	}
}

func receiveSelected[E element](s *slot, c []chan E, read func(*E) uint64) {
	c0, c1, c2, c3 := c[0], c[1], c[2], c[3]
	var e E
	for i := uint64(1); i <= s.goal; i++ {
		var queue int
		select {
		case e = <-c0:
			queue = 0
		case e = <-c1:
			queue = 1
		case e = <-c2:
			queue = 2
		case e = <-c3:
			queue = 3
		}
		s.check(read(&e), queue)
		s.note(i)
	}
}

// One goroutine puts until the channel is full or all is put, then gets it all, and so on.
func seq[E element](c *cell, tx, rx *slot, queue chan E, write func(*E, uint64), read func(*E) uint64) {
	for done := uint64(0); done < tx.goal; {
		end := done + uint64(c.capacity)
		if end > tx.goal {
			end = tx.goal
		}
		var e E
		for i := done + 1; i <= end; i++ {
			write(&e, i)
			queue <- e
		}
		tx.note(end)
		for i := done + 1; i <= end; i++ {
			e = <-queue
			rx.check(read(&e), 0)
		}
		rx.note(end)
		done = end
	}
}

func sender[E element](c *cell, s *slot, queues []chan E, write func(*E, uint64)) {
	words, isWords := any(queues).([]chan uint64)
	switch {
	case c.shape == "select_both" && isWords:
		sendWordsSelected(s, words)
	case c.shape == "select_both":
		sendSelected(s, queues, write)
	case isWords:
		sendWords(s, words[s.index%c.nQ])
	default:
		send(s, queues[s.index%c.nQ], write)
	}
}

func receiver[E element](c *cell, s *slot, queues []chan E, read func(*E) uint64) {
	words, isWords := any(queues).([]chan uint64)
	switch {
	case c.nQ > 1 && isWords:
		receiveWordsSelected(s, words)
	case c.nQ > 1:
		receiveSelected(s, queues, read)
	case isWords:
		receiveWords(s, words[0])
	default:
		receive(s, queues[0], read)
	}
}

// The clock runs from before the channels are made until all is got.
func measure[E element](c *cell, write func(*E, uint64), read func(*E) uint64) {
	tx, rx := newSide(c, c.nTx, false), newSide(c, c.nRx, true)
	cpu, began := cpuTime(), time.Now()
	queues := make([]chan E, c.nQ)
	for i := range queues {
		queues[i] = make(chan E, c.capacity)
	}
	var ready, all sync.WaitGroup
	start := make(chan bool)
	run := func(s *slot, body func()) {
		ready.Add(1)
		all.Add(1)
		go func() {
			ready.Done()
			<-start
			s.mark = time.Now()
			body()
			s.finish()
			s.sample(s.goal)
			all.Done()
		}()
	}
	if c.shape == "seq" {
		run(&tx.slots[0], func() { seq(c, &tx.slots[0], &rx.slots[0], queues[0], write, read) })
	} else {
		for i := range tx.slots {
			s := &tx.slots[i]
			run(s, func() { sender(c, s, queues, write) })
		}
		for i := range rx.slots {
			s := &rx.slots[i]
			run(s, func() { receiver(c, s, queues, read) })
		}
	}
	ready.Wait()
	close(start)
	watch(c, tx, rx, &all)
	elapsed := time.Since(began)
	cpu = cpuTime() - cpu

	checkAll(tx, rx)
	fmt.Printf("figure ns_per_message %.3f\n", float64(elapsed)/float64(c.messages))
	fmt.Printf("figure cpu_ns_per_message %.3f\n", float64(cpu)/float64(c.messages))
	fmt.Printf("figure elapsed_ms %.3f\n", float64(elapsed)/1e6)
	report(c, tx, rx)
}

func report(c *cell, tx, rx *side) {
	if c.nTx > 1 {
		share := tx.share
		if c.nRx > 1 && rx.share < share {
			share = rx.share
		}
		fmt.Printf("figure least_share %.4f\n", share)
	}
	if c.shape == "seq" {
		return
	}
	var longest time.Duration
	for _, side := range []*side{tx, rx} {
		for i := range side.slots {
			if d := side.slots[i].longest; d > longest {
				longest = d
			}
		}
	}
	fmt.Printf("figure longest_wait_us %.1f\n", float64(longest)/1e3)
}
