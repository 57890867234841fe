// SPDX-License-Identifier: GPL-3.0-only

package grant

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// A Share is a directory of the host that the guest mounts.
type Share struct {
	Tag      string // by which the guest finds it
	Dir      string // on the host
	Path     string // in the guest
	ReadOnly bool
	Cache    Cache
	Hide     []string // absolute paths of the host, in Dir or not, that aren't shared; of a read-only share
}

// A Cache is how long the guest may believe what it has read.
type Cache string

// The caches, as virtiofsd has them.
const (
	Always Cache = "always" // for what nobody changes while the guest runs
	Auto   Cache = "auto"   // for what people edit: asks again after a second
)

const (
	readOnlySuffix = ":ro"
	// maxTag is the size of the tag's field; VIRTIO 1.2, section 5.11.4.
	maxTag    = 36
	ownPrefix = "run-kernel."
)

// ShareHint is the form of a share, for people.
const ShareHint = "a share is TAG:PATH or TAG:PATH:ro, as in --share share:./"

// The tag is also the name of the directory on which the guest mounts the share.
var tagForm = pattern.New(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// ParseShare parses TAG:PATH or TAG:PATH:ro. A path may have any character; one
// that ends with :ro itself is written with a slash after it.
func ParseShare(text string) (Share, error) {
	tag, path, ok := strings.Cut(text, ":")
	if !ok {
		return Share{}, fmt.Errorf("%q has no colon", text)
	}
	s := Share{Tag: tag}
	s.Dir, s.ReadOnly = strings.CutSuffix(path, readOnlySuffix)
	switch {
	case !tagForm.MatchString(tag):
		return Share{}, fmt.Errorf("%q: the tag %q has other characters than letters, digits, dots, hyphens and underscores", text, tag)
	case len(tag) > maxTag:
		return Share{}, fmt.Errorf("%q: the tag has %d characters, more than %d", text, len(tag), maxTag)
	case strings.HasPrefix(tag, ownPrefix):
		return Share{}, fmt.Errorf("%q: tags that begin with %s are run-kernel's own", text, ownPrefix)
	case s.Dir == "":
		return Share{}, fmt.Errorf("%q has no path", text)
	}
	return s, nil
}

// String returns what ParseShare takes.
func (s Share) String() string {
	text := s.Tag + ":" + s.Dir
	switch {
	case s.ReadOnly:
		text += readOnlySuffix
	case strings.HasSuffix(text, readOnlySuffix):
		text += "/"
	}
	return text
}

// CheckShares says what is wrong with shares that go to one guest.
func CheckShares(shares []string) error {
	seen := make(map[string]bool)
	for _, text := range shares {
		s, err := ParseShare(text)
		if err != nil {
			return err
		}
		if seen[s.Tag] {
			return fmt.Errorf("%q: the tag %q is used twice", text, s.Tag)
		}
		seen[s.Tag] = true
	}
	return nil
}

// ResolveShare makes the path of a share absolute. One that doesn't parse it
// leaves alone.
func ResolveShare(text, dir string) string {
	s, err := ParseShare(text)
	if err != nil || filepath.IsAbs(s.Dir) {
		return text
	}
	s.Dir = filepath.Join(dir, s.Dir)
	return s.String()
}
