// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// askTimeout is how long git may take for an answer, its start included: a
	// kernel's index is read in 30 ms.
	askTimeout = 10 * time.Second

	// maxAnswers bounds the memory for answers; a full build makes fewer files.
	maxAnswers = 1 << 17
)

// An ignorer tells what a build makes from what people write, by the tree's own
// .gitignore files. One git process answers, in microseconds a path. Where
// there is no git, the names of usual products have to do.
type ignorer struct {
	ctx          context.Context // git is killed at its end
	root         string
	repositories []string // whose git to ask, the best first; none: no git
	own          string   // the one that is made when it is needed; may be empty
	answers      map[string]bool
	void         string // a rule that ignores every new source file; see start

	cmd *exec.Cmd // nil while git doesn't run
	in  *os.File
	out *os.File
	buf *bufio.Reader
}

func newIgnorer(ctx context.Context, root, state string) *ignorer {
	g := &ignorer{ctx: ctx, root: root, answers: make(map[string]bool)}
	if _, err := exec.LookPath("git"); err != nil {
		return g
	}
	if git := filepath.Join(root, ".git"); exists(git) {
		g.repositories = append(g.repositories, git)
	}
	if state != "" {
		// A source package has the .gitignore files without a repository. An empty
		// one will do, also when the tree's own is broken.
		g.own = filepath.Join(state, "git")
		g.repositories = append(g.repositories, g.own)
	}
	return g
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// match says whether a path is a product of the build.
func (g *ignorer) match(path string) bool {
	if product(filepath.Base(path)) || generated(path) {
		return true
	}
	ignored, ok := g.answers[path]
	if ok {
		return ignored
	}
	rule, err := g.ask(path)
	switch {
	case err != nil:
		// Git was killed, or can't bear the path (beyond a link, say). Another
		// process will answer for the next one.
		g.close()
		ignored = usual(path)
	case rule == g.void && rule != "":
		ignored = usual(path)
	default:
		ignored = rule != ""
	}
	if len(g.answers) >= maxAnswers {
		clear(g.answers)
	}
	g.answers[path] = ignored
	return ignored
}

// reset makes the next question see changed rules.
func (g *ignorer) reset() {
	g.close()
	clear(g.answers)
}

// guesses says whether names are all that there is to go by.
func (g *ignorer) guesses() bool { return len(g.repositories) == 0 || g.void != "" }

// ask returns the rule by which a path is ignored, empty when it isn't.
func (g *ignorer) ask(path string) (string, error) {
	if err := g.start(); err != nil {
		return "", err
	}
	return g.exchange(path)
}

// start starts git; nothing happens when it runs already. A repository in
// which git can't answer at all is not tried again.
//
// The first question is about a source file that somebody might add. Debian's
// linux-source packages end their .gitignore with "/*", for those who package
// them: by that rule nothing would ever change.
func (g *ignorer) start() error {
	if g.cmd != nil {
		return nil
	}
	err := errors.New("no git")
	for len(g.repositories) > 0 {
		if err = g.launch(g.repositories[0]); err == nil {
			if g.void, err = g.exchange(filepath.Join(g.root, "init/run-kernel-probe.c")); err == nil {
				return nil
			}
			g.close()
		}
		if g.ctx.Err() != nil {
			return err
		}
		g.repositories = g.repositories[1:]
	}
	return err
}

func (g *ignorer) launch(repository string) error {
	env := environment()
	if repository == g.own && !exists(filepath.Join(repository, "HEAD")) {
		cmd := exec.CommandContext(g.ctx, "git", "init", "--quiet", "--bare", repository)
		cmd.Env = env
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	// Pipes of our own: they have deadlines. Git ends with its standard input,
	// that is with this process, however that ends.
	childIn, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		return errors.Join(err, in.Close())
	}
	defer childOut.Close()
	cmd := exec.CommandContext(g.ctx, "git", "-c", "core.fsmonitor=false",
		"check-ignore", "--stdin", "-z", "--verbose", "--non-matching")
	// Naming both also keeps git from refusing a tree of another user.
	cmd.Env = append(env, "GIT_DIR="+repository, "GIT_WORK_TREE="+g.root, "GIT_OPTIONAL_LOCKS=0")
	cmd.Dir, cmd.Stdin, cmd.Stdout = g.root, childIn, childOut
	// The terminal's Ctrl-C is for run-kernel.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, in.Close(), out.Close())
	}
	g.cmd, g.in, g.out, g.buf = cmd, in, out, bufio.NewReader(out)
	return nil
}

