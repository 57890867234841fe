// SPDX-License-Identifier: GPL-3.0-only

package lines

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"time"
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

// Source returns a line of a source file with its neighbours, and when the file was edited
// last. There are no lines where the tree isn't known, or where the file has changed since
// the build: the line may be another one now.
func (d *Decoder) Source(file string, line int) (around []Line, edited time.Time) {
	if d.tree == nil || line <= 0 {
		return nil, time.Time{}
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(d.tree.Source, file)
	}
	st, err := os.Stat(file)
	if err != nil || !st.Mode().IsRegular() || st.ModTime().After(d.built) {
		return nil, time.Time{}
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, time.Time{}
	}
	defer f.Close()
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
