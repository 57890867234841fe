// SPDX-License-Identifier: GPL-3.0-only

package qemu

import "os"

// Files are the descriptors that qemu inherits, beside the standard ones.
type Files struct{ list []*os.File }

// Add takes a file over, and returns the number that it will have in qemu. A nil
// file takes a number as well: that of a command that is only shown.
func (f *Files) Add(file *os.File) int {
	f.list = append(f.list, file)
	return 2 + len(f.list)
}

// Extra is for exec.Cmd's ExtraFiles, which begin at 3.
func (f *Files) Extra() []*os.File { return f.list }

// Close closes them on this side, which changes nothing in a qemu that runs. It
// may be called again.
func (f *Files) Close() {
	for _, file := range f.list {
		_ = file.Close() // ErrInvalid of nil, ErrClosed of one that is closed
	}
}
