// SPDX-License-Identifier: GPL-3.0-only

package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/proc"
)

const gib = 1 << 30

func emulator(o Options) func(context.Context) Check {
	if o.QEMU == "" {
		return tool("boot", "qemu-system-"+o.Arch, "qemu-system-"+o.Arch)
	}
	return func(ctx context.Context) Check {
		c := tool("boot", o.QEMU, "qemu-system-"+o.Arch)(ctx)
		if c.State == Missing {
			c.tool, c.Hint = "", "--qemu or [run] qemu names it; without them it is qemu-system-"+o.Arch
		}
		return c
	}
}

// firmware looks for the guest's firmware in the directories that qemu has it in.
func firmware(o Options, f arch.Firmware) func(context.Context) Check {
	return func(ctx context.Context) Check {
		c := Check{Feature: "boot", Name: "firmware", State: Missing, tool: f.Tool}
		path, err := proc.Look(cmp.Or(o.QEMU, "qemu-system-"+o.Arch))
		if err != nil {
			c.Text = "it can't be looked for without qemu"
			return c
		}
		ctx, cancel := context.WithTimeout(ctx, versionTime)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, "-L", "help").Output()
		if err != nil {
			c.Text = fmt.Sprintf("qemu doesn't say where it is: %v", err)
			return c
		}
		for dir := range strings.Lines(string(out)) {
			file := filepath.Join(strings.TrimSpace(dir), f.File)
			if _, err := os.Stat(file); err == nil {
				c.State, c.Path = OK, file
				return c
			}
		}
		c.Text = f.File + " not found where qemu looks for it; it runs before the kernel"
		return c
	}
}

// guestInit looks for a run-kernel of the guest's architecture.
func guestInit(o Options) func(context.Context) Check {
	return func(context.Context) Check {
		c := Check{Feature: "boot", Name: "init", State: OK}
		path, err := boot.FindInit(o.GuestInit, o.Arch)
		if err != nil {
			c.State, c.Text = Missing, err.Error()
			if hinted := (*boot.ForeignError)(nil); errors.As(err, &hinted) {
				c.Hint = hinted.Hint()
			}
			return c
		}
		c.Path = path
		return c
	}
}

func accelerator(o Options) func(context.Context) Check {
	return func(context.Context) Check {
		c := Check{Feature: "boot", Name: "kvm", State: OK, Text: "/dev/kvm opens"}
		if accel, why := qemu.ThisHost().ChooseAccel(o.Arch); accel != qemu.KVM {
			c.State, c.Text = Note, why+"; guests run by TCG, several times slower"
		}
		return c
	}
}

func filesystem(o Options) func(context.Context) Check {
	return func(ctx context.Context) Check {
		c := Check{Feature: "boot", Name: "virtiofsd"}
		if o.MountType == boot.NineP {
			c.State, c.Text = OK, "not needed: mount_type is 9p"
			return c
		}
		p, err := virtiofs.Find(ctx, o.Virtiofsd)
		if err == nil {
			c.Path, c.Text = p.Path, "the C one"
			if p.Rust {
				c.Text, c.Version = "the Rust one", versionOf(ctx, p.Path)
			}
			err = p.CanRun()
		}
		if err == nil {
			c.State = OK
			return c
		}
		c.State, c.Text = Missing, err.Error()
		if o.Virtiofsd == "" && o.MountType != boot.Virtiofs {
			c.State, c.Text = Note, c.Text+"; guests get files by 9p, which is slower"
		}
		var hinted interface{ Hint() string }
		switch {
		case errors.As(err, new(*proc.MissingToolError)) && o.Virtiofsd == "":
			c.tool = "virtiofsd"
		case errors.As(err, &hinted) && p != nil:
			c.Hint = hinted.Hint()
		case o.Virtiofsd != "":
			c.Hint = "--virtiofsd or [run] virtiofsd names it; without them it is searched for"
		}
		return c
	}
}

// memory checks that a guest fits beside a build.
func memory(o Options) func(context.Context) Check {
	return func(context.Context) Check {
		c := Check{Feature: "boot", Name: "memory", State: OK}
		data, err := os.ReadFile("/proc/meminfo")
		available := meminfo(string(data), "MemAvailable")
		if err != nil || available == 0 {
			c.State, c.Text = Note, "how much is available is unknown"
			return c
		}
		c.Text = fmt.Sprintf("%.1f GiB available, a guest has %.4g", float64(available)/gib, float64(o.MemoryMiB)/1024)
		if available < int64(o.MemoryMiB)<<20 {
			c.State, c.Hint = Note, fmt.Sprintf("--memory %dG leaves room for the build", max(1, available/gib/2))
		}
		return c
	}
}

// meminfo returns a field of /proc/meminfo in bytes, or 0.
func meminfo(text, field string) int64 {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		if f := strings.Fields(value); name == field && len(f) > 0 {
			n, _ := strconv.ParseInt(f[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// usualFolders is what a kernel tree of 2024 has.
const usualFolders = 6100

// watches checks that the tree can be watched: each directory takes one.
func watches(o Options) func(context.Context) Check {
	return func(context.Context) Check {
		need := usualFolders
		if o.Root != "" {
			need = directories(o.Root)
		}
		return limit("max_user_watches", need, 524288, fmt.Sprintf("the tree takes %d", need))
	}
}

func instances(context.Context) Check {
	return limit("max_user_instances", 8, 1024, "each loop takes one, and so does each editor")
}

// limit checks a limit of inotify(7).
func limit(name string, need, good int, purpose string) Check {
	c := Check{Feature: "watch", Name: name, State: OK}
	data, err := os.ReadFile("/proc/sys/fs/inotify/" + name)
	value, parseErr := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || parseErr != nil {
		c.State, c.Text = Note, "the limit is unknown"
		return c
	}
	c.Text = fmt.Sprintf("%d; %s", value, purpose)
	// Half of it for others.
	if value < 2*need {
		c.State, c.Hint = Note, fmt.Sprintf("sudo sysctl fs.inotify.%s=%d", name, max(good, 2*need))
	}
	return c
}

func directories(root string) int {
	n := 0
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case e == nil || !e.IsDir():
		case path != root && strings.HasPrefix(e.Name(), "."):
			return fs.SkipDir
		default:
			n++
		}
		return nil
	})
	return n
}

// A build of defconfig takes 2 GiB, one of a distribution's configuration 20.
const roomForBuild = 3 * gib

func disk(o Options) func(context.Context) Check {
	return func(context.Context) Check {
		c := Check{Feature: "host", Name: "disk", State: OK}
		var st unix.Statfs_t
		if err := unix.Statfs(o.BuildDir, &st); err != nil {
			c.State, c.Text = Note, fmt.Sprintf("%s: %v", o.BuildDir, err)
			return c
		}
		free := int64(st.Bavail) * int64(st.Bsize)
		c.Text = fmt.Sprintf("%.1f GiB free in %s", float64(free)/gib, o.BuildDir)
		if free < roomForBuild {
			c.State, c.Hint = Note, "a build of defconfig takes 2 GiB; -O DIR builds elsewhere"
		}
		return c
	}
}
