// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/probe"
)

// An UnsupportedError says that only make itself knows the environment of conf.
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string { return e.What + " is not supported by the native engine" }

// tools are the variables with the programs that the Makefile exports, and their
// defaults. The names of those that begin with $ follow CROSS_COMPILE.
var tools = map[string]string{
	"CC": "$gcc", "CPP": "$gcc -E", "LD": "$ld", "AR": "$ar", "NM": "$nm", "OBJCOPY": "$objcopy", "OBJDUMP": "$objdump",
	"READELF": "$readelf", "STRIP": "$strip", "HOSTCC": "gcc", "HOSTCXX": "g++", "HOSTRUSTC": "rustc", "RUSTC": "rustc",
	"RUSTDOC": "rustdoc", "RUSTFMT": "rustfmt", "BINDGEN": "bindgen", "PAHOLE": "pahole", "AWK": "awk", "PERL": "perl",
	"PYTHON3": "python3", "CONFIG_SHELL": "sh", "BASH": "bash", "LEX": "flex", "YACC": "bison", "CHECK": "sparse",
	"HOSTPKG_CONFIG": "pkg-config", "KBUILD_USERCFLAGS": "", "KBUILD_USERLDFLAGS": "",
}

// identified are those whose versions change what the commands of Kconfig files say.
var identified = []string{"CC", "LD", "AR", "NM", "OBJCOPY", "OBJDUMP", "RUSTC", "BINDGEN", "PAHOLE", "AWK", "PYTHON3"}

// noise are variables of terminals and sessions, which no tool looks at. The
// commands don't see them, so that their outputs can be kept without them.
var noise = pattern.New("^(" + strings.Join([]string{
	// shells
	"_", "PWD", "OLDPWD", "SHLVL", "PS[0-9]", "PROMPT.*", "HIST.*", "ZSH.*", "STARSHIP_.*", "DIRENV_.*",
	// terminals and what divides them
	"TERM", "TERM_.*", "TERMINFO.*", "COLORTERM", "COLORFGBG", "COLUMNS", "LINES", "LS_COLORS", "LC_TERMINAL.*", "TMUX.*", "STY", "WINDOW", "ZELLIJ.*",
	"VTE_.*", "GNOME_.*", "KONSOLE_.*", "KITTY_.*", "WEZTERM_.*", "ALACRITTY_.*", "ITERM_.*", "GPG_TTY",
	// sessions
	"DISPLAY", "WAYLAND_DISPLAY", "WINDOWID", "XAUTHORITY", "SESSION_MANAGER", "DESKTOP_.*", "XDG_.*", "DBUS_.*", "SSH_.*", "SWAYSOCK", "I3SOCK", "HYPRLAND_.*",
	"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_.*", "MAIL",
	// editors and pagers
	"EDITOR", "VISUAL", "PAGER", "MANPAGER", "LESS.*", "VIM.*", "NVIM.*", "INSIDE_EMACS", "VSCODE_.*", "GIT_.*",
	// what make sets for itself, and what only conf and run-kernel read
	"MAKE", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "KCONFIG_.*", "CONFIG_", "LC_ALL", "GREP_OPTIONS", "RUN_KERNEL_.*",
}, "|") + ")=")

// seen are the variables that compilers, linkers, their wrappers and shells are known
// to look at.
var seen = pattern.New("^(" + strings.Join([]string{
	"PATH", "HOME", "TMP", "TEMP", "TMPDIR", "LANG", "LANGUAGE", "LC_.*", "LOCPATH", "NLSPATH", "LD_.*", "GLIBC_.*", "MALLOC_.*", ".*SAN_OPTIONS",
	"ENV", "BASH.*", "SHELLOPTS", "POSIX.*", "IFS", "CDPATH",
	".*FLAGS", ".*_INCLUDE_PATH", "CPATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC.*", "GNUTARGET", "LDEMULATION", "COLLECT_.*", "DEPENDENCIES_OUTPUT",
	"SUNPRO_.*", "SOURCE_DATE_EPOCH", "CC.*", "CXX.*", "CLANG.*", "LLVM.*", "LTO.*", "AS_.*", "AR_.*", "RUST.*", "CARGO.*", "BINDGEN.*", "LIBCLANG.*",
	"SYSROOT", "SDKTARGETSYSROOT", "OECORE.*", "PSEUDO.*",
	"DISTCC.*", "ICECC.*", "ICECREAM.*", "SCCACHE.*", "FAKEROOT.*", "NIX_.*", "GUIX_.*", "SPACK_.*", "CONDA_.*", "PYTHON.*", "PERL.*", "PKG_CONFIG.*",
	"ARCH", "SRCARCH", "CROSS_COMPILE.*", "KBUILD_.*", "KERNEL.*", "HOST.*",
}, "|") + ")$")

