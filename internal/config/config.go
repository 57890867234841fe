// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Config is everything that can be configured. The help of a key is what its
// flag and the sample configuration say of it.
type Config struct {
	Run     Run     `koanf:"run" toml:"run"`
	Kconfig Kconfig `koanf:"kconfig" toml:"kconfig"`
	Build   Build   `koanf:"build" toml:"build"`
	Watch   Watch   `koanf:"watch" toml:"watch"`
}

// Run is the guest.
type Run struct {
	SMP                int      `koanf:"smp" toml:"smp" help:"processors of the guest"`
	MemoryGiB          int      `koanf:"memory_gib" toml:"memory_gib" help:"memory of the guest, in GiB"`
	Kernel             string   `koanf:"kernel" toml:"kernel" path:"true" help:"boot this image and build nothing"`
	KernelExtraArgs    []string `koanf:"kernel_extra_args" toml:"kernel_extra_args" help:"more arguments for the kernel's command line"`
	Userland           string   `koanf:"userland" toml:"userland" help:"what the guest runs on: nix (the flake's NixOS), host (this machine's root, read-only under a tmpfs), the path of another root directory, or auto: nix if there is a flake, else host"`
	Flake              string   `koanf:"flake" toml:"flake" help:"flake of the guest's NixOS: a directory or another reference that nix takes, and, after a #, the system's name (vm if there is none) or its toplevel's attribute path"`
	Share              []string `koanf:"share" toml:"share" help:"directories of the host that the guest gets: TAG:PATH, or TAG:PATH:ro for one that it can't write"`
	MountType          string   `koanf:"mount_type" toml:"mount_type" help:"how the guest gets directories of the host: virtiofs, 9p (by qemu itself, without a daemon, slower) or auto: virtiofs where there is a virtiofsd that works for this user, else 9p"`
	Serial             string   `koanf:"serial" toml:"serial" help:"the guest's serial port: disconnected, stdio (your terminal, unless there is a command), telnet (on localhost) or log (shown as it comes)"`
	Log                bool     `koanf:"log" toml:"log" help:"the same as serial = \"log\", unless serial says otherwise"`
	Stdin              bool     `koanf:"stdin" toml:"stdin" help:"the same as serial = \"stdio\", unless serial says otherwise"`
	Debug              bool     `koanf:"debug" toml:"debug" help:"let the guest wait for a debugger, which run-kernel gdb starts, before its first instruction"`
	Boot               string   `koanf:"boot" toml:"boot" help:"how the kernel is started: direct, by qemu itself"`
	Disk               []string `koanf:"disk" toml:"disk" help:"disks of the guest, raw or qcow2, from /dev/vda on: PATH, or PATH:ro for one that it can't write"`
	Network            string   `koanf:"network" toml:"network" help:"the guest's network: user (qemu's user-mode network) or none"`
	Forward            []string `koanf:"forward" toml:"forward" help:"TCP ports of this machine's loopback that lead into the guest: HOST:GUEST"`
	SSH                bool     `koanf:"ssh" toml:"ssh" help:"after boot's command, if there is one, an ssh session in the guest: with its sshd, over a forwarded port (10022 or the next free one), or, where none answers, with run-kernel's own agent"`
	SSHCommand         string   `koanf:"ssh_command" toml:"ssh_command" help:"shell command to run in such a session, instead of a shell"`
	PingSSH            bool     `koanf:"ping_ssh" toml:"ping_ssh" help:"wait until the guest's sshd answers, for boot_timeout at most; with neither ssh nor ssh_command, that is all, and the guest ends"`
	Hostname           string   `koanf:"hostname" toml:"hostname" help:"host name of the guest"`
	Accel              string   `koanf:"accel" toml:"accel" help:"how qemu runs the guest: auto, kvm or tcg"`
	GuestInit          string   `koanf:"guest_init" toml:"guest_init" path:"true" help:"run-kernel of the guest's architecture, to be its init; empty: this one, or run-kernel-linux-GOARCH beside it or in $PATH"`
	QEMU               string   `koanf:"qemu" toml:"qemu" path:"tool" help:"program of qemu; empty: the one for the architecture in $PATH"`
	QEMUExtraArgs      []string `koanf:"qemu_extra_args" toml:"qemu_extra_args" help:"more arguments for qemu"`
	Virtiofsd          string   `koanf:"virtiofsd" toml:"virtiofsd" path:"tool" help:"program of virtiofsd; empty: searched for"`
	VirtiofsdSocketDir string   `koanf:"virtiofsd_socket_dir" toml:"virtiofsd_socket_dir" path:"true" help:"folder in which virtiofsd's sockets are bound for a moment; empty: they have no name in the file system"`
	BootTimeout        Duration `koanf:"boot_timeout" toml:"boot_timeout" help:"how long the guest may be silent before it answers; 0: for ever"`
}

