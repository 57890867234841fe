// SPDX-License-Identifier: GPL-3.0-only

package leftover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Stock is what there is at a time of what may outlive a process: sockets with a
// name, mounts, and files.
type Stock struct {
	names []string
	dirs  []string

	sockets, mounts, files map[string]bool
}

// Take takes stock of all mounts of this namespace, of the sockets whose name
// contains one of names, and of the files in dirs and below, which needn't exist.
// Of sockets it takes what tells the run's from others', since other programs come
// and go meanwhile.
func Take(names, dirs []string) (*Stock, error) {
	s := &Stock{names: names, dirs: dirs}
	var err error
	if s.sockets, err = s.listSockets(); err != nil {
		return nil, err
	}
	if s.mounts, err = listMounts(); err != nil {
		return nil, err
	}
	if s.files, err = listFiles(dirs); err != nil {
		return nil, err
	}
	return s, nil
}

// Added returns what has come since, a text for each.
func (s *Stock) Added() ([]string, error) {
	now, err := Take(s.names, s.dirs)
	if err != nil {
		return nil, err
	}
	var added []string
	for _, kind := range []struct {
		name        string
		before, now map[string]bool
	}{{"socket", s.sockets, now.sockets}, {"mount", s.mounts, now.mounts}, {"file", s.files, now.files}} {
		for what := range kind.now {
			if !kind.before[what] {
				added = append(added, kind.name+" "+what)
			}
		}
	}
	slices.Sort(added)
	return added, nil
}

func (s *Stock) listSockets() (map[string]bool, error) {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("list the sockets: %w", err)
	}
	found := make(map[string]bool)
	for line := range strings.Lines(string(data)) {
		// Num RefCount Protocol Flags Type St Inode Path
		fields := strings.SplitN(strings.TrimRight(line, "\n"), " ", 8)
		name := fields[len(fields)-1]
		if slices.ContainsFunc(s.names, func(n string) bool { return strings.Contains(name, n) }) {
			found[strings.TrimSpace(name)] = true
		}
	}
	return found, nil
}

func listMounts() (map[string]bool, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the mounts: %w", err)
	}
	found := make(map[string]bool)
	for line := range strings.Lines(string(data)) {
		// id parent major:minor root place options …
		if fields := strings.Fields(line); len(fields) > 4 {
			found[fields[4]+" (mount "+fields[0]+")"] = true
		}
	}
	return found, nil
}

func listFiles(dirs []string) (map[string]bool, error) {
	found := make(map[string]bool)
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // or no more
			}
			found[path] = true
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list the files: %w", err)
		}
	}
	return found, nil
}
