// SPDX-License-Identifier: GPL-3.0-only

package proc

import (
	"os"
	"syscall"
)

// ExitStatus is the status of an ended process as a shell has it: 128+n when signal
// n killed it.
func ExitStatus(p *os.ProcessState) int {
	if w := p.Sys().(syscall.WaitStatus); w.Signaled() {
		return 128 + int(w.Signal())
	}
	return p.ExitCode()
}
