// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
)

// A build on another machine takes three steps: rsync brings the source tree and .config
// there, make runs there by ssh, and rsync brings back what a guest needs. The other
// machine keeps source and objects in its user's cache, so that the next build has little
// to do. When the connection ends, make ends there too.

// sshOptions let ssh fail instead of asking, or of waiting for a machine that is gone.
var sshOptions = []string{"-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"}

// sshFailed is ssh's status when it isn't that of the command.
const sshFailed = 255

const hostFullHint = "the build host's disk is full: make room there; run-kernel keeps trees in its ~/.cache/run-kernel/trees"

// forwarded are the variables of Documentation/kbuild/kbuild.rst that change what make
// makes, without those that are paths of this machine, and those of compile farms.
var forwarded = []string{
	"KCPPFLAGS", "KAFLAGS", "KCFLAGS", "KRUSTFLAGS", "HOSTCFLAGS", "LOCALVERSION", "KBUILD_BUILD_TIMESTAMP", "KBUILD_BUILD_USER", "KBUILD_BUILD_HOST",
	"KBUILD_BUILD_VERSION", "DISTCC_HOSTS", "CCACHE_PREFIX",
}

// A HostError says that the build host can't build.
type HostError struct {
	Host string
	Err  error
	hint string
}

func (e *HostError) Error() string { return fmt.Sprintf("build host %s: %v", e.Host, e.Err) }

func (e *HostError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *HostError) Hint() string { return e.hint }

// A host is a machine that make runs on.
type host struct {
	tree *Tree
	name string

	// What it said of itself.
	source, build string // its directories for the tree
	jobs          string // its processors
	compiler      string // the first line of its version
	isNew         bool   // it has nothing of the source yet
}

// cacheOf is the directory for the tree in the cache of a build host's user.
func (t *Tree) cacheOf() (source, build string) {
	here, _ := os.Hostname() // without one, other machines may share the directory
	id := func(path string) string {
		return fmt.Sprintf("%s-%x", filepath.Base(path), sha256.Sum256([]byte(here+"\x00"+path)))[:len(filepath.Base(path))+9]
	}
	dir := "run-kernel/trees/" + id(t.Source)
	return dir + "/source", dir + "/" + id(t.BuildDir)
}

// ssh runs a script on a build host.
func ssh(name, script string) (*exec.Cmd, error) {
	path, err := proc.Look("ssh")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, append(append([]string{}, sshOptions...), "--", name, "exec sh -c "+shellQuote(script))...)
	cmd.Env = Environ()
	return cmd, nil
}

// rsync copies between this machine and the host. Owners stay behind: they are others there.
// So do the rights of what comes back, which may be those of a program that is setuid.
func (h *host) rsync(ctx context.Context, args ...string) error {
	path, err := proc.Look("rsync")
	if err != nil {
		return err
	}
	shell := "ssh " + strings.Join(sshOptions, " ")
	cmd := exec.Command(path, append([]string{"--recursive", "--rsh=" + shell}, args...)...)
	cmd.Env = Environ()
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := proc.Run(ctx, cmd, grace); err != nil {
		return h.failed("copy", err, said.String())
	}
	return nil
}

// failed is the error of a step.
func (h *host) failed(step string, err error, said string) error {
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) {
		return err
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	e := &HostError{Host: h.name, Err: fmt.Errorf("%s: %s", step, cmp.Or(strings.TrimPrefix(lines[0], step+": "), err.Error())), hint: toolHint(lines)}
	switch {
	case e.hint == fullHint:
		e.hint = hostFullHint
	case exit.ExitCode() == sshFailed:
		e.hint = "`ssh " + h.name + " true` has to work without a password"
	case e.hint == "":
		e.hint = "run it again: what is there already isn't copied again"
	}
	return e
}

// LookAtHost asks the build host of the options what it has: an account for people. The
// error is a *HostError, or says that a program is missing here.
func LookAtHost(ctx context.Context, o Options) (string, error) {
	h, err := (&Tree{options: o}).ask(ctx, ".", ".", "")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s processors, %s", h.jobs, h.compiler), nil
}

