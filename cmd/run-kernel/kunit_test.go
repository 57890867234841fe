// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kunitKernel is a kernel to build KUnit tests into. The flags do that.
func kunitKernel(t *testing.T) (k *kernel, flags []string) {
	t.Helper()
	k = richKernel(t)
	prepared.remove(k.build) // who builds it next finds a kernel of an edited source
	k.lab.limit = buildPatience
	config := filepath.Join(t.TempDir(), "kunitconfig")
	text := "CONFIG_KUNIT=y\nCONFIG_KUNIT_TEST=y\nCONFIG_KUNIT_EXAMPLE_TEST=y\nCONFIG_LIST_KUNIT_TEST=y\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return k, []string{"kunit", "--memory-gib=1", "--build-dir", k.build, "--kunitconfig", config}
}

// The tests of a real kernel: passing, skipping, failing, and taking the kernel with them.
func TestKUnit(t *testing.T) {
	k, flags := kunitKernel(t)
	out := t.TempDir()
	kunit := func(status int, args ...string) result {
		t.Helper()
		return k.lab.expect(k.lab.run(append(flags[:len(flags):len(flags)], args...)...), status)
	}
	file := func(name string) string { return filepath.Join(out, name) }

	r := kunit(0, "--junit", file("junit.xml"), "--ktap-out", file("ktap"), "--json-out", file("json"))
	for _, want := range []string{"test   list-kunit-test\n", "test     passed  list_test_list_init", "test     skipped example_skip_test, ", "(SKIP: this test should be skipped)", "tests  passed: "} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%q isn't in %s", want, r.stderr)
		}
	}
	var suites junitFile
	readXML(t, file("junit.xml"), &suites)
	if suites.Tests < 40 || suites.Failures+suites.Errors > 0 || suites.Skipped == 0 {
		t.Errorf("JUnit: %+v", suites)
	}
	last := readLines(t, file("json"))
	var sum struct {
		Event, Status   string
		Passed, Skipped int
	}
	if err := json.Unmarshal([]byte(last[len(last)-1]), &sum); err != nil || sum.Event != "tests_finished" || sum.Status != "passed" || sum.Passed+sum.Skipped != suites.Tests {
		t.Errorf("JSON: %+v, %v", sum, err)
	}

	// A glob chooses; one that matches nothing is no success.
	if r := kunit(0, "--no-build", "list*"); strings.Contains(r.stderr, "example") {
		t.Errorf("the glob chose more: %s", r.stderr)
	}
	if r := kunit(statusFailed, "--no-build", "nothing*"); !strings.Contains(r.stderr, `no test of this kernel matches "nothing*"`) {
		t.Error(r.stderr)
	}

	// A failing check is named by its place.
	source := newEdit(t, filepath.Join(k.source, "lib/list-test.c"))
	const check = "\tKUNIT_EXPECT_PTR_EQ(test, list.next, &b);\n"
	if !strings.Contains(source.original, check) {
		t.Fatalf("%s isn't as expected", source.path)
	}
	source.write(strings.Replace(source.original, check, "\tKUNIT_EXPECT_PTR_EQ(test, list.next, &a);\n", 1))
	r = kunit(1, "--junit", file("junit.xml"), "--github", "list*")
	if !strings.Contains(r.stderr, "test     failed  list_test_list_add") || !strings.Contains(r.stderr, "EXPECTATION FAILED at lib/list-test.c:") {
		t.Error(r.stderr)
	}
	if !strings.HasPrefix(r.stdout, "::error file=lib/list-test.c,line=") {
		t.Errorf("the annotation is %q", r.stdout)
	}
	readXML(t, file("junit.xml"), &suites)
	if suites.Failures != 1 {
		t.Errorf("JUnit: %+v", suites)
	}

	// A test that takes the kernel with it: what came before counts, the rest crashed.
	source.write(strings.Replace(source.original, check, check+"\tpanic(\"with the test\");\n", 1))
	r = kunit(1, "--junit", file("junit.xml"), "list*")
	for _, want := range []string{"test     passed  list_test_list_init", "test   crashed list-kunit-test", "tests  crashed: 1 passed, ", "with the test"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%q isn't in %s", want, r.stderr)
		}
	}
	suites = junitFile{}
	readXML(t, file("junit.xml"), &suites)
	if suites.Errors == 0 {
		t.Errorf("JUnit: %+v", suites)
	}

	// One that doesn't compile says nothing about the tests.
	source.write(strings.Replace(source.original, check, "\tno;\n", 1))
	if r := kunit(statusFailed, "--junit", file("junit.xml")); !strings.Contains(r.stderr, "lib/list-test.c:") {
		t.Error(r.stderr)
	}
	if _, err := os.Stat(file("junit.xml")); err == nil {
		t.Error("the results of an earlier run are still there")
	}
}

