// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/kbuild"
)

// mostBuilds is how many build directories are remembered of a source tree.
const mostBuilds = 20

// buildsFile has the build directories by source tree, the last used first. Without a
// home, nothing is remembered.
func buildsFile() string {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil || !filepath.IsAbs(home) {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "run-kernel", "builds.json")
}

func readBuilds(path string) map[string][]string {
	builds := make(map[string][]string)
	if data, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(data, &builds) // what is no longer read is remembered anew
	}
	return builds
}

// remember keeps that a source tree is built in a directory of its own. Losing it
// costs a -O, no more.
func remember(tree *kbuild.Tree) {
	path := buildsFile()
	if path == "" || tree.InTree() {
		return
	}
	builds := readBuilds(path)
	list := builds[tree.Source]
	if len(list) > 0 && list[0] == tree.BuildDir {
		return
	}
	list = slices.DeleteFunc(list, func(dir string) bool { return dir == tree.BuildDir })
	list = slices.Insert(list, 0, tree.BuildDir)
	builds[tree.Source] = list[:min(len(list), mostBuilds)]
	for source := range builds {
		if _, err := os.Stat(source); err != nil {
			delete(builds, source)
		}
	}
	if os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return
	}
	if data, err := json.Marshal(builds); err == nil {
		_ = atomicfile.Write(path, data, 0o600)
	}
}

// Builds returns the directories with a .config in which a source tree was built, the
// last used first.
func Builds(source string) []string {
	path := buildsFile()
	if path == "" {
		return nil
	}
	return slices.DeleteFunc(readBuilds(path)[source], func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, ".config"))
		return err != nil
	})
}
