// SPDX-License-Identifier: GPL-3.0-only

package cycle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/userland"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kconfig"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	proc.Main()
	os.Exit(m.Run())
}

// fakeMake knows the targets that a pass asks for. It logs them, and grants all
// options but those in the file "refused", beside the tree.
const fakeMake = `#!/bin/sh
src=$2
for target; do case $target in [a-z]*config|[a-z]*mage|vmlinux) break;; esac; done
echo "$target" >>"$src/../made"
case $target in
defconfig)
	echo CONFIG_64BIT=y >"$KCONFIG_CONFIG";;
olddefconfig)
	while read -r symbol; do sed -i "/^CONFIG_$symbol=/d" "$KCONFIG_CONFIG"; done <"$src/../refused";;
*)
	mkdir -p "$src/arch/x86/boot"
	echo "$target" >"$src/$(cat "$src/../image")";;
esac
`

// A lab is a tree with a make of its own.
type lab struct {
	t      *testing.T
	dir    string // of the tree
	cycle  *Cycle
	mu     sync.Mutex
	events []event.Event
}

func newLab(t *testing.T) *lab {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, dir: filepath.Join(top, "linux")}
	for path, text := range map[string]string{
		"linux/Kbuild": "", "linux/Kconfig": "", "linux/Makefile": "VERSION = 6\nPATCHLEVEL = 1\n", "linux/scripts/kconfig/conf.c": "",
		"linux/init/main.c": "", "bin/make": fakeMake, "bin/gcc": "#!/bin/sh\n", "refused": "", "image": "vmlinux\n", "made": "",
	} {
		l.write("../"+path, text)
	}
	t.Setenv("PATH", filepath.Join(top, "bin")+":/usr/bin:/bin")
	tree, err := kbuild.Find(kbuild.Options{Dir: l.dir, Arch: "x86"})
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	l.cycle = &Cycle{Tree: tree, Config: &c, Events: func(e event.Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.events = append(l.events, e)
	}}
	return l
}

