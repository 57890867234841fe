// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// A wait for what must come may take this long.
const patience = time.Minute

// The modes in which the test program is run by its tests.
const (
	modeVariable = "RUN_KERNEL_TEST_WATCH"
	rootVariable = "RUN_KERNEL_TEST_ROOT"

	modeGit   = "git"   // starts git and waits to be killed
	modeLimit = "limit" // watches a tree with few watches allowed
)

func TestMain(m *testing.M) {
	root := os.Getenv(rootVariable)
	switch os.Getenv(modeVariable) {
	case modeGit:
		g := newIgnorer(context.Background(), root, "")
		g.match(filepath.Join(root, "a.c"))
		fmt.Println(g.cmd.Process.Pid)
		select {}
	case modeLimit:
		if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("3"), 0); err != nil {
			fmt.Println("skip:", err)
			return
		}
		_, err := New(context.Background(), Options{Root: root})
		limit := (*LimitError)(nil)
		fmt.Println(errors.As(err, &limit), err)
		return
	}
	os.Exit(m.Run())
}

// A tree is a directory that is watched.
type tree struct {
	*testing.T
	root  string
	w     *Watcher
	marks int
}

func newTree(t *testing.T) *tree {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &tree{T: t, root: filepath.Join(root, "linux")}
}

func (t *tree) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(t.root, name)
}

