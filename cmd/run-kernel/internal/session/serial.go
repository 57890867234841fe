// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/trust"
	"github.com/metaspace/run-kernel/internal/tty"
)

// The port is the one that run-kernel always had, or else one of the next.
const (
	telnetPort  = 4000
	telnetPorts = 100
)

// serveTelnet lets telnet connect to the serial port of the guest that runs, until
// ctx ends.
func (s *Session) serveTelnet(ctx context.Context) error {
	var l net.Listener
	var err error
	for port := telnetPort; port < telnetPort+telnetPorts; port++ {
		l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s.Events.Emit(event.Notice{Text: "the serial port is at: telnet localhost " + port})
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go s.acceptTelnet(ctx, l)
	return nil
}

// acceptTelnet takes the user's own connections. Others may come as often as they like:
// the user is told of each once.
func (s *Session) acceptTelnet(ctx context.Context, l net.Listener) {
	told := map[string]bool{}
	private.Accept(l.Accept, func(conn net.Conn) {
		who := stranger(conn)
		if who == "" {
			go s.talk(ctx, conn)
			return
		}
		_ = conn.Close()
		if !told[who] {
			told[who] = true
			s.Events.Emit(event.Warning{Text: who + " has tried to connect to the serial port, and was refused"})
		}
	})
}

// stranger is whose a connection is, if not the user's own. It is a shell of the guest's
// root, and may be more than that where the guest has shares.
func stranger(conn net.Conn) string {
	uid, err := private.PeerTCP(conn)
	switch {
	case err != nil:
		return "somebody"
	case uid != os.Geteuid():
		return trust.UserName(uid)
	}
	return ""
}

// talk joins one telnet with the guest, until either ends.
func (s *Session) talk(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	g := s.current()
	if g == nil {
		_, _ = io.WriteString(conn, "no guest runs at the moment\r\n")
		return
	}
	telnet, err := tty.NewTelnet(conn)
	if err != nil {
		return
	}
	serial := g.vm.Serial()
	defer serial.Close()
	go func() {
		_, err := io.Copy(serial, tty.NoHTTP(telnet))
		if errors.Is(err, tty.ErrHTTP) {
			s.Events.Emit(event.Warning{Text: "a browser, or another program that speaks HTTP, has connected to the serial port, and was refused"})
		}
		_ = serial.Close()
	}()
	_, _ = io.Copy(telnet, serial)
}

// onStdio says whether the guest's serial port is to be our standard input and
// output.
func (s *Session) onStdio(argv []string) bool {
	return s.Config.SerialPort() == config.SerialStdio && len(argv) == 0 && !s.Terminal.JSON
}

// lendTerminal makes our standard input and output the serial port of the guest
// that o describes, from its start on. What is no terminal is read once the guest
// is up: feed starts that. The context that it returns ends when the user leaves.
// When the guest has ended, takeBack gives the terminal back.
func (s *Session) lendTerminal(ctx context.Context, o *boot.Options) (_ context.Context, feed, takeBack func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	in, restore, err := s.Terminal.RawInput(cancel)
	if err != nil {
		cancel(nil)
		return nil, nil, nil, err
	}
	s.Terminal.showConsole(false) // it comes as it is
	feed = func() {}
	// They may read on for as long as we live: a read can't be taken back.
	if s.Terminal.Interactive() {
		go func() { _, _ = io.Copy(keyboard{s}, in) }()
	} else {
		feed = func() {
			go func() {
				_, _ = io.Copy(keyboard{s}, in)
				if o.System == "" {
					keyboard{s}.endInput(ctx)
				}
			}()
		}
	}
	var output sync.WaitGroup
	size, _ := s.Terminal.size() // zero: unknown
	o.Console = &size
	o.Started = func(vm *boot.VM) {
		// As events, so that a message of ours starts a line.
		output.Go(func() { _, _ = io.Copy(s.Events.Writer(false), vm.Serial()) })
	}
	return ctx, feed, func() {
		output.Wait()
		restore()
		cancel(nil)
	}, nil
}

// A keyboard types at the serial port of the guest that runs, whichever that is.
type keyboard struct{ session *Session }

// Write sends what was typed, and nowhere when there is no guest.
func (k keyboard) Write(p []byte) (int, error) {
	if g := k.session.current(); g != nil {
		_, _ = g.vm.Type(p) // it fails when the guest has gone
	}
	return len(p), nil
}

// endInput ends the input of the shell that has the serial port, and of what it runs,
// until ctx ends. A terminal knows no end that stays: each read takes a ^D of its own,
// and one that comes before a program asks for lines is lost. A system with logins
// would only greet again.
func (k keyboard) endInput(ctx context.Context) {
	const end, pause = "\x04", time.Second
	for {
		_, _ = io.WriteString(k, end)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
