// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"io"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/tty"
	"github.com/metaspace/run-kernel/watch"
)

// errQuit is the cause of the end that the user asks for with a key of the loop.
var errQuit = errors.New("ended by a key")

// Keys are what a user at a terminal acts on the loop with.
type keys struct {
	session  *Session
	terminal *tty.Terminal
	asked    chan watch.Input
	quit     func()
	console  bool // the lines of the guest's console are shown

	mu   sync.Mutex
	pipe *io.PipeWriter // to who has the terminal meanwhile; nil: nobody
}

// keyLine lists the keys.
const keyLine = "r run  b boot  f build  s shell  c console  l log  p pause  q quit"

const keyHelp = `r  run the command again
b  boot again
f  build, although nothing has changed
s  a shell in the guest; ~. leaves it
c  the guest's serial console; ~. leaves it
l  show the lines of the console, or no longer
p  let changes wait, or no longer
q  quit`

// startKeys takes the terminal for the keys of the loop, until stop. Where nobody sits
// at one, asked is nil.
func (s *Session) startKeys(ctx context.Context, quit func()) (asked <-chan watch.Input, stop func()) {
	t := s.Terminal
	stop = func() {}
	if t.JSON || t.Text == nil || !t.Interactive() || !tty.InForeground(t.Stdin) {
		return nil, stop
	}
	// A background process would be stopped for reading.
	signal.Ignore(syscall.SIGTTIN, syscall.SIGTTOU)
	terminal, err := tty.Keys(t.Stdin)
	if err != nil {
		return nil, stop
	}
	k := &keys{session: s, terminal: terminal, asked: make(chan watch.Input), quit: quit}
	t.Text.ShowKeys(keyLine)
	go k.read(ctx)
	return k.asked, func() {
		t.Text.ShowKeys("")
		_ = terminal.Restore()
	}
}

// read acts on keys until the terminal's end. It can't be taken back.
func (k *keys) read(ctx context.Context) {
	buf := make([]byte, 256)
	for {
		n, err := k.session.Terminal.Stdin.Read(buf)
		if err != nil {
			return
		}
		for i, b := range buf[:n] {
			k.mu.Lock()
			pipe := k.pipe
			k.mu.Unlock()
			if pipe != nil {
				_, _ = pipe.Write(buf[i:n]) // it fails when the shell has just ended
				break
			}
			k.press(ctx, b)
		}
	}
}

func (k *keys) press(ctx context.Context, key byte) {
	ask := func(in watch.Input) {
		select {
		case k.asked <- in:
		case <-ctx.Done():
		}
	}
	switch key {
	case 'r':
		if k.session.Config.Watch.Exec == "" {
			k.note("there is no command to run: --exec CMD names one")
			return
		}
		ask(watch.RunAsked{})
	case 'b':
		ask(watch.BootAsked{})
	case 'f':
		ask(watch.BuildAsked{})
	case 'p':
		ask(watch.PauseAsked{})
	case 's':
		k.lend(ctx, func(ctx context.Context, t *Terminal, g *Guest) error {
			client := g.vm.Client()
			if client == nil {
				return errors.New("the guest doesn't answer yet")
			}
			_, err := t.Run(ctx, client, nil, true)
			return err
		})
	case 'c':
		k.lend(ctx, attach)
	case 'l':
		k.console = !k.console
		k.session.Terminal.showConsole(k.console)
		state := "no longer shown"
		if k.console {
			state = "shown"
		}
		k.note("the lines of the guest's console are " + state)
	case 'q':
		k.quit()
	case '?', 'h':
		for line := range strings.SplitSeq(keyHelp, "\n") {
			k.note(line)
		}
	}
}

func (k *keys) note(text string) { k.session.Events.Emit(event.Notice{Text: text}) }

// held is the terminal that the loop has for its keys, for who gets it meanwhile.
type held struct {
	keys  *keys
	input *io.PipeReader
	pipe  *io.PipeWriter // to input
}

// raw puts the terminal into raw mode. restore gives it back to the loop: the next
// key is the loop's before anything shows that it is.
func (h *held) raw() (in io.Reader, restore func(), err error) {
	if err := h.keys.terminal.Raw(); err != nil {
		return nil, nil, err
	}
	return h.input, func() {
		h.takeBack()
		_ = h.keys.terminal.Keys()
	}, nil
}

// takeBack ends the loan. It may be called again, also when the next one has begun.
func (h *held) takeBack() {
	h.keys.mu.Lock()
	if h.keys.pipe == h.pipe {
		h.keys.pipe = nil
	}
	h.keys.mu.Unlock()
	_ = h.input.Close() // the reader of keys may be writing
}

// lend gives the terminal to use, with the guest that runs, until that returns.
func (k *keys) lend(ctx context.Context, use func(context.Context, *Terminal, *Guest) error) {
	g := k.session.current()
	if g == nil {
		k.note("no guest runs")
		return
	}
	r, w := io.Pipe()
	k.mu.Lock()
	k.pipe = w
	k.mu.Unlock()
	go func() {
		t := *k.session.Terminal
		t.held = &held{keys: k, input: r, pipe: w}
		err := use(ctx, &t, g)
		t.held.takeBack() // where it failed before it had the terminal
		switch {
		case err == nil, errors.Is(err, ErrLeft), ctx.Err() != nil:
		case errors.Is(err, boot.ErrGone):
			k.note("the guest has gone; the next one has no shell of yours yet")
		default:
			k.session.Events.Emit(event.Failed{Err: err})
		}
	}()
}

// attach joins the terminal with the guest's serial port, until either ends.
func attach(ctx context.Context, t *Terminal, g *Guest) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	serial := g.vm.Serial()
	defer serial.Close()
	in, restore, err := t.RawInput(cancel)
	if err != nil {
		return err
	}
	defer restore()
	defer context.AfterFunc(ctx, func() { _ = serial.Close() })()
	go func() { _, _ = io.Copy(serial, in) }()
	_, err = io.Copy(t.Stdout, serial)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