func (t *tree) check(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write gives a file, and its directories, new contents: another size each time.
func (t *tree) write(name string) {
	t.Helper()
	path := t.path(name)
	t.check(os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	t.check(err)
	_, err = f.WriteString("more\n")
	t.check(errors.Join(err, f.Close()))
}

func (t *tree) rename(from, to string) {
	t.Helper()
	t.check(os.Rename(t.path(from), t.path(to)))
}

func (t *tree) remove(name string) {
	t.Helper()
	t.check(os.RemoveAll(t.path(name)))
}

func (t *tree) put(name, text string) {
	t.Helper()
	t.check(os.MkdirAll(filepath.Dir(t.path(name)), 0o755))
	t.check(os.WriteFile(t.path(name), []byte(text), 0o644))
}

func (t *tree) git(args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@example.org"}, args...)...)
	cmd.Dir = t.root
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// watch starts the watcher on what is there by now.
func (t *tree) watch(options func(o *Options)) {
	t.Helper()
	t.check(os.MkdirAll(t.root, 0o755))
	o := Options{Root: t.root, Quiet: time.Millisecond, Max: patience}
	if options != nil {
		options(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w, err := New(ctx, o)
	t.check(err)
	t.w = w
	t.Cleanup(func() {
		cancel()
		for range w.Changes() {
		}
	})
}

func (t *tree) next() Set {
	t.Helper()
	select {
	case set, ok := <-t.w.Changes():
		if !ok {
			t.Fatalf("the watcher ended: %v", t.w.Err())
		}
		return set
	case <-time.After(patience):
		t.Fatal("nothing was reported")
	}
	return Set{}
}

// reports compares all that has been reported since it was asked last. What
// was done before it comes before the mark that it makes itself; the name makes
// that so for a walk through the tree, too.
func (t *tree) reports(want ...string) {
	t.Helper()
	absolute := []string{}
	for _, name := range want {
		absolute = append(absolute, t.path(name))
	}
	slices.Sort(absolute)
	if diff := cmp.Diff(absolute, t.drain(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
}

// drain returns what reports compares.
func (t *tree) drain() []string {
	t.Helper()
	t.marks++
	mark := t.path(fmt.Sprintf("0000-%d.c", t.marks))
	t.write(mark)
	got := make(map[string]bool)
	for !got[mark] {
		set := t.next()
		if set.Rescan || set.Err != nil {
			t.Fatalf("unexpected: %+v", set)
		}
		for _, p := range set.Paths {
			got[p] = true
		}
	}
	// An earlier mark may have been made in one set and written in the next.
	maps.DeleteFunc(got, func(path string, _ bool) bool { return strings.Contains(path, "/0000-") })
	return slices.Sorted(maps.Keys(got))
}

func TestWatcher(t *testing.T) {
	type step struct {
		do   func(t *tree)
		want []string
	}
	reports := func(want ...string) []string { return want }
	for _, tt := range []struct {
		name  string
		files []string // before the watcher starts
		steps []step
	}{
		{
			name: "write", files: []string{"kernel/fork.c"},
			steps: []step{{func(t *tree) { t.write("kernel/fork.c") }, reports("kernel/fork.c")}},
		},
		{
			name:  "create",
			steps: []step{{func(t *tree) { t.write("a.c") }, reports("a.c")}},
		},
		{
			name: "delete", files: []string{"a.c"},
			steps: []step{{func(t *tree) { t.remove("a.c") }, reports("a.c")}},
		},
		{
			name: "rename", files: []string{"a.c"},
			steps: []step{{func(t *tree) { t.rename("a.c", "b.c") }, reports("a.c", "b.c")}},
		},
		{
			name: "chmod", files: []string{"a.c"},
			steps: []step{{func(t *tree) {
				t.check(os.Chtimes(t.path("a.c"), time.Unix(1, 0), time.Unix(1, 0)))
				t.check(os.Chmod(t.path("a.c"), 0o600))
			}, nil}},
		},
		{
			name: "touch", files: []string{"a.c"},
			steps: []step{{func(t *tree) { t.check(unix.UtimesNano(t.path("a.c"), nil)) }, reports("a.c")}},
		},
		{
			name: "atomic save by a hidden file", files: []string{"a.c"},
			steps: []step{{func(t *tree) { t.write(".a.c.Xy12"); t.rename(".a.c.Xy12", "a.c") }, reports("a.c")}},
		},
		{
			name: "vim", files: []string{"a.c"},
			steps: []step{{func(t *tree) {
				t.write(".a.c.swp")
				t.write("4913")
				t.remove("4913")
				t.rename("a.c", "a.c~")
				t.write("a.c")
				t.remove("a.c~")
				t.remove(".a.c.swp")
			}, reports("a.c")}},
		},
		{
			name: "emacs", files: []string{"a.c"},
			steps: []step{{func(t *tree) {
				t.check(os.Symlink("user@host.1:2", t.path(".#a.c")))
				t.write("#a.c#")
				t.rename("a.c", "a.c~")
				t.write("a.c")
				t.remove("#a.c#")
				t.remove(".#a.c")
			}, reports("a.c")}},
		},
		{
			name: "new directories with files",
			steps: []step{
				{func(t *tree) { t.write("a/b/c/x.c") }, reports("a/b/c/x.c")},
				{func(t *tree) { t.write("a/b/c/x.c") }, reports("a/b/c/x.c")},
				{func(t *tree) { t.write("a/b/y.c") }, reports("a/b/y.c")},
			},
		},
		{
			name: "an empty directory",
			steps: []step{
				{func(t *tree) { t.check(os.Mkdir(t.path("a"), 0o755)) }, nil},
				{func(t *tree) { t.write("a/x.c") }, reports("a/x.c")},
			},
		},
		{
			name: "a renamed directory", files: []string{"a/b/x.c"},
			steps: []step{
				{func(t *tree) { t.rename("a", "z") }, reports("a", "z/b/x.c")},
				{func(t *tree) { t.write("z/b/x.c") }, reports("z/b/x.c")},
				{func(t *tree) { t.write("z/y.c") }, reports("z/y.c")},
				{func(t *tree) { t.rename("z", "a"); t.write("a/b/x.c") }, reports("z", "a/b/x.c", "a/y.c")},
				{func(t *tree) { t.write("a/b/x.c") }, reports("a/b/x.c")},
			},
		},
		{
			name: "a directory that leaves the tree", files: []string{"a/x.c"},
			steps: []step{
				{func(t *tree) { t.rename("a", "../a") }, reports("a")},
				{func(t *tree) { t.write("../a/x.c") }, nil},
				{func(t *tree) { t.rename("../a", "a") }, reports("a/x.c")},
			},
		},
		{
			name: "a removed and re-made directory", files: []string{"a/x.c"},
			steps: []step{
				{func(t *tree) { t.remove("a") }, reports("a", "a/x.c")},
				{func(t *tree) { t.write("a/x.c") }, reports("a/x.c")},
				{func(t *tree) { t.remove("a"); t.write("a/x.c") }, reports("a", "a/x.c")},
				{func(t *tree) { t.write("a/x.c") }, reports("a/x.c")},
			},
		},
		{
			name: "links are not followed", files: []string{"../other/x.c"},
			steps: []step{
				{func(t *tree) { t.check(os.Symlink("../other", t.path("link"))) }, reports("link")},
				{func(t *tree) { t.write("../other/x.c") }, nil},
				{func(t *tree) { t.check(os.Symlink("/", t.path("cycle"))) }, reports("cycle")},
			},
		},
		{
			name: "what git does to itself", files: []string{".git/HEAD"},
			steps: []step{{func(t *tree) { t.write(".git/HEAD"); t.write(".git/refs/heads/x") }, nil}},
		},
		{
			name: "generated directories", files: []string{"include/generated/a.h"},
			steps: []step{{func(t *tree) {
				t.write("include/generated/a.h")
				t.write("arch/x86/include/generated/asm/b.h")
				t.write("include/config/auto.conf")
			}, nil}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := newTree(t)
			for _, f := range tt.files {
				tree.write(f)
			}
			tree.watch(nil)
			for _, s := range tt.steps {
				s.do(tree)
				tree.reports(s.want...)
			}
		})
	}
}

// TestTemporaryFiles has files that come and go within one set, by names that
// no rule knows.
func TestTemporaryFiles(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(t *tree)
		want []string
	}{
		{"made and removed", func(t *tree) { t.write("sedXy12"); t.remove("sedXy12") }, nil},
		{"an atomic save", func(t *tree) { t.write("sedXy12"); t.rename("sedXy12", "a.c") }, []string{"a.c"}},
		{"a product", func(t *tree) { t.write("stXy12"); t.rename("stXy12", "built-in.a") }, nil},
		{"made and still there", func(t *tree) { t.write("b.c"); t.write("b.c") }, []string{"b.c"}},
		{
			"saved, and removed", func(t *tree) { t.write("sedXy12"); t.rename("sedXy12", "a.c"); t.remove("a.c") },
			[]string{"a.c"},
		},
		{"re-made, and removed", func(t *tree) { t.remove("a.c"); t.write("a.c"); t.remove("a.c") }, []string{"a.c"}},
		{"written, and removed", func(t *tree) { t.write("a.c"); t.remove("a.c") }, []string{"a.c"}},
		{"renamed on", func(t *tree) { t.rename("a.c", "b.c"); t.rename("b.c", "c.c") }, []string{"a.c", "b.c", "c.c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := newTree(t)
			tree.write("a.c")
			tree.check(os.Mkdir(tree.path(".git"), 0o755))
			tree.watch(nil)
			tree.write(".git/index.lock") // so that it is one set
			tt.do(tree)
			tree.remove(".git/index.lock")
			tree.reports(tt.want...)
		})
	}
}

// TestSlowArchive has ar write longer than changes have to settle.
func TestSlowArchive(t *testing.T) {
	tree := newTree(t)
	tree.write("st21nfca/core.c") // a directory's name, of a driver
	tree.watch(nil)
	for range 2 {
		tree.write("stUc0AOT")
		tree.reports()
	}
	tree.rename("stUc0AOT", "built-in.a")
	tree.reports()
	tree.write("st21nfca/core.c")
	tree.reports("st21nfca/core.c")
	for _, name := range []string{"standard", "stUc0AOT.c", "stUc0AO", "st_UcOAO"} {
		tree.write(name)
		tree.reports(name)
	}
}

func TestSwappedFolders(t *testing.T) {
	tree := newTree(t)
	tree.write("a/x.c")
	tree.write("b/y.c")
	tree.watch(nil)
	tree.rename("a", "c")
	tree.rename("b", "a")
	tree.rename("c", "b")
	tree.drain() // c may have been seen, or not
	tree.write("a/y.c")
	tree.write("b/x.c")
	tree.reports("a/y.c", "b/x.c")
}

func TestExtra(t *testing.T) {
	tree := newTree(t)
	tree.put(".gitignore", ".*\n")
	tree.write(".config")
	tree.write("build/.config")
	tree.write("../conf/debug.config")
	tree.write("../shared/real.config")
	tree.write("../shared/other.config")
	tree.check(os.Symlink("../shared/real.config", tree.path("link.config")))
	tree.watch(func(o *Options) {
		o.StateDir = t.TempDir()
		o.Extra = []string{
			tree.path(".config"), tree.path("build/.config"), tree.path("../conf/debug.config"), tree.path("link.config"),
		}
		o.Ignore = []string{tree.path("build")}
	})
	for _, name := range []string{".config", "build/.config", "../conf/debug.config"} {
		tree.write(name)
		tree.reports(name)
		tree.write(name + ".new")
		tree.write(filepath.Dir(name) + "/.hidden")
		tree.rename(name+".new", name)
		tree.reports(name) // and not its neighbours
		tree.remove(name)
		tree.reports(name)
	}

	// What a link points to is what matters.
	tree.write("../shared/real.config")
	tree.reports("link.config")
	tree.write("../shared/other.config")
	tree.reports()
	tree.check(os.Symlink("../shared/other.config", tree.path(".new")))
	tree.rename(".new", "link.config")
	tree.reports("link.config")
	tree.write("../shared/other.config")
	tree.reports("link.config")

	// The watch of a build directory outlasts `rm -r`.
	tree.remove("build")
	tree.reports()
	tree.write("build/.config")
	tree.reports("build/.config")
	tree.write("build/.config")
	tree.write("build/vmlinux.c")
	tree.reports("build/.config")
}

func TestExtraWhoseFolderGoes(t *testing.T) {
	tree := newTree(t)
	fragment := tree.path("../conf/debug.config")
	tree.write(fragment)
	tree.watch(func(o *Options) { o.Extra = []string{fragment} })
	tree.rename("../conf", "../gone")
	for {
		set := tree.next()
		if set.Err != nil {
			want := fmt.Sprintf("watch %s: its directory was removed or renamed", fragment)
			if set.Err.Error() != want {
				t.Errorf("got %q, want %q", set.Err, want)
			}
			return
		}
	}
}

func TestExtraMustHaveFolder(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "conf", "debug.config")
	_, err := New(context.Background(), Options{Root: t.TempDir(), Extra: []string{missing}})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("got: %v", err)
	}
}

func TestIgnore(t *testing.T) {
	tree := newTree(t)
	tree.write("build/x.c")
	tree.watch(func(o *Options) { o.Ignore = []string{tree.path("build") + "/", tree.path("share")} })
	tree.write("build/x.c")
	tree.write("build/new/y.c")
	tree.write("share/z.c")
	tree.reports()
	tree.write("build.c")
	tree.reports("build.c")
}

// TestProducts has the files that a build makes in the tree, and where the
// rules for them may come from.
func TestProducts(t *testing.T) {
	const rules = `.*
*.lex.c
*.o
*.tab.[ch]
modules.order
/vmlinux
/include/config/
/include/generated/
!.gitignore
`
	repository := func(t *tree) {
		t.git("init", "--quiet")
		t.git("add", ".")
		t.git("commit", "--quiet", "--message=x")
	}
	for _, tt := range []struct {
		name    string
		prepare func(t *tree)
		state   bool // a directory for git
		names   bool // no rules: usual names only
	}{
		{name: "a repository", prepare: repository},
		{name: "a source package", state: true},
		{
			name: "a source package of Debian", prepare: func(t *tree) { t.put(".gitignore", rules+"/*\n!/debian/\n") },
			state: true, names: true,
		},
		{
			name: "a source package of Debian in a repository", prepare: func(t *tree) {
				t.put(".gitignore", rules+"/*\n!/debian/\n")
				t.git("init", "--quiet")
				t.git("add", "--force", "kernel")
			},
			names: true,
		},
		{name: "a source package, nowhere to put a repository", names: true},
		{name: "no git", prepare: func(t *tree) { repository(t); t.Setenv("PATH", t.TempDir()) }, state: true, names: true},
		{
			name: "a worktree", prepare: func(t *tree) {
				repository(t)
				t.git("worktree", "add", "--quiet", "../worktree")
				t.root = t.path("../worktree")
			},
		},
		{
			name: "a worktree without its repository", prepare: func(t *tree) { t.put(".git", "gitdir: /nowhere\n") },
			state: true,
		},
		{name: "a corrupt repository", prepare: func(t *tree) { repository(t); t.put(".git/config", "[") }, state: true},
		{name: "a corrupt index", prepare: func(t *tree) { repository(t); t.put(".git/index", "DIRC") }, state: true},
		{name: "a corrupt repository and no other", prepare: func(t *tree) { t.put(".git/HEAD", "x") }, names: true},
		{name: "a repository of somebody else", prepare: func(t *tree) {
			repository(t)
			if err := errors.Join(os.Chown(t.root, 1, 1), os.Chown(t.path(".git"), 1, 1)); err != nil {
				t.Skip(err)
			}
		}},
		{name: "a hook", prepare: func(t *tree) {
			repository(t)
			t.Setenv("GIT_DIR", t.TempDir())
			t.Setenv("GIT_INDEX_FILE", "/nowhere")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath("git"); err != nil {
				t.Skip(err)
			}
			tree := newTree(t)
			tree.put(".gitignore", rules)
			tree.put("scripts/kconfig/.gitignore", "/conf\n")
			tree.write("kernel/fork.c")
			tree.write("kernel/forced.o.c")
			if tt.prepare != nil {
				tt.prepare(tree)
			}
			tree.watch(func(o *Options) {
				if tt.state {
					o.StateDir = t.TempDir()
				}
			})
			for range 2 {
				for _, product := range []string{
					"kernel/fork.o", "kernel/.fork.o.cmd", "scripts/x.tab.c", "scripts/x.tab.h", "scripts/x.lex.c", "vmlinux",
					"modules.order", "include/generated/autoconf.h", "include/config/auto.conf", ".config", ".config.old",
				} {
					tree.write(product)
				}
				tree.write("kernel/fork.c")
				tree.write("scripts/kconfig/conf")
				want := []string{"kernel/fork.c"}
				if tt.names {
					// Which is known for a program only when it has been written.
					tree.put(".modpost", "\x7fELF…")
					tree.rename(".modpost", "scripts/modpost")
					want = append(want, "scripts/kconfig/conf")
				}
				tree.reports(want...)
			}

			// Rules change.
			tree.put("scripts/kconfig/.gitignore", "/other\n")
			tree.reports("scripts/kconfig/.gitignore")
			tree.write("scripts/kconfig/conf")
			tree.reports("scripts/kconfig/conf")
			if !tt.names {
				tree.write("scripts/kconfig/other")
				tree.reports()
			}
		})
	}
}

func TestSourcesAreNoProducts(t *testing.T) {
	for _, path := range []string{
		"arch/x86/kernel/vmlinux.lds.S", "include/asm-generic/vmlinux.lds.h", "arch/m68k/kernel/vmlinux-std.lds", "lib/crc32.c", "drivers/s390/char/defkeymap.c",
		"arch/parisc/boot/compressed/vmlinux.scr", "scripts/kconfig/lexer.l", "init/Kconfig", "kernel/configs/debug.config",
		"include/linux/generated.h", "fs/config/x.c", "certs/signing_key.pem.c",
	} {
		path = filepath.Join("/src", path)
		if product(filepath.Base(path)) || generated(path) || usual(path) || temporary(filepath.Base(path)) {
			t.Errorf("%s is taken for a product", path)
		}
	}
}

// TestGitDiesOnPath has git killed by a question, and by somebody.
func TestGitDiesOnPath(t *testing.T) {
	tree := newTree(t)
	tree.put(".gitignore", "product\n")
	tree.check(os.Symlink("/", tree.path("link")))
	tree.git("init", "--quiet")
	g := newIgnorer(t.Context(), tree.root, "")
	defer g.close()
	for i := range 3 {
		if g.match(tree.path(fmt.Sprintf("link/%d", i))) { // "beyond a symbolic link"
			t.Error("what git can't tell is ignored")
		}
		if !g.match(tree.path(fmt.Sprintf("%d/product", i))) {
			t.Error("git isn't asked any more")
		}
		tree.check(g.cmd.Process.Kill())
	}
}

func TestGitDiesWithUs(t *testing.T) {
	tree := newTree(t)
	tree.check(os.MkdirAll(tree.root, 0o755))
	tree.git("init", "--quiet")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), modeVariable+"="+modeGit, rootVariable+"="+tree.root)
	out, err := cmd.StdoutPipe()
	tree.check(err)
	tree.check(cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	tree.check(err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	tree.check(err)
	if group, err := unix.Getpgid(pid); err != nil || group != pid {
		t.Errorf("git is in process group %d: %v", group, err)
	}
	git, err := unix.PidfdOpen(pid, 0)
	tree.check(err)
	defer unix.Close(git)
	tree.check(cmd.Process.Kill())
	_ = cmd.Wait() // killed
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(git), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	if n != 1 || err != nil {
		t.Errorf("git outlives us: %v", err)
	}
}

func TestBurstIsOneSet(t *testing.T) {
	tree := newTree(t)
	var want []string
	for i := range 1000 {
		name := fmt.Sprintf("d%d/f%d.c", i%10, i)
		tree.write(name)
		want = append(want, tree.path(name))
	}
	tree.write("many.c")
	tree.git("init", "--quiet")
	tree.git("add", ".")
	tree.git("commit", "--quiet", "--message=x")
	for _, name := range want {
		tree.write(name)
	}
	tree.git("commit", "--quiet", "--all", "--message=y")
	tree.watch(func(o *Options) { o.Quiet = 500 * time.Millisecond })
	tree.git("checkout", "--quiet", "HEAD^")
	slices.Sort(want)
	if diff := cmp.Diff(Set{Paths: want}, tree.next()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMaxBoundsBurst(t *testing.T) {
	tree := newTree(t)
	tree.watch(func(o *Options) { o.Quiet, o.Max = time.Hour, 50*time.Millisecond })
	for began := time.Now(); time.Since(began) < patience; {
		tree.write("a.c")
		select {
		case set := <-tree.w.Changes():
			if d := time.Since(began); d < 50*time.Millisecond {
				t.Errorf("%+v after %v", set, d)
			}
			return
		default:
		}
	}
	t.Error("nothing was reported")
}

func TestUntakenSetGrows(t *testing.T) {
	tree := newTree(t)
	tree.watch(nil)
	tree.write("a.c")
	// Nobody takes it until the next is settled, too.
	tree.write("b.c")
	tree.reports("a.c", "b.c")

	w := &Watcher{ignored: &ignorer{}, pending: map[string]bool{"/b": false}}
	got := w.settle(Set{Paths: []string{"/a", "/c"}, Rescan: true})
	if diff := cmp.Diff(Set{Paths: []string{"/a", "/b", "/c"}, Rescan: true}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHold(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name  string
		lock  time.Time // zero: there is none
		first time.Time
		repo  bool
		holds bool
	}{
		{name: "no repository", lock: now, first: now},
		{name: "no lock", first: now, repo: true},
		{name: "a lock", lock: now, first: now, repo: true, holds: true},
		{name: "a lock held for too long", lock: now, first: now.Add(-time.Hour), repo: true},
		{name: "a lock that was forgotten", lock: now.Add(-time.Hour), first: now, repo: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := newTree(t)
			lock := tree.path(".git/index.lock")
			if !tt.lock.IsZero() {
				tree.write(lock)
				tree.check(os.Chtimes(lock, tt.lock, tt.lock))
			}
			w := &Watcher{o: Options{Max: time.Minute}, first: tt.first}
			if tt.repo {
				tree.check(os.MkdirAll(tree.path(".git"), 0o755))
				w.gitLock = gitLock(tree.root)
			}
			if got := w.hold(); got > 0 != tt.holds {
				t.Errorf("holds %v", got)
			}
		})
	}
}

func TestGitLock(t *testing.T) {
	tree := newTree(t)
	tree.write("a.c")
	tree.git("init", "--quiet")
	lock := tree.path(".git/index.lock")
	if got := gitLock(tree.root); got != lock {
		t.Errorf("the lock is %s", got)
	}
	tree.git("add", ".")
	tree.git("commit", "--quiet", "--message=x")
	tree.git("worktree", "add", "--quiet", "../worktree")
	if got, want := gitLock(tree.path("../worktree")), tree.path(".git/worktrees/worktree/index.lock"); got != want {
		t.Errorf("the worktree's lock is %s, want %s", got, want)
	}

	tree.write(lock)
	tree.watch(nil)
	tree.write("a.c")
	select {
	case set := <-tree.w.Changes():
		t.Errorf("%+v while git is at work", set)
	default:
	}
	tree.remove(lock)
	tree.reports("a.c")
}

func TestLockIsBounded(t *testing.T) {
	tree := newTree(t)
	tree.check(os.MkdirAll(tree.root, 0o755))
	tree.git("init", "--quiet")
	most := 20 * time.Millisecond
	tree.watch(func(o *Options) { o.Max = most })
	began := time.Now()
	tree.write(".git/index.lock")
	tree.write("a.c")
	tree.reports("a.c")
	// The clock of file systems lags by up to a tick.
	if d := time.Since(began); d < lockFactor*most-10*time.Millisecond {
		t.Errorf("git was given %v", d)
	}
}

func TestOverflow(t *testing.T) {
	tree := newTree(t)
	tree.write("old/x.c")
	tree.write("swap1/x.c")
	tree.write("swap2/y.c")
	fragment := tree.path("../conf/debug.config")
	tree.write(fragment)
	tree.watch(func(o *Options) { o.Extra = []string{fragment} })
	// Events are lost.
	inotify := tree.w.source.(*notifier).fs
	tree.check(inotify.Remove(tree.root))
	tree.write("new/x.c")
	tree.rename("old", "renamed")
	tree.rename("swap1", "swap")
	tree.rename("swap2", "swap1")
	tree.rename("swap", "swap2")
	inotify.Errors <- fsnotify.ErrEventOverflow
	for !tree.next().Rescan {
	}
	for _, name := range []string{"new/x.c", "renamed/x.c", "swap1/y.c", "swap2/x.c", "a.c", fragment} {
		tree.write(name)
		tree.reports(name)
	}
}

// The rules of .gitignore are read again when it isn't known what changed: a checkout of
// another version changes them too.
func TestOverflowHidesRules(t *testing.T) {
	tree := newTree(t)
	tree.put(".gitignore", "asn.c\n")
	tree.write("asn.c")
	tree.git("init", "--quiet")
	tree.watch(nil)
	tree.write("asn.c")
	tree.write("b.c")
	tree.reports("b.c")
	inotify := tree.w.source.(*notifier).fs
	tree.check(inotify.Remove(tree.root))
	tree.put(".gitignore", "")
	inotify.Errors <- fsnotify.ErrEventOverflow
	for !tree.next().Rescan {
	}
	tree.write("asn.c")
	tree.reports("asn.c")
}

func TestErrorsEndIt(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(t *tree)
		want string
	}{
		{"of inotify", func(t *tree) { t.w.source.(*notifier).fs.Errors <- unix.EBADF }, "watch the tree: bad file descriptor"},
		{"a removed tree", func(t *tree) { t.remove(t.root) }, "was removed or renamed"},
		{"a renamed tree", func(t *tree) { t.rename(t.root, "../other") }, "was removed or renamed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := newTree(t)
			tree.write("a.c")
			tree.watch(nil)
			tt.do(tree)
			for range tree.w.Changes() {
			}
			if err := tree.w.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it ended with: %v", err)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	tree := newTree(t)
	tree.write("a.c")
	tree.git("init", "--quiet")
	ctx, cancel := context.WithCancel(context.Background())
	w, err := New(ctx, Options{Root: tree.root})
	tree.check(err)
	tree.w = w
	tree.write("a.c")
	tree.next() // so git runs
	if !slices.Contains(children(t), "git") {
		t.Error("git wasn't asked")
	}
	cancel()
	for range w.Changes() {
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for began := time.Now(); ; runtime.Gosched() {
		stacks := make([]byte, 1<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		if !strings.Contains(text, "watch.(*Watcher)") && !strings.Contains(text, "fsnotify") && !strings.Contains(text, "os/exec") {
			break
		}
		if time.Since(began) > patience {
			t.Fatalf("left behind:\n%s", text)
		}
	}
}

// children are the names of the programs that we have started.
func children(t *testing.T) []string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Skip("this kernel doesn't list children")
	}
	var names []string
	for _, list := range lists {
		pids, _ := os.ReadFile(list) // the thread may be gone
		for _, pid := range strings.Fields(string(pids)) {
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			names = append(names, strings.TrimSpace(string(name)))
		}
	}
	return names
}

func TestUnreadableFolder(t *testing.T) {
	tree := newTree(t)
	tree.write("closed/x.c")
	tree.write("closed/below/x.c")
	tree.check(os.Chmod(tree.path("closed"), 0))
	defer os.Chmod(tree.path("closed"), 0o755)
	if os.Geteuid() == 0 {
		// Nothing is unreadable to root. The name of each directory above is public.
		for dir := tree.root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			tree.check(os.Chmod(dir, 0o777))
		}
		tree.check(syscall.Seteuid(65534))
		defer syscall.Seteuid(0)
	}
	tree.watch(nil)
	tree.write("a.c")
	tree.reports("a.c")
	tree.check(os.Mkdir(tree.path("new"), 0o755))
	tree.check(os.Mkdir(tree.path("new/closed"), 0))
	tree.write("b.c")
	tree.reports("b.c")
}

func TestLimitError(t *testing.T) {
	tree := newTree(t)
	for i := range 5 {
		tree.write(fmt.Sprintf("d%d/x.c", i))
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), modeVariable+"="+modeLimit, rootVariable+"="+tree.root)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	got := strings.TrimSpace(string(out))
	if err != nil || strings.HasPrefix(got, "skip") {
		t.Skipf("needs a user namespace: %v: %s", err, got)
	}
	value, err := os.ReadFile("/proc/sys/fs/inotify/max_user_watches")
	tree.check(err)
	want := "true watch the tree: no space left on device: fs.inotify.max_user_watches is " + strings.TrimSpace(string(value)) +
		" for all programs of a user, and the tree alone needs 6"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLimitErrorHint(t *testing.T) {
	for _, tt := range []struct {
		err         error
		directories int
		sysctl      string
		least       int
	}{
		{unix.ENOSPC, 5096, "fs.inotify.max_user_watches", 524288},
		{unix.ENOSPC, 10_000_000, "fs.inotify.max_user_watches", 20_000_000},
		{unix.EMFILE, 0, "fs.inotify.max_user_instances", 1024},
	} {
		limit := (*LimitError)(nil)
		err := watchError(fmt.Errorf("add: %w", tt.err), tt.directories)
		if !errors.As(err, &limit) || !errors.Is(err, tt.err) {
			t.Fatalf("%T: %v", err, err)
		}
		number, ok := strings.CutPrefix(limit.Hint(), "sudo sysctl "+tt.sysctl+"=")
		if n, err := strconv.Atoi(number); !ok || err != nil || n < tt.least {
			t.Errorf("hint: %s", limit.Hint())
		}
		if !strings.Contains(err.Error(), tt.sysctl+" is "+limit.value) {
			t.Error(err)
		}
	}
	limit := (*LimitError)(nil)
	if err := watchError(unix.EIO, 1); errors.As(err, &limit) {
		t.Error("an I/O error is no limit")
	}
}

// BenchmarkNew watches as many directories as Linux 6.1 has.
func BenchmarkNew(b *testing.B) {
	root := b.TempDir()
	for i := range 5096 {
		if err := os.MkdirAll(filepath.Join(root, fmt.Sprintf("d%d/d%d", i%71, i)), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		w, err := New(ctx, Options{Root: root})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		cancel()
		for range w.Changes() {
		}
		b.StartTimer()
	}
}
