// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse(".config", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestGet(t *testing.T) {
	const text = `#
# Automatically generated file; DO NOT EDIT.
#
CONFIG_YES=y
CONFIG_MOD=m
CONFIG_EXPLICIT_N=n
# CONFIG_NO is not set
# CONFIG_BLANK_AFTER is not set  
CONFIG_NUMBER=8
CONFIG_HEX=0xffffffff80000000
CONFIG_STRING="a \"b\" \\ # c"
CONFIG_EMPTY_STRING=""
CONFIG_NOTHING=
CONFIG_TRAILING=y  
# CONFIG_PROSE is not set because of reasons
# CONFIG_COMMENT=y
CONFIG_TWICE=y
CONFIG_8139TOO=y
CONFIG_TWICE=m
`
	f := parse(t, text)
	for symbol, want := range map[string]string{
		"YES": "y", "MOD": "m", "EXPLICIT_N": "n", "NO": "n", "BLANK_AFTER": "n", "NUMBER": "8", "HEX": "0xffffffff80000000",
		"STRING": `"a \"b\" \\ # c"`, "EMPTY_STRING": `""`, "NOTHING": "", "TRAILING": "y", "TWICE": "m", "8139TOO": "y",
	} {
		if got, ok := f.Get(symbol); got != want || !ok {
			t.Errorf("%s: got %q %v, want %q", symbol, got, ok, want)
		}
	}
	for _, symbol := range []string{"PROSE", "COMMENT", "ABSENT", ""} {
		if got, ok := f.Get(symbol); ok {
			t.Errorf("%s: got %q, want nothing", symbol, got)
		}
	}
	if got := string(f.Bytes()); got != text {
		t.Error(cmp.Diff(text, got))
	}
}

