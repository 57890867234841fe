// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
)

// A call is a build, a boot or a command that the loop started. It lasts until
// the test ends it, or its context does.
type call struct {
	ctx   context.Context
	image string // of a boot
	end   chan result
}

type result struct {
	image Image
	vm    VM
	err   error
}

func begin(ctx context.Context, started chan<- *call, image string) result {
	c := &call{ctx, image, make(chan result)}
	for {
		select {
		case started <- c:
			started = nil // the test has taken it
		case r := <-c.end:
			return r
		case <-ctx.Done():
			return result{err: context.Cause(ctx)}
		}
	}
}

type fakeActions struct {
	builds, boots, proofs chan *call
	late                  VM // what a cancelled boot returns all the same
	lost                  int
	reads                 bool          // the command has files of its own
	hold                  chan struct{} // Relevant returns once it is closed; nil: at once
}

func (a *fakeActions) Build(ctx context.Context) (Image, error) {
	r := begin(ctx, a.builds, "")
	return r.image, r.err
}

func (a *fakeActions) Prove(ctx context.Context) (Image, error) {
	r := begin(ctx, a.proofs, "")
	return r.image, r.err
}

func (a *fakeActions) Lost() bool {
	a.lost++
	return a.reads
}

func (a *fakeActions) Boot(ctx context.Context, image string) (VM, error) {
	r := begin(ctx, a.boots, image)
	if r.err != nil && a.late != nil {
		return a.late, nil
	}
	return r.vm, r.err
}

func (a *fakeActions) Relevant(_ context.Context, paths []string) (build, command []string) {
	if a.hold != nil {
		<-a.hold
	}
	for _, path := range paths {
		switch {
		case strings.HasSuffix(path, ".c"):
			build = append(build, path)
		case strings.HasSuffix(path, ".sh"):
			command = append(command, path)
		}
	}
	return build, command
}

type fakeVM struct {
	end   func()
	done  chan struct{}
	execs chan *call
	swaps chan *call
}

func newVM() *fakeVM {
	done := make(chan struct{})
	return &fakeVM{sync.OnceFunc(func() { close(done) }), done, make(chan *call), make(chan *call)}
}

func (vm *fakeVM) Done() <-chan struct{}    { return vm.done }
func (vm *fakeVM) Stop()                    { vm.end() }
func (vm *fakeVM) Exec(ctx context.Context) { begin(ctx, vm.execs, "") }
func (vm *fakeVM) Swap(ctx context.Context) bool {
	return begin(ctx, vm.swaps, "").err == nil
}
func (vm *fakeVM) running() bool { return !isClosed(vm.done) }
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A rig is a loop that runs.
type rig struct {
	*testing.T
	*fakeActions
	changes chan Set
	asked   chan Input
	quit    context.CancelCauseFunc
	ended   chan struct{}

	mu     sync.Mutex
	events []event.Event
}

var errQuit = errors.New("the user has had enough")

// loopTest runs f beside a loop, and checks that the loop ends when f has
// returned. In its bubble a wait for what never comes is a failure at once.
func loopTest(t *testing.T, loop *Loop, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, quit := context.WithCancelCause(context.Background())
		r := &rig{
			T: t, fakeActions: &fakeActions{builds: make(chan *call), boots: make(chan *call), proofs: make(chan *call)},
			changes: make(chan Set), asked: make(chan Input), quit: quit, ended: make(chan struct{}),
		}
		loop.Actions, loop.Changes, loop.Asked, loop.Root, loop.Events = r.fakeActions, r.changes, r.asked, "/src", r.record
		go func() {
			defer close(r.ended)
			loop.Run(ctx)
		}()
		defer func() {
			quit(errQuit)
			<-r.ended
		}()
		f(r)
	})
}

