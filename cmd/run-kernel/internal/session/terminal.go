// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/tty"
)

// ErrLeft is the cause of the end that the user asks for with the keys ~. of a terminal.
var ErrLeft = errors.New("left with the keys ~. at the terminal")

// A Terminal is what the user sits at: the standard streams, and what renders events
// between a guest's lines.
type Terminal struct {
	Stdin, Stdout, Stderr *os.File
	Environ               []string
	User                  string // of the guest, whose commands are; empty: root
	Events                event.Sink
	JSON                  bool // what a guest's command writes becomes events
	Verbose               bool // tell how a command has ended
	Text                  Text // nil where events aren't rendered for people
	// Results gets what a command writes to its standard output, which is shown only if
	// Verbose is set then. It may be nil.
	Results io.Writer

	held   *held        // the loop has the terminal for its keys; nil: nobody has it
	shared *sharedInput // of several commands; nil: there is one
}

// Text renders events for people.
type Text interface {
	SetRaw(raw bool)       // whether the terminal is in raw mode
	ShowConsole(show bool) // whether to show the lines of the guest's console
	ShowKeys(line string)  // what the last line is while the loop waits
}

// Interactive says whether the user sits at both ends.
func (t *Terminal) Interactive() bool {
	return isatty.IsTerminal(t.Stdin.Fd()) && isatty.IsTerminal(t.Stdout.Fd())
}

func (t *Terminal) showConsole(show bool) {
	if t.Text != nil {
		t.Text.ShowConsole(show)
	}
}

// size is that of the terminal; zero with an error.
func (t *Terminal) size() (boot.Size, error) {
	rows, columns, err := tty.Size(t.Stdin)
	if err != nil {
		return boot.Size{}, err
	}
	return boot.Size{Rows: rows, Columns: columns}, nil
}

// resizes delivers the sizes that the terminal takes, until ctx ends.
func (t *Terminal) resizes(ctx context.Context) <-chan boot.Size {
	resized, stop := tty.Resized()
	sizes := make(chan boot.Size)
	go func() {
		defer stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-resized:
			}
			size, err := t.size()
			if err != nil {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case sizes <- size:
			}
		}
	}()
	return sizes
}

// writers are where a guest command's output goes.
func (t *Terminal) writers() (stdout, stderr io.Writer) {
	stdout, stderr = t.Stdout, t.Stderr
	if t.JSON {
		stdout, stderr = t.Events.Writer(false), t.Events.Writer(true)
	}
	switch {
	case t.Results != nil && t.Verbose:
		stdout = io.MultiWriter(stdout, t.Results)
	case t.Results != nil:
		stdout = t.Results
	}
	return stdout, stderr
}

// guestCommand is what words of the command line mean in the guest: one is a
// line for the shell, several are a program and its arguments.
func guestCommand(argv []string) boot.Command {
	if len(argv) == 1 {
		return boot.Command{Shell: argv[0]}
	}
	return boot.Command{Argv: argv}
}

// Run runs a command, or a shell without one, by the agent at the other end of
// client, and returns its status. A shell at a terminal gets that terminal, and so
// does a command with atTerminal.
func (t *Terminal) Run(ctx context.Context, client *ssh.Client, argv []string, atTerminal bool) (int, error) {
	began := time.Now()
	c := guestCommand(argv)
	c.Stdin, c.User = t.Stdin, t.User
	c.Stdout, c.Stderr = t.writers()
	var status int
	var err error
	if (len(argv) == 0 || atTerminal) && t.Interactive() && !t.JSON {
		status, err = t.runHere(ctx, client, c)
	} else {
		status, err = boot.Run(ctx, client, c)
	}
	if err == nil && (t.JSON || t.Verbose) && len(argv) > 0 {
		t.Events.Emit(event.CommandFinished{Command: strings.Join(argv, " "), Status: status, Elapsed: time.Since(began)})
	}
	return status, err
}

// runHere runs a command that has the terminal.
func (t *Terminal) runHere(ctx context.Context, client *ssh.Client, c boot.Command) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	size, err := t.size()
	if err != nil {
		return 0, err
	}
	in, restore, err := t.RawInput(cancel)
	if err != nil {
		return 0, err
	}
	defer restore()
	c.Terminal = &boot.Terminal{Type: config.Getenv(t.Environ, "TERM"), Size: size, Resize: t.resizes(ctx)}
	c.Stdin = in
	return boot.Run(ctx, client, c)
}

// Share prepares the terminal for several commands, one after the other, that read it.
func (t *Terminal) Share() {
	if t.Interactive() {
		t.shared = shareInput(t.Stdin)
	}
}

// RawInput is standard input. A terminal is put into raw mode, and its escape keys
// are ours: ~. ends the context with the cause ErrLeft.
func (t *Terminal) RawInput(cancel context.CancelCauseFunc) (in io.Reader, restore func(), err error) {
	if !t.Interactive() {
		return t.Stdin, func() {}, nil
	}
	input, restoreMode := io.Reader(t.Stdin), func() {}
	if t.held != nil {
		input, restoreMode, err = t.held.raw()
	} else {
		var terminal *tty.Terminal
		if terminal, err = tty.Raw(t.Stdin); err == nil {
			restoreMode = func() { _ = terminal.Restore() }
		}
		if t.shared != nil {
			done, restore := make(chan struct{}), restoreMode
			input, restoreMode = t.shared.reader(done), func() {
				close(done)
				restore()
			}
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if t.Text != nil {
		t.Text.SetRaw(true)
	}
	in = tty.NewEscapes(input,
		func() {
			_, _ = io.WriteString(t.Stderr, "\r\n")
			cancel(ErrLeft)
		},
		func() { _, _ = io.WriteString(t.Stderr, "\r\n"+tty.EscapeHelp) },
	)
	return in, func() {
		restoreMode()
		if t.Text != nil {
			t.Text.SetRaw(false)
		}
	}, nil
}
