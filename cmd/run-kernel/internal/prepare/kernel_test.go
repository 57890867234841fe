// SPDX-License-Identifier: GPL-3.0-only

package prepare

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
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kbuild/kbuildtest"
	"github.com/metaspace/run-kernel/kconfig"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	proc.Main()
	os.Exit(m.Run())
}

// A lab is a tree with a make of its own.
type lab struct {
	*kbuildtest.Tree
	t      *testing.T
	kernel *Kernel
	mu     sync.Mutex
	events []event.Event
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{Tree: kbuildtest.New(t), t: t}
	tree, err := kbuild.Find(kbuild.Options{Dir: l.Dir, Arch: "x86"})
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	l.kernel = &Kernel{Tree: tree, Config: &c, Events: func(e event.Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.events = append(l.events, e)
	}}
	return l
}

// build configures and makes the kernel.
func (l *lab) build() (*kbuild.Result, error) {
	f, err := l.kernel.Configure(l.t.Context())
	if err != nil {
		return nil, err
	}
	return l.kernel.Tree.Build(l.t.Context(), l.kernel.BuildOptions(f))
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
	c := l.kernel.Config
	c.Run.SMP = 16
	l.Write("a.config", "CONFIG_KASAN=y\n# CONFIG_NONSENSE is not set\n")
	c.Kconfig.Fragments = []string{filepath.Join(l.Dir, "a.config")}
	c.Kconfig.Require = []string{"DRM=y|m", "LOG_BUF_SHIFT>=18", "KCSAN?=y"}
	list, err := l.kernel.Requirements(t.Context())
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
	if r := find(list, "KCSAN"); r == nil || !r.Optional {
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
	if list, err = l.kernel.Requirements(t.Context()); err != nil || find(list, "VIRTIO_NET") != nil {
		t.Errorf("without a network: %+v, %v", find(list, "VIRTIO_NET"), err)
	}
	for want, change := range map[string]func(){
		"isn't a requirement": func() { c.Kconfig.Require = []string{"nonsense"} },
		"no such file":        func() { c.Kconfig.Require, c.Kconfig.Fragments = nil, []string{"/nonexistent"} },
		"PRINTK":              func() { c.Kconfig.Require, c.Kconfig.Fragments = []string{"PRINTK=n"}, nil },
	} {
		change()
		if _, err := l.kernel.Requirements(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestCheckWithoutConfig(t *testing.T) {
	l := newLab(t)
	if _, err := l.kernel.Check(t.Context()); !errors.Is(err, ErrNoConfig) || !strings.Contains(err.Error(), l.Dir) {
		t.Errorf("got %v", err)
	}
	if _, _, err := l.kernel.MakeCommand(); !errors.Is(err, ErrNoConfig) {
		t.Errorf("MakeCommand: %v", err)
	}
	if _, err := l.kernel.Image(); !errors.Is(err, ErrNoConfig) {
		t.Errorf("Image: %v", err)
	}
	if made := l.Made(); made != "" {
		t.Errorf("make %s", made)
	}
}

func TestConfigThatLeadsNowhere(t *testing.T) {
	l := newLab(t)
	if err := os.Symlink("absent", filepath.Join(l.Dir, ".config")); err != nil {
		t.Fatal(err)
	}
	var dangling *danglingError
	if _, err := l.kernel.Check(t.Context()); !errors.As(err, &dangling) || dangling.target != "absent" {
		t.Errorf("Check: %v", err)
	}
	if _, err := l.kernel.Fix(t.Context(), FixOptions{}); !errors.As(err, &dangling) {
		t.Errorf("Fix: %v", err)
	}
	if made := l.Made(); made != "" {
		t.Errorf("make %s", made)
	}
}

func TestConfigOfAnotherArchitecture(t *testing.T) {
	const head = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/%s 6.1.0 Kernel Configuration\n#\n"
	l := newLab(t)
	for arch, foreign := range map[string]bool{"arm64": true, "x86": false, "i386": false, "x86_64": false} {
		l.events = nil
		l.Write(".config", fmt.Sprintf(head, arch))
		before := l.Read(".config")
		if _, err := l.kernel.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if warned := len(of[event.Warning](l)) > 0; warned != foreign {
			t.Errorf("%s: a warning: %v", arch, warned)
		}
		_, err := l.kernel.Fix(t.Context(), FixOptions{})
		if errors.As(err, new(*foreignError)) != foreign {
			t.Errorf("%s: %v", arch, err)
		}
		if foreign && l.Read(".config") != before {
			t.Errorf("%s: .config was changed", arch)
		}
	}
	l.Write("mine", fmt.Sprintf(head, "arm64"))
	path := filepath.Join(l.kernel.Tree.BuildDir, "mine")
	if _, err := l.kernel.Fix(t.Context(), FixOptions{Path: path}); err == nil || !strings.HasPrefix(err.Error(), path+" is one for arm64 ") {
		t.Errorf("got %v", err)
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
	report, err := l.kernel.Fix(t.Context(), FixOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if made := l.Made(); !strings.HasPrefix(made, "defconfig olddefconfig") {
		t.Errorf("make %s", made)
	}
	if text := l.Read(".config"); !strings.Contains(text, "CONFIG_VIRTIO_PCI=y\n") || text != string(report.Config.Bytes()) {
		t.Errorf(".config is %q", text)
	}
	if n := of[event.Notice](l); len(n) != 1 || !strings.Contains(n[0].Text, "defconfig") {
		t.Errorf("notices %+v", n)
	}
	fixed := of[event.ConfigFixed](l)
	if len(fixed) != 1 || fixed[0].Path != filepath.Join(l.Dir, ".config") || len(fixed[0].Edits) != len(report.Edits) {
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
	for _, config := range []string{"", "CONFIG_64BIT=y\n"} {
		if config != "" {
			l.Write(".config", config)
		}
		report, err := l.kernel.Fix(t.Context(), FixOptions{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Edits) == 0 {
			t.Error("nothing would be changed")
		}
		data, err := os.ReadFile(filepath.Join(l.Dir, ".config"))
		if string(data) != config || (config == "") != errors.Is(err, os.ErrNotExist) {
			t.Errorf(".config is %q, %v", data, err)
		}
	}
	for _, e := range of[event.ConfigFixed](l) {
		if e.Path != filepath.Join(l.Dir, ".config") {
			t.Errorf("the event names %s", e.Path)
		}
	}
	if report, err := l.kernel.Fix(t.Context(), FixOptions{}); err != nil || len(report.Edits) == 0 {
		t.Errorf("afterwards: %+v, %v", report, err)
	}
}

// An optional requirement that the user switches off stays off, and one of a fresh
// defconfig doesn't.
func TestSwitchedOff(t *testing.T) {
	l := newLab(t)
	l.kernel.Config.Kconfig.Require = []string{"OPTIONAL?=y"}
	fix := func(want string) *kconfig.Report {
		t.Helper()
		report, err := l.kernel.Fix(t.Context(), FixOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := kconfig.ReadFile(filepath.Join(l.Dir, ".config"))
		if err != nil {
			t.Fatal(err)
		}
		if have, _ := f.Get("OPTIONAL"); have != want {
			t.Errorf("it is %q, want %q", have, want)
		}
		return report
	}
	l.Write(".config", "CONFIG_64BIT=y\n# CONFIG_OPTIONAL is not set\n")
	fix("y")
	off := strings.Replace(l.Read(".config"), "CONFIG_OPTIONAL=y", "# CONFIG_OPTIONAL is not set", 1)
	l.Write(".config", off)
	for range 2 {
		fix("n")
	}
	l.Write(".config", off+"# CONFIG_MORE is not set\n")
	report := fix("n")
	if !slices.ContainsFunc(report.Unmet, func(r kconfig.Result) bool { return r.Symbol == "OPTIONAL" && r.Proof != nil }) {
		t.Errorf("nothing is said of it: %+v", report.Unmet)
	}
	l.Write(".config", strings.Replace(off, "# CONFIG_OPTIONAL is not set", "CONFIG_OPTIONAL=y", 1))
	fix("y")
	l.Write(".config", off)
	fix("n")
	l.Write(".config", "# CONFIG_64BIT is not set\n# CONFIG_OPTIONAL is not set\n")
	fix("y")
}

// What this kernel refuses of what is optional isn't tried again for the same .config.
func TestSettled(t *testing.T) {
	l := newLab(t)
	l.kernel.Config.Kconfig.Require = []string{"NONSENSE?=y"}
	l.Write("../refused", "NONSENSE\n")
	l.Write(".config", "CONFIG_64BIT=y\n")
	fix := func(want bool) {
		t.Helper()
		if _, err := l.kernel.Fix(t.Context(), FixOptions{}); err != nil {
			t.Fatal(err)
		}
		if made := l.Made(); (made != "") != want {
			t.Errorf("make %q", made)
		}
	}
	fix(true)
	fix(false)
	l.Write(".config", l.Read(".config")+"CONFIG_MORE=y\n")
	fix(true)
	fix(false)
	l.kernel.Config.Kconfig.Require = []string{"NONSENSE?=y", "OTHER?=y"}
	fix(true)
	fix(false)

	// What is required is never settled by being refused.
	l.kernel.Config.Kconfig.Require = []string{"NONSENSE=y"}
	before := l.Read(".config")
	for range 2 {
		unmet := (*kconfig.UnmetError)(nil)
		if _, err := l.kernel.Fix(t.Context(), FixOptions{}); !errors.As(err, &unmet) || len(unmet.Unmet) != 1 || unmet.Unmet[0].Symbol != "NONSENSE" {
			t.Errorf("got %v", err)
		}
		if made := l.Made(); made == "" {
			t.Error("it isn't tried")
		}
	}
	if l.Read(".config") != before {
		t.Error(".config has changed")
	}
}

func TestBuild(t *testing.T) {
	l := newLab(t)
	l.Write(".config", "CONFIG_64BIT=y\n")
	result, err := l.build()
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(l.Dir, "vmlinux"); result.Image != want || !result.NewImage {
		t.Errorf("got %+v", result)
	}
	if made := strings.Fields(l.Made()); len(made) < 2 || made[0] != "olddefconfig" || made[len(made)-1] != "vmlinux" {
		t.Errorf("make %s", made)
	}
	if image, err := l.kernel.Image(); err != nil || image != result.Image {
		t.Errorf("Image: %s, %v", image, err)
	}
	command, image, err := l.kernel.MakeCommand("V=1")
	if err != nil || image != result.Image || !slices.Equal(command[len(command)-2:], []string{"vmlinux", "V=1"}) {
		t.Errorf("MakeCommand: %q, %s, %v", command, image, err)
	}
}

func TestBuildWithoutFixing(t *testing.T) {
	l := newLab(t)
	l.kernel.Config.Kconfig.Fix = false
	l.Write(".config", "CONFIG_64BIT=y\n")
	_, err := l.build()
	unfixed := (*UnfixedError)(nil)
	if !errors.As(err, &unfixed) || len(unfixed.Missing) == 0 || !strings.Contains(err.Error(), unfixed.Missing[0].Symbol) || unfixed.Hint() == "" {
		t.Fatalf("got %v", err)
	}
	for _, r := range unfixed.Missing {
		if r.Optional {
			t.Errorf("%s is only optional", r.Symbol)
		}
	}
	if made := l.Made(); made != "" || l.Read(".config") != "CONFIG_64BIT=y\n" {
		t.Errorf("make %s; .config %q", made, l.Read(".config"))
	}
	// Everything that is not optional.
	requirements, err := l.kernel.Requirements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	for _, r := range requirements {
		if !r.Optional && r.Want.Value != "n" && r.Symbol != "PVH" {
			config.WriteString("CONFIG_" + r.Symbol + "=" + r.Want.Value + "\n")
		}
	}
	l.Write(".config", config.String())
	l.Write("../image", "arch/x86/boot/bzImage\n")
	result, err := l.build()
	if err != nil {
		t.Fatal(err)
	}
	if made := l.Made(); made != "bzImage" || !strings.HasSuffix(result.Image, "/arch/x86/boot/bzImage") {
		t.Errorf("make %s, image %s", made, result.Image)
	}
	if err := os.Remove(result.Image); err != nil {
		t.Fatal(err)
	}
	none := (*NotBuiltError)(nil)
	if _, err := l.kernel.Image(); !errors.As(err, &none) || none.Path != result.Image {
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
	o, err := Boot{Config: &c, Userland: Userland{Kind: userland.Host}, Image: "/image", Dir: "/work", Tree: "/tree", State: "/state"}.Options()
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
	o, err = Boot{Config: &c, Userland: Userland{Kind: "/other"}, Image: "/image", Dir: "/work"}.Options()
	if err != nil || o.Userland != "/other" || o.Shell != "" || o.Network || o.ConsoleLog != "" {
		t.Errorf("got %+v", o)
	}
	l := newLab(t)
	o, err = l.kernel.BootOptions(t.Context(), "/image", "/work")
	if err != nil || o.Tree != l.Dir || o.ConsoleLog != filepath.Join(l.Dir, ".run-kernel", "console.log") {
		t.Errorf("got %+v, %v", o, err)
	}
}

// A home that isn't a whole path is none: the source tree would get a directory.
func TestNoCacheInARelativeHome(t *testing.T) {
	l := newLab(t)
	t.Setenv("XDG_CACHE_HOME", "")
	for home, want := range map[string]string{"": "", "home": "", "/home/me": "/home/me/.cache/run-kernel/kconfig"} {
		t.Setenv("HOME", home)
		if got := l.kernel.treeOptions().Cache; got != want {
			t.Errorf("HOME=%s: got %q, want %q", home, got, want)
		}
	}
}
