// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// baseName returns a function's name as people know it: the names of Rust and C++
// demangled, without what the compiler adds to the parts and copies that it makes
// (".isra.0", ".cold"), and system calls without the architecture.
func baseName(function string) string {
	if strings.HasPrefix(function, "_R") || strings.HasPrefix(function, "_Z") {
		return demangle.Filter(function, demangle.NoParams, demangle.MaxLength(9))
	}
	if strings.HasPrefix(function, "<") {
		return function // Rust, demangled already
	}
	if i := strings.IndexByte(function, '.'); i > 0 {
		function = function[:i]
	}
	for _, arch := range []string{"__x64_", "__ia32_", "__arm64_", "__riscv_", "__se_", "__do_"} {
		if rest, ok := strings.CutPrefix(function, arch); ok && strings.HasPrefix(rest, "sys_") {
			return rest
		}
	}
	return function
}

// traces returns the stacks that led to the report: where the processor was, and
// the call trace. It leaves out those of allocations and locks.
func (o *open) traces() []Stack {
	o.at, o.main = -1, -1
	var found []Stack
	for i, s := range o.Stacks {
		switch {
		case len(s.Frames) == 0:
		case s.Frames[0].Register && len(found) == 0:
			o.at = i
			found = append(found, s)
		case isTrace(s.Name) && (o.main < 0 || o.proves(s)):
			o.main = i
			if (o.kind.class == KASAN || o.kind.class == Warning && o.mixed) && !o.proves(s) {
				continue // perhaps another processor's
			}
			return append(found, s)
		}
	}
	if o.main >= 0 {
		return append(found, o.Stacks[o.main])
	}
	for i, s := range o.Stacks {
		if len(s.Frames) > 0 && !s.Frames[0].Register && !o.chain(s.Name) {
			o.main = i
			return append(found, s)
		}
	}
	return found
}

// proves says whether a call trace has the function that found the problem.
func (o *open) proves(s Stack) bool {
	finders := kasanFinders
	if o.kind.class == Warning {
		finders = warnFinders
	}
	for _, f := range s.Frames {
		if finders.has(f.Function) {
			return true
		}
	}
	return false
}

var (
	kasanFinders = newNames(`*kasan* *__asan_*`)
	warnFinders  = newNames(`__warn warn_slowpath_*`)
)

// isTrace says whether a line announces the call trace of who reports.
func isTrace(name string) bool {
	name = strings.TrimLeft(name, " ")
	return strings.HasPrefix(name, "Call Trace") || strings.HasPrefix(name, "Call trace") ||
		strings.HasPrefix(name, "Backtrace") || strings.HasPrefix(name, "backtrace") || strings.HasPrefix(name, "stack backtrace")
}

// chain says whether a line announces the stack of somebody else: where a lock was
// taken before, or memory allocated.
func (o *open) chain(name string) bool {
	name = strings.TrimLeft(name, " ")
	if o.kind.class == Lockdep {
		return true
	}
	for _, head := range []string{"->", "Allocated", "Freed", "INFO: Allocated", "INFO: Freed", "Last potentially", "Uninit was", "Preemption disabled at"} {
		if strings.HasPrefix(name, head) {
			return true
		}
	}
	return false
}

// topFrame is the guilty function of most reports: the innermost one that isn't
// machinery.
func topFrame(o *open) string { return o.top(nil) }

func (o *open) top(skip *names) string {
	second := ""      // a helper, for a stack that has nothing else
	doubtful := false // there are uncertain frames that aren't machinery
	for _, s := range o.traces() {
		for _, f := range s.Frames {
			name := baseName(f.Function)
			switch {
			case f.Uncertain:
				doubtful = doubtful || !isMachinery(name)
			case reporters.has(name) || skip != nil && skip.has(name):
			case !helpers.has(name):
				return name
			case second == "":
				second = name
			}
		}
	}
	switch {
	case second == "" && o.kind.class == Lockdep:
		return o.placed(takingLine)
	case second == "" && o.kind.class == KASAN && o.says("CPU: "):
		return o.found()
	case doubtful:
		return "" // what isn't machinery is left over from earlier calls
	}
	return second
}

