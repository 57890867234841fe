// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// A Share is a directory of the host that the guest gets.
type Share struct {
	Tag      string
	Path     string // on the host
	ReadOnly bool
}

const (
	readOnlySuffix = ":ro"
	// maxTag is the size of the tag's field; VIRTIO 1.2, section 5.11.4.
	maxTag    = 36
	ownPrefix = "run-kernel."
	shareHint = "a share is TAG:PATH or TAG:PATH:ro, as in --share share:./"
)

// The tag is also the name of the directory on which the guest mounts the share.
var tagForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// ParseShare parses TAG:PATH or TAG:PATH:ro. A path may have any character; one
// that ends with :ro itself is written with a slash after it.
func ParseShare(text string) (Share, error) {
	tag, path, ok := strings.Cut(text, ":")
	if !ok {
		return Share{}, fmt.Errorf("%q has no colon", text)
	}
	s := Share{Tag: tag}
	s.Path, s.ReadOnly = strings.CutSuffix(path, readOnlySuffix)
	switch {
	case !tagForm.MatchString(tag):
		return Share{}, fmt.Errorf("%q: the tag %q has other characters than letters, digits, dots, hyphens and underscores", text, tag)
	case len(tag) > maxTag:
		return Share{}, fmt.Errorf("%q: the tag has %d characters, more than %d", text, len(tag), maxTag)
	case strings.HasPrefix(tag, ownPrefix):
		return Share{}, fmt.Errorf("%q: tags that begin with %s are run-kernel's own", text, ownPrefix)
	case s.Path == "":
		return Share{}, fmt.Errorf("%q has no path", text)
	}
	return s, nil
}

func validateShares(shares []string) error {
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

// resolveShare makes the path of a share absolute.
func resolveShare(text, dir string) string {
	s, err := ParseShare(text)
	if err != nil || filepath.IsAbs(s.Path) {
		return text // validate complains
	}
	text = s.Tag + ":" + filepath.Join(dir, s.Path)
	switch {
	case s.ReadOnly:
		text += readOnlySuffix
	case strings.HasSuffix(text, readOnlySuffix):
		text += "/"
	}
	return text
}

// scheme is the beginning of a flake reference that is no path.
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// resolveFlake makes the path of a flake absolute.
func resolveFlake(text, dir string) string {
	ref, attr, hasAttr := strings.Cut(text, "#")
	if ref == "" || filepath.IsAbs(ref) || scheme.MatchString(ref) {
		return text
	}
	ref = filepath.Join(dir, ref)
	if hasAttr {
		ref += "#" + attr
	}
	return ref
}
