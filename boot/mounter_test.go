// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/event"
)

func TestChooseMounter(t *testing.T) {
	l := newLab(t, "")
	empty := t.TempDir()
	broken := filepath.Join(t.TempDir(), "virtiofsd")
	l.Script(t, broken, "exit 1\n")
	saved := virtiofs.Dirs
	t.Cleanup(func() { virtiofs.Dirs = saved })
	virtiofs.Dirs = nil
	for _, c := range []struct {
		path      string // where virtiofsd is searched for
		o         Options
		want      string // empty: an error
		why, hint string // or what the error says
	}{
		{path: l.Dir, want: Virtiofs},
		{path: l.Dir, o: Options{MountType: MountAuto, KernelVersion: "6.1.176"}, want: Virtiofs},
		{path: l.Dir, o: Options{MountType: Virtiofs}, want: Virtiofs},
		{path: l.Dir, o: Options{MountType: NineP}, want: NineP},
		{path: l.Dir, o: Options{KernelVersion: "5.4.0-rc1"}, want: Virtiofs},
		{path: l.Dir, o: Options{KernelVersion: "5.3.18"}, want: NineP, why: "Linux 5.3.18 has no virtiofs", hint: "5.4"},
		{path: l.Dir, o: Options{KernelVersion: "4.19"}, want: NineP, why: "Linux 4.19", hint: "5.4"},
		{path: l.Dir, o: Options{KernelVersion: "5.3.18", MountType: Virtiofs}, want: Virtiofs},
		{path: empty, want: NineP, why: "virtiofsd not found in $PATH", hint: "install it: "},
		{path: filepath.Dir(broken), want: NineP, why: broken + " doesn't look like a virtiofsd"},
		{path: empty, o: Options{Virtiofsd: l.Virtiofsd}, want: Virtiofs},
		// What was asked for by name isn't passed over.
		{path: empty, o: Options{MountType: Virtiofs}, why: "not found"},
		{path: l.Dir, o: Options{Virtiofsd: "/none"}, why: "/none"},
		{path: l.Dir, o: Options{MountType: "nfs"}, why: `"nfs": it is auto, virtiofs or 9p`},
	} {
		t.Setenv("PATH", c.path)
		m, err := ChooseMounter(t.Context(), c.o)
		switch {
		case c.want == "":
			if err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%+v: got %v", c, err)
			}
		case err != nil:
			t.Errorf("%+v: %v", c, err)
		case m.Type != c.want || !strings.Contains(m.Why, c.why) || (m.Why == "") != (c.why == "") || !strings.Contains(m.Hint, c.hint):
			t.Errorf("%+v: got %+v", c, m)
		case m.Why != "" && !strings.Contains(m.notice(), m.Why):
			t.Errorf("%+v: the notice is %q", c, m.notice())
		}
	}
}

// By 9p NixOS needn't mount what its configuration says is virtiofs, and what is
// edited isn't cached.
func TestPlanOfASystemBy9P(t *testing.T) {
	l := newLab(t, "")
	o := l.options()
	o.MountType, o.Userland, o.System, o.Tree = NineP, "", "/store/system", l.Dir
	o.Shares = []Share{{Tag: "data", Dir: l.Dir, Path: "/mnt/data"}}
	p, err := newPlan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := []guest.Share{
		{Tag: "data", Path: "/mnt/data", Type: NineP, Options: guest.NinePOptions("mmap")},
		{Tag: storeTag, Path: "/store", Type: NineP, Options: guest.NinePOptions("loose"), ReadOnly: true},
		{Tag: treeTag, Path: l.Dir, Type: NineP, Options: guest.NinePOptions("none"), ReadOnly: true},
	}
	if diff := cmp.Diff(want, p.guest.Shares); diff != "" {
		t.Error(diff)
	}
}

// qemu can write what is read-only no more than the guest can.
func TestSharesBy9P(t *testing.T) {
	dir := t.TempDir()
	m := &Mounter{Type: NineP}
	for _, readOnly := range []bool{false, true} {
		f, d, _, err := m.open(virtiofs.Share{Tag: "tag", Dir: dir, ReadOnly: readOnly})
		if err != nil || d != nil {
			t.Fatal(d, err)
		}
		defer f.Close()
		err = os.WriteFile(filepath.Join("/proc/self/fd", strconv.Itoa(int(f.Fd())), "file"), nil, 0o644)
		if os.Geteuid() == 0 && (err != nil) != readOnly {
			t.Errorf("read-only %v: writing: %v", readOnly, err)
		}
	}
	if _, _, _, err := m.open(virtiofs.Share{Tag: "tag", Dir: dir + "/none"}); err == nil || !strings.Contains(err.Error(), "share tag: ") {
		t.Errorf("got %v", err)
	}
}

// What can't be hidden is told of, whoever serves it.
func TestNothingHidden(t *testing.T) {
	l := newLab(t, "answers")
	o := l.options()
	o.MountType = NineP
	key, loop := filepath.Join(l.Dir, "key"), filepath.Join(l.Dir, "loop")
	if err := errors.Join(os.WriteFile(key, nil, 0o600), os.Symlink(loop, loop)); err != nil {
		t.Fatal(err)
	}
	// Nobody can say where the loop leads, so that nothing can be covered.
	for _, hide := range [][]string{{key}, {key, loop}} {
		o.Hide = hide
		var told []string
		o.Events = func(e event.Event) {
			if n, ok := e.(event.Notice); ok && strings.HasPrefix(n.Text, "root in the guest can read ") {
				told = append(told, n.Text)
			}
		}
		if _, err := start(t, o); err != nil {
			t.Fatal(err)
		}
		if len(hide) == 1 {
			if os.Geteuid() == 0 && len(told) > 0 {
				t.Error(told)
			}
			continue
		}
		before, after := "root in the guest can read "+key+": to hide them takes a mount namespace (see user_namespaces(7)), and that failed: ", ""
		if os.Geteuid() == 0 {
			after = "hide " + loop + ": EvalSymlinks: too many links"
		}
		if len(told) != 1 || !strings.HasPrefix(told[0], before) || !strings.HasSuffix(told[0], after) {
			t.Errorf("got %q, want %q … %q", told, before, after)
		}
	}
}
