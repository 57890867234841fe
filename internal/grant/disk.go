// SPDX-License-Identifier: GPL-3.0-only

package grant

import (
	"fmt"
	"path/filepath"
	"strings"
)

// A Disk is an image, or a block device, of the host that the guest gets as a
// disk: the first is /dev/vda there.
type Disk struct {
	Path     string
	ReadOnly bool
	Format   string // Raw or QCOW2; empty: not said
	Backing  string // the file on which a QCOW2 is; empty: none is allowed
}

// The formats of images.
const (
	Raw   = "raw"
	QCOW2 = "qcow2"
)

// DiskHint is the form of a disk, for people.
const DiskHint = "a disk is PATH or PATH:ro, as in --disk ./disk.img, or PATH:qcow2, or PATH:qcow2:backing=FILE"

const backingOption = ":backing="

// ParseDisk parses PATH, and after it, in any order, :ro, :qcow2 or :raw, and
// :backing=FILE.
func ParseDisk(text string) Disk {
	d := Disk{Path: text}
	for {
		if path, ok := strings.CutSuffix(d.Path, readOnlySuffix); ok && !d.ReadOnly {
			d.Path, d.ReadOnly = path, true
		} else if path, ok := strings.CutSuffix(d.Path, ":"+Raw); ok && d.Format == "" {
			d.Path, d.Format = path, Raw
		} else if path, ok := strings.CutSuffix(d.Path, ":"+QCOW2); ok && d.Format == "" {
			d.Path, d.Format = path, QCOW2
		} else if i := strings.LastIndex(d.Path, backingOption); i >= 0 && d.Backing == "" {
			d.Path, d.Backing = d.Path[:i], d.Path[i+len(backingOption):]
		} else {
			return d
		}
	}
}

// String is the form that ParseDisk takes.
func (d Disk) String() string {
	text := d.Path
	if d.Format != "" {
		text += ":" + d.Format
	}
	if d.Backing != "" {
		text += backingOption + d.Backing
	}
	if d.ReadOnly {
		text += readOnlySuffix
	}
	return text
}

// CheckDisks says what is wrong with disks that one guest gets.
func CheckDisks(disks []string) error {
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

// ResolveDisk makes the paths of a disk absolute. Without one it leaves the text
// alone.
func ResolveDisk(text, dir string) string {
	d := ParseDisk(text)
	if d.Path == "" || filepath.IsAbs(d.Path) && (d.Backing == "" || filepath.IsAbs(d.Backing)) {
		return text
	}
	for _, path := range []*string{&d.Path, &d.Backing} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	return d.String()
}
