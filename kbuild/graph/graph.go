// SPDX-License-Identifier: GPL-3.0-only

package graph

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Target is a file that the build made, with what it was made from.
type Target struct {
	Name   string        // relative to the build directory
	Source string        // what was compiled, absolute; empty: nothing was, or it isn't known
	Took   time.Duration // that making it took when that was measured last; 0: never
	Whole  bool          // its .cmd file is complete, as far as can be seen
}

// A Graph is what the .cmd files of a build directory say. It isn't safe for use by
// several goroutines.
type Graph struct {
	build string // absolute
	dirs  map[string]dirState
	// What is read, by its number, absolute and clean.
	files   []string
	numbers map[string]uint32 // of files; nil until it is asked for
	targets map[string]*target

	changed int // targets that Save hasn't written yet
}

// A dirState is a directory of the build as it was last read.
type dirState struct {
	mtime int64 // in nanoseconds; 0: it may have changed since, unnoticed
	subs  []string
}

// A target is a Target as it is kept.
type target struct {
	source uint32 // number of the file plus 1; 0: none
	stamp  stamp
	took   uint32 // milliseconds
	whole  bool
	files  []byte // numbers in ascending order, each as the uvarint of its distance to the last
}

func (t *target) same(o *target) bool {
	return t.stamp == o.stamp && t.source == o.source && t.whole == o.whole && bytes.Equal(t.files, o.files)
}

// A stamp tells one state of a .cmd file from another.
type stamp struct{ mtime, size int64 }

// racy is how old a directory's time must be for a later change to show in it. Kernels
// step file times by up to 10 ms, and some file systems by 2 s.
const racy = 2 * time.Second

// skipped are directories whose .cmd files say nothing: what is in them isn't built by the
// kernel's own rules, or there is nothing in them.
var skipped = []string{".git", ".run-kernel", "Documentation", "LICENSES", "debian", "tools"}

// New returns the graph of a build directory, of which nothing is known yet.
func New(build string) *Graph {
	return &Graph{build: build, dirs: map[string]dirState{}, targets: map[string]*target{}}
}

// Len is how many targets there are.
func (g *Graph) Len() int { return len(g.targets) }

// Update reads what has been written since the last time: the .cmd files that are new or
// changed, in the directories whose time says that files came or went, as they do with
// each .cmd file that make writes. It returns the names of the targets that changed.
func (g *Graph) Update() ([]string, error) {
	u := &update{Graph: g, in: newInterner(g.build, g.files), now: time.Now(), work: make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))}
	u.running.Add(1)
	u.dir("")
	u.running.Wait()
	if u.err != nil {
		return nil, u.err
	}
	if files := u.in.strings(); len(files) != len(g.files) {
		g.files, g.numbers = files, nil
	}
	var names []string
	for dir, read := range u.read {
		g.dirs[dir] = read.state
		for name, t := range read.targets {
			if old := g.targets[name]; old != nil {
				if old.same(t) {
					continue // read once more only because it was too new
				}
				t.took = old.took
			}
			g.targets[name] = t
			names = append(names, name)
		}
	}
	for name := range u.gone() {
		delete(g.targets, name)
		names = append(names, name)
	}
	g.changed += len(names)
	slices.Sort(names)
	return names, nil
}

// An update is one run of Update.
type update struct {
	*Graph
	in      *interner
	now     time.Time
	work    chan struct{} // holds one for each goroutine that reads
	running sync.WaitGroup

	mu    sync.Mutex
	err   error
	alive map[string]bool     // directories that are there
	read  map[string]*dirRead // those that were read
}

// A dirRead is a directory that was read.
type dirRead struct {
	state   dirState
	targets map[string]*target // those whose .cmd file changed
	present map[string]bool    // all that have one
}

