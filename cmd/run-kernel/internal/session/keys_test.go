// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/tty"
	"github.com/metaspace/run-kernel/watch"
)

// impatient presses a key as soon as the screen is the loop's again.
type impatient struct {
	press func()
	asked <-chan watch.Input
	got   chan error
}

func (i *impatient) SetRaw(raw bool) {
	if raw {
		return
	}
	i.press()
	select {
	case <-i.asked:
		i.got <- nil
	case <-time.After(limit):
		i.got <- errors.New("the key didn't reach the loop")
	}
}

func (i *impatient) ShowConsole(bool) {}
func (i *impatient) ShowKeys(string)  {}

// The first key after a shell is the loop's.
func TestKeysAfterLoan(t *testing.T) {
	terminal, file, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	defer file.Close()
	go func() { _, _ = io.Copy(io.Discard, terminal) }()
	modes, err := tty.Keys(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = modes.Restore() }()

	ctx := t.Context()
	asked := make(chan watch.Input)
	face := &impatient{press: func() { _, _ = io.WriteString(terminal, "b") }, asked: asked, got: make(chan error, 1)}
	s := &Session{
		Options: Options{
			Terminal: &Terminal{Stdin: file, Stdout: file, Stderr: os.Stderr, Text: face},
			Events:   func(event.Event) {},
		},
		guest: &Guest{},
	}
	k := &keys{session: s, terminal: modes, asked: asked}
	go k.read(ctx)
	k.lend(ctx, func(_ context.Context, t *Terminal, _ *Guest) error {
		_, restore, err := t.RawInput(func(error) {})
		if err != nil {
			return err
		}
		restore()
		return nil
	})
	if err := <-face.got; err != nil {
		t.Error(err)
	}
}
