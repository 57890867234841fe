// SPDX-License-Identifier: GPL-3.0-only

package doctor

import (
	"os"
	"testing"

	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
)

func TestMain(m *testing.M) {
	// What guards ssh is this executable, and so is what removes temporary directories.
	proc.Main()
	private.Main()
	os.Exit(m.Run())
}
