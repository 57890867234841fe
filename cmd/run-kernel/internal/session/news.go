// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/private"
)

// baselineName is the file beside the log of the console that has the lines of turns in
// which all was well.
const baselineName = "baseline.log"

// ReadBaseline reads the log that new lines are told against, a console's or dmesg's.
func ReadBaseline(path string) (*console.Baseline, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := new(console.Baseline)
	if err := b.Learn(f); err != nil {
		return nil, err
	}
	if b.Empty() {
		return nil, fmt.Errorf("%s has no line that new ones could be told against", path)
	}
	return b, nil
}

// tellNews tells the lines of the kernel's that no good turn has had, and learns them
// when this one was good.
func (g *Guest) tellNews(good bool) {
	if g.log == "" {
		return
	}
	if err := g.session.compareLog(g.log, good); err != nil {
		g.session.Events.Emit(event.Warning{Text: "new lines of the log: " + err.Error()})
	}
}

// compareLog compares a log with the baseline.
func (s *Session) compareLog(path string, good bool) error {
	log, err := private.ReadFile(path)
	if err != nil {
		return err
	}
	if s.Baseline != nil {
		return s.news(log, s.Baseline)
	}
	var b console.Baseline
	kept := filepath.Join(filepath.Dir(path), baselineName)
	known, err := private.ReadFile(kept)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := b.Learn(bytes.NewReader(known)); err != nil {
		return err
	}
	if !b.Empty() {
		if err := s.news(log, &b); err != nil {
			return err
		}
	}
	if !good {
		return nil
	}
	if err := b.Learn(bytes.NewReader(log)); err != nil {
		return err
	}
	var text bytes.Buffer
	if _, err := b.WriteTo(&text); err != nil {
		return err
	}
	return private.WriteFile(kept, text.Bytes())
}

// news tells the lines of a log that a baseline doesn't know.
func (s *Session) news(log []byte, b *console.Baseline) error {
	lines, err := b.News(log)
	if err == nil && len(lines) > 0 {
		s.Events.Emit(event.LogNews{Lines: lines})
	}
	return err
}
