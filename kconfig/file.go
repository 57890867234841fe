// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// A File is a .config. It keeps every byte that isn't changed.
type File struct {
	lines []line
	last  map[string]int // symbol → index of the line that counts
}

type line struct {
	text   string // with its end
	symbol string // without CONFIG_; empty for comments and blanks
	value  string // as written; n for "is not set"
}

var (
	setLine   = pattern.New(`^CONFIG_([A-Za-z0-9_]+)=(.*)$`)
	unsetLine = pattern.New(`^# CONFIG_([A-Za-z0-9_]+) is not set$`)
)

// A SyntaxError is a line that isn't one of a .config.
type SyntaxError struct {
	Path string
	Line int // from 1
	Text string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d: not a line of a kernel configuration: %q", e.Path, e.Line, e.Text)
}

// Hint says how to get a good one.
func (e *SyntaxError) Hint() string {
	return "mend or delete the line; `make olddefconfig` would drop it with a warning"
}

// ReadFile reads the .config at path.
func ReadFile(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, syscall.EISDIR) {
			hint := "move it away; without a .config, run-kernel starts from defconfig"
			if filepath.Base(path) != ".config" {
				hint = "name a file, such as " + filepath.Join(path, ".config")
			}
			return nil, &pathError{path, "is a directory", hint}
		}
		if errors.Is(err, os.ErrPermission) {
			return nil, &pathError{path, "may not be read", "was it made by another user, by sudo make? chown it"}
		}
		return nil, err
	}
	if bytes.HasPrefix(data, []byte("\x1f\x8b")) { // as /proc/config.gz is
		return nil, &pathError{path, "is compressed by gzip", "zcat " + path + " >FILE, and name that FILE"}
	}
	return Parse(path, data)
}

type pathError struct{ path, problem, hint string }

func (e *pathError) Error() string { return e.path + " " + e.problem }
func (e *pathError) Hint() string  { return e.hint }

// Parse parses the contents of a .config; name is for errors.
func Parse(name string, data []byte) (*File, error) {
	f := &File{last: make(map[string]int)}
	n := 0
	for text := range bytes.Lines(data) {
		n++
		l := line{text: string(text)}
		body := strings.TrimRight(l.text, "\r\n")
		// A NUL, as a crash of the machine leaves them, would hide the rest of its
		// line from conf.
		if strings.IndexByte(body, 0) >= 0 {
			return nil, &SyntaxError{Path: name, Line: n, Text: body[:min(len(body), 80)]}
		}
		if m := setLine.FindStringSubmatch(body); m != nil {
			l.symbol, l.value = m[1], strings.TrimRight(m[2], " \t")
		} else if m := unsetLine.FindStringSubmatch(strings.TrimRight(body, " \t")); m != nil {
			l.symbol, l.value = m[1], "n"
		} else if t := strings.TrimSpace(body); t != "" && !strings.HasPrefix(t, "#") {
			return nil, &SyntaxError{Path: name, Line: n, Text: body[:min(len(body), 80)]}
		}
		if l.symbol != "" {
			f.last[l.symbol] = len(f.lines)
		}
		f.lines = append(f.lines, l)
	}
	return f, nil
}

// Get returns the value of a symbol as it is written, with the quotes of a
// string, or n for "is not set". As for conf, the last line counts.
func (f *File) Get(symbol string) (value string, ok bool) {
	i, ok := f.last[symbol]
	if !ok {
		return "", false
	}
	return f.lines[i].value, true
}

// Symbols lists those that have another value than n, in the order of their lines.
func (f *File) Symbols() []string {
	var list []string
	for i, l := range f.lines {
		if l.symbol != "" && l.value != "n" && f.last[l.symbol] == i {
			list = append(list, l.symbol)
		}
	}
	return list
}

// HasModules says whether anything is configured to be a module.
func (f *File) HasModules() bool {
	for symbol, i := range f.last {
		if f.lines[i].value == "m" && symbol != "MODULES" {
			return true
		}
	}
	return false
}

// Set gives a symbol a value, in its line or in a new one at the end.
func (f *File) Set(symbol, value string) {
	text := Setting{Symbol: symbol, Value: value}.Line()
	if i, ok := f.last[symbol]; ok {
		old := f.lines[i].text
		end := old[len(strings.TrimRight(old, "\r\n")):]
		f.lines[i] = line{text + end, symbol, value}
		return
	}
	end := "\n"
	if n := len(f.lines); n > 0 {
		if strings.HasSuffix(f.lines[0].text, "\r\n") {
			end = "\r\n"
		}
		if last := &f.lines[n-1]; !strings.HasSuffix(last.text, "\n") {
			last.text += end
		}
	}
	f.last[symbol] = len(f.lines)
	f.lines = append(f.lines, line{text + end, symbol, value})
}

// Bytes returns the contents of the file.
func (f *File) Bytes() []byte {
	var b bytes.Buffer
	for _, l := range f.lines {
		b.WriteString(l.text)
	}
	return b.Bytes()
}

// An Edit is a symbol whose value differs between two files. A value is empty
// where the file doesn't have the symbol.
type Edit struct{ Symbol, From, To string }

// Diff lists what differs, in the order of the newer file. A symbol that one
// file says is not set and the other doesn't have is the same for the kernel,
// and left out.
func Diff(older, newer *File) []Edit {
	var edits []Edit
	add := func(symbol string) {
		from, _ := older.Get(symbol)
		to, _ := newer.Get(symbol)
		if from == to || from == "n" && to == "" || from == "" && to == "n" {
			return
		}
		edits = append(edits, Edit{symbol, from, to})
	}
	for i, l := range newer.lines {
		if l.symbol != "" && newer.last[l.symbol] == i {
			add(l.symbol)
		}
	}
	for i, l := range older.lines {
		if _, ok := newer.last[l.symbol]; l.symbol != "" && !ok && older.last[l.symbol] == i {
			add(l.symbol)
		}
	}
	return edits
}
