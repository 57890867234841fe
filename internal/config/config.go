// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// Config is everything that can be configured. The help of a key is what its
// flag and the sample configuration say of it.
type Config struct {
	// Trust is in the user's own file only; see Trust, the function.
	Trust []string `koanf:"trust" toml:"trust"`

	Run     Run     `koanf:"run" toml:"run"`
	Kconfig Kconfig `koanf:"kconfig" toml:"kconfig"`
	Build   Build   `koanf:"build" toml:"build"`
	Watch   Watch   `koanf:"watch" toml:"watch"`
	Verdict Verdict `koanf:"verdict" toml:"verdict"`
}

// Run is the guest.
type Run struct {
	SMP                int      `koanf:"smp" toml:"smp" help:"number of processors"`
	MemoryGiB          int      `koanf:"memory_gib" toml:"memory_gib" help:"memory in GiB, unless memory says it"`
	Memory             string   `koanf:"memory" toml:"memory" help:"memory as a size, such as 512M or 6G; unset: memory_gib"`
	Kernel             string   `koanf:"kernel" toml:"kernel" path:"true" help:"boot this image, and build nothing"`
	KernelExtraArgs    []string `koanf:"kernel_extra_args" toml:"kernel_extra_args" help:"extra arguments for the kernel command line"`
	Userland           string   `koanf:"userland" toml:"userland" help:"root directory of the guest: host (this host's /, read-only below a tmpfs), nix (the NixOS system of the flake), the path of another directory, or auto (nix if there is a flake and nix is installed, otherwise host)"`
	Flake              string   `koanf:"flake" toml:"flake" help:"flake of the guest's NixOS system: a directory or another flake reference; after a #, the name of the system (vm if there is none) or the attribute path of its toplevel"`
	Share              []string `koanf:"share" toml:"share" help:"host directories that the guest mounts on /mnt/TAG: TAG:PATH, or TAG:PATH:ro for read-only"`
	MountType          string   `koanf:"mount_type" toml:"mount_type" help:"how the guest gets host directories: virtiofs, 9p (served by qemu itself, slower for small files), or auto (virtiofs if there is a virtiofsd that works for this user, otherwise 9p)"`
	Serial             string   `koanf:"serial" toml:"serial" help:"where the guest's serial port goes: disconnected, stdio (your terminal, but not with a command), telnet (a port of localhost), or log (printed line by line)"`
	Log                bool     `koanf:"log" toml:"log" help:"same as serial = \"log\", if serial is disconnected"`
	Stdin              bool     `koanf:"stdin" toml:"stdin" help:"same as serial = \"stdio\", if serial is disconnected"`
	Debug              bool     `koanf:"debug" toml:"debug" help:"make the guest wait for run-kernel gdb before its first instruction"`
	Boot               string   `koanf:"boot" toml:"boot" help:"how the kernel is started: direct (qemu loads the image)"`
	Disk               []string `koanf:"disk" toml:"disk" help:"disks of the guest, from /dev/vda on: PATH for a raw image or a block device, PATH:qcow2, with :ro for read-only and :backing=FILE for a qcow2 image on another file"`
	Network            string   `koanf:"network" toml:"network" help:"the guest's network: user (qemu's user-mode network, which reaches what this host reaches, services on its loopback included), restricted (reaches nothing; forwarded ports and ssh still lead into the guest), or none"`
	User               string   `koanf:"user" toml:"user" help:"user of the guest, by name or number, who runs your commands and shells; unset: root"`
	Rwdir              []string `koanf:"rwdir" toml:"rwdir" path:"true" help:"host directories that the guest mounts at their own paths, and can write, such as . for the source tree"`
	Isolated           bool     `koanf:"isolated" toml:"isolated" help:"for what you don't trust: the network is restricted, and of this host the guest sees only the build and what you name: --userland DIR or nix, shares, disks"`
	Hide               []string `koanf:"hide" toml:"hide" help:"files and directories of the host that the guest doesn't see in its userland; ~ is the home of the invoking user"`
	Forward            []string `koanf:"forward" toml:"forward" help:"TCP ports of the host loopback that lead into the guest: HOST:GUEST"`
	SSH                bool     `koanf:"ssh" toml:"ssh" help:"open an ssh session in the guest, after the command if there is one: with the guest's sshd, through a port of the host loopback (10022 or the next free one), or with run-kernel's agent if no sshd answers"`
	SSHCommand         string   `koanf:"ssh_command" toml:"ssh_command" help:"run this shell command in an ssh session, instead of a shell"`
	PingSSH            bool     `koanf:"ping_ssh" toml:"ping_ssh" help:"wait until the guest's sshd answers, for boot_timeout at most; without ssh and ssh_command, the guest is stopped then"`
	Hostname           string   `koanf:"hostname" toml:"hostname" help:"host name of the guest"`
	Accel              string   `koanf:"accel" toml:"accel" help:"how qemu runs the guest: kvm, tcg (translation), or auto (kvm if it works, otherwise tcg)"`
	GuestInit          string   `koanf:"guest_init" toml:"guest_init" path:"true" help:"run-kernel for the guest's architecture, which becomes its init; unset: this run-kernel, or run-kernel-linux-GOARCH beside it or in $PATH"`
	QEMU               string   `koanf:"qemu" toml:"qemu" path:"tool" help:"qemu's program; unset: the one for the architecture in $PATH"`
	QEMUExtraArgs      []string `koanf:"qemu_extra_args" toml:"qemu_extra_args" help:"extra arguments for qemu"`
	Virtiofsd          string   `koanf:"virtiofsd" toml:"virtiofsd" path:"tool" help:"virtiofsd's program; unset: the first one found in $PATH and in the usual directories"`
	VirtiofsdSocketDir string   `koanf:"virtiofsd_socket_dir" toml:"virtiofsd_socket_dir" path:"true" help:"directory in which virtiofsd's sockets have a name for a moment; unset: a private one in $XDG_RUNTIME_DIR or /tmp"`
	BootTimeout        Duration `koanf:"boot_timeout" toml:"boot_timeout" help:"limit of console silence while booting (0: no limit)"`
	BootLimit          Duration `koanf:"boot_limit" toml:"boot_limit" help:"limit of the whole boot, until the guest answers, whatever it prints (0: no limit; without effect if boot_timeout is 0)"`
}