func (r *rig) record(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// saw compares all events since it was asked last.
func (r *rig) saw(want ...event.Event) {
	r.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff(want, r.events); diff != "" {
		r.Fatalf("events (-want +got):\n%s", diff)
	}
	r.events = nil
}

func (r *rig) save(paths ...string) { r.changes <- Set{Paths: paths} }

// built ends the build that runs.
func (r *rig) built(image Image) { (<-r.builds).end <- result{image: image} }

// up ends the boot that runs.
func (r *rig) up() *fakeVM {
	vm := newVM()
	(<-r.boots).end <- result{vm: vm}
	return vm
}

// cancelled waits for the end of a call's context.
func (r *rig) cancelled(c *call, want error) {
	r.Helper()
	<-c.ctx.Done()
	if err := context.Cause(c.ctx); !errors.Is(err, want) {
		r.Errorf("cancelled because: %v, want: %v", err, want)
	}
}

var (
	newImage   = Image{Path: "/src/vmlinux", New: true}
	newModules = Image{Path: "/src/vmlinux", Modules: true}
)

// Modules are replaced in the guest that runs: its command ends before that, and runs
// again after it. Where that fails, another guest is booted.
func TestModules(t *testing.T) {
	loopTest(t, &Loop{Exec: true, Swap: true}, func(r *rig) {
		r.built(newImage)
		vm := r.up()
		command := <-vm.execs
		r.save("/src/m.c")
		r.built(newModules)
		r.cancelled(command, ErrReplaced)
		swap := <-vm.swaps
		swap.end <- result{}
		command = <-vm.execs
		command.end <- result{}
		r.saw(
			event.Changed{Paths: []string{"m.c"}, Total: 1}, event.Waiting{VM: true},
		)
		r.save("/src/m.c")
		r.built(newModules)
		(<-vm.swaps).end <- result{err: errors.New("in use")}
		next := r.up()
		if vm.running() {
			t.Error("the guest goes on whose modules couldn't be replaced")
		}
		(<-next.execs).end <- result{}

		// It ends while its modules are being replaced.
		r.save("/src/m.c")
		r.built(newModules)
		swap = <-next.swaps
		next.end()
		r.cancelled(swap, ErrEnded)
		synctest.Wait()
		r.save("/src/m.c")
		r.built(Image{Path: "/src/vmlinux"})
		<-r.up().execs
	})
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(newImage)
		vm := r.up()
		r.save("/src/m.c")
		r.built(newModules)
		r.up()
		if vm.running() {
			t.Error("modules were replaced that shouldn't be")
		}
	})
}

func TestLoop(t *testing.T) {
	loopTest(t, &Loop{Exec: true}, func(r *rig) {
		r.built(newImage)
		boot := <-r.boots
		if boot.image != newImage.Path {
			r.Errorf("booted %s", boot.image)
		}
		first := newVM()
		boot.end <- result{vm: first}
		command := <-first.execs
		r.saw()
		command.end <- result{}
		r.saw(event.Waiting{VM: true})

		r.save("/src/a.c", "/src/b.c", "/src/notes", "/src/c.c", "/src/d.c")
		r.saw(event.Changed{Paths: []string{"a.c", "b.c", "c.c"}, Total: 4})
		if !first.running() {
			r.Error("the guest was stopped before the next image was there")
		}
		r.built(newImage)
		<-first.done
		second := r.up()
		<-second.execs
		if !second.running() {
			r.Error("the second guest was stopped")
		}
		r.saw()
	})
}

func TestLoopIgnoresWhatDoesNotMatter(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(newImage)
		r.up()
		r.saw(event.Waiting{VM: true})
		r.save("/src/notes")
		r.saw()
		r.save("/elsewhere/a.c")
		r.saw(event.Changed{Paths: []string{"/elsewhere/a.c"}, Total: 1})
	})
}

func TestLoopRescans(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(newImage)
		r.up()
		r.saw(event.Waiting{VM: true})
		r.changes <- Set{Rescan: true}
		r.saw(event.Notice{Text: "too many changes at once to tell which: building what make finds"})
		<-r.builds
	})
}