// environment is ours without what tells git of another repository, as in a
// hook or `git rebase --exec`.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GIT_") && !strings.HasPrefix(v, "GIT_EXEC_PATH=")
	})
}

func (g *ignorer) close() {
	if g.cmd == nil {
		return
	}
	_ = g.in.Close()
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait() // killed
	_ = g.out.Close()
	g.cmd = nil
}

// exchange asks the git that runs.
func (g *ignorer) exchange(path string) (string, error) {
	deadline := time.Now().Add(askTimeout)
	if err := errors.Join(g.in.SetWriteDeadline(deadline), g.out.SetReadDeadline(deadline)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(g.in, path+"\x00"); err != nil {
		return "", err
	}
	// Source, line, pattern and path, each ended by NUL; see git-check-ignore(1).
	var fields [4]string
	for i := range fields {
		f, err := g.buf.ReadString(0)
		if err != nil {
			return "", err
		}
		fields[i] = f
	}
	if pattern := fields[2]; pattern == "\x00" || strings.HasPrefix(pattern, "!") {
		return "", nil
	}
	return fields[0] + fields[1] + fields[2], nil
}

// product recognises what every kernel's .gitignore has first, without asking.
func product(name string) bool {
	switch filepath.Ext(name) {
	case ".o", ".a", ".ko", ".mod", ".cmd", ".d", ".dtb", ".order", ".su", ".gcno":
		return true
	}
	return strings.HasSuffix(name, ".mod.c") || name == "vmlinux" || name == "System.map" || name == "Module.symvers" || scratch(name)
}

// scratch recognises the names, by mkstemp(3), under which the programs of binutils
// write what then replaces another file: in a build in the tree beside the sources.
// No .gitignore has them, and ar may take longer than changes have to settle. Of 200
// such names one has small letters only, as a source file might, and isn't taken for
// one.
func scratch(name string) bool {
	random, ok := strings.CutPrefix(name, "st")
	if !ok || len(random) != 6 {
		return false
	}
	small := 0
	for _, c := range []byte(random) {
		switch {
		case c >= 'a' && c <= 'z':
			small++
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		default:
			return false
		}
	}
	return small < len(random)
}

// generated recognises what is in, or is, a directory that only a build fills.
func generated(path string) bool {
	return strings.Contains(path+"/", "/include/generated/") || strings.Contains(path+"/", "/include/config/")
}

// usual recognises by its name what a build makes. It is for where git can't
// tell. What it doesn't know costs a build that finds nothing to do; the
// programs in scripts/ are known by their contents.
func usual(path string) bool {
	for _, suffix := range []string{
		".asn1.c", ".asn1.h", ".bin", ".builtin", ".bz2", ".dtb.S", ".dtbo", ".dwo", ".elf", ".gz", ".i", ".lex.c",
		".ll", ".lst", ".lz4", ".lzma", ".lzo", ".modinfo", ".s", ".so", ".so.dbg", ".symtypes", ".symversions",
		".tab.c", ".tab.h", ".tmp", ".usyms", ".xz", ".zst",
		"/bzImage", "/capflags.c", "/config_data", "/consolemap_deftbl.c", "/cpustr.h", "/vt/defkeymap.c",
		"/devicetable-offsets.h", "/elfconfig.h", "/inat-tables.c",
		"/initramfs_data.cpio", "/initramfs_inc_data", "/kheaders_data", "/oid_registry_data.c", "/utsversion-tmp.h",
		"/vdso.lds", "/vdso32.lds", "/vdsox32.lds", "/vmlinux.32", "/vmlinux.lds", "/vmlinux.map", "/vmlinux.symvers", "/voffset.h", "/zoffset.h",
	} {
		if strings.HasSuffix(path, suffix) {
			return true
		}
	}
	name := filepath.Base(path)
	return strings.HasPrefix(name, "crc") && strings.HasSuffix(name, "table.h")
}

// program says whether a file is a program or an object, of any name.
func program(path string) bool {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == "\x7fELF"
}