// Kconfig is what run-kernel does to .config.
type Kconfig struct {
	Fix       bool     `koanf:"fix" toml:"fix" flag:"kconfig-fix" help:"change .config when the guest needs it; otherwise only complain"`
	Fragments []string `koanf:"fragments" toml:"fragments" flag:"fragment" path:"true" help:"configuration fragments whose options are required as well"`
	Profiles  []string `koanf:"profiles" toml:"profiles" flag:"profile" help:"more groups of required options, such as systemd,nixos"`
	Require   []string `koanf:"require" toml:"require" flag:"require" help:"more required options: FOO=y, FOO=y|m, FOO=n, FOO>=8, FOO=\"text\", or, as a wish, FOO?=y"`
}

// Build is how make is run.
type Build struct {
	Output       string `koanf:"output" toml:"output" flag:"output" short:"O" path:"true" help:"build directory, as make's O=; empty: the source itself"`
	Arch         string `koanf:"arch" toml:"arch" flag:"arch" help:"architecture, as make's ARCH="`
	CrossCompile string `koanf:"cross_compile" toml:"cross_compile" flag:"cross-compile" help:"prefix of the tool chain, as make's CROSS_COMPILE="`
	LLVM         string `koanf:"llvm" toml:"llvm" flag:"llvm" help:"build with LLVM, as make's LLVM="`
	CC           string `koanf:"cc" toml:"cc" flag:"cc" help:"compiler, as make's CC="`
	Jobs         int    `koanf:"jobs" toml:"jobs" flag:"jobs" short:"j" help:"jobs at once, as make's -j; 0: one for each processor"`
}

// Watch is the loop.
type Watch struct {
	Exec   string   `koanf:"exec" toml:"exec" flag:"exec" help:"shell command to run in each new guest"`
	Quiet  Duration `koanf:"quiet" toml:"quiet" flag:"settle" help:"how long there must be no change before the loop acts on what changed"`
	Max    Duration `koanf:"max" toml:"max" flag:"settle-max" help:"how long the loop may wait for that at most"`
	Ignore []string `koanf:"ignore" toml:"ignore" flag:"ignore" path:"true" help:"files and folders of the tree whose changes don't matter"`
}

// settle is how long no file may change until the loop acts. It is short, since
// a change that comes later only restarts make, and since a checkout's pauses are
// covered by git's lock.
const settle = 100 * time.Millisecond

// DefaultFlake is where a flake is looked for unless told, relative to the tree.
const DefaultFlake = "./nixos"

// Default returns the configuration without any file, variable or flag.
func Default() Config {
	return Config{
		Run: Run{
			SMP: 2, MemoryGiB: 4, Userland: "auto", Flake: DefaultFlake, Share: []string{}, MountType: "auto", Serial: "disconnected", Boot: "direct", Disk: []string{}, Network: "user", Forward: []string{}, Hostname: "run-kernel", Accel: "auto",
			BootTimeout: Duration(time.Minute), KernelExtraArgs: []string{}, QEMUExtraArgs: []string{},
		},
		Kconfig: Kconfig{Fix: true, Fragments: []string{}, Profiles: []string{}, Require: []string{}},
		Watch:   Watch{Quiet: Duration(settle), Max: Duration(5 * time.Second), Ignore: []string{}},
	}
}

// allowed are the values of the keys that have a fixed set.
var allowed = map[string][]string{
	"run.boot":       {"direct"},
	"run.network":    {"user", "none"},
	"run.mount_type": {"auto", "virtiofs", "9p"},
	"run.serial":     {"disconnected", "stdio", "telnet", "log"},
	"run.accel":      {"auto", "kvm", "tcg"},
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
