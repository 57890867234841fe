// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"io"
	"sync"
)

// A stdout is where a command prints. It remembers the first error, so that what is
// printed in many small pieces need not look for one each time.
type stdout struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

func (o *stdout) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = fmt.Errorf("write standard output: %w", err)
		}
	}
	return n, err
}

// lost is why something wasn't printed, nil if all was.
func (o *stdout) lost() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
