// SPDX-License-Identifier: GPL-3.0-only

package doctor

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kbuild"
)

// A State is what a check found.
type State string

const (
	OK      State = "ok"      // it is there and will do
	Note    State = "note"    // run-kernel works, but not all of it, or not fast
	Missing State = "missing" // the feature doesn't work without
)

// A Check is one thing that was looked at.
type Check struct {
	Feature string `json:"feature"` // build, boot, session, nix, watch or host
	Name    string `json:"name"`
	State   State  `json:"state"`
	Version string `json:"version,omitempty"`
	Path    string `json:"path,omitempty"`
	Text    string `json:"text,omitempty"` // what there is to say of it
	Hint    string `json:"hint,omitempty"` // the next step, where installing isn't one

	// tool is what to install, as proc.Packages names it; empty where that is no
	// remedy.
	tool string
}

// Options are what run-kernel has been told to use.
type Options struct {
	Arch         string // of the guest, as in qemu-system-<arch>
	QEMU         string // program; empty: the architecture's
	GuestInit    string // program; empty: searched for, where the guest's architecture is another
	MountType    string // how guests get directories: boot.MountAuto, boot.Virtiofs or boot.NineP
	Virtiofsd    string // program; empty: searched for
	CrossCompile string // CROSS_COMPILE=
	LLVM         string // LLVM=
	CC           string // CC=; empty: by the two above
	KernelArch   string // ARCH=
	BuildHost    string // on which make builds; empty: this machine
	MemoryMiB    int    // of a guest
	Root         string // the kernel tree, or empty outside of one
	BuildDir     string // where a kernel is built
}

// kbuild is what make is told.
func (o Options) kbuild() kbuild.Options {
	return kbuild.Options{Host: o.BuildHost, Arch: o.KernelArch, CrossCompile: o.CrossCompile, LLVM: o.LLVM, CC: o.CC}
}

// Examine makes all checks, in an order that is always the same.
func Examine(ctx context.Context, o Options) []Check {
	checks := []func(context.Context) Check{
		tool("build", "make", "make"),
		compiler(o), linker(o),
		tool("build", "flex", "flex"), tool("build", "bison", "bison"), tool("build", "bc", "bc"), tool("build", "perl", "perl"),
		header(o, "libelf", "libelf.h", "objtool, which most x86 configurations use, is built with it"),
		header(o, "openssl", "openssl/opensslv.h", "signed modules are made with it"),
		optional(tool("build", "pahole", "pahole"), "CONFIG_DEBUG_INFO_BTF needs it"),
		optional(tool("build", "depmod", "depmod", "/usr/sbin", "/sbin"), "modules are made ready for modprobe with it"),
	}
	if o.withLLVM() {
		checks = slices.Insert(checks, 3, archiver(o)) // behind the linker
	}
	wrap, _ := proc.SplitCompiler(o.CC)
	for _, program := range wrap {
		checks = append(checks, tool("build", program, filepath.Base(program)))
	}
	if program := proc.Farm(o.CC); program != "" {
		checks = append(checks, farm(o, program))
	}
	if o.BuildHost != "" {
		checks = append(checks, tool("build", "rsync", "rsync"), buildHost(o))
	}
	checks = append(checks, emulator(o), accelerator(o), filesystem(o), memory(o))
	if g := arch.Of(o.Arch).Guest; g != nil && g.Firmware.File != "" {
		checks = append(checks, firmware(o, g.Firmware))
	}
	if o.Arch != arch.Host().Name {
		checks = append(checks, guestInit(o))
	}
	checks = append(checks,
		optional(tool("session", "ssh", "ssh"), "run-kernel ssh, scp and rsync reach the guest by it"),
		debugger(o),
		nix(os.Geteuid(), nixState),
		optional(tool("watch", "git", "git"), "the loop asks it which files are sources"),
		watches(o), instances,
		disk(o),
	)
	results := make([]Check, len(checks))
	var g errgroup.Group
	g.SetLimit(4)
	for i, check := range checks {
		g.Go(func() error {
			results[i] = check(ctx)
			return nil
		})
	}
	_ = g.Wait() // none of them fails
	return results
}

// Healthy says that nothing is missing.
func Healthy(checks []Check) bool {
	for _, c := range checks {
		if c.State == Missing {
			return false
		}
	}
	return true
}

// Remedy is the command that installs everything that is missing, and all that
// would be of use besides when all is set. It is empty when there is nothing to
// install.
func Remedy(checks []Check, d Distribution, all bool) string {
	var tools []string
	for _, c := range checks {
		if c.tool != "" && (c.State == Missing || all && c.State == Note) {
			tools = append(tools, c.tool)
		}
	}
	return d.install(tools)
}
