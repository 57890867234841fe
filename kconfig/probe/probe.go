// SPDX-License-Identifier: GPL-3.0-only

package probe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// kept is for how many environments and sets of tools outputs are kept.
const kept = 32

// places are the variables that name the build directory. What a command writes
// depends on them only if the command, or the script that it calls, speaks of them:
// a new build directory must not ask everything again. The same goes for those that
// Setenv sets, and for those in Options.Apart.
var places = []string{"objtree", "abs_objtree"}

// A Runner runs commands and remembers what they wrote.
type Runner struct {
	ctx     context.Context
	env     []string
	scripts string          // directory of what the commands call
	path    string          // of the file with the outputs; empty to keep none
	apart   map[string]bool // the variables whose values aren't part of path
	slots   chan struct{}

	mu      sync.Mutex
	known   map[string]syntax.Output // by command and the identity of its words
	keys    map[string]string        // by command
	spoken  map[string][]string      // the variables of scripts, by path
	results map[string]*result       // of this run, by command
	running sync.WaitGroup
	changed bool
}

type result struct {
	done chan struct{}
	out  syntax.Output
	err  error
}

// Options say in what environment commands run, and where their outputs are kept.
type Options struct {
	// Dir is where outputs are kept, by the environment, and by what the tools and the
	// scripts are. Empty: they aren't kept.
	Dir     string
	Env     []string
	Tools   []string // that commands call, besides sh
	Scripts string   // directory of those that commands call; empty: there are none
	// Apart are the variables that count only for the commands that speak of them: the
	// tools are known not to look at them.
	Apart []string
}

// New returns a runner of commands.
func New(ctx context.Context, o Options) (*Runner, error) {
	r := &Runner{
		ctx: ctx, env: o.Env, scripts: o.Scripts,
		apart:   map[string]bool{},
		slots:   make(chan struct{}, runtime.NumCPU()),
		known:   map[string]syntax.Output{},
		keys:    map[string]string{},
		spoken:  map[string][]string{},
		results: map[string]*result{},
	}
	for _, name := range slices.Concat(o.Apart, places) {
		r.apart[name] = true
	}
	if o.Dir == "" {
		return r, nil
	}
	// Without it, commands run each time.
	_ = os.MkdirAll(o.Dir, 0o755)
	h := sha256.New()
	for _, v := range slices.Sorted(slices.Values(o.Env)) {
		if name, _, _ := strings.Cut(v, "="); !r.apart[name] {
			fmt.Fprintf(h, "%s\x00", v)
		}
	}
	for _, tool := range append([]string{"sh"}, o.Tools...) {
		fmt.Fprintf(h, "%s=%s\x00", tool, r.Identity(tool))
	}
	if o.Scripts != "" {
		list, err := filepath.Glob(filepath.Join(o.Scripts, "*.sh"))
		if err != nil {
			return nil, err
		}
		for _, path := range list {
			fmt.Fprintf(h, "%s=%s\x00", path, r.Identity(path))
		}
	}
	r.path = filepath.Join(o.Dir, "probes-"+hex.EncodeToString(h.Sum(nil)[:16])+".json")
	if data, err := os.ReadFile(r.path); err == nil {
		// It is in use, so that prune removes others first. A file that can't be touched is
		// kept for a shorter time.
		now := time.Now()
		_ = os.Chtimes(r.path, now, now)
		// A damaged file is as good as none.
		if json.Unmarshal(data, &r.known) != nil {
			r.known = map[string]syntax.Output{}
		}
	}
	return r, nil
}

// Setenv gives commands another variable. No command that reads it may have run.
func (r *Runner) Setenv(name, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.env = append(slices.Clip(r.env), name+"="+value)
	r.apart[name] = true
	r.keys, r.spoken = map[string]string{}, map[string][]string{}
}

// Keep keeps a text under a name of the caller's, as long as the outputs of
// commands. Recall returns it.
func (r *Runner) Keep(name, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[name], r.changed = syntax.Output{Stdout: text}, true
}

// Recall returns what Keep kept, in this run or one before.
func (r *Runner) Recall(name string) (text string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, ok := r.known[name]
	return out.Stdout, ok
}

// Identity tells of a program or script from another: where it is,
// its inode, size and times, those of what a link leads to. It's empty for what
// is no file.
func (r *Runner) Identity(word string) string {
	path := word
	if !strings.Contains(word, "/") {
		path = ""
		for _, dir := range filepath.SplitList(r.lookup("PATH")) {
			p := filepath.Join(dir, word)
			if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				path = p
				break
			}
		}
	}
	if path == "" {
		return ""
	}
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	id := fmt.Sprintf("%s %d %d", path, st.Size(), st.ModTime().UnixNano())
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		id += fmt.Sprintf(" %d %d %d", s.Dev, s.Ino, s.Ctim.Nano())
	}
	return id
}

// Key identifies the environment, the tools and the scripts. It's empty where no
// outputs are kept.
func (r *Runner) Key() string {
	if r.path == "" {
		return ""
	}
	return strings.TrimSuffix(filepath.Base(r.path), ".json")
}