// unseen are the variables that the tools don't look at: an unrelated one that is new
// must not ask everything again. A tool that is a script may look at any.
func (e environ) unseen(o Options) []string {
	for _, name := range []string{"CC", "LD", "AR", "NM", "OBJCOPY", "OBJDUMP", "RUSTC", "BINDGEN", "PAHOLE"} {
		fields := strings.Fields(e[name])
		if len(fields) == 0 {
			continue
		}
		path := fields[0]
		if !strings.Contains(path, "/") {
			path = ""
			for _, dir := range filepath.SplitList(e["PATH"]) {
				if st, err := os.Stat(filepath.Join(dir, fields[0])); err == nil && st.Mode().IsRegular() {
					path = filepath.Join(dir, fields[0])
					break
				}
			}
		}
		if path != "" && !isBinary(path) {
			return nil
		}
	}
	var names []string
	for name := range e {
		if !o.computes(name) && !seen.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// isBinary tells whether a program is one in ELF, and no script.
func isBinary(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == "\x7fELF"
}

// environ is the environment of conf.
type environ map[string]string

// newEnviron computes it as the top Makefile does, from the environment of make
// and the words of its command line.
func newEnviron(ctx context.Context, o Options) (environ, error) {
	e := environ{}
	for _, v := range o.Env {
		if name, value, ok := strings.Cut(v, "="); ok && !noise.MatchString(v) {
			e[name] = value
		}
	}
	makefile, err := os.ReadFile(filepath.Join(o.Srctree, "Makefile"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, &model.NotTreeError{Dir: o.Srctree, Missing: "Makefile"}
	}
	if err != nil {
		return nil, err
	}
	e["ARCH"] = cmp.Or(o.Vars["ARCH"], e["ARCH"], arch.Host().Kernel)
	e["SRCARCH"] = arch.OfKernel(e["ARCH"]).Kernel
	if _, err := os.Stat(filepath.Join(o.Srctree, "arch", e["SRCARCH"], "Kconfig")); err != nil && e["SRCARCH"] != "um" {
		return nil, &model.NotTreeError{Dir: o.Srctree, Missing: filepath.Join("arch", e["SRCARCH"], "Kconfig")}
	}
	if e["SRCARCH"] == "um" {
		return nil, &UnsupportedError{"ARCH=um"}
	}
	for _, name := range []string{"LLVM", "LLVM_IAS"} {
		if value, ok := o.Vars[name]; ok {
			e[name] = value
		}
		if e[name] != "" && e[name] != "0" {
			return nil, &UnsupportedError{name + "=" + e[name]}
		}
	}
	if value, ok := o.Vars["CROSS_COMPILE"]; ok {
		e["CROSS_COMPILE"] = value
	}
	for name, value := range tools {
		if rest, ok := strings.CutPrefix(value, "$"); ok {
			value = e["CROSS_COMPILE"] + rest
		}
		e[name] = value
	}
	e["CPP"] = e["CC"] + " -E"
	for name, value := range o.Vars {
		if name != "ARCH" && name != "O" {
			e[name] = value
		}
	}
	e["srctree"], e["abs_srctree"], e["objtree"], e["abs_objtree"] = o.Srctree, o.Srctree, o.Objtree, o.Objtree
	e["LC_COLLATE"], e["LC_NUMERIC"], e["RUSTC_BOOTSTRAP"] = "C", "C", "1"
	e["KERNELVERSION"] = kernelVersion(string(makefile))
	return e, e.versions(ctx, o, strings.Contains(string(makefile), "RUSTC_VERSION_TEXT"))
}

// others are the variables that newEnviron computes, beside the tools.
var others = []string{
	"ARCH", "SRCARCH", "CROSS_COMPILE", "LLVM", "LLVM_IAS", "srctree", "abs_srctree", "objtree", "abs_objtree", "LC_COLLATE", "LC_NUMERIC",
	"RUSTC_BOOTSTRAP", "KERNELVERSION", "CC_VERSION_TEXT", "RUSTC_VERSION_TEXT",
}

// computes tells whether newEnviron knows a variable as well as make does.
func (o Options) computes(name string) bool {
	_, tool := tools[name]
	_, given := o.Vars[name]
	return tool || given || slices.Contains(others, name)
}

// askedEnviron is what make says of the environment of conf.
func askedEnviron(ctx context.Context, o Options) (environ, error) {
	list, err := o.Environ(ctx)
	if err != nil {
		return nil, err
	}
	e := environ{}
	for _, v := range list {
		if name, value, ok := strings.Cut(v, "="); ok && !noise.MatchString(v) {
			e[name] = value
		}
	}
	// conf runs in the build directory; what we run does not.
	e["srctree"], e["abs_srctree"], e["objtree"], e["abs_objtree"] = o.Srctree, o.Srctree, o.Objtree, o.Objtree
	return e, nil
}

// versions asks the compilers for theirs, as the Makefile does.
func (e environ) versions(ctx context.Context, o Options, rust bool) error {
	runner, err := probe.New(ctx, probe.Options{Dir: o.Cache, Env: append(e.list(), "LC_ALL=C"), Tools: e.tools(), Apart: e.unseen(o)})
	if err != nil {
		return err
	}
	out, err := runner.Output(e["CC"] + " --version | head -n 1")
	if err != nil {
		return err
	}
	e["CC_VERSION_TEXT"] = oneLine(out.Stdout)
	if strings.Contains(e["CC_VERSION_TEXT"], "clang") {
		return &UnsupportedError{"clang"}
	}
	if rust {
		if out, err = runner.Output(e["RUSTC"] + " --version"); err != nil {
			return err
		}
		e["RUSTC_VERSION_TEXT"] = oneLine(out.Stdout)
	}
	runner.Close()
	return nil
}

// oneLine is what make's shell function makes of an output, without #.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", " ")
	return strings.ReplaceAll(text, "#", "")
}

// list is the environment as processes get it.
func (e environ) list() []string {
	var list []string
	for name, value := range e {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// tools are the programs whose identity matters.
func (e environ) tools() []string {
	list := []string{"as", "ld"}
	for _, name := range identified {
		if fields := strings.Fields(e[name]); len(fields) > 0 {
			list = append(list, fields[len(fields)-1], fields[0])
		}
	}
	// The rustc that rustup installs is a link to rustup, whichever it runs.
	rustup := e["RUSTUP_HOME"]
	if rustup == "" {
		rustup = filepath.Join(e["HOME"], ".rustup")
	}
	return append(list, filepath.Join(rustup, "settings.toml"), filepath.Join(rustup, "update-hashes"))
}

var versionLine = pattern.New(`(?m)^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *=[ \t]*(.*?)[ \t]*$`)

// kernelVersion is KERNELVERSION as the Makefile puts it together.
func kernelVersion(makefile string) string {
	parts := map[string]string{}
	for _, m := range versionLine.FindAllStringSubmatch(makefile, -1) {
		if _, ok := parts[m[1]]; !ok {
			parts[m[1]] = m[2]
		}
	}
	version := parts["VERSION"]
	if parts["PATCHLEVEL"] != "" {
		version += "." + parts["PATCHLEVEL"]
		if parts["SUBLEVEL"] != "" {
			version += "." + parts["SUBLEVEL"]
		}
	}
	return version + parts["EXTRAVERSION"]
}
