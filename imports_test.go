// SPDX-License-Identifier: GPL-3.0-only

package runkernel

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// arrows are which top directories import which. They point down only: the
// application to the engines (watch, kconfig, kbuild, boot), and these to the ground
// floor, internal; the engines don't know each other. docs/architecture.md shows the
// same lines.
const arrows = `bench   → boot internal
boot    → internal
cmd     → . boot internal kbuild kconfig watch
kbuild  → internal
kconfig → internal
watch   → internal
`

const module = "github.com/metaspace/run-kernel"

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// packages lists those of the module.
func packages(t *testing.T) []goPackage {
	t.Helper()
	// go test keeps a result for as long as the files are the same that the test itself
	// has looked at.
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Stderr = new(strings.Builder)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, cmd.Stderr)
	}
	var list []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// local is a package's directory in the module, and whether it is in it at all.
func local(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func top(dir string) string {
	top, _, _ := strings.Cut(dir, "/")
	return top
}

func TestArrows(t *testing.T) {
	seen := make(map[string]map[string]bool)
	for _, p := range packages(t) {
		from, _ := local(p.ImportPath)
		for _, path := range p.Imports {
			to, ours := local(path)
			if !ours || top(to) == top(from) {
				continue
			}
			if seen[top(from)] == nil {
				seen[top(from)] = make(map[string]bool)
			}
			seen[top(from)][top(to)] = true
		}
	}
	width := 0
	for from := range seen {
		width = max(width, len(from))
	}
	var got strings.Builder
	for _, from := range slices.Sorted(maps.Keys(seen)) {
		got.WriteString(from + strings.Repeat(" ", width-len(from)) + " → " + strings.Join(slices.Sorted(maps.Keys(seen[from])), " ") + "\n")
	}
	if got.String() != arrows {
		t.Errorf("the arrows are\n%s, and are to be\n%s", got.String(), arrows)
	}
	document, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)\n```arrows\n(.*?)```\n").FindSubmatch(document)
	if m == nil || string(m[1]) != arrows {
		t.Errorf("docs/architecture.md shows\n%s, and the arrows are\n%s", m, arrows)
	}
}

// What arrows between top directories don't show.
func TestImports(t *testing.T) {
	const wing = "cmd/run-kernel/internal/"
	allowed := func(from, to string, test bool) bool {
		switch {
		case test && top(to) == "internal":
			return true
		case to == wing+"session":
			return from == "cmd/run-kernel" // the rest of the wing serves it
		case to == "boot" && strings.HasPrefix(from, "boot/"):
			return test
		}
		// What only tests import is from below, too.
		return top(from) == top(to) || strings.Contains(arrowsFrom(top(from)), " "+top(to)+" ")
	}
	for _, p := range packages(t) {
		from, _ := local(p.ImportPath)
		for test, list := range map[bool][]string{false: p.Imports, true: slices.Concat(p.TestImports, p.XTestImports)} {
			for _, path := range list {
				if to, ours := local(path); ours && !allowed(from, to, test) {
					t.Errorf("%s imports %s (in a test: %v)", from, to, test)
				}
			}
		}
	}
}

// arrowsFrom lists, between blanks, what a top directory may import.
func arrowsFrom(dir string) string {
	for line := range strings.Lines(arrows) {
		if from, to, _ := strings.Cut(line, "→"); strings.TrimSpace(from) == dir {
			return strings.TrimSuffix(to, "\n") + " "
		}
	}
	return ""
}