func (r *Runner) lookup(name string) string {
	for _, v := range slices.Backward(r.env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// key is the command and the identity of each of its words that is a file.
func (r *Runner) key(command string) string {
	if k, ok := r.keys[command]; ok {
		return k
	}
	h := sha256.New()
	io.WriteString(h, command)
	read := r.speaksOf(command)
	words := strings.FieldsFunc(command, func(c rune) bool { return strings.ContainsRune(" \t\n\"';|&(){}<>=", c) })
	for _, w := range words {
		if strings.Contains(w, "/") && filepath.IsAbs(w) && !strings.HasPrefix(w, "/dev/") {
			fmt.Fprintf(h, "\x00%s=%s", w, r.Identity(w))
			if r.scripts != "" && strings.HasPrefix(w, r.scripts+"/") {
				read = append(read, r.script(w)...)
			}
		}
	}
	slices.Sort(read)
	for _, name := range slices.Compact(read) {
		fmt.Fprintf(h, "\x00%s=%s", name, r.lookup(name))
	}
	k := hex.EncodeToString(h.Sum(nil)[:16])
	r.keys[command] = k
	return k
}

// speaksOf are the variables apart that occur in a text.
func (r *Runner) speaksOf(text string) []string {
	var names []string
	start := -1
	for i := 0; i <= len(text); i++ {
		if i < len(text) && (text[i] == '_' || text[i] >= '0' && text[i] <= '9' || text[i]|' ' >= 'a' && text[i]|' ' <= 'z') {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 && r.apart[text[start:i]] {
			names = append(names, text[start:i])
		}
		start = -1
	}
	return names
}

// script is what a script speaks of; one that can't be read may speak of everything.
func (r *Runner) script(path string) []string {
	names, ok := r.spoken[path]
	if !ok {
		data, err := os.ReadFile(path)
		if names = r.speaksOf(string(data)); err != nil {
			names = slices.Collect(maps.Keys(r.apart))
		}
		r.spoken[path] = names
	}
	return names
}

// Shell returns what a command writes. If that isn't known yet, it runs it in
// the background and returns syntax.Pending; see Wait.
func (r *Runner) Shell(command string) (syntax.Output, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if res := r.results[command]; res != nil {
		select {
		case <-res.done:
			return res.out, res.err
		default:
			return syntax.Output{Stdout: syntax.Pending}, nil
		}
	}
	if out, ok := r.known[r.key(command)]; ok {
		return out, nil
	}
	res := &result{done: make(chan struct{})}
	r.results[command] = res
	r.running.Go(func() {
		defer close(res.done)
		select {
		case r.slots <- struct{}{}:
			defer func() { <-r.slots }()
		case <-r.ctx.Done():
			res.err = context.Cause(r.ctx)
			return
		}
		res.out, res.err = r.run(command)
	})
	return syntax.Output{Stdout: syntax.Pending}, nil
}

// Output runs a command, unless what it writes is known, and waits for it.
func (r *Runner) Output(command string) (syntax.Output, error) {
	for {
		out, err := r.Shell(command)
		if err != nil || out.Stdout != syntax.Pending {
			return out, err
		}
		if err := r.Wait(); err != nil {
			return syntax.Output{}, err
		}
	}
}

// Wait waits for all commands that run, and keeps what they wrote.
func (r *Runner) Wait() error {
	r.running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for command, res := range r.results {
		if res.err != nil {
			return fmt.Errorf("run %q: %w", command, res.err)
		}
		k := r.key(command)
		if _, ok := r.known[k]; !ok {
			r.known[k], r.changed = res.out, true
		}
	}
	return nil
}

// Close writes down what is to be kept, where that is possible: a home that is full or
// can't be written costs time, no more.
func (r *Runner) Close() {
	if !r.changed || r.path == "" {
		return
	}
	data, err := json.Marshal(r.known)
	if err != nil || atomicfile.Write(r.path, data, 0o600) != nil {
		return
	}
	r.changed = false
	r.prune()
}

// prune removes the files that were not used for the longest time.
func (r *Runner) prune() {
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(r.path), "probes-*.json"))
	if len(files) <= kept {
		return
	}
	used := func(path string) time.Time {
		st, err := os.Stat(path)
		if err != nil {
			return time.Time{}
		}
		return st.ModTime()
	}
	slices.SortFunc(files, func(a, b string) int { return used(a).Compare(used(b)) })
	for _, path := range files[:len(files)-kept] {
		_ = os.Remove(path)
	}
}

// run runs a command in a directory of its own: many make files in the present one,
// and say no when they can't.
func (r *Runner) run(command string) (syntax.Output, error) {
	dir, err := os.MkdirTemp("", "kconfig-probe-")
	if err != nil {
		return syntax.Output{}, err
	}
	defer os.RemoveAll(dir)
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(r.ctx, "/bin/sh", "-c", command)
	cmd.Dir, cmd.Env = dir, append(slices.Concat(r.env, proc.CompileHere), "PWD="+dir)
	cmd.Stdout, cmd.Stderr = &out, &errs
	// Its children, too, are killed with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	if r.ctx.Err() != nil {
		return syntax.Output{}, context.Cause(r.ctx)
	}
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return syntax.Output{}, err
	}
	return syntax.Output{Stdout: out.String(), Stderr: errs.String()}, nil
}
