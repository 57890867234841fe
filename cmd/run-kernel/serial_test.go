// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// quieten keeps the kernel from writing to the serial port, between what the shell
// there and its commands write.
func quieten(s *ongoing, terminal io.Writer) {
	s.l.t.Helper()
	fmt.Fprint(terminal, "dmesg -n 1 && echo qui''et\r")
	s.wait("quiet\r\n")
}

// What is no terminal is the shell's input, to its end.
func TestSerialStdioOfAPipe(t *testing.T) {
	k := bootKernel(t)
	for _, input := range []string{"", "dmesg -n 1\necho in''put=$((6*7))\n"} {
		r := k.lab.expect(k.lab.runInput(input, k.flags("boot", "--no-build", "--serial=stdio")...), 0)
		if strings.Contains(r.stdout, "input=42\r\n") != (input != "") {
			t.Errorf("%q: %s", input, r.stdout)
		}
	}
}

// The shell on the serial port has the limit of another, and a crash of the kernel's fails
// it as well.
func TestSerialStdioVerdict(t *testing.T) {
	k := bootKernel(t)
	r := k.lab.expect(k.lab.runInput("sleep 1000\n", k.flags("boot", "--no-build", "--serial=stdio", "--timeout=3s")...), statusTimeout)
	if !strings.Contains(r.stderr, "the command took longer than 3s") {
		t.Errorf("it doesn't say why: %s", r.stderr)
	}
	crash := "echo '<0>BUG: unable to handle page fault for address: 0' >/dev/kmsg\n"
	k.lab.expect(k.lab.runInput(crash, k.flags("boot", "--no-build", "--serial=stdio")...), statusCrash)
}

// The serial port is the terminal: a shell runs there, and the guest ends with it.
// Another terminal sees the same.
func TestSerialStdio(t *testing.T) {
	k := bootKernel(t)
	s, terminal, tty := k.lab.atTerminal(k.flags("boot", "--no-build", "--stdin", "--virtiofsd-socket-dir", t.TempDir())...)
	before := settings(t, tty)
	s.wait("Run /init")
	s.wait("# ")
	quieten(s, terminal)
	fmt.Fprint(terminal, "stty size; tty; id -u\r")
	s.wait("33 99\r\n/dev/ttyS0\r\n0\r\n")

	second := k.lab.command(k.flags("console")...)
	stdin, err := second.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output := newTranscript()
	second.Stdout, second.Stderr = output, output
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(stdin, "echo both''-see-it\r")
	s.wait("both-see-it")
	if _, err := output.wait("both-see-it", patience); err != nil {
		t.Error(err)
	}

	// Ctrl-C is for the guest.
	fmt.Fprint(terminal, "sh -c 'echo run\"\"ning; exec sleep 1000'\r")
	s.wait("running\r\n")
	fmt.Fprint(terminal, "\x03")
	fmt.Fprint(terminal, "echo inter''rupted\r")
	s.wait("interrupted\r\n")
	fmt.Fprint(terminal, "exit\r")
	if status := s.awaitEnd(); status != 0 {
		t.Errorf("status %d", status)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("the second terminal: %v", err)
	}
	if !reflect.DeepEqual(settings(t, tty), before) {
		t.Error("the terminal isn't as it was")
	}
}

func TestSerialLog(t *testing.T) {
	k := bootKernel(t)
	for _, flag := range []string{"--serial=log", "--log"} {
		r := k.lab.expect(k.boot(flag, "--", "true"), 0)
		if !strings.Contains(r.stderr, "| [    0.000000] Linux version ") || !strings.Contains(r.stderr, "Run /init") {
			t.Errorf("%s: the console isn't shown:\n%s", flag, r.stderr)
		}
	}
}

