// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/readonly"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/proc"
)

// The test binary is qemu and virtiofsd, too: scripts in a test's own folder
// start it with the role in the environment.
const (
	roleVariable  = "RUN_KERNEL_TEST_ROLE"
	guestVariable = "RUN_KERNEL_TEST_GUEST" // what the guest in the fake qemu does
)

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	proc.Main()
	readonly.Main()
	virtiofs.Main()
	switch os.Getenv(roleVariable) {
	case "qemu":
		os.Exit(fakeQEMU(os.Args[1:], os.Getenv(guestVariable)))
	case "virtiofsd":
		os.Exit(fakeVirtiofsd())
	}
	os.Exit(m.Run())
}

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
	console, monitor, agent := open("-serial"), open("-mon"), open("-devicevirtserialport")
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
				reply, _ := json.Marshal(fakeForward(line))
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
	if behaviour != "silent" && behaviour != "reset" && behaviour != "error" {
		fmt.Fprint(console, "[    0.000000] Linux version 0.0.0\r\n")
	}
	switch behaviour {
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
		if err := guest.Serve(&guest.Config{Dir: "/"}, agent, up); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		hang()
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
	case "babbles":
		fmt.Fprintln(agent, "SSH-2.0-x\r\nnonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense")
		hang()
	case "stalls":
		fmt.Fprint(console, "[   21.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\r\n")
		hang()
	case "silent", "says nothing more":
		hang()
	}
	return 99
}

// sshdVariable says how the guest of the fake qemu answers at its port 22: with a
// banner, or not at all.
const sshdVariable = "RUN_KERNEL_TEST_SSHD"

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
			if os.Getenv(sshdVariable) != "" && refuse <= 0 {
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

// A lab has the tools that a VM needs, and a kernel.
type lab struct{ dir, qemu, virtiofsd, kernel string }

func newLab(t *testing.T, guest string) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{
		dir: dir, qemu: filepath.Join(dir, "qemu"), virtiofsd: filepath.Join(dir, "virtiofsd"), kernel: filepath.Join(dir, "bzImage"),
	}
	l.become(t, guest)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l.script(t, l.virtiofsd, fmt.Sprintf(
		"case $1 in --help) echo --shared-dir --readonly --no-announce-submounts; exit;; esac\n%s=virtiofsd exec %s \"$@\"\n", roleVariable, self))
	image := strings.Repeat("\x00", 0x202) + "HdrS" + strings.Repeat("\x00", 4096)
	if err := os.WriteFile(l.kernel, []byte(image), 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

// become has the guest do something else from its next boot on.
func (l *lab) become(t *testing.T, guest string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l.script(t, l.qemu, fmt.Sprintf("%s=qemu %s='%s' exec %s \"$@\"\n", roleVariable, guestVariable, guest, self))
}

func (l *lab) script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) options() Options {
	return Options{
		Kernel: l.kernel, QEMU: l.qemu, Virtiofsd: l.virtiofsd, Accel: "tcg", CPUs: 1, MemoryGiB: 1, Userland: l.dir, Dir: "/", Hostname: "test",
	}
}
