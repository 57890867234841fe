// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// lineOf is the number of the line of a source file that has a text.
func (k *kernel) lineOf(file, text string) int {
	k.lab.t.Helper()
	data, err := os.ReadFile(filepath.Join(k.source, file))
	if err != nil {
		k.lab.t.Fatal(err)
	}
	before, _, found := strings.Cut(string(data), text)
	if !found {
		k.lab.t.Fatalf("%s has no %q", file, text)
	}
	return strings.Count(before, "\n") + 1
}

// A kernel without debug information is named to the line, from the panic itself and from
// its log, and nothing of that stays.
func TestFramesWithoutDebugInformation(t *testing.T) {
	k := testKernel(t)
	r := k.lab.expect(k.boot("--", "echo c >/proc/sysrq-trigger"), statusCrash)
	line := k.lineOf("drivers/tty/sysrq.c", `panic("sysrq triggered crash`)
	for _, want := range []string{
		fmt.Sprintf(`(?m)^ +sysrq_handle_crash +drivers/tty/sysrq\.c:%d$`, line),
		`(?m)^ +vfs_write +fs/read_write\.c:\d+$`,
		`(?m)^ +entry_SYSCALL_64_after_hwframe +arch/x86/entry/entry_64\.S:\d+$`,
		fmt.Sprintf(`(?m)^ +> %d \| +panic\("sysrq triggered crash\\n"\);$`, line),
	} {
		if !regexp.MustCompile(want).MatchString(r.stderr) {
			t.Errorf("%s isn't in %s", want, r.stderr)
		}
	}
	log := filepath.Join(k.build, ".run-kernel/console.log")
	r = k.lab.expect(k.lab.run(k.flags("report", "--json", log)...), 1)
	frames := physical(t, r.stdout)
	if !slices.ContainsFunc(frames, func(f string) bool { return strings.HasPrefix(f, "ksys_write (fs/read_write.c:") }) {
		t.Errorf("%q", frames)
	}
	// The log of another build has no lines.
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.log")
	number := regexp.MustCompile(`( 6[.\d]+ )#\d+`).ReplaceAllString(regexp.MustCompile(`\) #\d+ `).ReplaceAllString(string(data), ") #77777 "), "$1#77777")
	if err := os.WriteFile(other, []byte(number), 0o644); err != nil {
		t.Fatal(err)
	}
	r = k.lab.expect(k.lab.run(k.flags("report", other)...), 1)
	if !strings.Contains(r.stderr, "isn't the kernel of this report: it is ") || strings.Contains(r.stdout, "sysrq.c") {
		t.Errorf("%s\n%s", r.stdout, r.stderr)
	}
}

// Each frame has the lines that the kernel's own script finds. That takes minutes.
func TestFramesAsDecodeStacktrace(t *testing.T) {
	if os.Getenv("RUN_KERNEL_TEST_FRAMES") == "" {
		t.Skip("RUN_KERNEL_TEST_FRAMES isn't set: the script takes minutes")
	}
	k := debugKernel(t)
	if _, err := exec.LookPath("addr2line"); err != nil {
		t.Skip(err)
	}
	provoke := "mount -t debugfs none /sys/kernel/debug 2>/dev/null; for c in WARNING WARNING_MESSAGE ARRAY_BOUNDS CORRUPT_LIST_ADD CORRUPT_LIST_DEL " +
		"WRITE_AFTER_FREE READ_AFTER_FREE SLAB_FREE_DOUBLE REFCOUNT_INC_OVERFLOW REFCOUNT_DEC_ZERO SPINLOCKUP_NEVER EXCEPTION BUG; do " +
		"(echo $c >/sys/kernel/debug/provoke-crash/DIRECT) 2>/dev/null; done; echo c >/proc/sysrq-trigger"
	k.lab.expect(k.boot("--timeout", "10m", "--", provoke), statusCrash)
	log := filepath.Join(k.build, ".run-kernel/console.log")
	r := k.lab.expect(k.lab.run(k.flags("report", "--json", log)...), 1)
	compareWithScript(t, k.source, k.build, log, r.stdout)
}

// compareWithScript compares the frames of a log's reports with those of
// scripts/decode_stacktrace.sh.
func compareWithScript(t *testing.T, source, build, log, reports string) {
	t.Helper()
	in, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	script := exec.Command(filepath.Join(source, "scripts/decode_stacktrace.sh"), filepath.Join(build, "vmlinux"))
	script.Stdin = in
	out, err := script.Output()
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	want := make(map[string]bool)
	frame := regexp.MustCompile(`(\S+) \(([^()]+:[0-9?]+(?: [^()]+:[0-9?]+)*)\)`)
	clean := strings.NewReplacer(" ./", " ", "(./", "(")
	discriminator := regexp.MustCompile(` \(discriminator \d+\)`)
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		for _, m := range frame.FindAllStringSubmatch(discriminator.ReplaceAllString(s.Text(), ""), -1) {
			_, name, behind := strings.Cut(m[1], ":") // "0010:" of a register
			if !behind {
				name = m[1]
			}
			want[clean.Replace(name+" ("+m[2]+")")] = true
		}
	}
	frames := physical(t, reports)
	equal := 0
	for _, f := range frames {
		name, _, _ := strings.Cut(f, " ")
		said := slices.Collect(func(yield func(string) bool) {
			for text := range want {
				if strings.HasPrefix(text, name+" ") && !yield(text) {
					return
				}
			}
		})
		switch {
		case want[f]:
			equal++
		case len(said) == 0:
			t.Logf("the script says nothing of %s", f) // of weak symbols, for one
		case slices.ContainsFunc(said, func(text string) bool { return justLines(text) == justLines(f) }):
			// addr2line of binutils 2.40 takes the first file of a unit for the one of rows
			// before the line table has set one.
			t.Logf("the script names other files: %q for %s", said, f)
		case symbols(t, filepath.Join(build, "vmlinux"), name) > 1:
			t.Logf("the script takes the first symbol of a name: %q for %s", said, f)
		default:
			t.Errorf("the script says %q for %s", said, f)
		}
	}
	t.Logf("%d of %d frames are as %s has them", equal, len(frames), script.Path)
	if equal < 20 {
		t.Errorf("only %d frames: %q", equal, frames)
	}
}

// justLines leaves the files out of a frame.
func justLines(frame string) string {
	return regexp.MustCompile(`[^ ():]+:`).ReplaceAllString(frame, ":")
}

// symbols is how many symbols of a file have a name.
func symbols(t *testing.T, path, name string) int {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range list {
		if s.Name == name {
			n++
		}
	}
	return n
}

// physical are the frames of reports in JSON that have lines, as the kernel's script
// prints them: each with what is inlined into it. It leaves out those at the end of their
// function, of which the script names the next function's line.
func physical(t *testing.T, reports string) []string {
	t.Helper()
	var list []string
	for line := range strings.Lines(reports) {
		var r jsonReport
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, s := range r.Stacks {
			places := ""
			for _, f := range s.Frames {
				if f.File != "" {
					places += fmt.Sprintf(" %s:%d", f.File, f.Line)
				}
				if f.Inlined {
					continue
				}
				if places != "" && f.Offset != f.Size {
					list = append(list, f.Function+" ("+places[1:]+")")
				}
				places = ""
			}
		}
	}
	return list
}
