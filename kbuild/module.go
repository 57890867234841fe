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

	"github.com/metaspace/run-kernel/internal/private"
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
	name string // in the build directory; absolute, outside of the tree
	// copied: the guest may not see the file, or not as it is now.
	copied bool
}

// place is where it goes in /lib/modules/<release>. What is below updates comes before a
// module of the tree that has the same name: see depmod.d(5).
func (m module) place() string {
	if filepath.IsAbs(m.name) {
		return filepath.Join("updates", m.name)
	}
	return filepath.Join("kernel", m.name)
}

// modules lists what make modules has built. There is nothing to list where
// nothing is a module, or before the first build.
func (t *Tree) modules() []module {
	var list []module
	for _, name := range readOrder(t.BuildDir) {
		name = strings.TrimPrefix(name, "kernel/")
		file := filepath.Join(t.BuildDir, name)
		if _, err := os.Stat(file); err != nil && strings.HasPrefix(name, "/") {
			file = name // of a directory outside of the tree
		}
		list = append(list, module{file: file, name: name})
	}
	for _, dir := range t.External {
		for _, name := range readOrder(dir) {
			// make has it with the directory's path, or without.
			if !strings.HasPrefix(name, "/") {
				name = filepath.Join(dir, name)
			}
			list = append(list, module{file: name, name: name, copied: true})
		}
	}
	return list
}

// readOrder reads the list of modules in a directory that make has built.
func readOrder(dir string) []string {
	data, _ := os.ReadFile(filepath.Join(dir, "modules.order"))
	names := strings.Fields(string(data))
	for i, name := range names {
		// Until Linux 6.2 a line is kernel/x.ko, until 6.3 x.ko, and then x.o.
		names[i] = strings.TrimSuffix(strings.TrimSuffix(name, ".o"), ".ko") + ".ko"
	}
	return names
}

// A ModuleFile is a module of the last build. Two of them are equal where the file is the
// same one, unchanged.
type ModuleFile struct {
	Name string // as modprobe knows it
	Path string
	id   identity
}

// ModuleName is the name by which modprobe knows a file.
func ModuleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".ko"), "-", "_")
}

// ModuleFiles returns the modules of the last build by their names.
func (t *Tree) ModuleFiles() map[string]ModuleFile {
	files := map[string]ModuleFile{}
	for _, m := range t.modules() {
		name := ModuleName(m.file)
		files[name] = ModuleFile{Name: name, Path: m.file, id: identify(m.file)}
	}
	return files
}

// fingerprint tells one state of the modules from another.
func fingerprint(list []module) string {
	h := sha256.New()
	for _, m := range list {
		fmt.Fprintf(h, "%s %+v\n", m.place(), identify(m.file))
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
	lock, err := private.Open(filepath.Join(state, "modules.lock"))
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("modules: lock: %w", err)
	}
	base, err := t.StateDir("modules")
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	// What is in there may be an archive's: no link of it leads out.
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	defer root.Close()
	dir := filepath.Join("lib/modules", release)
	m := &Modules{Release: release, Dir: filepath.Join(base, dir)}
	mark, now := filepath.Join(dir, ".staged"), fingerprint(list)
	if staged, err := root.ReadFile(mark); err == nil && string(staged) == now {
		return m, nil
	}
	if err := t.stage(ctx, root, dir, m.Release, list); err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	return m, root.WriteFile(mark, []byte(now), 0o600)
}

// stage fills the directory dir of root.
func (t *Tree) stage(ctx context.Context, root *os.Root, dir, release string, list []module) error {
	depmod, err := proc.Look("depmod", "/usr/sbin", "/sbin")
	if err != nil {
		return err
	}
	// Another release's are of no use any more.
	others, _ := fs.Glob(root.FS(), "lib/modules/*")
	for _, other := range others {
		if other != dir {
			if err := root.RemoveAll(other); err != nil {
				return err
			}
		}
	}
	wanted := make(map[string]bool)
	var order strings.Builder
	for _, module := range list {
		link := filepath.Join(dir, module.place())
		wanted[link] = true
		fmt.Fprintln(&order, module.place())
		place := replaceLink
		if module.copied {
			place = replaceFile
		}
		if err := place(root, module.file, link); err != nil {
			return err
		}
	}
	// A guest that runs has this directory: it is changed, not replaced.
	for _, top := range []string{"kernel", "updates"} {
		err = fs.WalkDir(root.FS(), filepath.Join(dir, top), func(path string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil // it has no module
			case err == nil && !e.IsDir() && !wanted[path]:
				return root.Remove(path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for name, to := range map[string]string{"build": t.BuildDir, "source": t.Source} {
		if err := replaceLink(root, to, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := root.WriteFile(filepath.Join(dir, "modules.order"), []byte(order.String()), 0o644); err != nil {
		return err
	}
	for _, name := range []string{"modules.builtin", "modules.builtin.modinfo"} {
		data, err := os.ReadFile(filepath.Join(t.BuildDir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := errors.Join(err, root.WriteFile(filepath.Join(dir, name), data, 0o644)); err != nil {
			return err
		}
	}
	_, err = proc.Output(ctx, exec.Command(depmod, "--basedir", root.Name(), release), grace)
	return err
}

// replaceFile makes name a copy of a file, whatever was there.
func replaceFile(root *os.Root, file, name string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return root.WriteFile(name, data, 0o644)
}

// replaceLink makes link lead to a file, whatever was there.
func replaceLink(root *os.Root, to, link string) error {
	if old, err := root.Readlink(link); err == nil && old == to {
		return nil
	}
	if err := root.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	if err := root.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return root.Symlink(to, link)
}
