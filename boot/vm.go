// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
)

const (
	// dyingTime is how long a guest that panicked has to print the rest and reset.
	dyingTime = time.Second
	// kvmSilence is when a guest under KVM that printed nothing is given up.
	kvmSilence = 15 * time.Second
	// kvmPatience is when it is on a host that was too busy to run it.
	kvmPatience = time.Minute
	// muteTime is how often the messages in the memory of a guest that has printed nothing
	// are searched for a panic. Where that comes before panic= is read, the guest stays.
	muteTime = 2 * time.Second
	// stallTime is when a guest without KVM is given up whose kernel has said that a
	// processor stands still. By then that has stood still for 21 s or more.
	stallTime = 5 * time.Second

	// systemdGaveUp begins the line with which systemd, as the first process, does
	// nothing any more: manager_status_printf with STATUS_TYPE_EMERGENCY.
	systemdGaveUp = "[!!!!!!] "

	// outOfMemory is ENOMEM as qemu words it.
	outOfMemory = "Cannot allocate memory"
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

	debug     sync.Mutex // guards the two below
	debugged  bool       // by whom has called Debugger
	debuggers int        // that there were
	dumping   sync.Mutex // held while Dump runs

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
	if seen := p.unhidden(); len(seen) > 0 {
		o.Events.Emit(event.Notice{Text: "root in the guest can read " + strings.Join(seen, ", ") + ": to hide them, virtiofsd needs root; --mount-type 9p doesn't"})
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

// standstill says what stands still in a guest that has failed so, or nothing.
func standstill(err error) string {
	var silent *TimeoutError
	if errors.As(err, &silent) && silent.Stall != "" {
		return fmt.Sprintf("the guest's kernel hangs (%s)", silent.Stall)
	}
	var failed *InitError
	if errors.As(err, &failed) && failed.lostInterrupt() {
		return failed.Error()
	}
	return ""
}

// hasty says whether a guest that hangs is given up soon, and booted once more.
func (p *plan) hasty() bool {
	return p.accel == qemu.TCG && !p.options.Debug && p.options.Timeout > 0 && !p.again
}

func (p *plan) start(ctx context.Context) (_ *VM, err error) {
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
	args, err := machine.Args()
	if err != nil {
		return nil, err
	}

	// All at once: qemu waits at its sockets until the daemons answer.
	var starts errgroup.Group
	for _, d := range vm.daemons {
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
		cmd := p.command(machine, args)
		cmd.ExtraFiles = w.files.Extra()
		cmd.Stderr = vm.stderr
		o.Events.Emit(event.BootStarted{Image: o.Kernel, Accel: string(p.accel), Command: append([]string{p.qemu}, args...)})
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
	vm.qemu = process
	// Only qemu's end of qemu may keep them open: their end is how we see it.
	w.files.Close()
	vm.qmp = qemu.NewQMP(w.monitor)
	onLine := func(line string) {
		o.Events.Emit(event.Console{Line: line})
		vm.overheard.line(line)
	}
	first := func(c chan<- string) func(string) {
		return func(text string) {
			select {
			case c <- text:
			default:
			}
		}
	}
	vm.up.Store(notUp)
	warn := func(text string) { o.Events.Emit(event.Warning{Text: text}) }
	vm.console = console.Read(w.console, log, console.Handlers{
		Line:    onLine,
		Markers: map[string]func(string){guest.FatalPrefix: first(vm.initErr), guest.WarningPrefix: warn, systemdGaveUp: first(vm.frozen)},
		Report:  vm.tellReports(o),
	})
	vm.serial = w.console
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

func (vm *VM) stopDaemons() {
	for _, d := range vm.daemons {
		d.Close()
	}
	_ = vm.log.Close()
}

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

func (vm *VM) awaitAgent(ctx context.Context, p *plan, handshake <-chan error) error {
	limit := p.options.Timeout
	var patience time.Duration // with a KVM that may not work, on a busy host
	if p.options.Debug {
		limit = 0
	} else if p.accel == qemu.KVM && p.options.Accel != string(qemu.KVM) && len(vm.console.Tail()) == 0 && (limit == 0 || limit > kvmSilence) {
		limit, patience = kvmSilence, kvmPatience
		if p.options.Timeout > 0 {
			patience = min(patience, p.options.Timeout)
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	peek := time.NewTicker(muteTime)
	defer peek.Stop()
	var failed error
	var giveUp, stalled <-chan time.Time
	stall := vm.console.Stalled()
	began := time.Now()
	for {
		select {
		case <-stall:
			stall = nil
			if p.hasty() {
				stalled = time.After(stallTime)
			}
		case <-stalled:
			return vm.timeout(ctx)
		case err := <-handshake:
			if err == nil {
				return nil
			}
			// The port closes when the VM ends, and supervise knows more. A VM that
			// goes on has something else at its port.
			failed, giveUp = fmt.Errorf("agent: %w", err), time.After(2*dyingTime)
		case reason := <-vm.frozen:
			return &InitError{Reason: "systemd: " + reason, Tail: vm.console.Tail()}
		case <-giveUp:
			select {
			case <-vm.qemu.Done():
				giveUp = nil // supervise is about to say why
				continue
			default:
			}
			return &DeathError{Reason: failed.Error(), Tail: vm.console.Tail()}
		case <-vm.done:
			if vm.err == nil {
				return &DeathError{Reason: "the guest powered itself off before it answered", Tail: vm.console.Tail()}
			}
			return vm.err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-peek.C:
			if len(vm.console.Tail()) > 0 || p.options.Debug {
				peek.Stop()
				continue
			}
			seen, _ := vm.lookBriefly(ctx, true)
			if err := seen.panicked(); err != nil {
				return err
			}
		case <-tick.C:
			if len(vm.console.Tail()) > 0 && !p.options.Debug {
				limit, patience = p.options.Timeout, 0
			}
			if silent := time.Since(vm.console.Heard()); limit > 0 && silent > limit && !(silent < patience && vm.starved()) {
				return vm.timeout(ctx)
			}
			if err := vm.overdue(ctx, &p.options, began); err != nil {
				return err
			}
		}
	}
}

// manyLockups is how many reports of a processor that stands still end a boot. The
// kernel reports one again each 22 s or more, and a busy host is to blame for some.
const manyLockups = 5

// overdue is the error of a guest that talks, but won't answer.
func (vm *VM) overdue(ctx context.Context, o *Options, began time.Time) error {
	if o.Timeout == 0 || o.Debug {
		return nil
	}
	if lockups := vm.console.Lockups(); len(lockups) >= manyLockups {
		return vm.hung(ctx, TimeoutError{Stall: lockups[len(lockups)-1], Lockups: len(lockups)})
	}
	if took := time.Since(began); o.Limit > 0 && took > o.Limit {
		return vm.hung(ctx, TimeoutError{Boot: took})
	}
	return nil
}

// timeout is the error of a guest that hasn't answered.
func (vm *VM) timeout(ctx context.Context) error {
	return vm.hung(ctx, TimeoutError{Silent: time.Since(vm.console.Heard()), Stall: vm.console.Stall()})
}

// hung completes an error with what the guest is doing. Where that has panicked before its
// console worked, it is a *CrashError.
func (vm *VM) hung(ctx context.Context, e TimeoutError) error {
	e.Tail = vm.console.Tail() // before what the kernel answers
	e.Evidence = vm.Evidence(ctx)
	if err := e.Evidence.panicked(); err != nil {
		return err
	}
	return &e
}

// supervise waits for the end of the VM, whoever brings it about, and clears up.
func (vm *VM) supervise(events event.Sink, closeOurs func()) {
	defer close(vm.done)
	daemon := make(chan *virtiofs.Daemon, len(vm.daemons))
	for _, d := range vm.daemons {
		go func() {
			<-d.Done()
			daemon <- d
		}()
	}
	var asked bool
	var dead *virtiofs.Daemon
	crashed := vm.console.Crashed()
	var reported string
	report := func() {
		if c := vm.console.Crash(); c != nil && c.Message != reported {
			reported = c.Message
			events.Emit(event.GuestCrashed{Message: c.Message})
		}
	}
	for ended := false; !ended; {
		ended = true
		select {
		case <-vm.stopping:
			asked = true
		case <-vm.qemu.Done():
		case <-crashed:
			crashed = nil
			report()
			ended = false // after an oops the guest may go on
		case <-vm.stderr.failed:
			// qemu has stopped the guest, and waits for somebody to look at it.
		case <-vm.console.Panicked():
			// It resets itself, which ends qemu; the trace comes before.
			vm.wait(dyingTime)
		case dead = <-daemon:
			// When qemu ends its daemons do so, too, and may be seen first.
			if vm.wait(dyingTime) {
				dead = nil
			}
		}
	}
	vm.qemu.Kill()
	qemuErr := vm.qemu.Wait()
	// What qemu wrote before its end is still in the socket.
	<-vm.console.Done()
	<-vm.qmp.Done()
	if !asked {
		report()
	}
	crash, reason := vm.console.Crash(), vm.qmp.ShutdownReason()
	if reason == "guest-reset" {
		crash = vm.console.Death()
	}
	var failed *virtiofs.Daemon
	if !asked && reason == "" {
		// A daemon that failed ends qemu as well, and qemu may be seen first.
		failed = vm.failedDaemon(dyingTime)
	}
	closeOurs()
	vm.stopDaemons()
	if err := vm.console.LogErr(); err != nil {
		events.Emit(event.Warning{Text: fmt.Sprintf("the log of the console is incomplete: %v", err)})
	}

	tail := vm.console.Tail()
	switch {
	case asked:
	case crash != nil && crash.Panic:
		vm.err = &CrashError{Crash: *crash, Tail: tail}
	case dead != nil:
		vm.err = &DeathError{Reason: dead.Err().Error(), Tail: tail}
	case reason == "guest-shutdown":
	case failed != nil:
		vm.err = &DeathError{Reason: failed.Err().Error() + "; then " + vm.qemuEnd(qemuErr), Tail: tail}
	default:
		vm.err = vm.death(reason, qemuErr, tail)
	}
}

// failedDaemon returns a daemon that has ended with an error. Without qemu all of
// them end; it waits for that for at most d.
func (vm *VM) failedDaemon(d time.Duration) *virtiofs.Daemon {
	over := time.After(d)
	for _, d := range vm.daemons {
		select {
		case <-d.Done():
			if d.Wait() != nil {
				return d
			}
		case <-over:
			return nil
		}
	}
	return nil
}

// qemuEnd says how qemu ended, with what it said.
func (vm *VM) qemuEnd(err error) string {
	text := "qemu ended"
	if err != nil {
		text += ": " + err.Error()
	}
	if said := vm.stderr.String(); said != "" {
		text += ": " + said
	}
	return text
}

// resetHint is what to do about a guest that resets itself before its console works.
func resetHint(name string) string {
	hint := "is the image a kernel for this machine?"
	if g := arch.Of(name).Guest; g != nil && g.EarlyPrintk != "" {
		hint += " --kernel-extra-args " + g.EarlyPrintk + " may show more"
	}
	return hint
}

// death says why qemu ended by itself.
func (vm *VM) death(reason string, qemuErr error, tail []string) error {
	select {
	case text := <-vm.initErr:
		return &InitError{Reason: text, Tail: tail}
	default:
	}
	if e := vm.kvmDeath(reason, qemuErr, tail); e != nil {
		return e
	}
	if reason == "guest-reset" {
		if len(tail) == 0 {
			return &DeathError{
				Reason: silentReset,
				hint:   resetHint(vm.arch),
			}
		}
		return &DeathError{Reason: "the guest reset itself", Tail: tail}
	}
	if strings.Contains(vm.stderr.String(), outOfMemory) {
		return &DeathError{Reason: vm.qemuEnd(qemuErr), Tail: tail, hint: "this machine has too little memory left: --memory gives the guest less"}
	}
	if killedForMemory(qemuErr) {
		return &DeathError{Reason: vm.qemuEnd(qemuErr), Tail: tail, hint: "this is how programs end that a machine or a container has no memory for, and `dmesg` tells: --memory gives the guest less"}
	}
	return &DeathError{Reason: vm.qemuEnd(qemuErr), Tail: tail, hint: "`--dry-run` prints the command line of qemu"}
}

// wait waits for the end of qemu, for at most d, and says whether it ended.
func (vm *VM) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-vm.qemu.Done():
		return true
	case <-vm.stopping:
	case <-t.C:
	}
	return false
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

const (
	// quietTime is how long the console must be silent until what the kernel reported
	// during a command is taken for complete, and settleTime the limit of waiting for
	// that: a serial port takes its time, and has none of the agent's.
	quietTime  = 30 * time.Millisecond
	settleTime = 2 * time.Second

	// maxTold is how many reports of different titles are told of as events.
	maxTold = 50

	notUp = math.MaxInt64
)

// tellReports returns a function that emits an event for each report with a title that
// hasn't been there before.
func (vm *VM) tellReports(o *Options) func(report.Report) {
	told := make(map[string]bool)
	return func(r report.Report) {
		if told[r.Title] || len(told) >= maxTold {
			return
		}
		told[r.Title] = true
		up := r.Offset >= vm.up.Load()
		o.Events.Emit(event.KernelReport{Title: r.Title, Class: r.Class.String(), Function: r.Function, File: r.File, Line: r.Line, Up: up})
		if o.Reported != nil {
			o.Reported(r, up)
		}
	}
}

// Reports returns what the kernel has reported since the agent answered. It waits until
// the console is silent for a moment.
func (vm *VM) Reports() []report.Report {
	vm.console.Settle(quietTime, settleTime)
	return vm.console.Reports(vm.up.Load())
}

// Hidden returns what the kernel's taint tells since the agent answered, by the last
// Sync, when the console has no report at all: with "quiet" or a low log level it prints
// none.
func (vm *VM) Hidden() []report.Report {
	fresh := vm.taint.fresh()
	if len(fresh) == 0 || len(vm.console.Reports(0)) > 0 {
		return nil
	}
	return fresh
}

// CrashReport is the report that began with the message of Crash; nil when there is none.
func (vm *VM) CrashReport() *report.Report {
	crash := vm.console.Crash()
	if crash == nil {
		return nil
	}
	for _, r := range vm.console.Reports(0) {
		if strings.HasSuffix(r.Headline, crash.Message) || strings.HasPrefix(crash.Message, r.Headline) {
			return &r
		}
	}
	return nil
}

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