func TestSerialTelnet(t *testing.T) {
	k := bootKernel(t)
	// The usual port is another's.
	if l, err := net.Listen("tcp", "127.0.0.1:4000"); err == nil {
		defer l.Close()
	}
	s := k.lab.start(k.flags("boot", "--no-build", "--serial=telnet", "--", "sleep", "1000")...)
	m := regexp.MustCompile(`telnet localhost (\d+)\n`).FindStringSubmatch(s.wait("boot   the guest answers"))
	if m == nil || m[1] == "4000" {
		t.Fatalf("it names no port: %q", m)
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+m[1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	// Another user gets nothing, and what a web page sends goes nowhere.
	if os.Geteuid() == 0 {
		other := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/`+m[1]+` && cat <&3`)
		if out, err := other.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("another user gets %q, %v", out, err)
		}
	}
	post, err := net.Dial("tcp", "127.0.0.1:"+m[1])
	if err != nil {
		t.Fatal(err)
	}
	defer post.Close()
	fmt.Fprint(post, "POST / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\necho by''-a-page\r\n")
	_ = post.SetDeadline(time.Now().Add(patience))
	if out, err := io.ReadAll(post); bytes.Contains(out, []byte("by-a-page")) || bytes.Contains(out, []byte("HTTP")) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a page gets %q, %v", out, err)
	}
	// As telnet sends it: a command first, and the end of a line as two characters.
	fmt.Fprint(conn, "\xff\xfd\x03echo tel''net-works\r\n")
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "telnet-works") {
			break
		}
	}
	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	s.awaitEnd()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Errorf("the connection doesn't end: %v", err)
	}
}

// The guest waits for gdb, which stops it in start_kernel, and goes on after it.
func TestGDB(t *testing.T) {
	if _, err := exec.LookPath("gdb"); err != nil && os.Getenv("RUN_KERNEL_TEST_REQUIRE") == "" {
		t.Skip(err)
	}
	k := bootKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "--debug", "--", "uname", "-r")...)
	s.wait("the guest waits for a debugger: run-kernel gdb")
	r := k.lab.run(k.flags("gdb", "--", "-batch",
		"-ex", "hbreak start_kernel", "-ex", "continue", "-ex", "backtrace",
		// One debugger at a time.
		"-ex", "shell "+strings.Join(k.lab.command(k.flags("gdb", "--stdio")...).Args, " ")+" </dev/null || echo refused",
	)...)
	k.lab.expect(r, 0)
	if !regexp.MustCompile(`(?m)^#0  .*start_kernel \(`).MatchString(r.stdout) {
		t.Errorf("it doesn't stop in start_kernel:\n%s\n%s", r.stdout, r.stderr)
	}
	if !strings.Contains(r.stdout, "refused") || !strings.Contains(r.stderr, "another debugger is attached") {
		t.Errorf("a second debugger isn't refused:\n%s\n%s", r.stdout, r.stderr)
	}
	if status := s.awaitEnd(); status != 0 {
		t.Errorf("status %d", status)
	}
	s.wait("\n6.")
}

func TestDump(t *testing.T) {
	k := testKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "--memory-gib=1", "--kernel-extra-args=nokaslr", "--", "sleep", "1000")...)
	s.wait("boot   the guest answers")
	core := filepath.Join(t.TempDir(), "core")
	// How far the guest's clock is behind; what it takes to ask counts as well.
	behind := func() time.Duration {
		least := time.Hour
		for range 3 {
			r := k.lab.expect(k.lab.run(k.flags("exec", "--", "date", "+%s%N")...), 0)
			ns, err := strconv.ParseInt(strings.TrimSpace(r.stdout), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			least = min(least, time.Since(time.Unix(0, ns)))
		}
		return least
	}
	before := behind()
	r := k.lab.expect(k.lab.run(k.flags("dump", "--virtual", core)...), 0)
	if after := behind(); after-before > r.elapsed/2 {
		t.Errorf("the dump took %s, and the guest's clock is %s behind, %s before", r.elapsed, after, before)
	}
	// Where the kernel is at that moment nobody knows; its memory is as it says.
	out, err := exec.Command("gdb", "-batch", "-ex", "output (char *)&linux_banner", "-ex", "info symbol $rip", filepath.Join(k.build, "vmlinux"), core).CombinedOutput()
	if err != nil {
		t.Fatalf("gdb: %v: %s", err, out)
	}
	if !strings.Contains(string(out), `"Linux version 6.`) {
		t.Errorf("gdb doesn't find the kernel's banner:\n%s", out)
	}
	r = k.lab.expect(k.lab.run(k.flags("dump", core)...), statusFailed)
	if !strings.Contains(r.stderr, "file exists\nhint: remove it first") {
		t.Errorf("got %s", r.stderr)
	}
	// The guest goes on.
	k.lab.expect(k.lab.run(k.flags("exec", "--", "true")...), 0)
	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	s.awaitEnd()
}