// Where it isn't known what changed, the command runs again in the guest that stays, if it
// has files of its own.
func TestLoopRescansForTheCommand(t *testing.T) {
	for _, reads := range []bool{false, true} {
		loopTest(t, &Loop{Exec: true}, func(r *rig) {
			r.reads = reads
			r.built(newImage)
			vm := r.up()
			(<-vm.execs).end <- result{}
			r.changes <- Set{Rescan: true}
			r.built(Image{})
			synctest.Wait()
			select {
			case c := <-vm.execs:
				if !reads {
					t.Error("a command without files of its own runs again")
				}
				c.end <- result{}
			default:
				if reads {
					t.Error("the command doesn't run again")
				}
			}
		})
	}
}

func TestLoopOvertakesBuild(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		first := <-r.builds
		r.save("/src/a.c")
		r.cancelled(first, ErrOvertaken)
		second := <-r.builds
		r.quit(errQuit)
		r.cancelled(second, errQuit)
	})
}

func TestLoopKeepsGuestWhenBuildFails(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(newImage)
		vm := r.up()
		r.saw(event.Waiting{VM: true})
		r.save("/src/a.c")
		(<-r.builds).end <- result{err: errors.New("make failed")}
		r.saw(event.Changed{Paths: []string{"a.c"}, Total: 1}, event.Waiting{VM: true, Broken: true})
		if !vm.running() {
			r.Error("the guest was stopped")
		}
	})
}

// A command that ends while it is looked at what was saved doesn't count as the end of the
// next one.
func TestLoopCommandThatEndsLate(t *testing.T) {
	loopTest(t, &Loop{Exec: true}, func(r *rig) {
		r.built(newImage)
		vm := r.up()
		command := <-vm.execs
		r.hold = make(chan struct{})
		r.save("/src/test.sh")
		command.end <- result{}
		synctest.Wait()
		close(r.hold)
		next := <-vm.execs
		r.saw(event.Changed{Paths: []string{"test.sh"}, Total: 1})
		r.asked <- RunAsked{}
		synctest.Wait()
		if next.ctx.Err() != nil {
			t.Error("the command that runs is ended to be run")
		}
		next.end <- result{}
		r.saw(event.Waiting{VM: true})
	})
}

// What only the command reads makes it run again, in the guest that runs.
func TestLoopRunsTheCommandAgain(t *testing.T) {
	loopTest(t, &Loop{Exec: true}, func(r *rig) {
		r.built(newImage)
		vm := r.up()
		command := <-vm.execs
		r.save("/src/test.sh")
		r.saw(event.Changed{Paths: []string{"test.sh"}, Total: 1})
		r.cancelled(command, ErrReplaced)
		(<-vm.execs).end <- result{}
		r.saw(event.Waiting{VM: true})
		// A build that links nothing makes no difference.
		r.save("/src/a.c", "/src/test.sh")
		r.saw(event.Changed{Paths: []string{"a.c", "test.sh"}, Total: 2})
		r.built(Image{Path: newImage.Path})
		(<-vm.execs).end <- result{}
		r.saw(event.Waiting{VM: true})
		if !vm.running() {
			r.Error("the guest was stopped")
		}
	})
}

// What the user asks for is done without any change.
func TestLoopAsked(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(newImage)
		r.up()
		r.saw(event.Waiting{VM: true})
		r.asked <- BuildAsked{}
		r.built(Image{Path: newImage.Path})
		r.saw(event.Waiting{VM: true})
		r.asked <- PauseAsked{}
		r.saw(event.Waiting{VM: true, Paused: true})
	})
}

// TestLoopComparesImages has a build that is overtaken after the link: the
// next has nothing to do, and yet there is something new to boot.
func TestLoopComparesImages(t *testing.T) {
	image := Image{Path: filepath.Join(t.TempDir(), "vmlinux")}
	link := func(text string) {
		t.Helper()
		if err := os.WriteFile(image.Path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link("first")
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(image)
		vm := r.up()

		r.save("/src/a.c")
		r.built(image) // up to date
		synctest.Wait()
		if !vm.running() {
			r.Error("replaced by the same image")
		}

		r.save("/src/a.c")
		overtaken := <-r.builds
		link("the second")
		r.save("/src/b.c")
		r.cancelled(overtaken, ErrOvertaken)
		r.built(image)
		<-vm.done
		r.up()
	})
}