// Kconfig is what run-kernel does to .config.
type Kconfig struct {
	Fix       bool     `koanf:"fix" toml:"fix" flag:"kconfig-fix" help:"change .config if the guest needs it; otherwise only complain"`
	Fragments []string `koanf:"fragments" toml:"fragments" flag:"fragment" path:"true" help:"files of options that are required as well"`
	Profiles  []string `koanf:"profiles" toml:"profiles" flag:"profile" help:"additional groups of required options, such as systemd,nixos"`
	Require   []string `koanf:"require" toml:"require" flag:"require" help:"additional required options: FOO=y, FOO=y|m, FOO=n, FOO>=8 or FOO=\"text\"; FOO?=y is optional"`
}

// Build is how make is run.
type Build struct {
	Output       string   `koanf:"output" toml:"output" flag:"output" short:"O" path:"true" help:"build directory, like make's O=; unset: the source tree"`
	Arch         string   `koanf:"arch" toml:"arch" flag:"arch" help:"architecture, like make's ARCH="`
	CrossCompile string   `koanf:"cross_compile" toml:"cross_compile" flag:"cross-compile" help:"prefix of the cross compiler's programs, like make's CROSS_COMPILE="`
	LLVM         string   `koanf:"llvm" toml:"llvm" flag:"llvm" help:"build with LLVM, like make's LLVM="`
	CC           string   `koanf:"cc" toml:"cc" flag:"cc" help:"compiler, like make's CC=, such as 'ccache distcc gcc'"`
	Jobs         int      `koanf:"jobs" toml:"jobs" flag:"jobs" short:"j" help:"parallel jobs, like make's -j (0: one per processor, or per place that distcc has)"`
	Host         string   `koanf:"host" toml:"host" flag:"build-host" help:"machine on which make runs, by ssh and rsync; what a guest needs comes back"`
	External     []string `koanf:"external" toml:"external" flag:"external" path:"true" help:"directories of modules outside of the source tree, which are built against it, like make's M="`
	Fast         bool     `koanf:"fast" toml:"fast" flag:"fast" help:"build in the loop without make's walk through the source tree where that links the same image; a full make confirms it while the guest boots"`

	CompileCommands bool `koanf:"compile_commands" toml:"compile_commands" flag:"compile-commands" help:"keep compile_commands.json in the build directory up to date, for clangd and other tools"`
}

