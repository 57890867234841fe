// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/boot/guest"
)

// A Serial is a connection to the guest's serial port. A read gives what the
// guest writes, beginning with the last that it wrote before.
type Serial struct {
	*console.Tap
	vm *VM
}

// Serial connects to the guest's serial port. There may be several connections.
func (vm *VM) Serial() *Serial { return &Serial{vm.console.Tap(), vm} }

// Write sends data to the guest as if it had been typed.
func (s *Serial) Write(data []byte) (int, error) { return s.vm.Type(data) }

// Type sends data to the guest's serial port. It waits when the guest doesn't
// read.
func (vm *VM) Type(data []byte) (int, error) { return vm.serial.Write(data) }

// ErrDebugged says that a debugger is attached already.
var ErrDebugged = errors.New("another debugger is attached")

// A Debugger is a connection to qemu's debugging stub, which speaks gdb's remote
// protocol.
type Debugger struct {
	io.ReadWriteCloser
	vm   *VM
	id   string
	once sync.Once
}

// Debugger connects to qemu's debugging stub. While another debugger is connected, the
// error is ErrDebugged. The guest stops, as gdb expects.
func (vm *VM) Debugger() (*Debugger, error) {
	vm.debug.Lock()
	defer vm.debug.Unlock()
	if vm.debugged {
		return nil, ErrDebugged
	}
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	vm.debuggers++
	d := &Debugger{ReadWriteCloser: conn, vm: vm, id: "gdb" + strconv.Itoa(vm.debuggers)}
	err = vm.qmp.Give(d.id, theirs)
	if err == nil {
		err = vm.qmp.Execute("chardev-add", map[string]any{"id": d.id, "backend": map[string]any{
			"type": "socket",
			"data": map[string]any{"server": false, "addr": map[string]any{"type": "fd", "data": map[string]any{"str": d.id}}},
		}}, nil)
	}
	if err == nil {
		var said string
		// QMP has no command for it.
		if said, err = vm.qmp.Monitor("gdbserver chardev:" + d.id); err == nil && !strings.Contains(said, "Waiting for gdb") {
			err = fmt.Errorf("qemu: %s", strings.TrimSpace(said))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("debugger: %w", err), conn.Close())
	}
	vm.debugged = true
	vm.holders.Add(1)
	return d, nil
}

// Close disconnects. A guest that a debugger stopped, and did not let go, goes on.
func (d *Debugger) Close() error {
	err := d.ReadWriteCloser.Close()
	d.once.Do(func() {
		vm := d.vm
		defer vm.holders.Add(-1)
		vm.debug.Lock()
		defer vm.debug.Unlock()
		vm.debugged = false
		// Whatever of it fails does so because qemu has ended.
		_, _ = vm.qmp.Monitor("gdbserver none")
		_ = vm.qmp.Execute("chardev-remove", map[string]any{"id": d.id}, nil)
		_ = vm.qmp.Execute("cont", nil, nil)
	})
	return err
}

// Dump writes the guest's memory to f as an ELF core file, for crash, drgn or gdb.
// The guest stands still meanwhile; then its wall clock is set forward, by its agent.
// With virtual the file has the addresses that
// the guest's kernel uses, by its page tables, as gdb needs it; otherwise it is
// the physical memory.
func (vm *VM) Dump(f *os.File, virtual bool) error {
	const name = "dump"
	if !vm.dumping.TryLock() {
		return errors.New("another dump is being written")
	}
	defer vm.dumping.Unlock()
	vm.holders.Add(1)
	defer vm.holders.Add(-1)
	if err := vm.qmp.Give(name, f); err != nil {
		return err
	}
	began := time.Now()
	if err := vm.qmp.Execute("dump-guest-memory", map[string]any{"paging": virtual, "protocol": "fd:" + name}, nil); err != nil {
		return err
	}
	if stood := time.Since(began); vm.up.Load() != notUp {
		// A guest that hangs answers never.
		go func() {
			_, _, _ = vm.Client().SendRequest(guest.ClockRequest, false, ssh.Marshal(guest.Clock{Nanoseconds: uint64(stood)}))
		}()
	}
	return nil
}