// reach asks the build host what it has, and makes the tree's directories there.
func (t *Tree) reach(ctx context.Context) (*host, error) {
	source, build := t.cacheOf()
	return t.ask(ctx, source, build, "mkdir -p "+shellQuote(source)+" "+shellQuote(build))
}

// ask runs a command in the host's cache, and asks what there is.
func (t *Tree) ask(ctx context.Context, source, build, command string) (*host, error) {
	h := &host{tree: t, name: t.options.Host}
	wrap, compiler := proc.SplitCompiler(t.options.Compiler())
	var programs string
	for _, program := range append([]string{"make", "rsync", "setsid", "timeout", compiler}, wrap...) {
		if program != "" {
			programs += " " + shellQuote(program)
		}
	}
	cmd, err := ssh(h.name, `set -e
for p in`+programs+`; do command -v "$p" >/dev/null || { echo "$p: not found" >&2; exit 1; }; done
cd "${XDG_CACHE_HOME:-$HOME/.cache}" 2>/dev/null || { mkdir -p "$HOME/.cache"; cd "$HOME/.cache"; }
`+command+`
[ -e `+shellQuote(source+"/Makefile")+` ] && echo known || echo new
echo "$(pwd -P)"; uname -m; nproc; `+t.options.Compiler()+` --version | head -n1`)
	if err != nil {
		return nil, err
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := proc.Run(ctx, cmd, grace); err != nil {
		return nil, h.failed("ssh", err, said.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) < 5 {
		return nil, &HostError{Host: h.name, Err: fmt.Errorf("it said %q", out.String()), hint: "its shell's start-up files may not print anything"}
	}
	lines = lines[len(lines)-5:] // after what such files print
	h.isNew = lines[0] == "new"
	h.source, h.build = filepath.Join(lines[1], source), filepath.Join(lines[1], build)
	h.jobs, h.compiler = lines[3], lines[4]
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, err
	}
	if here := unix.ByteSliceToString(u.Machine[:]); lines[2] != here && t.options.Arch == "" {
		return nil, &HostError{
			Host: h.name, Err: fmt.Errorf("it is a machine of the architecture %s, and this one is %s", lines[2], here),
			hint: "say what to build, and with which compiler there: --arch, and --cross-compile or --llvm",
		}
	}
	return h, nil
}

// awayCommand is what makeAway would run, for people: without asking the host.
func (t *Tree) awayCommand(o BuildOptions) []string {
	h := &host{tree: t, name: t.options.Host, jobs: "$(nproc)"}
	source, build := t.cacheOf()
	h.source, h.build = filepath.Join("~/.cache", source), filepath.Join("~/.cache", build)
	o.GDB = false
	return h.shown(o.goals())
}

// shown is the command for people.
func (h *host) shown(goals []string) []string {
	return append([]string{"ssh", h.name}, h.makeArgs(goals)...)
}

// makeAway prepares make on the build host, with what it needs there.
func (t *Tree) makeAway(ctx context.Context, o BuildOptions) (*maker, error) {
	if err := t.checkClean(); err != nil {
		return nil, err // before all its objects are copied
	}
	h, err := t.reach(ctx)
	if err != nil {
		return nil, err
	}
	h.tell(ctx, o.Events)
	if h.isNew {
		o.Events.Emit(event.Notice{Text: "copying the source tree to " + h.name + ": later, only what has changed"})
	}
	if err := h.push(ctx); err != nil {
		return nil, err
	}
	o.GDB = false // its scripts are links into the source there
	goals := o.goals()
	cmd, err := h.command(goals)
	if err != nil {
		return nil, err
	}
	return &maker{cmd: cmd, shown: h.shown(goals), host: h}, nil
}

// push brings the source tree and .config to the host.
func (h *host) push(ctx context.Context) error {
	if h.tree.InTree() {
		return &HostError{
			Host: h.name, Err: errors.New("the source tree has objects of its own, which would be in the way there"),
			hint: "build outside of the source tree: -O DIR, after `make mrproper`",
		}
	}
	args := append([]string{"--links", "--perms", "--delete", "--exclude=/.git", "--exclude=/.run-kernel"}, exactTimes...)
	for _, dir := range h.tree.builds() {
		args = append(args, "--exclude=/"+rsyncPattern(dir))
	}
	if err := h.rsync(ctx, append(args, h.tree.Source+"/", h.name+":"+h.source+"/")...); err != nil {
		return err
	}
	return h.rsync(ctx, "--checksum", h.tree.ConfigPath(), h.name+":"+h.build+"/"+configHere)
}

// builds are the build directories inside the source, relative to it: the tree's own, and
// others that make has linked with it.
func (t *Tree) builds() []string {
	var list []string
	if inside, err := filepath.Rel(t.Source, t.BuildDir); err == nil && filepath.IsLocal(inside) {
		list = append(list, inside)
	}
	for _, depth := range []string{"*", "*/*"} {
		links, _ := fs.Glob(os.DirFS(t.Source), depth+"/source")
		for _, l := range links {
			if to, err := filepath.EvalSymlinks(filepath.Join(t.Source, l)); err == nil && to == t.Source {
				list = append(list, filepath.Dir(l))
			}
		}
	}
	return list
}

// rsyncPattern is a pattern of rsync's for one path: in one without wildcards, a backslash
// stands for itself.
func rsyncPattern(path string) string {
	if !strings.ContainsAny(path, "*?[") {
		return path
	}
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// configHere is .config as this machine has it. make's own, there, may be another for that
// compiler, and is replaced only when this one has changed.
const configHere = ".config.here"

// exactTimes are what rsync tells changed files by. On its own, it takes a file of the same
// size that was saved in the same second for the same.
var exactTimes = []string{"--times", "--modify-window=-1"}

// outdate is a script for what make there can't see: a file that came after make had ended,
// and yet was saved before, by its time. It was saved while make compiled what reads it, or
// the clocks differ. make takes a target without a .cmd file for out of date.
func (h *host) outdate() string {
	return `source=` + shellQuote(h.source) + `; cd ` + shellQuote(h.build) + ` || exit
[ -e .config ] && cmp -s ` + configHere + ` .config.last || { cp ` + configHere + ` .config && cp .config .config.last; }
find "$source" -type f -newercm .ended ! -newer .ended >.late 2>/dev/null
if [ -s .late ]; then
	grep -rlFf .late --include='.*.cmd' . | xargs -r rm -f
	! grep -q /Kconfig .late || touch .config
fi
`
}

const (
	// lifeBeat is between two bytes on the life line.
	lifeBeat = 10 * time.Second
	// lifeSilence is how long the life line may be silent, in seconds. sshd doesn't notice
	// that the network has gone for hours.
	lifeSilence = "60"
)

// command is make on the host. Its standard input is its life line: when that ends or has
// nothing to say any more, make's process group ends. make alone ends its children, but not
// what a shell of a recipe has started, such as the linker.
func (h *host) command(goals []string) (*exec.Cmd, error) {
	env := []string{"LC_MESSAGES=C", "GCC_COLORS="}
	set := map[string]string{}
	for _, name := range forwarded {
		if value, ok := os.LookupEnv(name); ok {
			set[name] = value
		}
	}
	// The debug information names the sources of this machine.
	for _, name := range []string{"KCFLAGS", "KAFLAGS"} {
		set[name] = strings.TrimSpace(set[name] + " -fdebug-prefix-map=" + h.source + "=" + h.tree.Source)
	}
	for _, name := range forwarded {
		if value, ok := set[name]; ok {
			env = append(env, shellQuote(name+"="+value))
		}
	}
	for _, a := range h.makeArgs(goals) {
		env = append(env, shellQuote(a))
	}
	return ssh(h.name, `exec 3<&0 </dev/null
`+h.outdate()+`setsid env `+strings.Join(env, " ")+` 3<&- & make=$!
{ while [ "$(timeout `+lifeSilence+` head -c 1 <&3)" ]; do :; done; kill -TERM "-$make" || kill "$make"; } >/dev/null 2>&1 & guard=$!
exec 3<&-
wait "$make"; status=$?
touch .ended
kill "$guard" 2>/dev/null
exit $status`)
}

// makeArgs are make and its arguments there.
func (h *host) makeArgs(goals []string) []string {
	jobs := h.jobs
	if h.tree.options.Jobs > 0 {
		jobs = strconv.Itoa(h.tree.options.Jobs)
	}
	args := []string{"make", "-C", h.source, "-j" + jobs, "O=" + h.build}
	for _, v := range h.tree.variables() {
		args = append(args, v[0]+"="+v[1])
	}
	return append(args, goals...)
}

// here translates the paths in a line of make's.
func (h *host) here(line string) string {
	if !strings.Contains(line, h.source) && !strings.Contains(line, h.build) {
		return line
	}
	return strings.NewReplacer(h.source, h.tree.Source, h.build, h.tree.BuildDir).Replace(line)
}

// pull brings back what a guest and its debugger need. It brings nothing that a make here
// would read, such as include/config/auto.conf: it would take that for its own, whoever has
// written it.
func (h *host) pull(ctx context.Context, o BuildOptions) error {
	var args []string
	include := func(path string) {
		for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
			args = append(args, "--include=/"+dir+"/")
		}
		args = append(args, "--include=/"+path)
	}
	for _, path := range []string{"vmlinux", "System.map", "Module.symvers", "modules.order", "modules.builtin", "modules.builtin.modinfo", "include/config/kernel.release"} {
		include(path)
	}
	if image, err := filepath.Rel(h.tree.BuildDir, o.Image); err == nil && filepath.IsLocal(image) {
		include(image)
	}
	if o.Modules {
		args = append(args, "--include=*/", "--include=*.ko")
	}
	args = append(append(args, exactTimes...), "--exclude=*", "--prune-empty-dirs", h.name+":"+h.build+"/", h.tree.BuildDir+"/")
	return h.rsync(ctx, args...)
}

// tell says so if the host's compiler isn't this machine's.
func (h *host) tell(ctx context.Context, events event.Sink) {
	out, err := exec.CommandContext(ctx, "sh", "-c", h.tree.options.Compiler()+" --version").Output()
	here, _, _ := strings.Cut(string(out), "\n")
	if err == nil && here != h.compiler {
		events.Emit(event.Notice{Text: fmt.Sprintf("%s compiles with %s, and .config was made for %s: make may change it there", h.name, h.compiler, here)})
	}
}

// run is proc.Run for make there.
func (h *host) run(ctx context.Context, cmd *exec.Cmd) error {
	life, alive, err := os.Pipe()
	if err != nil {
		return err
	}
	defer life.Close()
	cmd.Stdin = life
	beats, stop := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() {
		defer alive.Close()
		beat(beats, alive)
	})
	defer beating.Wait()
	defer stop()
	return proc.Run(ctx, cmd, grace)
}

// beat writes to a life line until the context ends or nobody reads it.
func beat(ctx context.Context, line io.Writer) {
	ticker := time.NewTicker(lifeBeat)
	defer ticker.Stop()
	for {
		if _, err := line.Write([]byte{'.'}); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// finish brings back what make made, or says what ended it. said are its last lines.
func (h *host) finish(ctx context.Context, err error, o BuildOptions, said []string) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == sshFailed {
		last := err.Error()
		if len(said) > 0 {
			last = said[len(said)-1]
		}
		return &HostError{Host: h.name, Err: fmt.Errorf("the connection ended: %s", last), hint: "run it again: make goes on with what there is"}
	}
	if err != nil {
		return err
	}
	return h.pull(ctx, o)
}
