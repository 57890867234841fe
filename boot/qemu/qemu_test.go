// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestArgs(t *testing.T) {
	console, monitor, agent := Console{}, Monitor{FD: 4}, SerialPort{Name: "run-kernel.agent", FD: 5}
	devices := []Device{console, monitor, agent}
	disks := []Device{Disk{Path: "/a, b.img", Format: "raw", Serial: "disk0"}, Disk{Path: "/c", Format: "qcow2", Serial: "disk1", ReadOnly: true}}
	full := append(devices[:3:3], Entropy{}, UserNetwork{}, FileSystem{Tag: "root", FD: 7}, FileSystem{Tag: "a,b=c,,d", FD: 8})
	for name, m := range map[string]Machine{
		"x86_64-kvm": {
			Arch: "x86_64", Accel: KVM, CPUs: 2, Memory: 4 << 10, Kernel: "/linux/vmlinux", Initrd: "/proc/self/fd/6", Name: "linux",
			Cmdline: []string{"panic=-1", `dyndbg="file a.c +p"`}, Devices: full, SharedMemory: true, Extra: []string{"-s", "-S"},
		},
		"x86_64-tcg": {
			Arch: "x86_64", Accel: TCG, CPUs: 1, Memory: 1 << 10, Kernel: "/my linux/arch/x86/boot/bzImage", Initrd: "/proc/self/fd/6",
			Name: "a,b", Cmdline: []string{"panic=-1", "init_on_alloc=1"}, Devices: full, SharedMemory: true,
		},
		"x86_64-minimal": {Arch: "x86_64", Accel: TCG, CPUs: 1, Memory: 1 << 10, Kernel: "vmlinux"},
		"x86_64-devices": {
			Arch: "x86_64", Accel: TCG, CPUs: 1, Memory: 1 << 10, Kernel: "vmlinux",
			Devices: append(disks, UserNetwork{Forwards: []Forward{{Host: 8080, Guest: 80}, {Host: 5353, Guest: 53}}}),
		},
		"x86_64-restricted": {Arch: "x86_64", Accel: TCG, CPUs: 1, Memory: 1 << 10, Kernel: "vmlinux", Sandbox: true, Devices: []Device{UserNetwork{Restricted: true}}},
		"aarch64":           {Arch: "aarch64", Accel: TCG, CPUs: 2, Memory: 2 << 10, Kernel: "Image", Devices: full, SharedMemory: true},
		"aarch64-kvm":       {Arch: "aarch64", Accel: KVM, CPUs: 16, Memory: 2 << 10, Kernel: "Image", Devices: devices},
		"riscv64":           {Arch: "riscv64", Accel: TCG, CPUs: 2, Memory: 2 << 10, Kernel: "Image", Devices: devices},
	} {
		t.Run(name, func(t *testing.T) {
			args, err := m.Args()
			if err != nil {
				t.Fatal(err)
			}
			// An option and its value a line.
			var b strings.Builder
			for i, a := range args {
				switch {
				case i == 0:
				case strings.HasPrefix(a, "-") || !strings.HasPrefix(args[i-1], "-"):
					b.WriteByte('\n')
				default:
					b.WriteByte(' ')
				}
				b.WriteString(Quote([]string{"", a})[3:])
			}
			b.WriteByte('\n')
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
			again, err := m.Args()
			if diff := cmp.Diff(args, again); diff != "" || err != nil {
				t.Errorf("a second call: %s %v", diff, err)
			}
		})
	}
}

func TestArgsErrors(t *testing.T) {
	for _, m := range []Machine{
		{Arch: "x86_64", CPUs: 0, Memory: 1},
		{Arch: "x86_64", CPUs: 1, Memory: 0},
		{Arch: "x86_64", CPUs: -1, Memory: 1},
		{Arch: "pdp11", CPUs: 1, Memory: 1},
		{CPUs: 1, Memory: 1},
	} {
		if args, err := m.Args(); err == nil {
			t.Errorf("%+v: got %q", m, args)
		}
	}
}

// The owner's arguments come last, where the kernel takes them for the stronger.
func TestKernelArgs(t *testing.T) {
	m := Machine{
		Arch: "x86_64", Cmdline: []string{"console=hvc0", "random.trust_cpu=off", "swiotlb=force"},
		Devices: []Device{Console{}, Entropy{}},
	}
	want := []string{"earlycon=uart8250,io,0x3f8,115200", "console=ttyS0,115200", "random.trust_cpu=on", "swiotlb=noforce", "console=hvc0", "random.trust_cpu=off", "swiotlb=force"}
	if diff := cmp.Diff(want, m.KernelArgs()); diff != "" {
		t.Error(diff)
	}
}