// Watch is the loop.
type Watch struct {
	Exec   string   `koanf:"exec" toml:"exec" flag:"exec" help:"shell command to run in each new guest"`
	Rerun  []string `koanf:"rerun" toml:"rerun" flag:"rerun" path:"true" help:"files and directories that only the command of exec reads, such as tools/testing/selftests: if nothing else has changed, the command runs again in the same guest"`
	Swap   bool     `koanf:"swap" toml:"swap" flag:"swap" help:"replace modules in the running guest if a change concerns nothing else; where that isn't possible, the guest is booted again"`
	KUnit  string   `koanf:"kunit" toml:"kunit" flag:"kunit" help:"run the KUnit tests that match this glob while each new guest boots, and say which began or ceased to fail; '*' is all"`
	Quiet  Duration `koanf:"quiet" toml:"quiet" flag:"settle" help:"debounce: wait until no file has changed for this long"`
	Max    Duration `koanf:"max" toml:"max" flag:"settle-max" help:"limit of the debounce: start after this time even if files still change"`
	Notify Duration `koanf:"notify" toml:"notify" flag:"notify" help:"ring the terminal's bell, and notify the desktop if the terminal can, after a turn of at least this time (0: never)"`
	Ignore []string `koanf:"ignore" toml:"ignore" flag:"ignore" path:"true" help:"files and directories of the source tree whose changes don't matter"`
}

// Verdict is what a turn fails for beside its command.
type Verdict struct {
	Fail  []string `koanf:"fail" toml:"fail" flag:"fail" help:"classes of kernel reports that fail boot with a command, test, kselftest and watch --exec, once the guest is up"`
	Allow []string `koanf:"allow" toml:"allow" flag:"allow" help:"regular expressions: a report whose title matches one of them fails nothing"`
}

// ReportClasses are the classes of reports, as boot/report has them.
var ReportClasses = []string{
	"panic", "oops", "bug", "stack-overflow", "kasan", "kfence", "kmsan", "kcsan", "ubsan", "corruption", "refcount", "lockdep", "atomic-sleep",
	"warning", "hang", "leak", "limit",
}

// harmless are the classes that fail nothing by default: the kernel works as before.
var harmless = []string{"limit"}

// settle is how long no file may change until the loop acts. It is short, since
// a change that comes later only restarts make, and since a checkout's pauses are
// covered by git's lock.
const settle = 100 * time.Millisecond

// bootLimit is many times what a slow boot takes: a NixOS under TCG, on a busy
// machine, needs two or three minutes, and a kernel with sanitizers some more.
const bootLimit = 20 * time.Minute

// DefaultFlake is where a flake is looked for unless told, relative to the tree.
const DefaultFlake = "./nixos"

// hidden is what a guest has no business with: what lets its reader be somebody else,
// here or elsewhere.
var hidden = []string{
	"~/.ssh", "~/.gnupg", "~/.aws", "~/.config/gh", "~/.docker", "~/.kube", "~/.password-store", "/etc/shadow", "/root/.ssh",
}

// Default returns the configuration without any file, variable or flag.
func Default() Config {
	return Config{
		Run: Run{
			SMP: 2, MemoryGiB: 4, Userland: "auto", Flake: DefaultFlake, Share: []string{}, Rwdir: []string{}, MountType: "auto", Serial: SerialDisconnected, Boot: "direct", Disk: []string{}, Network: "user", Hide: slices.Clone(hidden), Forward: []string{}, Hostname: "run-kernel", Accel: "auto",
			BootTimeout: Duration(time.Minute), BootLimit: Duration(bootLimit), KernelExtraArgs: []string{}, QEMUExtraArgs: []string{},
		},
		Kconfig: Kconfig{Fix: true, Fragments: []string{}, Profiles: []string{}, Require: []string{}},
		Build:   Build{External: []string{}, Fast: true, CompileCommands: true},
		Watch:   Watch{Rerun: []string{}, Swap: true, Quiet: Duration(settle), Max: Duration(5 * time.Second), Ignore: []string{}},
		Verdict: Verdict{
			Fail:  slices.DeleteFunc(slices.Clone(ReportClasses), func(class string) bool { return slices.Contains(harmless, class) }),
			Allow: []string{},
		},
	}
}