// guess is the first function of a trace that has only uncertain frames, as after a jump
// to nowhere. It is too uncertain for a title.
func (o *open) guess() string {
	for _, s := range o.traces() {
		for _, f := range s.Frames {
			if name := baseName(f.Function); !isMachinery(name) {
				return name
			}
		}
	}
	return ""
}

// found is the function that KASAN's headline names.
func (o *open) found() string {
	if m := inFunction.FindStringSubmatch(o.rest); m != nil {
		return baseName(m[1])
	}
	return ""
}

// quoted takes the function from the headline.
func quoted(o *open) string {
	if len(o.groups) < 2 {
		return ""
	}
	return baseName(o.groups[1])
}

func quotedSecond(o *open) string {
	if len(o.groups) < 3 {
		return ""
	}
	return baseName(o.groups[2])
}

var (
	acquiringLine = pattern.New(`is trying to (?:acquire|lock)`)
	takingLine    = pattern.New(`is trying to |just changed the state of lock|\] takes:$`)
	releasingLine = pattern.New(`is trying to release lock`)
	atFunction    = pattern.New(`(?:at: |^\s*)(?:\[<[0-9a-f]+>\] )?([\w.]+)\+0x`)
	holdingLine   = pattern.New(`^\s*#\d+:`)
	inFunction    = pattern.New(` in ([\w.]+)\+0x`)
	lastLine      = pattern.New(`(?:last function: |workfn=)([\w.]+)`)
)

// acquiring is the function that tries to take a lock: the message says where, but
// often in the lock's own code. Where a worker runs the work that somebody waits
// for, who waits says more.
func acquiring(o *open) string {
	name := o.lockAt(acquiringLine)
	if name == "process_one_work" || name == "process_scheduled_works" {
		if first := o.first(); first != "" {
			return first
		}
	}
	return name
}

// irqUnsafe is the function that takes the first lock in an interrupt.
func irqUnsafe(o *open) string {
	if name := o.first(); name != "" {
		return name
	}
	return acquiring(o)
}

// first is the guilty function of the first stack, whatever that is.
func (o *open) first() string {
	if len(o.Stacks) == 0 {
		return ""
	}
	for _, f := range o.Stacks[0].Frames {
		if name := baseName(f.Function); !f.Uncertain && !isMachinery(name) {
			return name
		}
	}
	return ""
}

// owner is the function that allocated the page.
func owner(o *open) string {
	for _, s := range o.Stacks {
		if !strings.HasPrefix(s.Name, "page last allocated") {
			continue
		}
		for _, f := range s.Frames {
			if name := baseName(f.Function); !f.Uncertain && !isMachinery(name) {
				return name
			}
		}
	}
	return topFrame(o)
}

// releasing likewise, for giving one back.
func releasing(o *open) string { return o.lockAt(releasingLine) }

func (o *open) lockAt(line *pattern.Pattern) string {
	if name := o.placed(line); name != "" {
		return name
	}
	return topFrame(o)
}

// placed returns the function that stands behind "at:" after such a line.
func (o *open) placed(line *pattern.Pattern) string {
	for i, text := range o.body {
		if !line.MatchString(text) {
			continue
		}
		for _, text := range o.body[i:min(i+3, len(o.body))] {
			if m := atFunction.FindStringSubmatch(text); m != nil && !reporters.has(baseName(m[1])) {
				return baseName(m[1])
			}
		}
		break
	}
	return ""
}

// holding is the function that has taken the lock which is still held.
func holding(o *open) string {
	for _, text := range o.body {
		if holdingLine.MatchString(text) {
			if m := atFunction.FindStringSubmatch(text); m != nil && !isMachinery(baseName(m[1])) {
				return baseName(m[1])
			}
		}
	}
	return topFrame(o)
}