// The loop says which tests began and ceased to fail.
func TestWatchKUnit(t *testing.T) {
	k, _ := kunitKernel(t)
	source := newEdit(t, filepath.Join(k.source, "lib/list-test.c"))
	const check = "\tKUNIT_EXPECT_PTR_EQ(test, list.next, &b);\n"
	s := k.lab.start(k.flags("watch", "--memory-gib=1", "--kunit", "list*", "--require", "LIST_KUNIT_TEST=y")...)
	s.wait("tests  passed: ")
	s.wait("waiting for changes")
	source.write(strings.Replace(source.original, check, "\tKUNIT_EXPECT_PTR_EQ(test, list.next, &a);\n", 1))
	s.wait("test   fails now: list-kunit-test.list_test_list_add")
	s.wait("tests  failed: ")
	s.wait("waiting for changes")
	source.restore()
	s.wait("test   passes again: list-kunit-test.list_test_list_add")
	s.wait("tests  passed: ")
}

// Selftests run in the guest, with nested results and limits of time.
func TestKselftest(t *testing.T) {
	k := testKernel(t)
	k.lab.limit = buildPatience // for the tests
	out := filepath.Join(t.TempDir(), "junit.xml")
	r := k.lab.expect(k.lab.run(k.flags("kselftest", "--memory-gib=1", "--junit", out, "size", "timers:nanosleep", "timers:set-timer-lat", "--test-timeout", "15s")...), 1)
	for _, want := range []string{
		"passed  selftests: size: get_size", "passed  get runtime memory use", "selftests: timers: nanosleep", "passed  CLOCK_REALTIME, ", "skipped CLOCK_MONOTONIC_RAW, ",
		"failed  selftests: timers: set-timer-lat", "TIMEOUT: 15 seconds",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%q isn't in %s", want, r.stderr)
		}
	}
	var suites junitFile
	readXML(t, out, &suites)
	if suites.Tests < 3 || suites.Failures == 0 {
		t.Errorf("JUnit: %+v", suites)
	}
	r = k.lab.expect(k.lab.run(k.flags("kselftest", "--no-build", "size:get_sice")...), statusFailed)
	if !strings.Contains(r.stderr, "do you mean size:get_size?") {
		t.Error(r.stderr)
	}
}

// A command's KTAP is its verdict; any other command is one test.
func TestKTAPCommand(t *testing.T) {
	k := bootKernel(t)
	out := filepath.Join(t.TempDir(), "junit.xml")
	for _, c := range []struct {
		script string
		status int
		want   string
	}{
		{`printf 'TAP version 13\n1..2\nok 1 one\nok 2 two # SKIP no\n'`, 0, "tests  passed: 1 passed, 1 skipped"},
		{`printf 'TAP version 13\n1..2\nok 1 one\nnot ok 2 two\n'`, 1, "test   failed  two"},
		{`printf 'TAP version 13\n1..2\nok 1 one\n'`, 1, "1 of 2 tests never came"},
		{`printf 'TAP version 13\n1..1\nok 1 one\n'; exit 7`, 7, "tests  failed: 1 passed, 1 failed"},
		{`printf 'TAP version 13\n1..0 # SKIP no such device\n'; exit 4`, 0, "tests  skipped: 1 skipped"},
		{`echo hello`, statusFailed, "the command's output has no KTAP"},
		{`printf 'KTAP version 1\n1..1\nok 1 one\n'; ` + splat, statusCrash, "WARNING in mine_probe"},
	} {
		r := k.lab.expect(k.boot("--memory-gib=1", "--ktap", "--junit", out, "--", c.script), c.status)
		if !strings.Contains(r.stderr, c.want) || strings.Contains(r.stdout, "ok 1") {
			t.Errorf("%s: %q isn't in %s%s", c.script, c.want, r.stderr, r.stdout)
		}
		var suites junitFile
		readXML(t, out, &suites)
		if bad := suites.Failures+suites.Errors > 0; bad != (c.status != 0) {
			t.Errorf("%s: %+v", c.script, suites)
		}
	}
	k.lab.expect(k.boot("--memory-gib=1", "--junit", out, "--", "exit 3"), 3)
	var suites junitFile
	readXML(t, out, &suites)
	if suites.Tests != 1 || suites.Failures != 1 {
		t.Errorf("%+v", suites)
	}
}

// A junitFile is what tests look at of one.
type junitFile struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
}

func readXML(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(data, v); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}
