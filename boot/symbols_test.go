// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// buildELF builds a program from C, linked at an address as a kernel is.
func buildELF(t *testing.T, source string) *elf.File {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "kernel")
	if err := os.WriteFile(path+".c", []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, "-O1", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-mcmodel=kernel", "-fcf-protection=none",
		"-Wl,-Ttext=0xffffffff81000000", "-Wl,-e,outer", "-o", path, path+".c").CombinedOutput(); err != nil {
		t.Skipf("gcc for another architecture? %s", out)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

const callsC = `
volatile int x;
__attribute__((noinline)) void inner(void) { x++; }
void (*volatile pointer)(void) = inner;
void outer(void) { inner(); x++; pointer(); x++; inner(); x++; inner(); x++; inner(); x++; }
`

func TestSymbols(t *testing.T) {
	file := buildELF(t, callsC)
	s, err := readSymbols(file)
	if err != nil {
		t.Fatal(err)
	}
	var outer elf.Symbol
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range symbols {
		if e.Name == "outer" {
			outer = e
		}
	}
	at, ok := s.at(outer.Value + 5)
	if want := (Location{"outer", 5, outer.Size}); !ok || at != want {
		t.Errorf("got %v, want %v", at, want)
	}
	if at, ok := s.at(outer.Value + 1<<20); ok {
		t.Errorf("behind the end there is %v", at)
	}
	if at, ok := s.at(0); ok {
		t.Errorf("at 0 there is %v", at)
	}
	var returns []uint64
	for a := outer.Value; a <= outer.Value+outer.Size; a++ {
		if s.returnsTo(a) {
			returns = append(returns, a)
		}
	}
	if len(returns) < 5 || len(returns) > 7 { // of other bytes some look like calls
		t.Errorf("functions return to %x in outer; it has 5 calls", returns)
	}

	const slide = 0x1b600000
	seen := []uint64{1, 0xffffffffb0000000}
	for _, a := range returns {
		seen = append(seen, a+slide)
	}
	if got := s.slide(seen); got != slide {
		t.Errorf("slid by %#x, want %#x", got, slide)
	}
	if got := s.slide(returns[:2]); got != 0 {
		t.Errorf("too little to tell, and slid by %#x", got)
	}
}
