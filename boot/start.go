// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
)

// systemdGaveUp begins the line with which systemd, as the first process, does nothing
// any more: manager_status_printf with STATUS_TYPE_EMERGENCY.
const systemdGaveUp = "[!!!!!!] "

// Start boots a kernel and returns once the guest's agent answers. When ctx ends
// first, its cause is returned. Nothing is left of a VM that didn't come up.
//
// The error is a *CrashError, *TimeoutError, *DeathError or *InitError when the
// guest is at fault.
func Start(ctx context.Context, o Options) (*VM, error) {
	p, err := newPlan(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := checkKernel(o.Kernel, p.arch); err != nil {
		return nil, err
	}
	if p.why != "" {
		o.Events.Emit(event.Notice{Text: "no KVM, so the guest is slow: " + p.why})
	}
	if p.mounter.Why != "" {
		o.Events.Emit(event.Notice{Text: p.mounter.notice()})
	}
	return p.boot(ctx)
}

// boot starts the guest, and once more where its failure may be KVM's or an interrupt's
// that TCG lost.
func (p *plan) boot(ctx context.Context) (*VM, error) {
	o := &p.options
	vm, err := p.start(ctx)
	if why := p.withoutKVM(err); why != "" {
		o.Events.Emit(event.Warning{
			Text: why + ": trying without KVM, slowly",
			Hint: "nested hosts often have a KVM that doesn't work; --accel tcg avoids the attempt",
		})
		p.accel = qemu.TCG
		vm, err = p.start(ctx)
	}
	if what := standstill(err); what != "" && p.hasty() {
		o.Events.Emit(event.Warning{
			Text: what + ": booting it once more",
			Hint: "without KVM, a processor of qemu's can lose an interrupt, and stand still; when it's the kernel, it will hang again",
		})
		p.again = true
		vm, err = p.start(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	return vm, nil
}

func (p *plan) start(ctx context.Context) (*VM, error) {
	began := time.Now()
	o := &p.options
	modules, err := p.earlyModules(ctx)
	if err != nil {
		return nil, err
	}
	vm := &VM{
		Accel: p.accel, Kernel: o.Kernel, vmlinux: cmp.Or(o.Vmlinux, o.Kernel), arch: p.arch, stderr: newKVMWatch(), stopping: make(chan struct{}), done: make(chan struct{}),
		initErr: make(chan string, 1), frozen: make(chan string, 1),
	}
	log, err := openLog(o.ConsoleLog)
	if err != nil {
		return nil, err
	}
	vm.log = log
	w := new(wiring)
	defer func() {
		if vm.qemu == nil {
			w.close()
			vm.stopDaemons()
		}
	}()
	defer w.files.Close()
	machine, err := p.machine(w)
	vm.daemons = w.daemons
	if err != nil {
		return nil, err
	}
	process, err := p.launch(w, machine, modules, vm.stderr)
	if err != nil {
		return nil, err
	}
	vm.qemu = process
	// Only qemu's end of qemu may keep them open: their end is how we see it.
	w.files.Close()
	w.console.closeTheirs()
	vm.qmp = qemu.NewQMP(w.monitor)
	vm.listen(w.console, log, o)
	if o.Started != nil {
		o.Started(vm)
	}
	handshake := make(chan error, 1)
	go func() { handshake <- vm.connect(w.agent) }()
	go vm.supervise(o.Events, w.close)

	if err := vm.awaitAgent(ctx, p, handshake); err != nil {
		_ = vm.Stop()
		return nil, err
	}
	vm.up.Store(vm.console.Mark())
	o.Events.Emit(event.BootReady{Elapsed: time.Since(began)})
	return vm, nil
}

// launch starts the daemons and qemu with its machine, all at once: qemu waits at its
// sockets until the daemons answer.
func (p *plan) launch(w *wiring, m *qemu.Machine, modules []earlyModule, stderr io.Writer) (*proc.Process, error) {
	args, err := m.Args()
	if err != nil {
		return nil, err
	}
	var starts errgroup.Group
	for _, d := range w.daemons {
		starts.Go(d.Start)
	}
	var process *proc.Process
	starts.Go(func() (err error) {
		if err := writeInitramfs(w.initramfs, p.init, &p.guest); err != nil {
			return fmt.Errorf("write the initramfs: %w", err)
		}
		if err := writeModules(w.initramfs, modules); err != nil {
			return fmt.Errorf("write the initramfs: %w", err)
		}
		cmd := p.command(m, args)
		cmd.ExtraFiles = w.files.Extra()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = w.console.stdin, w.console.stdout, stderr
		p.options.Events.Emit(event.BootStarted{Image: p.options.Kernel, Accel: string(p.accel), Command: append([]string{p.qemu}, args...)})
		process, err = proc.Start(cmd)
		return err
	})
	if err := starts.Wait(); err != nil {
		if process != nil {
			process.Kill()
			_ = process.Wait() // killed
		}
		return nil, err
	}
	return process, nil
}

// listen reads the guest's console from now on, and keeps it in log.
func (vm *VM) listen(serial io.ReadWriter, log io.Writer, o *Options) {
	first := func(c chan<- string) func(string) {
		return func(text string) {
			select {
			case c <- text:
			default:
			}
		}
	}
	warn := func(text string) { o.Events.Emit(event.Warning{Text: text}) }
	vm.up.Store(notUp)
	vm.serial = serial
	vm.console = console.Read(serial, log, console.Handlers{
		Line: func(line string) {
			o.Events.Emit(event.Console{Line: line})
			vm.overheard.line(line)
		},
		Markers: map[string]func(string){guest.FatalPrefix: first(vm.initErr), guest.WarningPrefix: warn, systemdGaveUp: first(vm.frozen)},
		Report:  vm.tellReports(o),
	})
}

// connect waits until the agent at the other end answers.
func (vm *VM) connect(conn net.Conn) error {
	// The other end is the qemu that we have just started: there is nobody else
	// whose key this could be.
	c, channels, requests, err := ssh.NewClientConn(conn, guest.AgentPort, &ssh.ClientConfig{
		User: "root", HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return err
	}
	client := ssh.NewClient(c, channels, requests)
	// The agent answers requests once the userland is up.
	_, answer, err := client.SendRequest(guest.SyncRequest, true, nil)
	if err != nil {
		return err
	}
	vm.taint.begin(answer)
	vm.client.Store(client)
	return nil
}

// socketPair returns a connection and the file that is its other end.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "vm"), os.NewFile(uintptr(fds[1]), "qemu")
	defer ours.Close() // FileConn has a copy
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

// openLog opens the console's log anew.
func openLog(path string) (io.WriteCloser, error) {
	if path == "" {
		return discard{io.Discard}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("console log: %w", err)
	}
	f, err := private.CreateLog(path)
	if err != nil {
		return nil, fmt.Errorf("console log: %w", err)
	}
	return f, nil
}

type discard struct{ io.Writer }

func (discard) Close() error { return nil }
