// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/metaspace/run-kernel/internal/event"
)

// JSONVersion is the version of docs/json.md. It is raised when a field goes away, or gets
// another type or meaning.
const JSONVersion = 1

// JSON returns a sink that writes one object a line: the time, the event's name
// and its fields, all in snake case. Durations are in seconds. What a command
// wrote is text; what isn't UTF-8 of it becomes U+FFFD.
func JSON(w io.Writer) event.Sink {
	var mu sync.Mutex
	partial := make(map[bool][]byte) // a character that isn't complete yet, of stderr or not
	return func(e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch o := e.(type) {
		case event.Output:
			data := append(partial[o.Stderr], o.Data...)
			n := completeLen(data)
			partial[o.Stderr] = bytes.Clone(data[n:])
			o.Data = data[:n]
			if n == 0 {
				return
			}
			e = o
		case event.CommandFinished:
			for _, stderr := range []bool{false, true} {
				if rest := partial[stderr]; len(rest) > 0 {
					write(w, event.Output{Stderr: stderr, Data: rest})
					delete(partial, stderr)
				}
			}
		}
		write(w, e)
	}
}

func write(w io.Writer, e event.Event) {
	v := reflect.ValueOf(e)
	object := map[string]any{"event": snake(v.Type().Name())}
	fields(object, v)
	if f, ok := e.(event.Failed); ok {
		object["hints"] = hints(f.Err)
	}
	encode(w, object)
}

// JSONError writes the error that ends run-kernel, as JSON does events.
func JSONError(w io.Writer, err error, status int) {
	encode(w, map[string]any{"event": "error", "error": err.Error(), "hints": hints(err), "status": status})
}

// JSONCommand writes a command that a dry run prints, as JSON does events.
func JSONCommand(w io.Writer, command []string) {
	encode(w, map[string]any{"event": "command", "command": command})
}

func encode(w io.Writer, object map[string]any) {
	object["time"] = time.Now().Format(time.RFC3339Nano)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(object)
}

// completeLen is the length of data without the beginning of a character at its
// end.
func completeLen(data []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(data); i++ {
		if c := data[len(data)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(data[len(data)-i:]) {
				return len(data) - i
			}
			break
		}
	}
	return len(data)
}

func fields(object map[string]any, v reflect.Value) {
	for i := range v.NumField() {
		object[snake(v.Type().Field(i).Name)] = plain(v.Field(i))
	}
}

// plain turns a field into what JSON has.
func plain(v reflect.Value) any {
	switch f := v.Interface().(type) {
	case time.Duration:
		return f.Seconds()
	case error:
		return f.Error()
	case []byte:
		return strings.ToValidUTF8(string(f), "\ufffd")
	case fmt.Stringer:
		return f.String()
	}
	if v.Kind() == reflect.Slice && v.Len() == 0 {
		return []any{} // not null
	}
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct {
		list := make([]map[string]any, v.Len())
		for i := range list {
			list[i] = map[string]any{}
			fields(list[i], v.Index(i))
		}
		return list
	}
	return v.Interface()
}

// snake turns NewImage into new_image, and VMStopped into vm_stopped.
func snake(name string) string {
	runes := []rune(name)
	var b strings.Builder
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
