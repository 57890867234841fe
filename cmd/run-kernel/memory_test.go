// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"os"
	"testing"
)

// The guest's memory, which virtiofsd sees as well, is an anonymous file: a /dev/shm
// as small as that of containers is no hindrance.
func TestSmallSharedMemory(t *testing.T) {
	k := bootKernel(t)
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	k.lab.wrap = []string{
		"unshare", "--mount", "--propagation", "private", "sh", "-c",
		`mount -t tmpfs -o size=64k tmpfs /dev/shm && head -c 64k /dev/zero >/dev/shm/full && cd "$0" && exec "$@"`, k.lab.dir,
	}
	// The guest uses more than there is.
	k.lab.expect(k.boot("--memory-gib=1", "--", "dd if=/dev/zero of=/tmp/file bs=1M count=300 status=none && grep -q virtiofs /proc/mounts"), 0)
}