// dir looks at a directory and those below it.
func (u *update) dir(dir string) {
	defer u.running.Done()
	var st unix.Stat_t
	path := filepath.Join(u.build, dir)
	if err := unix.Stat(path, &st); err != nil {
		if !errors.Is(err, unix.ENOENT) {
			u.fail(&os.PathError{Op: "stat", Path: path, Err: err})
		}
		return
	}
	state, known := u.dirs[dir]
	var read *dirRead
	if mtime := st.Mtim.Nano(); !known || state.mtime == 0 || state.mtime != mtime {
		read = &dirRead{targets: map[string]*target{}, present: map[string]bool{}}
		if u.now.Sub(time.Unix(0, mtime)) > racy {
			read.state.mtime = mtime
		}
		u.work <- struct{}{}
		err := u.readDir(dir, read)
		<-u.work
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				u.fail(err)
			}
			return
		}
		state = read.state
	}
	u.mu.Lock()
	if u.alive == nil {
		u.alive, u.read = map[string]bool{}, map[string]*dirRead{}
	}
	u.alive[dir] = true
	if read != nil {
		u.read[dir] = read
	}
	u.mu.Unlock()
	u.running.Add(len(state.subs))
	for _, sub := range state.subs {
		// Those that need no reading are done faster than a goroutine starts.
		if _, known := u.dirs[filepath.Join(dir, sub)]; known {
			u.dir(filepath.Join(dir, sub))
		} else {
			go u.dir(filepath.Join(dir, sub))
		}
	}
}

func (u *update) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = err
	}
}

// gone are the targets whose .cmd files have been removed.
func (u *update) gone() map[string]bool {
	gone := map[string]bool{}
	for dir := range u.dirs {
		if !u.alive[dir] {
			delete(u.dirs, dir)
		}
	}
	if len(u.targets) == 0 {
		return gone
	}
	for name := range u.targets {
		dir := dirOf(name)
		switch read := u.read[dir]; {
		case !u.alive[dir]:
			gone[name] = true
		case read != nil && !read.present[name]:
			gone[name] = true
		}
	}
	return gone
}

func dirOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

// buffers are for the contents of .cmd files.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// readDir reads a directory's .cmd files, and lists the directories in it.
func (u *update) readDir(dir string, r *dirRead) error {
	path := filepath.Join(u.build, dir)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	p := parser{in: u.in}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			if dir != "" || !slices.Contains(skipped, name) {
				r.state.subs = append(r.state.subs, name)
			}
			continue
		}
		of, ok := strings.CutSuffix(name, ".cmd")
		if !ok || len(of) < 2 || of[0] != '.' {
			continue
		}
		of = filepath.Join(dir, of[1:])
		r.present[of] = true
		t, err := u.readCmd(int(f.Fd()), name, of, buf, &p)
		if err != nil {
			return &os.PathError{Op: "read", Path: filepath.Join(path, name), Err: err}
		}
		if t != nil {
			r.targets[of] = t
		}
	}
	return nil
}

