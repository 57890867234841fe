// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"strings"
	"testing"
)

func TestSoak(t *testing.T) { testSoak(t, testKernel(t)) }

func TestTrixieSoak(t *testing.T) { testSoak(t, trixieKernel(t)) }

// testSoak is bench/soak in short: boots, on an idle and on a busy host, and each of
// run-kernel, qemu and virtiofsd killed once.
func testSoak(t *testing.T, k *kernel) {
	t.Helper()
	runKernel, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if k.lab.program, err = soakProgram(); err != nil {
		t.Fatal(err)
	}
	// How fast it all is, is for bench/soak to say: other tests run beside this one.
	args := []string{"-run-kernel", runKernel, "-tree", k.source, "-build", k.build, "-n=4", "-kills=3", "-limit=5m", "-end=1m"}
	if k.lab.wrap == nil && !virtiofsRuns(t) {
		args = append(args, "-victims=run-kernel,qemu")
	}
	out, err := k.lab.command(args...).CombinedOutput()
	if n := strings.Count(string(out), "  ok "); err != nil || n != 7 {
		t.Fatalf("%v, %d rounds of 7 went well:\n%s", err, n, out)
	}
	t.Logf("%s", out)
}
