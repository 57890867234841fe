// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot/guest"
)

func TestInitramfs(t *testing.T) {
	config := guest.Config{Hostname: "host", Root: &guest.Share{Tag: "root"}, Dir: "/work", Shares: []guest.Share{{Tag: "a", Path: "/a", ReadOnly: true}}}
	f, err := memFile("initramfs")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := writeInitramfs(f, "/proc/self/exe", &config); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	libs, err := libraries(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	// qemu opens it by a name, and so reads from the beginning.
	again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	seen := map[string]cpio.FileMode{}
	for archive := cpio.NewReader(again); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if _, ok := seen[h.Name]; ok {
			t.Errorf("%s comes twice", h.Name)
		}
		// The kernel makes no directories by itself: do_name() in init/initramfs.c.
		if dir := path.Dir(h.Name); dir != "." && seen[dir]&cpio.ModeType != cpio.TypeDir {
			t.Errorf("%s comes before its directory", h.Name)
		}
		seen[h.Name] = h.Mode
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		switch h.Name {
		case "init":
			checkInit(t, data, program)
		case "run-kernel.json":
			var got guest.Config
			if err := json.Unmarshal(data, &got); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(config, got); diff != "" {
				t.Error(diff)
			}
		}
	}
	// Package cpio doesn't read it.
	raw, err := os.ReadFile("/proc/self/fd/" + filepath.Base(again.Name()))
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := bytes.Cut(raw, []byte("dev/console\x00"))
	if !ok || !strings.HasSuffix(string(before), "00000005"+"00000001"+"0000000c"+"00000000") {
		t.Error("the console isn't device 5:1")
	}
	for name, mode := range map[string]cpio.FileMode{
		"dev": cpio.TypeDir | 0o755, "proc": cpio.TypeDir | 0o755, "sys": cpio.TypeDir | 0o755,
		"dev/console": cpio.TypeChar | 0o600, "init": cpio.TypeReg | 0o755, "run-kernel.json": cpio.TypeReg | 0o644,
	} {
		if seen[name] != mode {
			t.Errorf("%s has mode %o", name, seen[name])
		}
	}
	for _, lib := range libs {
		if seen[lib[1:]] != cpio.TypeReg|0o755 {
			t.Errorf("%s has mode %o", lib, seen[lib[1:]])
		}
	}
}

// checkInit checks that an init runs, and has all of a program that is loaded and nothing
// else.
func checkInit(t *testing.T, init, program []byte) {
	t.Helper()
	want, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	got, err := elf.NewFile(bytes.NewReader(init))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Sections) > 0 || len(got.Progs) != len(want.Progs) {
		t.Errorf("init has %d sections, and %d segments instead of %d", len(got.Sections), len(got.Progs), len(want.Progs))
	}
	for i, p := range want.Progs {
		segment, err := io.ReadAll(p.Open())
		if err != nil {
			t.Fatal(err)
		}
		// The first one has the header.
		at := max(64, int(p.Off))
		if p.Type == elf.PT_LOAD && !bytes.Equal(init[at:int(p.Off)+len(segment)], segment[at-int(p.Off):]) {
			t.Errorf("segment %d isn't this program's", i)
		}
	}
	path := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(path, init, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "-test.run=^$").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("%d bytes of %d", len(init), len(program))
}

func TestLibraries(t *testing.T) {
	const name = "/bin/ls"
	program, err := os.ReadFile(name)
	if err != nil {
		t.Skip(err)
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Skipf("%s: %v", name, err)
	}
	needed, err := f.ImportedLibraries()
	if err != nil || len(needed) == 0 {
		t.Skipf("%s needs no library: %v", name, err)
	}
	libs, err := libraries(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, lib := range libs {
		if _, err := os.Stat(lib); err != nil {
			t.Error(err)
		}
		names = append(names, filepath.Base(lib))
	}
	for _, want := range needed {
		if n := strings.Count("\n"+strings.Join(names, "\n")+"\n", "\n"+want+"\n"); n != 1 {
			t.Errorf("%s comes %d times in %q", want, n, libs)
		}
	}
	if !strings.Contains(names[0], "ld") {
		t.Errorf("the first is %s, not the dynamic linker", libs[0])
	}

	// Another name of the same length, which no host has.
	last := needed[len(needed)-1]
	missing := "none" + strings.Repeat("x", len(last)-4)
	broken := bytes.ReplaceAll(program, []byte(last+"\x00"), []byte(missing+"\x00"))
	if _, err := libraries(bytes.NewReader(broken)); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing library: %v", err)
	}
	if _, err := libraries(strings.NewReader("#!/bin/sh\n")); err == nil {
		t.Error("a script has libraries")
	}
}
