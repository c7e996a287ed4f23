// SPDX-License-Identifier: LGPL-3.0-or-later

// What Go's reflect.Select costs as it grows: the cells and figures of ../../scale.c, as far as Go has them.
//
// Go's channels need no descriptor, so every number of cases is possible. Options: n=MESSAGES of each, cases=MESSAGES
// times cases that all waits together may look at, scans= the same for scans.
package main

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const block = 500

var cells = []int{2, 100, 10000, 20000}

type state struct {
	inSelect, plain []chan uint64
	cases           []reflect.SelectCase
	seq             uint64
	random          uint64
}

func wrong(format string, args ...interface{}) {
	fmt.Printf("wrong: "+format+"\n", args...)
	os.Exit(1)
}

func usage(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(2)
}

func figure(name string, value float64) {
	fmt.Printf("figure %s %.10g\n", name, value)
}

func option(key string, fallback int) int {
	for _, arg := range os.Args[2:] {
		if strings.HasPrefix(arg, key+"=") {
			value, err := strconv.Atoi(arg[len(key)+1:])
			if err != nil || value < 0 {
				usage("%s is not a number", arg)
			}
			return value
		}
	}
	return fallback
}

func (s *state) draw(n int) int {
	s.random ^= s.random << 13
	s.random ^= s.random >> 7
	s.random ^= s.random << 17
	return int(s.random % uint64(n))
}

func check(got, sent uint64) {
	if got != sent {
		wrong("message %d came as number %d", sent, got)
	}
}

func (s *state) wait(at int) {
	sent := s.seq
	s.seq++
	s.inSelect[at] <- sent
	s.take(at, sent)
}

func (s *state) take(at int, sent uint64) {
	index, value, ok := reflect.Select(s.cases)
	if index != at || !ok {
		wrong("reflect.Select returned %d instead of %d", index, at)
	}
	check(value.Uint(), sent)
}

func (s *state) putget(at int) {
	sent := s.seq
	s.seq++
	s.plain[at] <- sent
	check(<-s.plain[at], sent)
}

func (s *state) scan(at int) {
	sent := s.seq
	s.seq++
	s.plain[at] <- sent
	for i, c := range s.plain {
		select {
		case got := <-c:
			if i != at {
				wrong("the scan found channel %d instead of %d", i, at)
			}
			check(got, sent)
			return
		default:
		}
	}
	wrong("the scan found nothing")
}

// In turns by blocks; how many messages a way gets is bounded by its budget of looks at cases.
func (s *state) compare(order string, n int) {
	ways := []func(int){s.wait, s.putget, s.scan}
	names := []string{"wait", "putget", "scan"}
	budget := []int{option("cases", 20000000), 1 << 62, option("scans", 20000000)}
	var took [3]time.Duration
	var done [3]int
	at := make([]int, block)
	for from := 0; from < n; from += block {
		for i := range at {
			at[i] = len(s.plain) / 2
			if order == "moving" {
				at[i] = s.draw(len(s.plain))
			}
		}
		for k := range ways {
			way := (from/block + k) % len(ways)
			count := block
			if (done[way]+block)*len(s.plain) > budget[way] {
				count = 0
				if done[way] == 0 {
					count = 20
				}
			}
			start := time.Now()
			for _, chosen := range at[:count] {
				ways[way](chosen)
			}
			took[way] += time.Since(start)
			done[way] += count
		}
	}
	var each [3]float64
	for way, name := range names {
		each[way] = float64(took[way].Nanoseconds()) / float64(done[way])
		figure(order+"."+name, each[way])
	}
	figure(order+".over", each[0]-each[1])
}

func (s *state) stream(n int) {
	if most := option("cases", 20000000) / len(s.plain); n > most {
		n = most
	}
	if n < 20 {
		n = 20
	}
	at := len(s.plain) / 2
	start := time.Now()
	go func() {
		for i := 0; i < n; i++ {
			s.inSelect[at] <- uint64(i)
		}
	}()
	for i := 0; i < n; i++ {
		s.take(at, uint64(i))
	}
	figure("stream.wait", float64(time.Since(start).Nanoseconds())/float64(n))
}

func run(nCases int) {
	n := option("n", 200000)
	if n < 1 {
		usage("n is 0")
	}
	s := &state{random: 88172645463325252}
	for i := 0; i < nCases; i++ {
		s.inSelect = append(s.inSelect, make(chan uint64, 16))
		s.plain = append(s.plain, make(chan uint64, 16))
	}
	figure("cases", float64(nCases))
	start := time.Now()
	for _, c := range s.inSelect {
		s.cases = append(s.cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c)})
	}
	figure("setup", float64(time.Since(start).Nanoseconds())/float64(nCases))
	s.compare("fixed", n)
	s.compare("moving", n)
	s.stream(n)
}

func main() {
	if len(os.Args) < 2 {
		usage("usage: %s CELL [KEY=VALUE ...] | --list | --about", os.Args[0])
	}
	switch os.Args[1] {
	case "--about":
		fmt.Printf("Go %s, reflect.Select as it grows\n", strings.TrimPrefix(runtime.Version(), "go"))
		return
	case "--list":
		for _, n := range cells {
			fmt.Printf("cases-%d\n", n)
		}
		return
	}
	for _, n := range cells {
		if os.Args[1] == fmt.Sprintf("cases-%d", n) {
			run(n)
			return
		}
	}
	usage("no cell %s; --list lists them", os.Args[1])
}
