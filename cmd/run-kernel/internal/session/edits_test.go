// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/leftover"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kbuild"
)

// What bench/edits sets for its long runs.
var (
	editCount  = flag.Int("edits", 4, "random edits of TestEdits")
	editKills  = flag.Int("edits.kills", 1, "how many more builds are killed")
	editSeed   = flag.Uint64("edits.seed", 1, "repeats the edits of another run")
	editSource = flag.String("edits.source", os.Getenv("RUN_KERNEL_TEST_TREE"), "source tree")
	editBuild  = flag.String("edits.build", "", "its build directory; empty: the tests' own")
)

// An editLab is a kernel whose source is edited at random, and what builds it.
type editLab struct {
	*testing.T
	tree    *kbuild.Tree
	kernel  *prepare.Kernel
	options kbuild.BuildOptions
	builder *builder
	random  *rand.Rand
	mark    leftover.Mark

	files    []string          // sources of the build
	headers  []string          // that some of them read
	original map[string]string // contents of files that were changed
	number   int               // of the edit

	mu       sync.Mutex
	events   []event.Event
	short    int // builds
	full     int
	failed   int
	took     []time.Duration // short builds
	tookFull []time.Duration
	last     time.Duration // of the last build, if it was short
	ratios   []float64     // of short builds to what make takes for the same
}