// allowed are the values of the keys that have a fixed set.
var allowed = map[string][]string{
	"run.boot":       {"direct"},
	"run.network":    {"user", "restricted", "none"},
	"run.mount_type": {"auto", "virtiofs", "9p"},
	"run.serial":     {SerialDisconnected, SerialStdio, SerialTelnet, SerialLog},
	"run.accel":      {"auto", "kvm", "tcg"},
}

// The values of run.serial.
const (
	SerialDisconnected = "disconnected"
	SerialStdio        = "stdio"
	SerialTelnet       = "telnet"
	SerialLog          = "log"
)

// SerialPort says who has the guest's serial port, as one of the values of
// run.serial. run.stdin and run.log are how it was said before there was a key for it.
func (c *Config) SerialPort() string {
	switch r := c.Run; {
	case r.Serial != SerialDisconnected:
		return r.Serial
	case r.Stdin:
		return SerialStdio
	case r.Log:
		return SerialLog
	}
	return SerialDisconnected
}

// MemoryMiB is the guest's memory.
func (r *Run) MemoryMiB() int {
	if mib, err := parseSize(r.Memory); err == nil {
		return mib
	}
	return r.MemoryGiB << 10
}

// sizes are those of qemu's -m, in MiB at least.
var sizes = pattern.New(`^(\d{1,9})(?:([MGTmgt])(?:i?B)?)?$`)

// maxMemory is 1 PiB, in MiB: more than any machine has.
const maxMemory = 1 << 30

// parseSize reads a size such as 512M, and returns it in MiB. A number alone is one of
// MiB, as it is for qemu.
func parseSize(text string) (mib int, err error) {
	m := sizes.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q isn't a size such as 512M or 6G", text)
	}
	mib, _ = strconv.Atoi(m[1]) // of nine digits
	mib *= map[string]int{"": 1, "M": 1, "G": 1 << 10, "T": 1 << 20}[strings.ToUpper(m[2])]
	if mib < 1 || mib > maxMemory {
		return 0, fmt.Errorf("no guest has %s of memory", text)
	}
	return mib, nil
}

// Userlands are the values of run.userland that are no path.
var Userlands = []string{"auto", "nix", "host"}

// least are the smallest values of numbers.
var least = map[string]int{"run.smp": 1, "run.memory_gib": 1, "build.jobs": 0}

// A Duration is a time.Duration that is written as "1.5s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if string(text) == "0" {
		v, err = 0, nil
	}
	if err == nil && v < 0 {
		err = fmt.Errorf("a duration can't be negative")
	}
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 500ms, 10s or 2m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the shortest way to write d: 1m, not 1m0s.
func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// A key is one setting.
type key struct {
	name  string // table.key
	table string
	flag  string
	short string
	help  string
	path  string // "true": relative to where it is written; "tool": so, if it has a slash
	kind  reflect.Type
	index [2]int // of its field
}

var durationType = reflect.TypeFor[Duration]()

// keys lists all settings in the order of the struct.
var keys = func() []key {
	var keys []key
	c := reflect.TypeFor[Config]()
	for i := range c.NumField() {
		table := c.Field(i)
		if table.Type.Kind() != reflect.Struct {
			continue // trust, which only the user's own file has
		}
		for j := range table.Type.NumField() {
			f := table.Type.Field(j)
			name := f.Tag.Get("koanf")
			k := key{
				name: table.Tag.Get("koanf") + "." + name, table: table.Tag.Get("koanf"), flag: f.Tag.Get("flag"),
				short: f.Tag.Get("short"), help: f.Tag.Get("help"), path: f.Tag.Get("path"), kind: f.Type, index: [2]int{i, j},
			}
			if k.flag == "" {
				k.flag = dashes(name)
			}
			keys = append(keys, k)
		}
	}
	return keys
}()

func (k key) value(c *Config) any {
	return reflect.ValueOf(c).Elem().Field(k.index[0]).Field(k.index[1]).Interface()
}

// variable is the name of the key's environment variable.
func (k key) variable() string { return "RUN_KERNEL_" + upper(k.name) }

// Std returns the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Tables are the tables of the configuration, in their order.
func Tables() []string {
	var tables []string
	for _, k := range keys {
		if !slices.Contains(tables, k.table) {
			tables = append(tables, k.table)
		}
	}
	return tables
}
