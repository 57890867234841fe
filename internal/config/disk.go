// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// A Disk is an image, or a block device, that the guest gets as a disk.
type Disk struct {
	Path     string // on the host
	ReadOnly bool
}

const diskHint = "a disk is PATH or PATH:ro, as in --disk ./disk.img"

// ParseDisk parses PATH or PATH:ro.
func ParseDisk(text string) Disk {
	path, readOnly := strings.CutSuffix(text, readOnlySuffix)
	return Disk{path, readOnly}
}

func validateDisks(disks []string) error {
	writable, seen := make(map[string]bool), make(map[string]bool)
	for _, text := range disks {
		d := ParseDisk(text)
		if d.Path == "" {
			return fmt.Errorf("%q has no path", text)
		}
		if seen[d.Path] && (writable[d.Path] || !d.ReadOnly) {
			return fmt.Errorf("%q: the disk is used twice, and not only read", text)
		}
		seen[d.Path], writable[d.Path] = true, !d.ReadOnly
	}
	return nil
}

// resolveDisk makes the path of a disk absolute.
func resolveDisk(text, dir string) string {
	if text == "" || text == readOnlySuffix || filepath.IsAbs(text) {
		return text // validate complains
	}
	return filepath.Join(dir, text)
}
