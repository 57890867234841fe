// SPDX-License-Identifier: GPL-3.0-only

package proc

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// wrappers are programs that run the compiler which their arguments begin with: from a
// cache, or on another machine.
var wrappers = []string{"ccache", "sccache", "distcc", "icecc"}

// SplitCompiler takes the command of a compiler apart, as CC= has it: "ccache distcc gcc
// -m32" has two wrappers. compiler is empty where wrappers are all that there is.
func SplitCompiler(command string) (wrap []string, compiler string) {
	for word := range strings.FieldsSeq(command) {
		if !slices.Contains(wrappers, filepath.Base(word)) {
			return wrap, word
		}
		wrap = append(wrap, word)
	}
	return wrap, ""
}

// Farm returns the wrapper, distcc or icecc, by which the command of a compiler compiles on
// other machines, or an empty string. ccache may have its own: CCACHE_PREFIX.
func Farm(command string) string {
	wrap, _ := SplitCompiler(command)
	if slices.ContainsFunc(wrap, func(w string) bool { return filepath.Base(w) == "ccache" }) {
		wrap = append(wrap, strings.Fields(os.Getenv("CCACHE_PREFIX"))...)
	}
	for _, w := range wrap {
		if base := filepath.Base(w); base == "distcc" || base == "icecc" {
			return w
		}
	}
	return ""
}

// CompileHere are the variables with which distcc and icecream compile on this machine. A
// question of what the compiler can do isn't for another one: its answer may differ, and
// hundreds of them would take longer.
var CompileHere = []string{"DISTCC_HOSTS=localhost", "ICECC=no"}
