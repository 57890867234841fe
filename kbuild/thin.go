// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The format of archives is that of binutils' include/aout/ar.h: a magic line, and members
// with headers of 60 bytes. In a thin one, only the table of names has contents.
const (
	thinMagic    = "!<thin>\n"
	emptyArchive = "!<arch>\n" // without members, ar doesn't make it a thin one
	memberHeader = 60
)

// thinMembers lists the files of a thin archive without a symbol table, relative to its
// directory.
func thinMembers(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseThin(data, path, false)
}

// parseThin lists the files of the thin archive path with the contents data. It may have
// a symbol table where tabled is set.
func parseThin(data []byte, path string, tabled bool) ([]string, error) {
	if string(data) == emptyArchive {
		return nil, nil
	}
	rest, ok := bytes.CutPrefix(data, []byte(thinMagic))
	if !ok {
		return nil, fmt.Errorf("%s is no thin archive", path)
	}
	damaged := fmt.Errorf("%s isn't as archives are", path)
	var names string
	var members []string
	for len(rest) > 0 {
		if len(rest) < memberHeader || rest[58] != '`' {
			return nil, damaged
		}
		name := strings.TrimRight(string(rest[:16]), " ")
		size, err := strconv.Atoi(strings.TrimSpace(string(rest[48:58])))
		if err != nil {
			return nil, damaged
		}
		rest = rest[memberHeader:]
		switch {
		case name == "//":
			if size < 0 || size > len(rest) {
				return nil, damaged
			}
			names = string(rest[:size])
			rest = rest[size+size%2:]
		case (name == "/" || name == "/SYM64/") && tabled && size >= 0 && size+size%2 <= len(rest):
			rest = rest[size+size%2:]
		case name == "/" || name == "/SYM64/":
			return nil, fmt.Errorf("%s has a symbol table", path)
		case strings.HasPrefix(name, "/"):
			// ar leaves a slash at the end of the field where a name before was longer.
			at, err := strconv.Atoi(strings.TrimRight(name[1:], " /"))
			if err != nil || at < 0 || at > len(names) {
				return nil, damaged
			}
			member, _, ok := strings.Cut(names[at:], "/\n")
			if !ok {
				return nil, damaged
			}
			members = append(members, member)
		default:
			members = append(members, strings.TrimSuffix(name, "/"))
		}
	}
	return members, nil
}
