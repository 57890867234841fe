// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/proc"
)

// A VM is a guest that runs.
type VM struct {
	Accel  qemu.Accel
	Kernel string // path of its image

	qemu    *proc.Process
	stderr  *kvmWatch
	qmp     *qemu.QMP
	console *console.Console
	serial  io.Writer // to the guest's serial port
	daemons []*virtiofs.Daemon
	client  atomic.Pointer[ssh.Client] // nil as long as the agent doesn't answer
	log     io.Closer
	arch    string // as in qemu-system-<arch>
	vmlinux string // of Kernel; may be another kind of file

	debug     sync.Mutex   // guards the two below
	debugged  bool         // one is connected
	debuggers int          // how many have been
	dumping   sync.Mutex   // held while Dump runs
	holders   atomic.Int32 // debuggers and dumps, for which it stands still

	overheard overheard
	taint     taint
	up        atomic.Int64 // bytes of the console that had come when the agent answered; notUp before

	stopping chan struct{} // closed by Stop
	stopOnce sync.Once
	initErr  chan string // the init's last words
	frozen   chan string // systemd's
	done     chan struct{}
	err      error // valid when done is closed
}

// Done is closed when the VM is gone and nothing of it is left.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Err says why the VM ended: nil when Stop or the guest's power-off did it. It
// waits for the end.
func (vm *VM) Err() error {
	<-vm.done
	return vm.err
}

// Crash is the worst crash that the guest's kernel has reported; nil when there
// was none.
func (vm *VM) Crash() *console.Crash { return vm.console.Crash() }

// Tail returns the last lines of the console.
func (vm *VM) Tail() []string { return vm.console.Tail() }

// Client is the connection to the guest's agent; nil as long as that doesn't answer.
func (vm *VM) Client() *ssh.Client { return vm.client.Load() }

// Sync makes the guest write everything back to its shares. It gives up after
// a second, or when the VM ends.
func (vm *VM) Sync() {
	synced := make(chan struct{})
	go func() {
		defer close(synced)
		if _, answer, err := vm.Client().SendRequest(guest.SyncRequest, true, nil); err == nil {
			vm.taint.update(answer)
		}
	}()
	select {
	case <-synced:
	case <-vm.done:
	case <-time.After(time.Second):
	}
}

// PowerOff asks the guest to power itself off, and says whether it did. The guest
// is given up when its console has been silent for the time silence, and in any
// case after limit.
func (vm *VM) PowerOff(silence, limit time.Duration) bool {
	over := time.After(limit)
	asked := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	go func() { _, _, _ = vm.Client().SendRequest(guest.PowerOffRequest, true, nil) }()
	for {
		select {
		case <-vm.done:
			return true
		case <-over:
			return false
		case <-tick.C:
			if time.Since(asked) > silence && time.Since(vm.console.Heard()) > silence {
				return false
			}
		}
	}
}

// Stop ends the VM at once, as pulling the plug would, and waits until nothing
// is left.
func (vm *VM) Stop() error {
	vm.stopOnce.Do(func() { close(vm.stopping) })
	<-vm.done
	return vm.err
}