func TestChooseAccel(t *testing.T) {
	const (
		intel = "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu vme vmx ssse3\nvmx flags\t: vnmi\n\nprocessor\t: 1\n"
		amd   = "flags\t\t: fpu svm\n"
		none  = "flags\t\t: fpu vme hypervisor\nvmx flags\t: vmx\nbugs\t\t: svm vmx\n"
	)
	yes := func() error { return nil }
	no := func(err error) func() error {
		return func() error { return &os.PathError{Op: "open", Path: "/dev/kvm", Err: err} }
	}
	for _, c := range []struct {
		name, host, guest string
		open              func() error
		info              string
		want              Accel
		why               string
	}{
		{"intel", "x86_64", "x86_64", yes, intel, KVM, ""},
		{"amd", "x86_64", "x86_64", yes, amd, KVM, ""},
		{"nested without", "x86_64", "x86_64", yes, none, TCG, "neither vmx nor svm"},
		{"no flags", "x86_64", "x86_64", yes, "", TCG, "neither vmx nor svm"},
		{"no cpuinfo", "x86_64", "x86_64", yes, "error", TCG, "can't be read"},
		{"no device", "x86_64", "x86_64", no(syscall.ENOENT), intel, TCG, "there is no /dev/kvm"},
		{"no rights", "x86_64", "x86_64", no(syscall.EACCES), intel, TCG, "group"},
		{"broken", "x86_64", "x86_64", no(syscall.ENODEV), intel, TCG, "doesn't work: open /dev/kvm: no such device"},
		{"other guest", "x86_64", "aarch64", yes, intel, TCG, "the guest is aarch64 and the host x86_64"},
		{"arm", "aarch64", "aarch64", yes, "error", KVM, ""},
		{"arm without", "aarch64", "aarch64", no(syscall.ENOENT), "", TCG, "there is no /dev/kvm"},
	} {
		h := Host{Arch: c.host, OpenKVM: c.open, StatKVM: ThisHost().StatKVM, CPUInfo: func() ([]byte, error) {
			if c.info == "error" {
				return nil, errors.New("no /proc")
			}
			return []byte(c.info), nil
		}}
		accel, why := h.ChooseAccel(c.guest)
		if accel != c.want || !strings.Contains(why, c.why) || (accel == KVM) != (why == "") {
			t.Errorf("%s: got %s, %q", c.name, accel, why)
		}
	}
	if accel, why := ThisHost().ChooseAccel("pdp11"); accel != TCG || why == "" {
		t.Errorf("this host: got %s, %q", accel, why)
	}
}

// Whoever may not open /dev/kvm is told which group may.
func TestWhoMayOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(path, nil, 0o660); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o660); err != nil { // whatever the umask
		t.Fatal(err)
	}
	stat := func() (os.FileInfo, error) { return os.Stat(path) }
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 0, 2); err != nil {
			t.Fatal(err)
		}
		bin, err := user.LookupGroupId("2")
		if err != nil {
			t.Skip("no group has the number 2")
		}
		if got := whoMayOpen(stat); !strings.Contains(got, "the group "+bin.Name+" may") || !strings.Contains(got, "usermod -aG "+bin.Name+" ") {
			t.Errorf("got %q", got)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := whoMayOpen(stat); !strings.Contains(got, "mode 0600") || strings.Contains(got, "usermod") {
		t.Errorf("only its owner may: got %q", got)
	}
	path += ".none"
	if got := whoMayOpen(stat); !strings.Contains(got, "kvm") {
		t.Errorf("without it: got %q", got)
	}
}

// What a shell reads of a quoted command is that command.
func TestQuote(t *testing.T) {
	args := []string{
		"plain", "", " ", "a b", "it's", `"`, `\`, "$HOME", "`x`", "*", "~", "#c", "a;b", "a|b", "a&b", "(x)", "{a,b}", "[a]", "a\nb", "\t",
		"!", "?", "<", ">", "ä€", "\xff\xfe", "-n", "a=b", "%s", "''", "file=/dev/x,format=raw", "\x01",
	}
	out, err := exec.Command("/bin/sh", "-c", `printf '%s\0' `+Quote(args)).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if diff := cmp.Diff(fmt.Sprintf("%q", args), fmt.Sprintf("%q", got)); diff != "" {
		t.Error(diff)
	}
	for want, args := range map[string][]string{
		"qemu -m 4G -kernel /linux/vmlinux": {"qemu", "-m", "4G", "-kernel", "/linux/vmlinux"},
		`'A=b' c=d`:                         {"A=b", "c=d"},
		`'it'\''s' ''`:                      {"it's", ""},
		"":                                  nil,
	} {
		if got := Quote(args); got != want {
			t.Errorf("%q: got %s", args, got)
		}
	}
}