// readCmd reads the .cmd file of a target; nil when it is as it was.
func (u *update) readCmd(dir int, file, name string, buf *[]byte, p *parser) (*target, error) {
	fd, err := unix.Openat(dir, file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	s := stamp{st.Mtim.Nano(), st.Size}
	if old := u.targets[name]; old != nil && old.stamp == s && u.now.Sub(time.Unix(0, s.mtime)) > racy {
		return nil, nil
	}
	if int64(cap(*buf)) < st.Size {
		*buf = make([]byte, st.Size+st.Size/2)
	}
	data := (*buf)[:st.Size]
	for n := 0; n < len(data); {
		got, err := unix.Read(fd, data[n:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, err
		case got == 0:
			data = data[:n] // it was made shorter meanwhile
		}
		n += max(0, got)
	}
	t := p.parse(data, name)
	t.stamp = s
	return t, nil
}

// file returns the number of a file.
func (g *Graph) file(path string) (uint32, bool) {
	if g.numbers == nil {
		g.numbers = make(map[string]uint32, len(g.files))
		for i, f := range g.files {
			g.numbers[f] = uint32(i)
		}
	}
	n, ok := g.numbers[path]
	return n, ok
}

// Files lists what anything was made from.
func (g *Graph) Files() []string { return slices.Clone(g.files) }

// Knows says whether anything was made from a file.
func (g *Graph) Knows(path string) bool {
	_, ok := g.file(path)
	return ok
}

// Rebuilt returns the targets that were made from any of the files, which are absolute
// paths, sorted by their names.
func (g *Graph) Rebuilt(files ...string) []Target {
	wanted := map[uint32]bool{}
	var last uint32
	for _, path := range files {
		if n, ok := g.file(path); ok {
			wanted[n] = true
			last = max(last, n)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	bits := make([]uint64, last/64+1)
	for n := range wanted {
		bits[n/64] |= 1 << (n % 64)
	}
	var list []Target
	for name, t := range g.targets {
		if t.reads(bits) {
			list = append(list, g.export(name, t))
		}
	}
	slices.SortFunc(list, func(a, b Target) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// reads says whether a target was made from any file of a set.
func (t *target) reads(bits []uint64) bool {
	end := uint64(len(bits)) * 64
	var n uint64
	for i := 0; i < len(t.files); {
		// Nearly all distances take one byte.
		d := uint64(t.files[i])
		if d < 0x80 {
			i++
		} else {
			var size int
			d, size = binary.Uvarint(t.files[i:])
			i += size
		}
		n += d
		if n >= end {
			return false
		}
		if bits[n/64]&(1<<(n%64)) != 0 {
			return true
		}
	}
	return false
}

func (g *Graph) export(name string, t *target) Target {
	e := Target{Name: name, Took: time.Duration(t.took) * time.Millisecond, Whole: t.whole}
	if t.source > 0 {
		e.Source = g.files[t.source-1]
	}
	return e
}

// Compiled lists the objects that were compiled from C or assembler, sorted by their names.
func (g *Graph) Compiled() []Target {
	var list []Target
	for name, t := range g.targets {
		if t.source == 0 || !strings.HasSuffix(name, ".o") {
			continue
		}
		if source := g.files[t.source-1]; strings.HasSuffix(source, ".c") || strings.HasSuffix(source, ".S") {
			list = append(list, g.export(name, t))
		}
	}
	slices.SortFunc(list, func(a, b Target) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Reads lists the files that a target was made from.
func (g *Graph) Reads(name string) []string {
	t := g.targets[name]
	if t == nil {
		return nil
	}
	var list []string
	var n uint64
	for b := t.files; len(b) > 0; {
		d, size := binary.Uvarint(b)
		b = b[size:]
		n += d
		list = append(list, g.files[n])
	}
	return list
}

// Broken lists the targets whose .cmd files aren't complete, as a build leaves them that
// was killed while it wrote one. make takes such a target for one that needs nothing.
func (g *Graph) Broken() []string {
	var names []string
	for name, t := range g.targets {
		if !t.whole {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Measured keeps how long it took to make targets.
func (g *Graph) Measured(took map[string]time.Duration) {
	for name, d := range took {
		if t := g.targets[name]; t != nil && d > 0 {
			t.took = uint32(min(max(1, d.Milliseconds()), 1<<31))
			g.changed++
		}
	}
}

// fewMeasured is from how many targets on the mean time of all says something about one
// that was never measured.
const fewMeasured = 8

// Estimate is how long it takes to make targets, one after the other; 0: it isn't known.
func (g *Graph) Estimate(list []Target) time.Duration {
	var sum time.Duration
	unknown := 0
	for _, t := range list {
		sum += t.Took
		if t.Took == 0 {
			unknown++
		}
	}
	if unknown == 0 {
		return sum
	}
	var all, n time.Duration
	for _, t := range g.targets {
		if t.took > 0 {
			all += time.Duration(t.took) * time.Millisecond
			n++
		}
	}
	if n < fewMeasured {
		return 0
	}
	return sum + all/n*time.Duration(unknown)
}

// An interner numbers paths. It is safe for use by several goroutines.
type interner struct {
	build string
	table atomic.Pointer[[]atomic.Pointer[interned]]

	mu      sync.Mutex
	raw     int               // entries of the table
	numbers map[string]uint32 // of clean paths
	paths   []string
}

// An interned path is one as a .cmd file has it. Several may name the same file.
type interned struct {
	hash   uint64
	raw    string
	number uint32
}