// lastFunction is the work that a worker has just done.
func lastFunction(o *open) string {
	for _, text := range o.body {
		if m := lastLine.FindStringSubmatch(text); m != nil {
			return baseName(m[1])
		}
	}
	return topFrame(o)
}

// allocating is the function that allocated what leaks.
func allocating(o *open) string {
	for _, s := range o.Stacks {
		for _, f := range s.Frames {
			if name := baseName(f.Function); !f.Uncertain && !isMachinery(name) && !leakMachinery.has(name) {
				return name
			}
		}
	}
	return ""
}

// overflowed is the function whose recursion or depth filled a stack.
func overflowed(o *open) string {
	if name := o.dispatched(); name != "" {
		return name
	}
	return topFrame(o)
}

// warning is the function that warned: the headline names it, unless that is part
// of the machinery.
func warning(o *open) string {
	if o.mixed && (o.main < 0 || !o.proves(o.Stacks[o.main])) {
		return ""
	}
	return o.top(o.refined.skip)
}

// stalled stands for the loop that a processor is in.
func stalled(o *open) string { return o.dispatched() }

// crossCalls wait until all processors have answered: whoever calls them isn't to
// blame if one doesn't.
var crossCalls = newNames(`smp_call_function smp_call_function_single smp_call_function_many smp_call_function_many_cond`)

// dispatched returns the function that a dispatcher called, of the first stack that
// has one. What an interrupt did on top of it doesn't count. Neither do the stacks
// of tasks that sleep, or wait for a grace period.
func (o *open) dispatched() string {
	for _, s := range o.Stacks {
		frames := interrupted(s.Frames)
		if o.kind.class == Hang && waits(s.Frames) {
			continue
		}
		before := ""
		for _, f := range frames {
			if f.Uncertain {
				continue
			}
			name := baseName(f.Function)
			if crossCalls.has(name) {
				return "smp_call_function"
			}
			if dispatchers.has(name) || dispatchers.has(f.Function) {
				if before != "" {
					return before
				}
				continue
			}
			before = name
		}
	}
	return ""
}

// detectors are the functions that find that a processor stands still.
var detectors = newNames(`update_process_times tick_* rcu_check_callbacks* rcu_sched_clock_irq* rcu_dump_cpu_stacks* *nmi_* *_cpu_backtrace* watchdog* *sched_show_task*
	flush_smp_call_function_queue* generic_smp_call_function* panic hrtimer_interrupt handle_percpu_devid_irq`)

// interrupted returns the frames of what the interrupt interrupted in which a stall
// was found, and all when there was none.
func interrupted(frames []Frame) []Frame {
	detector := false
	for i := range frames {
		detector = detector || detectors.has(frames[i].Function)
		if !detector || !interruptEntries.has(frames[i].Function) {
			continue
		}
		for i < len(frames) && interruptEntries.has(frames[i].Function) {
			i++
		}
		return frames[i:]
	}
	return frames
}

var scheduling = newNames(`__schedule schedule schedule_timeout`)

// waits says whether a stack is that of a task that sleeps or waits for RCU.
func waits(frames []Frame) bool {
	for i, f := range frames {
		if i < 3 && scheduling.has(f.Function) || strings.HasPrefix(f.Function, "synchronize_rcu") {
			return true
		}
	}
	return false
}

// sleeps says whether a stack is that of a task that sleeps, as those of hung tasks are.
func sleeps(frames []Frame) bool {
	for _, f := range frames {
		if !f.Uncertain {
			return waiters.has(baseName(f.Function))
		}
	}
	return false
}

// hung is the function that a hung task waits in.
func hung(o *open) string {
	for _, s := range o.traces() {
		if !sleeps(s.Frames) {
			continue // another processor's
		}
		for _, b := range buckets {
			for _, f := range s.Frames {
				if !f.Uncertain && b.functions.has(baseName(f.Function)) {
					return b.title
				}
			}
		}
		for _, f := range s.Frames {
			if name := baseName(f.Function); !f.Uncertain && !waiters.has(name) {
				return name
			}
		}
	}
	return ""
}
