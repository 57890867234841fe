// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"io"
)

// Error writes an error and the hints that it carries.
func Error(w io.Writer, err error) {
	for _, e := range split(err) {
		fmt.Fprintf(w, "run-kernel: error: %v\n", e)
		for _, h := range hints(e) {
			fmt.Fprintf(w, "hint: %s\n", h)
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

// hints collects the next steps that an error and those it wraps carry.
func hints(err error) []string {
	var list []string
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		list = append(list, h.Hint())
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		if e := u.Unwrap(); e != nil {
			list = append(list, hints(e)...)
		}
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			list = append(list, hints(e)...)
		}
	}
	return list
}