func TestLoopReplacesGuestThatBoots(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(newImage)
		first := <-r.boots
		r.save("/src/a.c")
		r.built(newImage)
		r.cancelled(first, ErrReplaced)
		r.up()
	})
}

// TestLoopStopsGuestThatCameUpTooLate has a boot that succeeds although it was
// cancelled.
func TestLoopStopsGuestThatCameUpTooLate(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		late := newVM()
		r.late = late
		r.built(newImage)
		first := <-r.boots
		r.quit(errQuit)
		r.cancelled(first, errQuit)
		<-late.done
		<-r.ended
	})
}

func TestLoopCommandEndsBeforeTheNextGuest(t *testing.T) {
	loopTest(t, &Loop{Exec: true}, func(r *rig) {
		r.built(newImage)
		vm := r.up()
		command := <-vm.execs
		r.save("/src/a.c")
		r.built(newImage)
		r.cancelled(command, ErrReplaced)
		r.up()
	})
}

func TestLoopGuestEndsByItself(t *testing.T) {
	loopTest(t, &Loop{Exec: true}, func(r *rig) {
		r.built(newImage)
		vm := r.up()
		command := <-vm.execs
		r.saw()
		vm.end()
		r.cancelled(command, ErrEnded)
		r.saw(event.Waiting{VM: false})

		r.save("/src/a.c")
		r.built(Image{Path: newImage.Path})
		r.up()
	})
}

func TestLoopGuestDoesNotComeUp(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(newImage)
		(<-r.boots).end <- result{err: errors.New("panic")}
		r.saw(event.Waiting{VM: false})
	})
}

func TestLoopQuitWhileBooting(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(newImage)
		boot := <-r.boots
		r.quit(errQuit)
		r.cancelled(boot, errQuit)
		<-r.ended
		r.saw()
	})
}

func TestLoopQuitWaitsForGuestAndCommand(t *testing.T) {
	loopTest(t, &Loop{Exec: true}, func(r *rig) {
		r.built(newImage)
		vm := r.up()
		command := <-vm.execs
		r.quit(errQuit)
		r.cancelled(command, errQuit)
		<-r.ended
		if vm.running() {
			r.Error("the guest outlives the loop")
		}
		r.saw()
	})
}

type hintedError struct{ error }

func (hintedError) Hint() string { return "raise it" }

func TestLoopTellsWhatIsNotWatched(t *testing.T) {
	loopTest(t, &Loop{}, func(r *rig) {
		r.built(newImage)
		r.up()
		r.saw(event.Waiting{VM: true})
		r.changes <- Set{Err: hintedError{errors.New("the limit is reached")}}
		r.saw(event.Warning{Text: "the limit is reached", Hint: "raise it"})
	})
}

func TestLoopOutlivesWatcher(t *testing.T) {
	lost := func() error { return errors.New("the tree is gone") }
	loopTest(t, &Loop{Err: lost}, func(r *rig) {
		r.built(newImage)
		vm := r.up()
		r.saw(event.Waiting{VM: true})
		close(r.changes)
		r.saw(event.Warning{
			Text: "changes are not seen any more: the tree is gone",
			Hint: "start `run-kernel watch` again; a guest that runs is left alone until then",
		})
		if !vm.running() {
			r.Error("the guest was stopped")
		}
		vm.end()
		<-r.ended
		r.saw()
	})
}

// A watcher that ends because all does is nothing to warn of.
func TestLoopAndWatcherQuitTogether(t *testing.T) {
	for range 20 { // the loop may see either first
		loopTest(t, &Loop{}, func(r *rig) {
			r.built(newImage)
			r.up()
			r.saw(event.Waiting{VM: true})
			r.quit(errQuit)
			close(r.changes)
			<-r.ended
			r.saw()
		})
	}
}
