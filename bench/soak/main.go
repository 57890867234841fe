// SPDX-License-Identifier: GPL-3.0-only

// Soak boots a kernel many times in a row, half of them while the host is busy,
// and then kills run-kernel, qemu and virtiofsd in turn. Each boot has to succeed,
// each kill has to end everything at once and with the right exit status, and after
// each nothing may be left: no process, no socket, no mount, no file.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// interrupted is the exit status after Ctrl-C, as of a shell.
const interrupted = 130

func main() {
	if len(os.Args) > 0 && os.Args[0] == loadName {
		burn()
	}
	// The parent-death signal of what is started is that of this thread.
	runtime.LockOSThread()
	s := &soak{out: os.Stdout}
	flag.StringVar(&s.runKernel, "run-kernel", "run-kernel", "the program")
	flag.StringVar(&s.tree, "tree", "", "kernel tree")
	flag.StringVar(&s.build, "build", "", "its build directory; empty: the tree")
	flag.StringVar(&s.accel, "accel", "tcg", "what --accel is given")
	flag.IntVar(&s.boots, "n", 30, "boots, every second one on a busy host")
	flag.IntVar(&s.kills, "kills", 9, "kills, every second one on a busy host")
	victims := flag.String("victims", "run-kernel,qemu,virtiofsd", "what to kill in turn; virtiofsd runs only where files come by virtiofs")
	flag.DurationVar(&s.limit, "limit", 2*time.Minute, "how long a boot may take")
	flag.DurationVar(&s.end, "end", 3*time.Second, "how long everything may take to end after a kill")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the times of kills")
	flag.Parse()
	s.victims = strings.Split(*victims, ",")
	s.random = rand.New(rand.NewPCG(*seed, 0))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends us at once
	fmt.Printf("%d boots, %d kills, %d processors, seed %d\n\n", s.boots, s.kills, runtime.NumCPU(), *seed)
	err := s.run(ctx)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "soak: interrupted")
		os.Exit(interrupted)
	case err != nil:
		fmt.Fprintf(os.Stderr, "soak: %v\n", err)
		os.Exit(1)
	}
}

type soak struct {
	runKernel, tree, build, accel string
	boots, kills                  int
	victims                       []string
	limit, end                    time.Duration
	random                        *rand.Rand
	out                           io.Writer

	name   string // of the VM
	dir    string // for temporary files
	state  string // what the tree keeps of the VM
	rounds []*round
}

// run does all rounds and prints how they went.
func (s *soak) run(ctx context.Context) (err error) {
	if err := s.checkVictims(); err != nil {
		return err
	}
	if s.build == "" {
		s.build = s.tree
	}
	if s.runKernel, err = lookProgram(s.runKernel); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "run-kernel-soak-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	s.name = fmt.Sprintf("soak-%d", os.Getpid())
	s.state = filepath.Join(s.build, ".run-kernel/vm", s.name)
	defer os.RemoveAll(s.state)
	if err := adopt(); err != nil {
		return err
	}

	for i := range s.boots {
		if ctx.Err() != nil {
			break
		}
		if err := s.do(ctx, &round{kind: boot, busy: i%2 == 1}); err != nil {
			return err
		}
	}
	for i := range s.kills {
		if ctx.Err() != nil {
			break
		}
		// The victims take turns, and each of them has a busy host every second time.
		n := len(s.victims)
		if err := s.do(ctx, &round{kind: s.victims[i%n], busy: (i/n+i%n)%2 == 1}); err != nil {
			return err
		}
	}
	return s.summary()
}
