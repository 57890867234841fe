// SPDX-License-Identifier: GPL-3.0-only

package userland

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/proc"
)

// gitGrace is how long git may take to end when it isn't wanted any more.
const gitGrace = time.Second

const lockFile = "flake.lock"

// ofRepository are the variables that tell git which repository it is in: those of
// git rev-parse --local-env-vars, without configuration. In a hook, and in a linked worktree
// also in git bisect run and git rebase --exec, they name the kernel's.
var ofRepository = []string{
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE",
	"GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
}

// environment is ours for git, and for nix, which runs git, in the flake's repository.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(ofRepository, name)
	})
}

// A fingerprint stands for all that nix reads of a flake.
type fingerprint struct{ sources, lock string }

// read takes the fingerprint of a flake in a directory.
func (f Flake) read(ctx context.Context) (fingerprint, error) {
	paths, err := f.files(ctx)
	if err != nil {
		return fingerprint{}, err
	}
	sources, lock := sha256.New(), sha256.New()
	fmt.Fprintln(sources, f)
	for _, path := range paths {
		sum := sources
		if path == lockFile {
			sum = lock // nix itself may write it
		}
		if err := addFile(sum, f.Dir, path); err != nil {
			return fingerprint{}, err
		}
	}
	return fingerprint{fmt.Sprintf("%x", sources.Sum(nil)), fmt.Sprintf("%x", lock.Sum(nil))}, nil
}

// Files lists what nix reads of a flake in a directory, by absolute paths, and the
// lock file even where it has yet to write that.
func (f Flake) Files(ctx context.Context) ([]string, error) {
	paths, err := f.files(ctx)
	if !slices.Contains(paths, lockFile) {
		paths = append(paths, lockFile)
	}
	for i, p := range paths {
		paths[i] = filepath.Join(f.Dir, p)
	}
	return paths, err
}

// files lists what nix would read, relative to the flake, sorted: all of a
// directory, or what git knows of a repository.
func (f Flake) files(ctx context.Context) ([]string, error) {
	var paths []string
	if exists(filepath.Join(f.Dir, ".git")) {
		git := exec.Command("git", "-C", f.Dir, "ls-files", "-z")
		git.Env = environment()
		out, err := proc.Output(ctx, git, gitGrace)
		if err != nil {
			return nil, err
		}
		for name := range bytes.SplitSeq(out, []byte{0}) {
			if len(name) > 0 {
				paths = append(paths, string(name))
			}
		}
		return paths, nil
	}
	err := filepath.WalkDir(f.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(f.Dir, path)
		paths = append(paths, rel)
		return err
	})
	return paths, err
}

// addFile adds what nix keeps of a file: name, contents and whether it is a
// program. A file that is gone counts as such.
func addFile(sum hash.Hash, dir, path string) error {
	full := filepath.Join(dir, path)
	st, err := os.Lstat(full)
	if os.IsNotExist(err) {
		fmt.Fprintf(sum, "%q gone\n", path)
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(full)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%q -> %q\n", path, target)
		return nil
	case !st.Mode().IsRegular():
		fmt.Fprintf(sum, "%q is %s\n", path, st.Mode().Type()) // nix will complain
		return nil
	}
	file, err := os.Open(full)
	if err != nil {
		return err
	}
	defer file.Close()
	content := sha256.New()
	if _, err := io.Copy(content, file); err != nil {
		return err
	}
	fmt.Fprintf(sum, "%q %v %x\n", path, st.Mode()&0o100 != 0, content.Sum(nil))
	return nil
}
