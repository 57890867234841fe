// SPDX-License-Identifier: GPL-3.0-only

package leftover

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Mark is a variable with its value, NAME=value, by which a run's processes are
// known: those that have it in their environment.
type Mark string

// Processes lists the marked processes that run, each with its command line.
func (m Mark) Processes() map[int]string {
	found := make(map[int]string)
	for _, pid := range processes() {
		// Gone, a zombie, or another user's: it has nothing to read.
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(v []byte) bool { return string(v) == string(m) }) {
			found[pid] = cmdline(pid)
		}
	}
	return found
}

// Await waits until no marked process is left but those whose command line keep
// accepts, and returns what is left at the deadline.
func (m Mark) Await(deadline time.Time, keep func(cmdline string) bool) []string {
	for {
		var left []string
		for pid, cmdline := range m.Processes() {
			if keep == nil || !keep(cmdline) {
				left = append(left, Describe(pid, cmdline))
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Describe is a process in a message.
func Describe(pid int, cmdline string) string { return fmt.Sprintf("%d: %.100s", pid, cmdline) }

// Descendants lists the processes below one, each with its command line: its
// children, theirs and so on, but no zombies. Orphans are among them when that is a
// subreaper; see PR_SET_CHILD_SUBREAPER in prctl(2).
func Descendants(ancestor int) map[int]string {
	parents := make(map[int]int)
	for _, pid := range processes() {
		if state, parent := stat(pid); state != "" && state != "Z" {
			parents[pid] = parent
		}
	}
	found := make(map[int]string)
	for pid := range parents {
		// Processes come and go meanwhile, and a loop might be seen.
		for p, steps := parents[pid], 0; p != 0 && steps < len(parents); p, steps = parents[p], steps+1 {
			if p == ancestor {
				found[pid] = cmdline(pid)
				break
			}
		}
	}
	return found
}

// stat returns the state and the parent of a process; see proc(5).
func stat(pid int) (state string, parent int) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	// The name before is in parentheses, and may have some itself.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func cmdline(pid int) string {
	data, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return strings.ReplaceAll(string(data), "\x00", " ")
}
