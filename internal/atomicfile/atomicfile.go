// SPDX-License-Identifier: GPL-3.0-only

// Package atomicfile replaces files in one rename: who reads one sees all of the
// contents before or all of the new ones, also when the writer is killed or the
// disk is full.
package atomicfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// Write makes or replaces a file. After a crash of the machine the contents may be
// lost.
func Write(path string, data []byte, mode os.FileMode) error {
	return write(path, data, mode, filepath.Dir(path))
}

func write(path string, data []byte, mode os.FileMode, temp string) error {
	f, err := os.CreateTemp(temp, filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	return replacement{mode: mode}.put(f, path, data)
}

// Refresh makes or replaces a file unless it has these contents already, and says whether
// it did. The new contents are written in the directory temp first, which is on the same
// file system: nobody sees another name come and go beside the file.
func Refresh(path string, data []byte, mode os.FileMode, temp string) (changed bool, err error) {
	if same(path, data) {
		return false, nil
	}
	return true, write(path, data, mode, temp)
}

// same says whether a file has these contents.
func same(path string, data []byte) bool {
	if st, err := os.Stat(path); err != nil || st.Size() != int64(len(data)) {
		return false
	}
	old, err := os.ReadFile(path)
	return err == nil && bytes.Equal(old, data)
}

// Update is for a file that is its user's: it keeps mode and owner, keeps the
// contents before beside it with the suffix .old, follows a link, and is on the
// disk before it returns. A file that isn't there yet gets the mode 0644.
//
// temp is the path, in the directory of the file that a link leads to, under which
// the new contents are written first; empty: any.
func Update(path string, data []byte, temp string) error {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	exists := err == nil
	r := replacement{mode: 0o644, sync: true}
	if exists {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		r.mode = st.Mode().Perm()
		r.owner, _ = st.Sys().(*syscall.Stat_t)
	}
	var f *os.File
	if temp != "" {
		f, err = os.Create(temp)
	} else {
		f, err = os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	}
	if err != nil {
		return err
	}
	if exists {
		kept := r
		r.first = func() error {
			// What has the name already may be another user's, or a link to what is none of
			// ours.
			f, err := os.Create(f.Name() + ".old")
			if err != nil {
				return err
			}
			return kept.put(f, path+".old", old)
		}
	}
	return r.put(f, path, data)
}

// A replacement says how a new file takes the place of another.
type replacement struct {
	mode  os.FileMode
	owner *syscall.Stat_t // nil: ours
	sync  bool            // it is on the disk before it takes the place, and a full disk shows
	first func() error    // comes when it is written, and before it takes the place; may be nil
}

// put writes a file that was just made, closes it, and gives it its name.
func (r replacement) put(f *os.File, path string, data []byte) (err error) {
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if r.owner != nil {
		// Another user's file is possible for root only; for others, a file of
		// their own is better than none.
		_ = f.Chown(int(r.owner.Uid), int(r.owner.Gid))
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(r.mode))
	if r.sync {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if r.first != nil {
		if err := r.first(); err != nil {
			return err
		}
	}
	return os.Rename(f.Name(), path)
}
