// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Each command has a manual page with its flags, which groff sets without a
// complaint.
func TestManual(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		if os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "-tags", "man", ".", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// render returns a page as it is read.
	render := func(name string) string {
		t.Helper()
		cmd := exec.Command(groff, "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=100n", "-rHY=0", filepath.Join(dir, name))
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil || complaints.Len() > 0 {
			t.Errorf("%s: %v: %s", name, err, complaints.String())
		}
		return string(out)
	}
	pages := map[string]bool{"man5/run-kernel.cfg.5": true}
	for _, c := range commands(new(app).rootCommand()) {
		if c.Name() == "help" {
			continue
		}
		name := "man1/" + strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		pages[name] = true
		text := plainSpaces(render(name))
		for _, s := range sections(c) {
			s.flags.VisitAll(func(f *pflag.Flag) {
				if !strings.Contains(text, " --"+f.Name+" ") {
					t.Errorf("%s doesn't have --%s", name, f.Name)
				}
			})
		}
		for _, want := range []string{c.Short, c.Example} {
			if want = plainSpaces(want); !strings.Contains(text, want) {
				t.Errorf("%s doesn't have %q", name, want)
			}
		}
	}
	cfg := plainSpaces(render("man5/run-kernel.cfg.5"))
	for _, want := range []string{"[run] smp = 2 Number of processors", "hostname = 'run-kernel'", "[watch] exec = ''"} {
		if !strings.Contains(cfg, want) {
			t.Errorf("run-kernel.cfg.5 doesn't have %q", want)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name, err := filepath.Rel(dir, file); err != nil || !pages[name] {
			t.Errorf("%s is the page of no command", file)
		}
	}
	if len(files) != len(pages) {
		t.Errorf("%d pages, want %d", len(files), len(pages))
	}
}

var spaces = regexp.MustCompile(`\s+`)

func plainSpaces(text string) string { return spaces.ReplaceAllString(text, " ") }