// write writes a file, whose path is relative to the tree.
func (l *lab) write(path, text string) {
	l.t.Helper()
	path = filepath.Join(l.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) read(path string) string {
	l.t.Helper()
	data, err := os.ReadFile(filepath.Join(l.dir, path))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(data)
}

// made returns, and forgets, the targets that make was asked for.
func (l *lab) made() string {
	l.t.Helper()
	made := strings.Join(strings.Fields(l.read("../made")), " ")
	l.write("../made", "")
	return made
}

func of[E event.Event](l *lab) []E {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []E
	for _, e := range l.events {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

func find(list []kconfig.Requirement, symbol string) *kconfig.Requirement {
	i := slices.IndexFunc(list, func(r kconfig.Requirement) bool { return r.Symbol == symbol })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func TestRequirements(t *testing.T) {
	l := newLab(t)
	c := l.cycle.Config
	c.Run.SMP = 16
	l.write("a.config", "CONFIG_KASAN=y\n# CONFIG_NONSENSE is not set\n")
	c.Kconfig.Fragments = []string{filepath.Join(l.dir, "a.config")}
	c.Kconfig.Require = []string{"DRM=y|m", "LOG_BUF_SHIFT>=18", "KCSAN?=y"}
	list, err := l.cycle.Requirements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for symbol, want := range map[string]kconfig.Want{
		"NR_CPUS": {Value: "16", Min: true, Room: "64"}, "KASAN": {Value: "y"}, "NONSENSE": {Value: "n"},
		"DRM": {Value: "y", Module: true}, "LOG_BUF_SHIFT": {Value: "18", Min: true}, "KCSAN": {Value: "y"}, "VIRTIO_NET": {Value: "y"},
	} {
		r := find(list, symbol)
		if r == nil {
			t.Errorf("%s isn't required", symbol)
		} else if r.Want != want {
			t.Errorf("%s: got %+v", symbol, r.Want)
		}
	}
	if r := find(list, "KCSAN"); r == nil || !r.Wish {
		t.Errorf("KCSAN: %+v", r)
	}
	seen := map[string]bool{}
	for _, r := range list {
		if seen[r.Symbol] {
			t.Errorf("%s is there twice", r.Symbol)
		}
		seen[r.Symbol] = true
	}

	c.Run.Network = "none"
	if list, err = l.cycle.Requirements(t.Context()); err != nil || find(list, "VIRTIO_NET") != nil {
		t.Errorf("without a network: %+v, %v", find(list, "VIRTIO_NET"), err)
	}
	for want, change := range map[string]func(){
		"isn't a requirement": func() { c.Kconfig.Require = []string{"nonsense"} },
		"no such file":        func() { c.Kconfig.Require, c.Kconfig.Fragments = nil, []string{"/nonexistent"} },
		"PRINTK":              func() { c.Kconfig.Require, c.Kconfig.Fragments = []string{"PRINTK=n"}, nil },
	} {
		change()
		if _, err := l.cycle.Requirements(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestCheckWithoutConfig(t *testing.T) {
	l := newLab(t)
	if _, err := l.cycle.Check(t.Context()); !errors.Is(err, ErrNoConfig) || !strings.Contains(err.Error(), l.dir) {
		t.Errorf("got %v", err)
	}
	if _, _, err := l.cycle.MakeCommand(); !errors.Is(err, ErrNoConfig) {
		t.Errorf("MakeCommand: %v", err)
	}
	if _, err := l.cycle.Image(); !errors.Is(err, ErrNoConfig) {
		t.Errorf("Image: %v", err)
	}
	if made := l.made(); made != "" {
		t.Errorf("make %s", made)
	}
}

func TestConfigThatLeadsNowhere(t *testing.T) {
	l := newLab(t)
	if err := os.Symlink("absent", filepath.Join(l.dir, ".config")); err != nil {
		t.Fatal(err)
	}
	var dangling *danglingError
	if _, err := l.cycle.Check(t.Context()); !errors.As(err, &dangling) || dangling.target != "absent" {
		t.Errorf("Check: %v", err)
	}
	if _, err := l.cycle.Fix(t.Context()); !errors.As(err, &dangling) {
		t.Errorf("Fix: %v", err)
	}
	if made := l.made(); made != "" {
		t.Errorf("make %s", made)
	}
}

func TestConfigOfAnotherArchitecture(t *testing.T) {
	const head = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/%s 6.1.0 Kernel Configuration\n#\n"
	l := newLab(t)
	for arch, foreign := range map[string]bool{"arm64": true, "x86": false, "i386": false, "x86_64": false} {
		l.events = nil
		l.write(".config", fmt.Sprintf(head, arch))
		before := l.read(".config")
		if _, err := l.cycle.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if warned := len(of[event.Warning](l)) > 0; warned != foreign {
			t.Errorf("%s: a warning: %v", arch, warned)
		}
		_, err := l.cycle.Fix(t.Context())
		if errors.As(err, new(*foreignError)) != foreign {
			t.Errorf("%s: %v", arch, err)
		}
		if foreign && l.read(".config") != before {
			t.Errorf("%s: .config was changed", arch)
		}
	}
}

func TestOlder(t *testing.T) {
	for version, want := range map[string]bool{"5.10.1": true, "6.1.176": true, "6.1": true, "6.2.0": false, "6.12.3-rc1": false, "7.0.0": false} {
		if got := older(version, "6.2"); got != want {
			t.Errorf("%s: %v", version, got)
		}
	}
}

func TestFixStartsFromDefconfig(t *testing.T) {
	l := newLab(t)
	report, err := l.cycle.Fix(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if made := l.made(); !strings.HasPrefix(made, "defconfig olddefconfig") {
		t.Errorf("make %s", made)
	}
	if text := l.read(".config"); !strings.Contains(text, "CONFIG_VIRTIO_PCI=y\n") || text != string(report.Config.Bytes()) {
		t.Errorf(".config is %q", text)
	}
	if n := of[event.Notice](l); len(n) != 1 || !strings.Contains(n[0].Text, "defconfig") {
		t.Errorf("notices %+v", n)
	}
	fixed := of[event.ConfigFixed](l)
	if len(fixed) != 1 || fixed[0].Path != filepath.Join(l.dir, ".config") || len(fixed[0].Edits) != len(report.Edits) {
		t.Fatalf("events %+v", fixed)
	}
	for _, e := range fixed[0].Edits {
		if e.Symbol == "PRINTK" && (e.From != "" || e.To != "y" || e.Why == "") {
			t.Errorf("got %+v", e)
		}
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	l := newLab(t)
	l.cycle.DryRun = true
	for _, config := range []string{"", "CONFIG_64BIT=y\n"} {
		if config != "" {
			l.write(".config", config)
		}
		report, err := l.cycle.Fix(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Edits) == 0 {
			t.Error("nothing would be changed")
		}
		data, err := os.ReadFile(filepath.Join(l.dir, ".config"))
		if string(data) != config || (config == "") != errors.Is(err, os.ErrNotExist) {
			t.Errorf(".config is %q, %v", data, err)
		}
	}
	for _, e := range of[event.ConfigFixed](l) {
		if e.Path != filepath.Join(l.dir, ".config") {
			t.Errorf("the event names %s", e.Path)
		}
	}
	l.cycle.DryRun = false
	if report, err := l.cycle.Fix(t.Context()); err != nil || len(report.Edits) == 0 {
		t.Errorf("afterwards: %+v, %v", report, err)
	}
}

// What this kernel refuses of the wishes isn't tried again for the same .config.
func TestSettled(t *testing.T) {
	l := newLab(t)
	l.cycle.Config.Kconfig.Require = []string{"NONSENSE?=y"}
	l.write("../refused", "NONSENSE\n")
	l.write(".config", "CONFIG_64BIT=y\n")
	fix := func(want bool) {
		t.Helper()
		if _, err := l.cycle.Fix(t.Context()); err != nil {
			t.Fatal(err)
		}
		if made := l.made(); (made != "") != want {
			t.Errorf("make %q", made)
		}
	}
	fix(true)
	fix(false)
	l.write(".config", l.read(".config")+"CONFIG_MORE=y\n")
	fix(true)
	fix(false)
	l.cycle.Config.Kconfig.Require = []string{"NONSENSE?=y", "OTHER?=y"}
	fix(true)
	fix(false)

	// What is required is never settled by being refused.
	l.cycle.Config.Kconfig.Require = []string{"NONSENSE=y"}
	before := l.read(".config")
	for range 2 {
		unmet := (*kconfig.UnmetError)(nil)
		if _, err := l.cycle.Fix(t.Context()); !errors.As(err, &unmet) || len(unmet.Unmet) != 1 || unmet.Unmet[0].Symbol != "NONSENSE" {
			t.Errorf("got %v", err)
		}
		if made := l.made(); made == "" {
			t.Error("it isn't tried")
		}
	}
	if l.read(".config") != before {
		t.Error(".config has changed")
	}
}

func TestBuild(t *testing.T) {
	l := newLab(t)
	l.write(".config", "CONFIG_64BIT=y\n")
	result, err := l.cycle.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(l.dir, "vmlinux"); result.Image != want || !result.NewImage {
		t.Errorf("got %+v", result)
	}
	if made := strings.Fields(l.made()); len(made) < 2 || made[0] != "olddefconfig" || made[len(made)-1] != "vmlinux" {
		t.Errorf("make %s", made)
	}
	var phases []event.Phase
	for _, p := range of[event.PhaseStarted](l) {
		phases = append(phases, p.Phase)
	}
	if want := []event.Phase{event.PhaseCheck, event.PhaseBuild}; !slices.Equal(phases, want) {
		t.Errorf("phases %v", phases)
	}
	if image, err := l.cycle.Image(); err != nil || image != result.Image {
		t.Errorf("Image: %s, %v", image, err)
	}
	command, image, err := l.cycle.MakeCommand("V=1")
	if err != nil || image != result.Image || !slices.Equal(command[len(command)-2:], []string{"vmlinux", "V=1"}) {
		t.Errorf("MakeCommand: %q, %s, %v", command, image, err)
	}
}

func TestBuildWithoutFixing(t *testing.T) {
	l := newLab(t)
	l.cycle.Config.Kconfig.Fix = false
	l.write(".config", "CONFIG_64BIT=y\n")
	_, err := l.cycle.Build(t.Context())
	unfixed := (*UnfixedError)(nil)
	if !errors.As(err, &unfixed) || len(unfixed.Missing) == 0 || !strings.Contains(err.Error(), unfixed.Missing[0].Symbol) || unfixed.Hint() == "" {
		t.Fatalf("got %v", err)
	}
	for _, r := range unfixed.Missing {
		if r.Wish {
			t.Errorf("%s is only a wish", r.Symbol)
		}
	}
	if made := l.made(); made != "" || l.read(".config") != "CONFIG_64BIT=y\n" {
		t.Errorf("make %s; .config %q", made, l.read(".config"))
	}
	// Everything but the wishes.
	requirements, err := l.cycle.Requirements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	for _, r := range requirements {
		if !r.Wish && r.Want.Value != "n" && r.Symbol != "PVH" {
			config.WriteString("CONFIG_" + r.Symbol + "=" + r.Want.Value + "\n")
		}
	}
	l.write(".config", config.String())
	l.write("../image", "arch/x86/boot/bzImage\n")
	result, err := l.cycle.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if made := l.made(); made != "bzImage" || !strings.HasSuffix(result.Image, "/arch/x86/boot/bzImage") {
		t.Errorf("make %s, image %s", made, result.Image)
	}
	if err := os.Remove(result.Image); err != nil {
		t.Fatal(err)
	}
	none := (*NotBuiltError)(nil)
	if _, err := l.cycle.Image(); !errors.As(err, &none) || none.Path != result.Image {
		t.Errorf("Image: %v", err)
	}
}

func TestBootOptions(t *testing.T) {
	for _, name := range []string{"LANG", "LC_ALL", "COLORTERM"} {
		t.Setenv(name, "")
	}
	t.Setenv("TERM", "dumb")
	t.Setenv("SHELL", "/bin/zsh")
	t.Setenv("PATH", "/opt/bin:/bin")
	t.Setenv("HOME", "/home/me")
	c := config.Default()
	c.Run.Share = []string{"a:/one", "b:/two:ro"}
	o, err := BootOptions(&c, Userland{Kind: userland.Host}, "/image", "/work", "/tree", "/state", nil)
	if err != nil {
		t.Fatal(err)
	}
	shares := []boot.Share{{Tag: "a", Dir: "/one", Path: "/mnt/a"}, {Tag: "b", Dir: "/two", Path: "/mnt/b", ReadOnly: true}}
	if diff := cmp.Diff(shares, o.Shares); diff != "" {
		t.Error(diff)
	}
	if o.Userland != "/" || o.Shell != "/bin/zsh" || !o.Network || o.ConsoleLog != "/state/console.log" || o.Tree != "/tree" || o.Dir != "/work" {
		t.Errorf("got %+v", o)
	}
	if diff := cmp.Diff([]string{"PATH=/opt/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "HOME=/home/me", "TERM=dumb"}, o.Env); diff != "" {
		t.Error(diff)
	}
	c.Run.Network = "none"
	o, err = BootOptions(&c, Userland{Kind: "/other"}, "/image", "/work", "", "", nil)
	if err != nil || o.Userland != "/other" || o.Shell != "" || o.Network || o.ConsoleLog != "" {
		t.Errorf("got %+v", o)
	}
	l := newLab(t)
	o, err = l.cycle.BootOptions(t.Context(), "/image", "/work")
	if err != nil || o.Tree != l.dir || o.ConsoleLog != filepath.Join(l.dir, ".run-kernel", "console.log") {
		t.Errorf("got %+v, %v", o, err)
	}
}