func (l *editLab) sink(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func newEditLab(t *testing.T) *editLab {
	t.Helper()
	if *editSource == "" {
		if os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "" {
			t.Fatal("RUN_KERNEL_TEST_TREE isn't set: ./test should have prepared a kernel tree")
		}
		t.Skip("RUN_KERNEL_TEST_TREE isn't set: no kernel tree; ./test prepares it")
	}
	build := *editBuild
	if build == "" {
		build = filepath.Join(os.Getenv("RUN_KERNEL_TEST_CACHE"), "build-"+filepath.Base(*editSource))
	}
	// Other tests edit and build the same tree.
	f, err := os.OpenFile(*editSource+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	// Two images of the same source are the same only without these.
	for name, value := range map[string]string{"TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970", "VERSION": "1", "USER": "nobody", "HOST": "nowhere"} {
		t.Setenv("KBUILD_BUILD_"+name, value)
	}
	l := &editLab{T: t, random: rand.New(rand.NewPCG(*editSeed, 0)), original: map[string]string{}}
	l.mark = leftover.Mark(fmt.Sprintf("RUN_KERNEL_TEST_MARK=%s-%d", t.Name(), time.Now().UnixNano()))
	name, value, _ := strings.Cut(string(l.mark), "=")
	t.Setenv(name, value)
	if l.tree, err = kbuild.Find(kbuild.Options{Dir: *editSource, Output: build, Jobs: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.tree.ConfigPath()); errors.Is(err, os.ErrNotExist) {
		seed := filepath.Join(t.TempDir(), "all.config")
		if err := os.WriteFile(seed, []byte("CONFIG_64BIT=y\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"-s", "-C", l.tree.Source, "KCONFIG_ALLCONFIG=" + seed, "tinyconfig"}
		if !l.tree.InTree() {
			args = append(args, "O="+build)
		}
		if out, err := exec.Command("make", args...).CombinedOutput(); err != nil {
			t.Fatalf("make tinyconfig: %v: %s", err, out)
		}
	}
	c := config.Default()
	// What the other tests of this build require as well.
	c.Kconfig.Require = strings.Fields("VIRTIO_BLK=y NETWORK_FILESYSTEMS=y NET_9P=y NET_9P_VIRTIO=y 9P_FS=y")
	c.Run.Userland = "host"
	l.kernel = &prepare.Kernel{Tree: l.tree, Config: &c, Events: l.sink}
	file, err := l.kernel.Configure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.options = l.kernel.BuildOptions(file)
	if l.options.Target != "vmlinux" {
		t.Skipf("this kernel is booted by %s", l.options.Target)
	}
	l.session()
	if _, err := l.builder.build(t.Context(), l.options); err != nil {
		t.Fatal(err)
	}
	for _, object := range l.builder.graph.Rebuilt(filepath.Join(l.tree.Source, "include/linux/kconfig.h")) {
		if strings.HasPrefix(object.Source, l.tree.Source+"/") && strings.HasSuffix(object.Name, ".o") {
			l.files = append(l.files, object.Source)
			for _, h := range l.builder.graph.Reads(object.Name) {
				if strings.HasSuffix(h, ".h") && strings.HasPrefix(h, l.tree.Source+"/") && !slices.Contains(l.headers, h) {
					l.headers = append(l.headers, h)
				}
			}
		}
	}
	slices.Sort(l.files)
	slices.Sort(l.headers)
	// Those that many read take minutes each.
	l.headers = slices.DeleteFunc(l.headers, func(h string) bool { return len(l.builder.graph.Rebuilt(h)) > 25 })
	t.Cleanup(l.restore)
	return l
}

// session begins anew, as the loop does.
func (l *editLab) session() {
	l.builder = newBuilder(&Session{Kernel: l.kernel, Options: Options{Config: l.kernel.Config, Events: l.sink}})
	l.builder.list(l.Context())
}

// restore takes all edits back.
func (l *editLab) restore() {
	for path, text := range l.original {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			l.Error(err)
		}
	}
	l.original = map[string]string{}
}

func (l *editLab) read(path string) string {
	l.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		l.Fatal(err)
	}
	return string(data)
}

// save writes a source as editors do, and tells of it as the watcher does.
func (l *editLab) save(path, text string) {
	l.Helper()
	if _, ok := l.original[path]; !ok {
		l.original[path] = l.read(path)
	}
	st, err := os.Stat(path)
	if err != nil {
		l.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path+"~new", []byte(text), st.Mode().Perm()), os.Rename(path+"~new", path)); err != nil {
		l.Fatal(err)
	}
	l.builder.saved([]string{path})
}

func pick[E any](r *rand.Rand, list []E) E { return list[r.IntN(len(list))] }

// mine is how the functions that are added are called.
const mine = "run_kernel_edit_"

// edit changes a file in one of the ways in which people do, and says which.
func (l *editLab) edit() (what string, changed []string) {
	l.number++
	path := pick(l.random, l.files)
	// Rather one that was edited before, half of the time.
	if edited := l.edited(); len(edited) > 0 && l.random.IntN(2) == 0 {
		path = pick(l.random, edited)
	}
	text := l.read(path)
	id := fmt.Sprintf("%s%d", mine, l.number)
	if filepath.Ext(path) == ".S" {
		l.save(path, text+fmt.Sprintf("\n\t.section .rodata\n\t.long %d\n\t.previous\n", l.number))
		return "assembler", []string{path}
	}
	function := func(static string) string {
		return fmt.Sprintf("\n%sint %s(int a);\n%sint __attribute__((__used__, __noinline__)) %s(int a)\n{\n\treturn a * %d + %d;\n}\n", static, id, static, id, l.number, l.random.IntN(100))
	}
	if filepath.Ext(path) == ".h" {
		path = pick(l.random, l.headers)
		text = l.read(path)
	}
	switch l.random.IntN(10) {
	case 0, 1:
		l.save(path, text+function(""))
		return "new function", []string{path}
	case 2:
		l.save(path, text+function("static "))
		return "new static function", []string{path}
	case 3:
		// A body: of the first that was added here, or of the kernel's own.
		if i := strings.Index(text, "\treturn a * "); i >= 0 {
			l.save(path, text[:i]+"\ta++;\n"+text[i:])
			return "function body", []string{path}
		}
		if i := strings.Index(text, "\treturn 0;\n}"); i >= 0 {
			l.save(path, text[:i]+fmt.Sprintf("\tasm volatile(\"# %d\");\n", l.number)+text[i:])
			return "function body", []string{path}
		}
		l.save(path, text+function(""))
		return "new function", []string{path}
	case 4:
		header := pick(l.random, []string{"linux/xarray.h", "linux/list_sort.h", "linux/random.h", "linux/debugfs.h", "linux/sort.h", "linux/crc32.h"})
		l.save(path, text+"\n#include <"+header+">\n"+function(""))
		return "new include", []string{path}
	case 5:
		if i := strings.Index(text, "static int "+mine); i >= 0 {
			l.save(path, strings.ReplaceAll(text, "static int "+mine, "int "+mine))
			return "static to global", []string{path}
		}
		l.save(path, text+"\n#include <linux/export.h>\n"+function("")+fmt.Sprintf("EXPORT_SYMBOL_GPL(%s);\n", id))
		return "export", []string{path}
	case 6:
		if old, ok := l.original[path]; ok && old != text {
			l.save(path, old)
			return "deleted code", []string{path}
		}
		l.save(path, text+fmt.Sprintf("\nint %s = %d;\n", id, l.number))
		return "new variable", []string{path}
	case 7:
		header := pick(l.random, l.headers)
		text := l.read(header)
		if i := strings.LastIndex(text, "#endif"); i >= 0 {
			l.save(header, text[:i]+fmt.Sprintf("static inline int %s(void) { return %d; }\n\n", id, l.number)+text[i:])
			return "inline function in a header", []string{header}
		}
		fallthrough
	case 8:
		// Often it breaks something, which make has to say in both ways.
		header := pick(l.random, l.headers)
		text := l.read(header)
		if i := strings.Index(text, "struct "); i >= 0 {
			if j := strings.Index(text[i:], " {\n"); j > 0 && !strings.Contains(text[i:i+j], ";") {
				l.save(header, text[:i+j+3]+fmt.Sprintf("\tunsigned long %s;\n", id)+text[i+j+3:])
				return "struct in a header", []string{header}
			}
		}
		fallthrough
	default:
		other := pick(l.random, l.files)
		if filepath.Ext(other) != ".c" || other == path {
			l.save(path, text+function(""))
			return "new function", []string{path}
		}
		l.save(path, text+function(""))
		l.save(other, l.read(other)+fmt.Sprintf("\nint %s(int a);\nint %s_caller(void);\nint %s_caller(void)\n{\n\treturn %s(3);\n}\n", id, id, id, id))
		return "call of a new function in another file", []string{path, other}
	}
}

func (l *editLab) edited() []string {
	var list []string
	for path := range l.original {
		list = append(list, path)
	}
	slices.Sort(list)
	return list
}

// build builds as the loop does.
func (l *editLab) build() error {
	began := time.Now()
	_, err := l.builder.build(l.Context(), l.options)
	l.last = 0
	switch {
	case err != nil:
		l.failed++
	case l.builder.unproved():
		l.short++
		l.last = time.Since(began)
		l.took = append(l.took, l.last)
	default:
		l.full++
		l.tookFull = append(l.tookFull, time.Since(began))
	}
	return err
}

// make runs make as a user would.
func (l *editLab) make() error {
	args := []string{"-s", "-C", l.tree.Source, "-j2", "vmlinux"}
	if !l.tree.InTree() {
		args = append(args, "O="+l.tree.BuildDir)
	}
	path, err := exec.LookPath("make")
	if err != nil {
		return err
	}
	// It ends with this process.
	_, err = proc.Output(l.Context(), exec.Command(path, args...), time.Second)
	return err
}

func (l *editLab) image() [sha256.Size]byte {
	l.Helper()
	data, err := os.ReadFile(l.options.Image)
	if err != nil {
		l.Fatal(err)
	}
	return sha256.Sum256(data)
}

// check holds the image against what make links when it compiles all again that was
// changed.
func (l *editLab) check(what string, changed []string) {
	l.Helper()
	image := l.image()
	now := time.Now()
	for _, path := range changed {
		if err := os.Chtimes(path, now, now); err != nil {
			l.Fatal(err)
		}
	}
	began := time.Now()
	if err := l.make(); err != nil {
		l.Fatalf("%s: %v", what, err)
	}
	if l.last > 0 {
		l.ratios = append(l.ratios, l.last.Seconds()/time.Since(began).Seconds())
		l.Logf("%s: %s short, %s by make", what, l.last.Round(10*time.Millisecond), time.Since(began).Round(10*time.Millisecond))
	}
	if l.image() != image {
		l.Errorf("%s: make links another image", what)
	}
}

// proof runs the full make behind a short build.
func (l *editLab) proof(what string) {
	l.Helper()
	if !l.builder.unproved() {
		return
	}
	o := l.options
	o.Events = l.sink
	if _, err := l.builder.prove(l.Context(), o); err != nil {
		l.Fatalf("%s: the full make fails: %v", what, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if p, ok := e.(event.BuildProved); ok && len(p.Missed) > 0 {
			l.Errorf("%s: missed: %q", what, p.Missed)
		}
	}
	l.events = nil
}

// Whatever is edited, a short build links what make links, and leaves make nothing to do.
func TestEdits(t *testing.T) {
	l := newEditLab(t)
	for range *editCount {
		what, changed := l.edit()
		names := make([]string, len(changed))
		for i, c := range changed {
			names[i] = l.tree.Rel(c)
		}
		what = fmt.Sprintf("edit %d, %s, %s", l.number, what, strings.Join(names, " "))
		err := l.build()
		if err != nil {
			t.Logf("%s: doesn't build", what)
			if err := l.make(); err == nil {
				t.Errorf("%s: make builds what the short build doesn't", what)
			}
			for _, c := range changed {
				l.save(c, l.original[c])
			}
			if err := l.build(); err != nil {
				t.Fatalf("%s: after its repair: %v", what, err)
			}
			what += ", repaired"
		}
		// Not after each: one short build on another has to be right as well.
		if l.random.IntN(3) > 0 {
			l.proof(what)
		}
		l.check(what, changed)
		if t.Failed() {
			t.FailNow() // what comes now follows from it
		}
		// What make has done by hand is nothing that the next build knows of.
		l.builder.mu.Lock()
		err = l.builder.learn(&kbuild.Result{})
		l.builder.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	if l.short == 0 && *editCount > 3 {
		t.Error("no build was short")
	}
	slices.Sort(l.ratios)
	if n := len(l.ratios); n > 0 {
		t.Logf("a short build takes %.2f of make's time for the same (median; %.2f to %.2f)", l.ratios[n/2], l.ratios[0], l.ratios[n-1])
	}
	t.Logf("%d short builds (median %s), %d full (median %s), %d that failed", l.short, median(l.took), l.full, median(l.tookFull), l.failed)
	for range *editKills {
		l.kill()
	}
}

func median(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2].Round(10 * time.Millisecond)
}

// kill kills a short build at some moment, and builds again: half of the time as the loop
// does when it starts, half of the time by make alone.
func (l *editLab) kill() {
	l.Helper()
	path := filepath.Join(l.tree.Source, pick(l.random, []string{"init/main.c", "kernel/fork.c", "mm/mmap.c"}))
	l.number++
	l.save(path, l.read(path)+fmt.Sprintf("\nint %s%d = %d;\n", mine, l.number, l.number))
	most := 10 * time.Second
	if m := median(l.took); m > 0 {
		most = m
	}
	after := time.Duration(l.random.Int64N(int64(most)))
	done := make(chan error, 1)
	go func() {
		_, err := l.builder.build(context.Background(), l.options)
		done <- err
	}()
	select {
	case <-done:
	case <-time.After(after):
		l.killAll()
		<-done
	}
	what := fmt.Sprintf("edit of %s, killed after %s", l.tree.Rel(path), after.Round(time.Millisecond))
	if l.random.IntN(2) == 0 {
		what += ", then make"
		if err := l.make(); err != nil {
			l.Fatalf("%s: %v", what, err)
		}
		l.session()
	} else {
		what += ", then a new session"
		l.session()
		l.builder.saved([]string{path})
		if _, err := l.builder.build(l.Context(), l.options); err != nil {
			l.Fatalf("%s: %v", what, err)
		}
	}
	l.Log(what)
	l.check(what, []string{path})
	if _, err := l.builder.build(l.Context(), l.options); err != nil {
		l.Fatal(err)
	}
}

// killAll kills all processes of the build at once.
func (l *editLab) killAll() {
	for range 20 {
		found := false
		for pid := range l.mark.Processes() { // not this one, which got the mark later
			found = true
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if !found {
			return
		}
		runtime.Gosched()
	}
}
