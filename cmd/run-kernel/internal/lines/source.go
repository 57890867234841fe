// SPDX-License-Identifier: GPL-3.0-only

package lines

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// neighbours is how many lines are shown on each side of the one at fault.
	neighbours = 2
	// maxSource bounds how much of a source file is read, and maxLine how much of a line
	// is shown, in bytes.
	maxSource = 16 << 20
	maxLine   = 200
)

// A Line is one of a source file.
type Line struct {
	Number int
	Text   string
}

// sourceEnds are those of the names of source files.
var sourceEnds = []string{".c", ".h", ".S", ".s", ".rs"}

// Source returns a line of a source file with its neighbours, and when the file was edited
// last. There are no lines where the file isn't one of the tree's, or where it has changed
// since the build: the line may be another one now.
func (d *Decoder) Source(file string, line int) (around []Line, edited time.Time) {
	if d.tree == nil || line <= 0 {
		return nil, time.Time{}
	}
	f := d.openSource(file)
	if f == nil {
		return nil, time.Time{}
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.ModTime().After(d.built) {
		return nil, time.Time{}
	}
	s := bufio.NewScanner(io.LimitReader(f, maxSource))
	for number := 1; s.Scan() && number <= line+neighbours; number++ {
		if number < line-neighbours {
			continue
		}
		text := s.Text()
		around = append(around, Line{number, text[:min(len(text), maxLine)]})
	}
	if len(around) == 0 || around[len(around)-1].Number < line {
		return nil, time.Time{}
	}
	return around, st.ModTime()
}

// openSource opens a source file of the tree; nil: there is none. A guest can have any
// path in a report, and, where it may write the tree, any link there: what it names must
// not be shown, in logs that others read.
func (d *Decoder) openSource(file string) *os.File {
	if !slices.Contains(sourceEnds, filepath.Ext(file)) {
		return nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(d.tree.Source, file)
	}
	for _, dir := range slices.Concat([]string{d.tree.Source, d.tree.BuildDir}, d.tree.External) {
		rel, err := filepath.Rel(dir, file)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			continue
		}
		// Without O_NONBLOCK, a FIFO would wait for a writer.
		f, err := root.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
		_ = root.Close()
		if err == nil {
			return f
		}
	}
	return nil
}
