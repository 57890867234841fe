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

func write(path string, data []byte, mode os.FileMode, temp string) (err error) {
	f, err := os.CreateTemp(temp, filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
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
func Update(path string, data []byte, temp string) (err error) {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	exists := err == nil
	mode := os.FileMode(0o644)
	var f *os.File
	if temp != "" {
		f, err = os.Create(temp)
	} else {
		f, err = os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	var owner *syscall.Stat_t
	if exists {
		st, err := os.Stat(path)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		mode = st.Mode().Perm()
		owner, _ = st.Sys().(*syscall.Stat_t)
	}
	if err := fill(f, data, mode, owner); err != nil {
		return err
	}
	if exists {
		if err := keep(f.Name()+".old", path+".old", old, mode, owner); err != nil {
			return err
		}
	}
	return os.Rename(f.Name(), path)
}

// keep writes the contents before, by way of temp: what has the name already may be
// another user's, or a link to what is none of ours.
func keep(temp, path string, old []byte, mode os.FileMode, owner *syscall.Stat_t) (err error) {
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	if err := fill(f, old, mode, owner); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// fill writes a new file and closes it. It reports a full disk, before it returns.
func fill(f *os.File, data []byte, mode os.FileMode, owner *syscall.Stat_t) error {
	if owner != nil {
		// Another user's file is possible for root only; for others, a file of
		// their own is better than none.
		_ = f.Chown(int(owner.Uid), int(owner.Gid))
	}
	_, err := f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}
