// SPDX-License-Identifier: GPL-3.0-only

package proc

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/pattern"
)

// packages names, for each tool that run-kernel may miss, what provides it on
// Debian, Fedora, Arch and NixOS. Package arch has those for other architectures.
var packages = map[string][4]string{
	"virtiofsd":     {"virtiofsd", "virtiofsd", "virtiofsd", "virtiofsd"},
	"make":          {"make", "make", "make", "gnumake"},
	"gcc":           {"gcc", "gcc", "gcc", "gcc"},
	"clang":         {"clang", "clang", "clang", "clang"},
	"ccache":        {"ccache", "ccache", "ccache", "ccache"},
	"sccache":       {"sccache", "sccache", "sccache", "sccache"},
	"distcc":        {"distcc", "distcc", "distcc", "distcc"},
	"icecc":         {"icecc", "icecream", "icecream", "icecream"},
	"ld":            {"binutils", "binutils", "binutils", "binutils"},
	"ld.lld":        {"lld", "lld", "lld", "lld"},
	"llvm-ar":       llvm,
	"llvm-nm":       llvm,
	"llvm-objcopy":  llvm,
	"llvm-objdump":  llvm,
	"llvm-readelf":  llvm,
	"llvm-strip":    llvm,
	"flex":          {"flex", "flex", "flex", "flex"},
	"bison":         {"bison", "bison", "bison", "bison"},
	"bc":            {"bc", "bc", "bc", "bc"},
	"perl":          {"perl", "perl", "perl", "perl"},
	"pahole":        {"dwarves", "dwarves", "pahole", "pahole"},
	"libelf":        {"libelf-dev", "elfutils-libelf-devel", "libelf", "elfutils"},
	"openssl":       {"libssl-dev", "openssl-devel", "openssl", "openssl"},
	"depmod":        {"kmod", "kmod", "kmod", "kmod"},
	"git":           {"git", "git", "git", "git"},
	"gdb":           {"gdb", "gdb", "gdb", "gdb"},
	"gdb-multiarch": {"gdb-multiarch", "gdb", "gdb", "gdb"},
	"ssh":           {"openssh-client", "openssh-clients", "openssh", "openssh"},
	"rsync":         {"rsync", "rsync", "rsync", "rsync"},
	"nix":           {"nix-bin", "nix", "nix", "nix"},
}

// llvm are the packages with LLVM's programs other than compiler and linker.
var llvm = [4]string{"llvm", "llvm", "llvm", "llvm"}

// debian12 has the names that differ there: its virtiofsd comes with qemu.
var debian12 = map[string]string{"virtiofsd": "qemu-system-common"}

// versioned is a tool with its version in its name: the package has that, too.
var versioned = pattern.New(`^(gcc|clang|ld\.lld|llvm-[a-z]+)-(\d+)$`)

// ofVersion returns the packages of a tool with its version in its name; empty where a
// distribution may have no such package.
func ofVersion(tool string) (p [4]string) {
	m := versioned.FindStringSubmatch(tool)
	if m == nil || packages[m[1]][0] == "" {
		return p
	}
	separator := "_" // as nixpkgs has it
	if m[1] == "gcc" {
		separator = ""
	}
	return [4]string{packages[m[1]][0] + "-" + m[2], "", "", packages[m[1]][3] + separator + m[2]}
}

// A Package is what a tool comes with, by distribution. A field is empty where that isn't
// known.
type Package struct {
	Debian, Fedora, Arch, NixOS string
	Debian12                    string // of that release, where it differs
}

// Packages returns what provides a tool, or one of the libraries libelf and
// openssl. Its fields are empty when that isn't known.
func Packages(tool string) Package {
	p, ok := packages[tool]
	if !ok {
		p, ok = arch.Packages(tool)
	}
	if !ok {
		p = ofVersion(tool)
	}
	return Package{p[0], p[1], p[2], p[3], debian12[tool]}
}

// InstallHint says which package provides tool on the usual distributions, or
// returns "" when that isn't known. Besides programs it knows the libraries
// libelf and openssl.
func InstallHint(tool string) string {
	p := Packages(tool)
	if p.Debian == "" {
		if i := strings.LastIndexByte(tool, '-'); i > 0 && strings.HasSuffix(tool, "-gcc") {
			return fmt.Sprintf("install the cross compiler: gcc-%s on Debian", strings.ReplaceAll(tool[:i], "_", "-"))
		}
		return ""
	}
	if p.Debian12 != "" {
		p.Debian += " (Debian 12: " + p.Debian12 + ")"
	}
	var names []string
	for _, of := range [][2]string{{"Debian", p.Debian}, {"Fedora", p.Fedora}, {"Arch", p.Arch}, {"NixOS", p.NixOS}} {
		if of[1] != "" {
			names = append(names, of[0]+" "+of[1])
		}
	}
	return "install it: " + strings.Join(names, "; ")
}

// A MissingToolError says that a program isn't installed.
type MissingToolError struct {
	Tool string
	Dirs []string // where it was looked for, besides $PATH
}

func (e *MissingToolError) Error() string {
	if strings.Contains(e.Tool, "/") {
		return "there is no program " + e.Tool + " that could be run"
	}
	if len(e.Dirs) == 0 {
		return e.Tool + " not found in $PATH"
	}
	return fmt.Sprintf("%s not found in $PATH, %s", e.Tool, strings.Join(e.Dirs, ", "))
}

// Hint names the packages that provide the tool.
func (e *MissingToolError) Hint() string { return InstallHint(filepath.Base(e.Tool)) }

// Look finds a program in $PATH or else in dirs. A name with a slash is
// looked up as it is. The error is a *MissingToolError.
func Look(tool string, dirs ...string) (string, error) {
	if strings.Contains(tool, "/") {
		dirs = nil
	}
	path, err := exec.LookPath(tool)
	for i := 0; err != nil && i < len(dirs); i++ {
		path, err = exec.LookPath(filepath.Join(dirs[i], tool))
	}
	if err != nil {
		return "", &MissingToolError{Tool: tool, Dirs: dirs}
	}
	return filepath.Abs(path)
}
