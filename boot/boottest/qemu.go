// SPDX-License-Identifier: GPL-3.0-only

package boottest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/guest"
)

// Tests is how many tests of its own a kernel runs that "runs tests": more than a
// console reads at once.
const Tests = 1000

// fakeQEMU takes its descriptors from the command line, as the real one.
func fakeQEMU(args []string, behaviour string) int {
	fds := map[string]int{}
	ids := map[string]string{}
	chardev := regexp.MustCompile(`^socket,id=(\w+),fd=(\d+)$`)
	use := regexp.MustCompile(`^(?:(chardev):|(virtserialport|vhost-user-fs-pci)?.*?chardev=)(\w+)`)
	for i, a := range args {
		if m := chardev.FindStringSubmatch(a); i > 0 && args[i-1] == "-chardev" && m != nil {
			fds[m[1]], _ = strconv.Atoi(m[2])
		} else if m := use.FindStringSubmatch(a); m != nil {
			ids[args[i-1]+m[2]] = m[3]
		}
		if a == "-initrd" {
			if _, err := os.Stat(args[i+1]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
	}
	open := func(use string) *os.File {
		fd, ok := fds[ids[use]]
		if !ok {
			fmt.Fprintf(os.Stderr, "no chardev for %s in %q\n", use, args)
			os.Exit(1)
		}
		_ = unix.SetNonblock(fd, true)
		return os.NewFile(uintptr(fd), use)
	}
	if id := ids["-serial"]; id != "console" || !slices.Contains(args, "stdio,id=console,signal=off") {
		fmt.Fprintf(os.Stderr, "the serial port isn't stdin and stdout in %q\n", args)
		return 1
	}
	console := struct {
		io.Reader
		io.Writer
	}{os.Stdin, os.Stdout}
	monitor, agent := open("-mon"), open("-devicevirtserialport")
	if _, ok := ids["-devicevhost-user-fs-pci"]; ok {
		open("-devicevhost-user-fs-pci")
	}

	fmt.Fprintln(monitor, `{"QMP": {"version": {}, "capabilities": []}}`)
	go func() {
		for d := json.NewDecoder(monitor); ; {
			var command struct {
				ID        json.RawMessage
				Arguments struct {
					CommandLine string `json:"command-line"`
				}
			}
			if d.Decode(&command) != nil {
				return
			}
			if line := command.Arguments.CommandLine; line != "" {
				reply, _ := json.Marshal(fakeMonitor(line))
				fmt.Fprintf(monitor, "{\"return\": %s, \"id\": %s}\n", reply, command.ID)
			} else if command.ID == nil {
				fmt.Fprintln(monitor, `{"return": {}}`)
			} else {
				fmt.Fprintf(monitor, "{\"return\": {}, \"id\": %s}\n", command.ID)
			}
		}
	}()
	end := func(reason string) int {
		fmt.Fprintf(monitor, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": %q}}\n", reason)
		return 0
	}
	hang := func() {
		_, _ = io.Copy(io.Discard, console)
		select {}
	}
	const panics = "[    0.500000] BUG: kernel NULL pointer dereference, address: 0000000000000000\r\n" +
		"[    0.600000] Kernel panic - not syncing: Fatal exception\r\n[    0.700000] ---[ end Kernel panic ]---\r\n"
	if !slices.Contains([]string{"silent", "reset", "error", "aborts", "no KVM"}, behaviour) {
		fmt.Fprint(console, "[    0.000000] Linux version 0.0.0\r\n")
	}
	switch behaviour {
	case "runs tests":
		fmt.Fprintf(console, "[    0.100000] KTAP version 1\r\n[    0.100000] 1..%d\r\n", Tests)
		for i := range Tests {
			fmt.Fprintf(console, "[    0.200000] ok %d test\r\n", i+1)
		}
		fallthrough
	case "answers":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGUSR1, syscall.SIGUSR2)
		go func() {
			reason := "guest-shutdown"
			if <-c == syscall.SIGUSR2 {
				fmt.Fprint(console, panics)
				reason = "guest-reset"
			}
			os.Exit(end(reason))
		}()
		up := make(chan error, 1)
		up <- nil
		if err := guest.Serve(&guest.Config{Dir: "/", PowerOff: func() { os.Exit(end("guest-shutdown")) }}, agent, up); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		hang()
	case "passes tests and panics":
		fmt.Fprint(console, "[    0.100000] KTAP version 1\r\n[    0.100000] 1..1\r\n[    0.200000] ok 1 test\r\n")
		fallthrough
	case "panics":
		fmt.Fprint(console, panics)
		return end("guest-reset")
	case "panics in a line":
		fmt.Fprint(console, "a program: "+panics[strings.Index(panics, "[    0.6"):])
		return end("guest-reset")
	case "panics and hangs":
		fmt.Fprint(console, panics)
		hang()
	case "oopses":
		fmt.Fprint(console, "[    0.500000] BUG: kernel NULL pointer dereference, address: 0000000000000000\r\n")
		return end("guest-reset")
	case "reset", "resets":
		return end("guest-reset")
	case "powers off":
		return end("guest-shutdown")
	case "init fails":
		fmt.Fprint(console, "\r\n"+guest.FatalPrefix+"no tmpfs\r\n")
		return end("guest-reset")
	case "has no port":
		fmt.Fprint(console, "\r\n"+guest.FatalPrefix+guest.NoPort+"\r\n")
		return end("guest-reset")
	case "systemd freezes":
		fmt.Fprint(console, "[\x1b[1;31m!!!!!!\x1b[0m] Failed to mount API filesystems.\r\n")
		hang()
	case "error":
		fmt.Fprintln(os.Stderr, "qemu-system-x86_64: -device nonsense: no such device")
		return 1
	case "aborts":
		fmt.Fprintln(os.Stderr, "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69")
		// Go's runtime would write a trace.
		fmt.Fprintln(os.Stderr, syscall.Exec("/bin/sh", []string{"sh", "-c", "kill -ABRT $$"}, nil))
	case "no KVM":
		fmt.Fprintln(os.Stderr, "ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy\nqemu-system-x86_64: failed to initialize kvm: Device or resource busy")
		return 1
	case "KVM stops":
		fmt.Fprintln(os.Stderr, "KVM internal error. Suberror: 1\nEAX=00000000")
		hang()
	case "babbles":
		fmt.Fprintln(agent, "SSH-2.0-x\r\nnonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense")
		hang()
	case "stalls":
		fmt.Fprint(console, "[   21.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\r\n")
		hang()
	case "locks up":
		for {
			fmt.Fprint(console, "[   48.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]\r\n")
			time.Sleep(20 * time.Millisecond)
		}
	case "talks":
		for {
			fmt.Fprint(console, "[    1.000000] still here\r\n")
			time.Sleep(20 * time.Millisecond)
		}
	case "answers SysRq":
		for b := make([]byte, 1); ; {
			if _, err := console.Read(b); err != nil {
				return 0
			}
			fmt.Fprintf(console, "[    9.000000] sysrq: Show Blocked State\r\n[    9.000001] asked: %s\r\n", b)
		}
	case "silent", "says nothing more":
		hang()
	}
	return 99
}

// fakeMonitor does what a command of the human monitor does.
func fakeMonitor(line string) string {
	switch {
	case line == "info registers -a":
		return "\r\nCPU#0\r\nRSI=0000000000000000 RDI=0000000000000001 RBP=0000000000000000 RSP=ffffc90000013e58\r\n" +
			"RIP=ffffffff81000010 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n" +
			"\r\nCPU#1\r\nRBP=0000000000000000 RSP=ffffc9000007be00\r\nRIP=ffffffff81000020 RFL=00000246 CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n"
	case strings.HasPrefix(line, "gdbserver chardev:"):
		return "Waiting for gdb connection on device 'chardev'\r\n"
	case strings.HasPrefix(line, "x /"):
		return "ffffc90000013e58: 0xffffffff81000030 0x0000000000000000\r\nffffc90000013e68: 0xffffffff81000040 0x0000000000000001\r\nCannot access memory\r\n"
	}
	return fakeForward(line)
}

// SSHDVariable says how the guest of the fake qemu answers at its port 22: with a
// banner, or not at all.
const SSHDVariable = "RUN_KERNEL_TEST_SSHD"

// fakeForward does what hostfwd_add does, and returns what that would say.
func fakeForward(line string) string {
	var port int
	if _, err := fmt.Sscanf(line, "hostfwd_add tcp:127.0.0.1:%d-:22", &port); err != nil {
		return "unknown command: " + line + "\r\n"
	}
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "could not set up host forwarding rule\r\n"
	}
	go func() {
		for refuse := 2; ; refuse-- {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if os.Getenv(SSHDVariable) != "" && refuse <= 0 {
				fmt.Fprint(conn, "a line before\r\nSSH-2.0-fake\r\n")
			}
			_ = conn.Close()
		}
	}()
	return ""
}

// fakeVirtiofsd serves one connection, as the real one does.
func fakeVirtiofsd() int {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	conn, err := l.Accept()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = bufio.NewReader(conn).ReadByte()
	return 0
}