func TestSet(t *testing.T) {
	for _, c := range []struct{ name, text, symbol, value, want string }{
		{"in its line", "CONFIG_A=y\nCONFIG_B=y\n", "A", "m", "CONFIG_A=m\nCONFIG_B=y\n"},
		{"to n", "CONFIG_A=y\n", "A", "n", "# CONFIG_A is not set\n"},
		{"from n", "# CONFIG_A is not set\n", "A", "y", "CONFIG_A=y\n"},
		{"a new one", "CONFIG_A=y\n", "B", `"x"`, "CONFIG_A=y\nCONFIG_B=\"x\"\n"},
		{"into nothing", "", "A", "y", "CONFIG_A=y\n"},
		{"without a final newline", "CONFIG_A=y", "A", "n", "# CONFIG_A is not set"},
		{"a new one without a final newline", "CONFIG_A=y", "B", "y", "CONFIG_A=y\nCONFIG_B=y\n"},
		{"in a file of DOS", "CONFIG_A=y\r\nCONFIG_B=y\r\n", "A", "n", "# CONFIG_A is not set\r\nCONFIG_B=y\r\n"},
		{"a new one in a file of DOS", "CONFIG_A=y\r\nCONFIG_B=y", "C", "y", "CONFIG_A=y\r\nCONFIG_B=y\r\nCONFIG_C=y\r\n"},
		{"the line that counts", "CONFIG_A=y\n# x\nCONFIG_A=m\n", "A", "n", "CONFIG_A=y\n# x\n# CONFIG_A is not set\n"},
		{"a longer name", "CONFIG_AB=y\n", "A", "y", "CONFIG_AB=y\nCONFIG_A=y\n"},
	} {
		f := parse(t, c.text)
		f.Set(c.symbol, c.value)
		if got := string(f.Bytes()); got != c.want {
			t.Errorf("%s: %s", c.name, cmp.Diff(c.want, got))
		}
		if got, ok := f.Get(c.symbol); got != c.value || !ok {
			t.Errorf("%s: then Get says %q %v", c.name, got, ok)
		}
		if got, _ := parse(t, string(f.Bytes())).Get(c.symbol); got != c.value {
			t.Errorf("%s: then another reader gets %q", c.name, got)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for text, line := range map[string]int{
		"CONFIG_A=y\n<<<<<<< HEAD\n":               2,
		"CONFIG_A=y\n\n CONFIG_B=y\n":              3,
		"CONFIG_A\n":                               1,
		"A=y\n":                                    1,
		"CONFIG_A-B=y\n":                           1,
		"CONFIG_=y":                                1,
		"CONFIG_A=y\nCONFIG_B=\"\x00\"\n":          2,
		"# a comment with a \x00\n":                1,
		"# CONFIG_A is not set\x00\n":              1,
		"CONFIG_A=y\n" + strings.Repeat("\x00", 9): 2,
	} {
		_, err := Parse("dir/.config", []byte(text))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Line != line || syntax.Path != "dir/.config" || syntax.Hint() == "" {
			t.Errorf("%q: got %v, want an error in line %d", text, err, line)
		}
	}
	long := strings.Repeat("x", 1<<20)
	if _, err := Parse(".config", []byte(long)); err == nil || len(err.Error()) > 400 {
		t.Errorf("a line of 1 MiB: got an error of %d bytes", len(err.Error()))
	}
}

func TestDiff(t *testing.T) {
	older := parse(t, "CONFIG_SAME=y\nCONFIG_GONE=y\nCONFIG_CHANGED=m\n# CONFIG_STAYS_N is not set\nCONFIG_TWICE=m\nCONFIG_TWICE=y\n# CONFIG_WAS_N is not set\n")
	newer := parse(t, "# CONFIG_NEW_N is not set\nCONFIG_NEW=\"x\"\nCONFIG_TWICE=y\nCONFIG_WAS_N=y\nCONFIG_CHANGED=y\nCONFIG_SAME=y\n")
	want := []Edit{{"NEW", "", `"x"`}, {"WAS_N", "n", "y"}, {"CHANGED", "m", "y"}, {"GONE", "y", ""}}
	if diff := cmp.Diff(want, Diff(older, newer)); diff != "" {
		t.Error(diff)
	}
	if got := Diff(older, older); got != nil {
		t.Errorf("a file differs from itself: %v", got)
	}
}

// Parse and Bytes together change nothing, whatever a file is made of.
func TestBytesIsIdentity(t *testing.T) {
	parts := []string{
		"CONFIG_A=y", "CONFIG_B=m", "# CONFIG_C is not set", "CONFIG_D=\"\\\"\\\\\"", "CONFIG_E=0x10", "CONFIG_A=", "# text", "#", "",
		"  ", "\t", "# CONFIG_A is not set ", "CONFIG_F=\"\xff\xfe\"", "# \u00e4",
	}
	ends := []string{"\n", "\n", "\n", "\r\n", "\r\r\n", " \n"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var b strings.Builder
		for range random.IntN(12) {
			b.WriteString(parts[random.IntN(len(parts))] + ends[random.IntN(len(ends))])
		}
		if random.IntN(2) == 0 {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		if got := string(parse(t, b.String()).Bytes()); got != b.String() {
			t.Fatal(cmp.Diff(b.String(), got))
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "CONFIG_A=y\n", "# CONFIG_A is not set\r\n", "CONFIG_A=\"x\\\"\"", "CONFIG_A=y\nCONFIG_A=n\n", "\x00", "CONFIG_A=\x00", "junk",
	} {
		f.Add([]byte(s), "A", "m")
	}
	f.Fuzz(func(t *testing.T, data []byte, symbol, value string) {
		file, err := Parse("x", data)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Line > bytes.Count(data, []byte("\n"))+1 {
				t.Fatalf("got %v", err)
			}
			return
		}
		if !bytes.Equal(file.Bytes(), data) {
			t.Fatal("Bytes differs from what was parsed")
		}
		if !unsetLine.MatchString("# CONFIG_"+symbol+" is not set") || !validValue(value) {
			return
		}
		file.Set(symbol, value)
		again, err := Parse("x", file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := again.Get(symbol); got != value {
			t.Fatalf("set %s to %q, and read %q", symbol, value, got)
		}
		for _, e := range Diff(file, again) {
			t.Fatalf("another reader sees %v", e)
		}
		for i, l := range file.lines {
			if l.symbol != "" && l.symbol != symbol && file.last[l.symbol] == i {
				if got, _ := again.Get(l.symbol); got != l.value {
					t.Fatalf("setting %s changed %s", symbol, l.symbol)
				}
			}
		}
	})
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadFile(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: got %v", err)
	}
	_, err := ReadFile(dir)
	if err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: got %v", err)
	}
	if h, ok := err.(interface{ Hint() string }); !ok || h.Hint() == "" {
		t.Errorf("directory: no hint")
	}
	path := filepath.Join(dir, ".config")
	if err := os.WriteFile(path, []byte("CONFIG_A=y\n"), 0); err != nil {
		t.Fatal(err)
	}
	unprivileged(t, dir, func() { _, err = ReadFile(path) })
	if err == nil || !strings.Contains(err.Error(), "may not be read") {
		t.Errorf("unreadable: got %v", err)
	}
	compressed := filepath.Join(dir, "config.gz")
	if err := os.WriteFile(compressed, []byte("\x1f\x8b\b\x00\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = ReadFile(compressed)
	if h, ok := err.(interface{ Hint() string }); !ok || err.Error() != compressed+" is compressed by gzip" || !strings.HasPrefix(h.Hint(), "zcat "+compressed) {
		t.Errorf("compressed: got %v", err)
	}
}
