// SPDX-License-Identifier: GPL-3.0-only

// Recording records run-kernel watch in a terminal while it edits the kernel: a saved file,
// an error, its repair, a panic and a test that passes. It writes a recording that
// asciinema plays: https://docs.asciinema.org/manual/asciicast/v2/.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
)

const (
	columns, rows = 100, 30
	// patience is how long a step may take.
	patience = 10 * time.Minute
	// longest is how long nothing new may show, in the recording.
	longest = 250 * time.Millisecond
	// reading is how long a step's result stands.
	reading = 2 * time.Second
)

func main() {
	program := flag.String("run-kernel", "run-kernel", "program")
	tree := flag.String("tree", "", "source tree")
	build := flag.String("build", "", "build directory")
	out := flag.String("o", "watch.cast", "the recording")
	flag.Parse()
	if err := record(*program, *tree, *build, *out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A recorder reads what a terminal shows.
type recorder struct {
	mu     sync.Mutex
	cast   bytes.Buffer
	at     time.Duration // in the recording
	last   time.Time
	screen bytes.Buffer // since the last step
	more   chan struct{}
	names  *strings.Replacer // of directories whose names say nothing to others
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.at += min(now.Sub(r.last), longest)
	r.last = now
	event, err := json.Marshal([]any{r.at.Seconds(), "o", r.names.Replace(strings.ToValidUTF8(string(p), "?"))})
	if err != nil {
		return 0, err
	}
	r.cast.Write(append(event, '\n'))
	r.screen.Write(p)
	select {
	case r.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

// await waits until the terminal has shown what matches since the last step.
func (r *recorder) await(pattern string) error {
	want := regexp.MustCompile(pattern)
	limit := time.After(patience)
	for {
		r.mu.Lock()
		found := want.Match(r.screen.Bytes())
		if found {
			r.screen.Reset()
			r.at += reading
		}
		shown := r.screen.String()
		r.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-r.more:
		case <-limit:
			return fmt.Errorf("%q didn't come after %s:\n%s", pattern, patience, shown)
		}
	}
}

// A step edits a file of the tree, and waits.
type step struct{ old, new, await string }

// file is what the steps edit, and steps what they do.
const file = "init/main.c"

var steps = []step{
	{"\tdo_initcalls();\n", "\tdo_initcalls();\n\tpr_notice(\"hello from my patch\\n\")\n", `error: expected`},
	{`my patch\n")`, `my patch\n");`, `hello from my patch[\s\S]*waiting for changes`},
	{`pr_notice("hello from my patch\n");`, `panic("my patch is wrong");`, `my patch is wrong[\s\S]*waiting for changes`},
	{`panic("my patch is wrong");`, `pr_notice("hello again\n");`, `hello again[\s\S]*waiting for changes`},
}

func record(program, tree, build, out string) (err error) {
	path := filepath.Join(tree, file)
	original, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.WriteFile(path, original, 0o644)) }()
	cmd := exec.Command(program, "watch", "-O", build, "--exec", "dmesg | grep hello")
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: rows, Cols: columns})
	if err != nil {
		return err
	}
	r := &recorder{last: time.Now(), more: make(chan struct{}, 1), names: strings.NewReplacer(build, "~/build", tree, "~/linux")}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := terminal.Read(b)
			_, _ = r.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	defer func() {
		_ = terminal.Close()
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	if err := r.await(`waiting for changes`); err != nil {
		return err
	}
	text := string(original)
	for _, s := range steps {
		if !strings.Contains(text, s.old) {
			return fmt.Errorf("%s has no %q", path, s.old)
		}
		text = strings.Replace(text, s.old, s.new, 1)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		if err := r.await(s.await); err != nil {
			return err
		}
	}
	if _, err := terminal.WriteString("q"); err != nil {
		return err
	}
	select {
	case <-ended:
	case <-time.After(patience):
		return errors.New("it didn't quit")
	}
	header, err := json.Marshal(map[string]any{"version": 2, "width": columns, "height": rows, "title": "run-kernel watch"})
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(append(header, '\n'), r.cast.Bytes()...), 0o644)
}
