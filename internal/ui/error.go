// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"io"
	"slices"

	"github.com/metaspace/run-kernel/internal/ansi"
)

// Error writes an error and the hints that it carries.
func Error(w io.Writer, err error) {
	for _, e := range split(err) {
		fmt.Fprintf(w, "run-kernel: error: %s\n", ansi.Strip(e.Error()))
		for _, h := range hints(e) {
			fmt.Fprintf(w, "hint: %s\n", ansi.Strip(h))
		}
	}
}

// split separates errors that were only joined, so that each gets its line.
func split(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	if _, formatted := err.(interface{ Hint() string }); formatted || fmt.Sprintf("%T", err) != "*errors.joinError" {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, split(e)...)
	}
	return list
}

// hints collects the next steps that an error and those it wraps carry, each
// once: one that wraps another may pass on its hint.
func hints(err error) []string {
	list := []string{}
	var collect func(err error)
	collect = func(err error) {
		if h, ok := err.(interface{ Hint() string }); ok {
			if text := h.Hint(); text != "" && !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
		switch u := err.(type) {
		case interface{ Unwrap() error }:
			if e := u.Unwrap(); e != nil {
				collect(e)
			}
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				collect(e)
			}
		}
	}
	collect(err)
	return list
}
