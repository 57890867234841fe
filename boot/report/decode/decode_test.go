// SPDX-License-Identifier: GPL-3.0-only

package decode_test

import (
	"bufio"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/boot/report/decode"
)

// The sources have inlined functions, some in several pieces, static functions with one
// name in two files, and code in a section of its own.
const (
	headerSource = `static inline int inner(int *p)
{
	if (*p > 3)
		*p += external(*p);
	return *p * 7;
}
`
	firstSource = `int external(int);
#include "inner.h"
static __attribute__((noipa)) int twin(int *p)
{
	return external(*p) + 1;
}
static inline int middle(int *p, int n)
{
	int sum = 0;
	for (int i = 0; i < n; i++)
		sum += inner(p + i);
	return sum;
}
int outer(int *p, int n)
{
	int a = middle(p, n);
	if (__builtin_expect(a > 100, 0))
		external(inner(p + a));
	return a + twin(p);
}
__attribute__((noreturn, noinline)) void stop(int n)
{
	for (;;)
		external(n);
}
void dead(int *p)
{
	stop(*p);
}
__attribute__((section(".init.text"))) int start(int *p)
{
	external(1);
	return middle(p, 2);
}
`
	secondSource = `int external(int);
static __attribute__((noipa)) int twin(int *p)
{
	external(p[0]);
	external(p[1]);
	external(p[2]);
	return external(p[3]) + 2;
}
int second(int *p)
{
	return twin(p) * 3;
}
__attribute__((noinline)) int external(int n)
{
	__asm__ volatile("" : "+r"(n));
	return n;
}
int main(int argc, char **argv)
{
	extern int outer(int *, int), start(int *);
	static int a[64];
	a[0] = argc;
	return outer(a, argc) + second(a) + start(a);
}
`
)

func writeSources(t *testing.T, dir string) {
	t.Helper()
	for name, text := range map[string]string{"inner.h": headerSource, "first.c": firstSource, "second.c": secondSource} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// tool runs a program in dir, or skips the test where there is none.
func tool(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skipf("no %s", argv[0])
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", argv, err, out)
	}
	return string(out)
}

// variants are the ways in which kernels are compiled.
var variants = []struct {
	name  string
	flags []string
}{
	{"dwarf5", []string{"-O2", "-gdwarf-5"}},
	{"dwarf4", []string{"-O2", "-gdwarf-4"}},
	{"dwarf4 for size", []string{"-Os", "-gdwarf-4"}},
	{"dwarf5, compressed", []string{"-O2", "-gdwarf-5", "-gz=zlib"}},
	{"dwarf5, reduced", []string{"-O2", "-gdwarf-5", "-femit-struct-debug-baseonly", "-fno-var-tracking"}},
	{"dwarf2", []string{"-O1", "-gdwarf-2"}},
}

// compilers are the prefixes of the tools of each architecture, and the version of gcc
// where Debian's cross compilers have one in their names.
var compilers = []struct{ prefix, gcc string }{
	{"", "gcc"}, {"aarch64-linux-gnu-", "gcc"}, {"aarch64-linux-gnu-", "gcc-12"}, {"riscv64-linux-gnu-", "gcc"}, {"riscv64-linux-gnu-", "gcc-12"},
}

// Each address of each function has the lines that addr2line finds.
func TestPlacesAsAddr2line(t *testing.T) {
	for _, c := range compilers {
		for _, v := range variants {
			t.Run(c.prefix+c.gcc+" "+v.name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				writeSources(t, dir)
				for _, name := range []string{"first", "second"} {
					tool(t, dir, append([]string{c.prefix + c.gcc, "-c", name + ".c", "-o", name + ".o"}, v.flags...)...)
				}
				tool(t, dir, c.prefix+"ld", "-e", "main", "first.o", "second.o", "-o", "vmlinux")
				tool(t, dir, c.prefix+"ld", "-r", "first.o", "second.o", "-o", "module.ko")
				for _, name := range []string{"vmlinux", "module.ko", "first.o"} {
					compareAll(t, c.prefix+"addr2line", filepath.Join(dir, name))
				}
			})
		}
	}
}

// compareAll compares each address of each function of a file with addr2line.
func compareAll(t *testing.T, tool, path string) {
	t.Helper()
	f, err := decode.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	symbols, err := e.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Size == 0 || s.Section == elf.SHN_UNDEF {
			continue
		}
		addrs, err := f.Find(s.Name, 0)
		if err != nil || len(addrs) == 0 {
			t.Fatalf("%s: no %s: %v", path, s.Name, err)
		}
		section := ""
		if e.Type == elf.ET_REL {
			section = e.Sections[s.Section].Name
		}
		want := addr2line(t, tool, path, section, s.Value, s.Size)
		// Of two functions with one name, the one that this symbol is matches entirely.
		matched := slices.IndexFunc(addrs, func(addr uint64) bool {
			for i := range s.Size {
				places, err := f.Places(addr + i)
				if err != nil {
					t.Fatal(err)
				}
				if lines(places) != want[i] {
					return false
				}
			}
			return true
		})
		if matched < 0 {
			places, _ := f.Places(addrs[0])
			t.Errorf("%s: %s differs: it begins with %q instead of %q", path, s.Name, lines(places), want[0])
		}
		compared += int(s.Size)
	}
	if compared < 100 {
		t.Errorf("%s: only %d bytes of code", path, compared)
	}
}

// lines joins places as addr2line -i prints them.
func lines(places []decode.Place) string {
	var list []string
	for _, p := range places {
		line := fmt.Sprint(p.Line)
		if p.Line == 0 {
			line = "?"
		}
		list = append(list, filepath.Clean(p.File)+":"+line)
	}
	return strings.Join(list, " ")
}

// addr2line asks for each of the addresses from start on.
func addr2line(t *testing.T, program, path, section string, start, size uint64) []string {
	t.Helper()
	args := []string{"-a", "-i", "-e", path}
	if section != "" {
		args = append(args, "-j", section)
	}
	for i := range size {
		args = append(args, fmt.Sprintf("%#x", start+i))
	}
	out := tool(t, filepath.Dir(path), append([]string{program}, args...)...)
	var all []string
	for s := bufio.NewScanner(strings.NewReader(out)); s.Scan(); {
		text, _, _ := strings.Cut(s.Text(), " (discriminator")
		switch {
		case strings.HasPrefix(text, "0x"):
			all = append(all, "")
		case strings.HasPrefix(text, "??"):
		default:
			file, line, _ := strings.Cut(text, ":")
			if last := &all[len(all)-1]; *last == "" {
				*last = filepath.Clean(file) + ":" + line
			} else {
				*last += " " + filepath.Clean(file) + ":" + line
			}
		}
	}
	return all
}
