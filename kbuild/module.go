// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/proc"
)

// Modules are a build's kernel modules in the form in which modprobe finds them.
type Modules struct {
	Release string // what uname -r says
	Dir     string // for /lib/modules/<Release>; absolute, below the build directory
}

// A module is a file of a build.
type module struct {
	file string // absolute
	name string // below kernel/ in /lib/modules/<release>
}

// modules lists what make modules has built. There is nothing to list where
// nothing is a module, or before the first build.
func (t *Tree) modules() []module {
	data, _ := os.ReadFile(filepath.Join(t.BuildDir, "modules.order"))
	var list []module
	for _, name := range strings.Fields(string(data)) {
		// Until Linux 6.2 a line is kernel/x.ko, until 6.3 x.ko, and then x.o.
		name = strings.TrimPrefix(name, "kernel/")
		name = strings.TrimSuffix(strings.TrimSuffix(name, ".o"), ".ko") + ".ko"
		file := filepath.Join(t.BuildDir, name)
		if _, err := os.Stat(file); err != nil && strings.HasPrefix(name, "/") {
			file = name // of a directory outside of the tree
		}
		list = append(list, module{file: file, name: name})
	}
	return list
}

// fingerprint tells one state of the modules from another.
func fingerprint(list []module) string {
	h := sha256.New()
	for _, m := range list {
		fmt.Fprintf(h, "%s %+v\n", m.name, identify(m.file))
	}
	return fmt.Sprintf("%x\n", h.Sum(nil))
}

// release is that of the last build, or empty.
func (t *Tree) release() string {
	data, _ := os.ReadFile(filepath.Join(t.BuildDir, "include/config/kernel.release"))
	return strings.TrimSpace(string(data))
}

// StageModules makes the modules of the last build ready for modprobe: links to
// them, as they are, and the tables that depmod makes. What is up to date it
// leaves alone. It returns nil where there are no modules.
func (t *Tree) StageModules(ctx context.Context) (*Modules, error) {
	list, release := t.modules(), t.release()
	if len(list) == 0 || release == "" {
		return nil, nil
	}
	state, err := t.StateDir()
	if err != nil {
		return nil, err
	}
	// VMs of one build may start at the same time.
	lock, err := os.OpenFile(filepath.Join(state, "modules.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("modules: lock: %w", err)
	}
	base := filepath.Join(state, "modules")
	m := &Modules{Release: release, Dir: filepath.Join(base, "lib/modules", release)}
	mark, now := filepath.Join(m.Dir, ".staged"), fingerprint(list)
	if staged, err := os.ReadFile(mark); err == nil && string(staged) == now {
		return m, nil
	}
	if err := t.stage(ctx, base, m, list); err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	return m, os.WriteFile(mark, []byte(now), 0o644)
}

func (t *Tree) stage(ctx context.Context, base string, m *Modules, list []module) error {
	depmod, err := proc.Look("depmod", "/usr/sbin", "/sbin")
	if err != nil {
		return err
	}
	// Another release's are of no use any more.
	others, _ := filepath.Glob(filepath.Join(base, "lib/modules/*"))
	for _, dir := range others {
		if dir != m.Dir {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	wanted := make(map[string]bool)
	var order strings.Builder
	for _, module := range list {
		link := filepath.Join(m.Dir, "kernel", module.name)
		wanted[link] = true
		fmt.Fprintf(&order, "kernel/%s\n", module.name)
		if err := replaceLink(module.file, link); err != nil {
			return err
		}
	}
	// A guest that runs has this folder: it is changed, not replaced.
	err = filepath.WalkDir(filepath.Join(m.Dir, "kernel"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !wanted[path] {
			return os.Remove(path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for name, to := range map[string]string{"build": t.BuildDir, "source": t.Source} {
		if err := replaceLink(to, filepath.Join(m.Dir, name)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(m.Dir, "modules.order"), []byte(order.String()), 0o644); err != nil {
		return err
	}
	for _, name := range []string{"modules.builtin", "modules.builtin.modinfo"} {
		data, err := os.ReadFile(filepath.Join(t.BuildDir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(m.Dir, name), data, 0o644)); err != nil {
			return err
		}
	}
	_, err = proc.Output(ctx, exec.Command(depmod, "--basedir", base, m.Release), grace)
	return err
}

// replaceLink makes link lead to a file, whatever was there.
func replaceLink(to, link string) error {
	if old, err := os.Readlink(link); err == nil && old == to {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(to, link)
}
