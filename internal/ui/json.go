// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/metaspace/run-kernel/internal/event"
)

// JSON returns a sink that writes one object a line: the time, the event's name
// and its fields, all in snake case. Durations are in seconds.
func JSON(w io.Writer) event.Sink {
	var mu sync.Mutex
	return func(e event.Event) {
		v := reflect.ValueOf(e)
		object := map[string]any{
			"time":  time.Now().Format(time.RFC3339Nano),
			"event": snake(v.Type().Name()),
		}
		fields(object, v)
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(object)
	}
}

// JSONError writes the error that ends run-kernel, as JSON does events.
func JSONError(w io.Writer, err error, status int) {
	_ = json.NewEncoder(w).Encode(map[string]any{
		"time": time.Now().Format(time.RFC3339Nano), "event": "error", "error": err.Error(), "hints": hints(err), "status": status,
	})
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

func snake(name string) string {
	var b strings.Builder
	previous := ' '
	for i, r := range name {
		if unicode.IsUpper(r) {
			if i > 0 && !unicode.IsUpper(previous) {
				b.WriteByte('_')
			}
			r = unicode.ToLower(r)
			previous = 'A'
		} else {
			previous = r
		}
		b.WriteRune(r)
	}
	return b.String()
}
