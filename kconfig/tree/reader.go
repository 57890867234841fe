// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// A reader reads Kconfig files, and ahead of the parser those that they source:
// system calls are half of the time that parsing takes.
type reader struct {
	dirs  []string // where a file is looked for, in this order
	ahead chan string
	stop  chan struct{}
	wg    sync.WaitGroup

	mu     sync.Mutex
	files  map[string]*file // by path
	absent map[string]bool  // by directory: whether it isn't there
}

type file struct {
	once sync.Once
	data []byte
	err  error
}

// readAhead is how many files may wait to be read ahead. A kernel has 1,700.
const readAhead = 4096

func newReader(dirs ...string) *reader {
	r := &reader{dirs: dirs, ahead: make(chan string, readAhead), stop: make(chan struct{}), files: map[string]*file{}, absent: map[string]bool{}}
	r.wg.Go(func() {
		for {
			select {
			case <-r.stop:
				return
			case name := <-r.ahead:
				for _, dir := range r.dirs {
					if _, err := r.read(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
						break
					}
				}
			}
		}
	})
	return r
}

// close ends reading ahead.
func (r *reader) close() {
	close(r.stop)
	r.wg.Wait()
}

// lacks tells whether a directory isn't there. A build directory has next to none of
// those of the source tree, and each Kconfig file would be looked for in it first.
func (r *reader) lacks(dir string) bool {
	known, ok := r.absent[dir]
	if !ok {
		if up := filepath.Dir(dir); up != dir && r.lacks(up) {
			known = true
		} else {
			_, err := os.Stat(dir)
			known = errors.Is(err, fs.ErrNotExist)
		}
		r.absent[dir] = known
	}
	return known
}

// read returns what is in a file, each time the same.
func (r *reader) read(path string) ([]byte, error) {
	r.mu.Lock()
	f := r.files[path]
	if f == nil && r.lacks(filepath.Dir(path)) {
		r.mu.Unlock()
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if f == nil {
		f = &file{}
		r.files[path] = f
	}
	r.mu.Unlock()
	f.once.Do(func() {
		if f.data, f.err = readFile(path); f.err == nil {
			r.expect(f.data)
		}
	})
	return f.data, f.err
}

// expect has the files read that a text sources. Those of which it can't tell the
// names are left to the parser.
func (r *reader) expect(text []byte) {
	statement := []byte("\nsource \"")
	for {
		i := bytes.Index(text, statement)
		if i < 0 {
			return
		}
		text = text[i+len(statement):]
		name := text
		if i := bytes.IndexAny(text, "\"\n"); i >= 0 {
			name = text[:i]
		}
		if bytes.Contains(name, []byte("$")) || filepath.IsAbs(string(name)) {
			continue
		}
		select {
		case r.ahead <- string(name):
		default:
		}
	}
}

// readFile is os.ReadFile in half of the system calls.
func readFile(path string) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return os.ReadFile(path)
	}
	data := make([]byte, st.Size)
	n, err := syscall.Read(fd, data)
	if err != nil || n != len(data) {
		return os.ReadFile(path)
	}
	return data, nil
}
