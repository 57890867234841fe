// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/qemu"
)

// echoes is a stream that gives back what is written to it, until it is closed.
func echoes() io.ReadWriteCloser {
	ours, theirs := net.Pipe()
	go func() {
		_, _ = io.Copy(theirs, theirs)
		_ = theirs.Close()
	}()
	return ours
}

type closeTold struct {
	io.ReadWriteCloser
	closed chan struct{}
}

func (c closeTold) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return c.ReadWriteCloser.Close()
}

func TestSerialAndDebugger(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	c := dial(t, build)
	if _, err := c.Serial(); !isRefused(err, "no guest runs at the moment") {
		t.Errorf("without a guest: %v", err)
	}
	closed := make(chan struct{})
	s.SetGuest(&Guest{
		Serial:   func() io.ReadWriteCloser { return closeTold{echoes(), closed} },
		Debugger: func() (io.ReadWriteCloser, error) { return nil, errors.New("another debugger is attached") },
	})
	if _, err := c.Debugger(); !isRefused(err, "another debugger is attached") {
		t.Errorf("a debugger that is refused: %v", err)
	}
	if _, _, err := c.OpenChannel("session", nil); err == nil {
		t.Error("there is a session before the agent answers")
	}
	serial, err := c.Serial()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(serial, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(serial, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	// Who goes away doesn't leave his end behind.
	if err := serial.Close(); err != nil {
		t.Error(err)
	}
	<-closed

	// When the VM ends, so does the channel.
	ours, theirs := net.Pipe()
	s.SetGuest(&Guest{Debugger: func() (io.ReadWriteCloser, error) { return ours, nil }})
	debugger, err := c.Debugger()
	if err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	if n, err := debugger.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the VM's end: %d, %v", n, err)
	}
}

func isRefused(err error, reason string) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && refused.Reason == reason
}

func TestDump(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	c := dial(t, build)
	path := filepath.Join(t.TempDir(), "core")
	if err := c.Dump(t.Context(), path, false); !isRefused(err, "no guest runs at the moment") {
		t.Errorf("without a guest: %v", err)
	}
	full := errors.New("no space left on device")
	s.SetGuest(&Guest{Dump: func(f *os.File, virtual bool) error {
		if _, err := io.WriteString(f, "ELF"); err != nil {
			t.Error(err)
		}
		if virtual {
			return full
		}
		return nil
	}})
	if err := c.Dump(t.Context(), path, true); !isRefused(err, full.Error()) {
		t.Errorf("a full disk: %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("half a dump is left: %v", err)
	}
	if err := c.Dump(t.Context(), path, false); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "ELF" {
		t.Errorf("got %q, %v", data, err)
	}
	if err := c.Dump(t.Context(), path, false); err == nil {
		t.Error("it is written over")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "ELF" {
		t.Errorf("after a second: %q, %v", data, err)
	}
}

// Whoever asks goes by what an error is, whatever its text.
func TestRefusals(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	c := dial(t, build)
	path := filepath.Join(t.TempDir(), "core")
	for name, err := range map[string]error{"dump": c.Dump(t.Context(), path, false), "serial": second(c.Serial())} {
		var refused *RefusedError
		if !errors.Is(err, ErrNoGuest) || !errors.As(err, &refused) || refused.Hint() == "" {
			t.Errorf("%s without a guest: %v", name, err)
		}
	}
	dump := error(&qemu.QMPError{Class: "GenericError", Desc: "dump: failed to save memory: No space left on device"})
	s.SetGuest(&Guest{
		Dump:     func(*os.File, bool) error { return dump },
		Debugger: func() (io.ReadWriteCloser, error) { return nil, errors.New("no guest runs at the moment") },
	})
	if err := c.Dump(t.Context(), path, false); !errors.Is(err, unix.ENOSPC) || !isRefused(err, dump.Error()) {
		t.Errorf("a full disk: %v", err)
	}
	if err := c.Dump(t.Context(), build, false); !errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOSPC) {
		t.Errorf("a file that exists: %v", err)
	}
	if err := second(c.Debugger()); errors.Is(err, ErrNoGuest) || !isRefused(err, "no guest runs at the moment") {
		t.Errorf("an error with the text of another: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// The owner opens no file for a client: what the client may not write, or sees
// elsewhere, stays as it is.
func TestDumpNeedsAFile(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	s.SetGuest(&Guest{Dump: func(f *os.File, virtual bool) error {
		_, err := io.WriteString(f, "ELF")
		return err
	}})
	path := filepath.Join(t.TempDir(), "core")
	c := dial(t, build)
	if ok, reason, err := c.SendRequest(dumpRequest, true, []byte(`{"path":"`+path+`"}`)); ok || err != nil || len(reason) == 0 {
		t.Errorf("got %v, %q, %v", ok, reason, err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("there is a file: %v", err)
	}
}
