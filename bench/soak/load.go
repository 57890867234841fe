// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
)

const loadName = "soak-load"

// burn keeps a processor busy until standard input ends.
func burn() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for n := 0; ; {
		n++
	}
}

// load keeps all processors busy until it is ended.
type load struct {
	processes []*exec.Cmd
	stdin     io.Closer
}

func startLoad() (*load, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	l := &load{stdin: w}
	for range runtime.NumCPU() {
		cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{loadName}, Stdin: r}
		if err := cmd.Start(); err != nil {
			l.end()
			return nil, err
		}
		l.processes = append(l.processes, cmd)
	}
	return l, nil
}

// has says whether a process is one of ours.
func (l *load) has(pid int) bool {
	if l == nil {
		return false
	}
	for _, cmd := range l.processes {
		if cmd.Process.Pid == pid {
			return true
		}
	}
	return false
}

// end ends the load and waits for it.
func (l *load) end() {
	if l == nil {
		return
	}
	errs := []error{l.stdin.Close()}
	for _, cmd := range l.processes {
		errs = append(errs, cmd.Wait())
	}
	_ = errors.Join(errs...) // whatever it was, they are gone
}
