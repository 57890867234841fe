// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tailLines is how much of a log is shown.
const tailLines = 20

// show prints how a round went.
func (s *soak) show(r *round, stderr string) {
	host := "idle"
	if r.busy {
		host = "busy"
	}
	verdict := "ok"
	if len(r.failed) > 0 {
		verdict = "FAILED"
	}
	fmt.Fprintf(s.out, "%4d  %-10s  host %s  %8s  %-6s  %s\n", r.number, r.kind, host, seconds(r.took), verdict, r.when)
	if len(r.failed) == 0 {
		return
	}
	for _, text := range r.failed {
		fmt.Fprintf(s.out, "      %s\n", text)
	}
	printTail(s, "run-kernel's standard error", stderr)
	log, err := os.ReadFile(filepath.Join(s.state, "console.log"))
	if err != nil {
		log = []byte(err.Error())
	}
	printTail(s, "the console", string(log))
}

func printTail(s *soak, what, text string) {
	fmt.Fprintf(s.out, "      the end of %s:\n", what)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines[max(0, len(lines)-tailLines):] {
		fmt.Fprintf(s.out, "      | %s\n", strings.TrimRight(line, "\r"))
	}
}

// summary prints a table of all rounds, and returns an error if any failed.
func (s *soak) summary() error {
	fmt.Fprintf(s.out, "\n%-46s %6s %6s %9s %9s\n", "", "rounds", "failed", "median", "longest")
	failed := 0
	for _, kind := range append([]string{boot}, s.victims...) {
		for _, busy := range []bool{false, true} {
			var took []time.Duration
			bad := 0
			for _, r := range s.rounds {
				if r.kind != kind || r.busy != busy {
					continue
				}
				took = append(took, r.took)
				if len(r.failed) > 0 {
					bad++
				}
			}
			failed += bad
			if len(took) > 0 {
				fmt.Fprintf(s.out, "%-46s %6d %6d %9s %9s\n", describe(kind, busy), len(took), bad, seconds(median(took)), seconds(slices.Max(took)))
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d rounds failed", failed, len(s.rounds))
	}
	return nil
}

func describe(kind string, busy bool) string {
	text := "boot, start to end"
	if kind != boot {
		text = "kill -9 of " + kind + ", until nothing is left"
	}
	if busy {
		text += ", busy"
	}
	return text
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
