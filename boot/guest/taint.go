// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"os"
	"strconv"
	"strings"
)

// taint reads what the kernel says of itself: see
// Documentation/admin-guide/tainted-kernels.rst.
func taint() Synced {
	text, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		return Synced{}
	}
	bits, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return Synced{Known: err == nil, Taint: bits}
}
