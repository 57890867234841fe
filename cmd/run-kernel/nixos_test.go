// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/metaspace/run-kernel/internal/testflake"
	"github.com/metaspace/run-kernel/kconfig"
)

// The flakes of testdata/flake need no nixpkgs, so that real nix builds them
// without a network.

// flake copies a flake of testdata, and busybox beside it.
func (l *lab) flake(name string) string {
	l.t.Helper()
	if err := testflake.Usable(); err != nil {
		l.t.Skip(err)
	}
	dir := filepath.Join(l.t.TempDir(), "nixos")
	if err := testflake.Copy(dir, filepath.Join("testdata/flake", name)); err != nil {
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("RUN_KERNEL_TEST_REQUIRE") == "" {
			l.t.Skip(err)
		}
		l.t.Fatal(err)
	}
	l.env = append(l.env, testflake.NixConfig)
	return dir
}

// tool runs a program of the lab's userland, and returns what it prints.
func (l *lab) tool(argv ...string) string {
	l.t.Helper()
	l.enter()
	argv = append(append([]string{}, l.wrap...), argv...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), l.env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// replace replaces text in a file.
func replace(t *testing.T, path, from, to string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(from)) {
		t.Fatalf("there is no %q in %s", from, path)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(data, []byte(from), []byte(to)), 0o644); err != nil {
		t.Fatal(err)
	}
}

const callsNix = "nix    builds path:"

func TestNix(t *testing.T) { testNix(t, bootKernel(t)) }

func TestTrixieNix(t *testing.T) { testNix(t, trixieKernel(t)) }

func testNix(t *testing.T, k *kernel) {
	flake := k.lab.flake("minimal")
	boot := func(called bool, argv ...string) result {
		t.Helper()
		r := k.lab.expect(k.boot(append([]string{"--flake", flake, "--"}, argv...)...), 0)
		if strings.Contains(r.stderr, callsNix) != called {
			t.Errorf("nix was called: %v\n%s", !called, r.stderr)
		}
		return r
	}
	r := boot(true, `
set -e
grep -q ' / tmpfs rw' /proc/mounts
test -f MAINTAINERS
touch /nix/store/x && exit 50
mount -o remount,rw /nix/store
touch /nix/store/x && exit 51
mkdir /run/store /run/root
mount -t virtiofs run-kernel.store /run/store
touch /run/store/x && exit 52
unshare -m sh -e -c '
	mount -t tmpfs none /run/root
	mkdir /run/root/old
	cd /run/root
	pivot_root . old
	test -e /old/proc/1'
tr '\0' ' ' </proc/1/cmdline
`)
	if !strings.HasSuffix(r.stdout, "busybox init ") {
		t.Errorf("the first process is %q", r.stdout)
	}
	log, err := os.ReadFile(filepath.Join(k.build, ".run-kernel/console.log"))
	if err != nil || !bytes.Contains(log, []byte("stage 2: hello from /nix/store/")) {
		t.Errorf("the second stage didn't run: %v\n%s", err, log)
	}

	// What nothing has changed for is booted as it is.
	boot(false, "true")
	link := filepath.Join(k.build, ".run-kernel/userland")
	system, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	if roots := k.lab.tool("nix-store", "--query", "--roots", system); !strings.Contains(roots, link) {
		t.Errorf("nothing keeps %s from the garbage collector: %s", system, roots)
	}
	// The rest shows without a boot.
	calls := func(want bool, why string) {
		t.Helper()
		r := k.lab.expect(k.boot("--flake", flake, "--dry-run"), 0)
		if strings.Contains(r.stdout, "nix-command flakes") != want {
			t.Errorf("%s: nix would be called: %v", why, !want)
		}
	}
	calls(false, "nothing changed")
	if err := os.WriteFile(filepath.Join(flake, "flake.lock"), []byte(`{"nodes":{"root":{}},"root":"root","version":7}`), 0o644); err != nil {
		t.Fatal(err)
	}
	calls(true, "the lock changed")
	replace(t, filepath.Join(flake, "init"), "greeting=hello", "greeting=changed")
	boot(true, "true")
	if log, err = os.ReadFile(filepath.Join(k.build, ".run-kernel/console.log")); err != nil || !bytes.Contains(log, []byte("stage 2: changed")) {
		t.Errorf("the change didn't come through: %v", err)
	}
	if system, err = os.Readlink(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	k.lab.tool("nix-store", "--delete", system)
	boot(true, "true")
}

// What the flake's system requires of the kernel is asked for once, and joins the
// rest.
func TestFlakeRequires(t *testing.T) {
	testFlakeRequires(t, newLab(t, need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")))
}

func TestTrixieFlakeRequires(t *testing.T) {
	needTrixie(t)
	l := newLab(t, need(t, "RUN_KERNEL_TEST_TREE", "kernel tree"))
	l.enterTrixie()
	testFlakeRequires(t, l)
}

func testFlakeRequires(t *testing.T, l *lab) {
	flake, build := l.flake("minimal"), t.TempDir()
	l.env = append(l.env, "RUN_KERNEL_RUN_FLAKE="+flake)
	const asking = "asking nix what path:"
	if err := os.WriteFile(filepath.Join(build, ".config"), []byte("CONFIG_64BIT=y\nCONFIG_DEVTMPFS=y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(asked bool) map[string]kconfig.Result {
		t.Helper()
		r := l.run("-O", build, "kconfig", "check", "--json")
		if strings.Contains(r.stderr, asking) != asked {
			t.Errorf("nix was asked: %v\n%s", !asked, r.stderr)
		}
		var results []kconfig.Result
		if err := json.Unmarshal([]byte(r.stdout), &results); err != nil {
			t.Fatal(err)
		}
		flakes := make(map[string]kconfig.Result)
		for _, r := range results {
			if r.Group == "flake" {
				flakes[r.Symbol] = r
			}
		}
		return flakes
	}
	// What is required anyway keeps its reason.
	if got := check(true); len(got) != 1 || !got["MODULES"].Optional {
		t.Errorf("got %+v", got)
	}
	check(false)
	replace(t, filepath.Join(flake, "flake.nix"), "[\n            {", `[
            { configLine = "CONFIG_TASKSTATS=y"; message = "CONFIG_TASKSTATS is not enabled!"; }
            {`)
	got := check(true)
	if r := got["TASKSTATS"]; len(got) != 2 || r.Optional || r.Met || !strings.Contains(r.Why, "system.requiredKernelConfig") {
		t.Errorf("got %+v", got)
	}
	l.expect(l.run("-O", build, "kconfig", "fix"), 0)
	if config, err := os.ReadFile(filepath.Join(build, ".config")); err != nil || !bytes.Contains(config, []byte("\nCONFIG_TASKSTATS=y\n")) {
		t.Errorf("fix doesn't set TASKSTATS: %v", err)
	}
	// nix takes a directory of any name.
	odd := filepath.Join(filepath.Dir(flake), "my vms, é")
	if err := os.Rename(flake, odd); err != nil {
		t.Fatal(err)
	}
	flake = odd
	l.env = append(l.env, "RUN_KERNEL_RUN_FLAKE="+flake)
	if got := check(true); len(got) != 2 {
		t.Errorf("in %s: got %+v", flake, got)
	}
	// What is no NixOS has the plain attribute, or not.
	replace(t, filepath.Join(flake, "flake.nix"), "extendModules =", `config.system.requiredKernelConfig = [ { configLine = "CONFIG_PSI=y"; } ];
      other =`)
	if got := check(true); len(got) != 1 || got["PSI"].Symbol == "" {
		t.Errorf("got %+v", got)
	}
	replace(t, filepath.Join(flake, "flake.nix"), "config.system.requiredKernelConfig =", "another =")
	if got := check(true); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	replace(t, filepath.Join(flake, "flake.nix"), "another =", `extendModules = throw "no luck"; another =`)
	r := l.expect(l.run("-O", build, "kconfig", "check"), 0)
	said, err := os.ReadFile(filepath.Join(build, ".run-kernel/nix.log"))
	if !strings.Contains(r.stderr, "warning: what the flake requires of the kernel is unknown: nix could not evaluate path:") ||
		!strings.Contains(r.stderr, "nix.log") || err != nil || !strings.Contains(string(said), "no luck") {
		t.Errorf("got %s; the log: %s, %v", r.stderr, said, err)
	}
}

// nix's own message shows, with ours above it.
func TestNixErrors(t *testing.T) { testNixErrors(t, bootKernel(t)) }

func TestTrixieNixErrors(t *testing.T) { testNixErrors(t, trixieKernel(t)) }

func testNixErrors(t *testing.T, k *kernel) {
	for _, c := range []struct {
		name     string
		edit     [2]string // of flake.nix
		suffix   string    // of the flake
		nix, own string    // what nix says, and our hint
	}{
		{"syntax", [2]string{"outputs =", "outputs"}, "", "syntax error", "nix.log"},
		{"evaluation", [2]string{"source = self;", "source = nonesuch;"}, "", "undefined variable 'nonesuch'", "nix.log"},
		{"attribute", [2]string{"minimal", "minimal"}, "#none", "does not provide attribute", "name the system after a #"},
		{"system", [2]string{"x86_64-linux", "riscv64-linux"}, "", "is required to build", "must be this host's"},
		{"build", [2]string{`"-e"`, `"-e" "/none"`}, "", "builder for '", "nix.log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := *k.lab
			l.t = t
			flake := l.flake("minimal")
			replace(t, filepath.Join(flake, "flake.nix"), c.edit[0], c.edit[1])
			r := l.expect(l.run(k.flags("boot", "--no-build", "--flake", flake+c.suffix, "--", "true")...), statusFailed)
			ours, theirs := strings.Index(r.stderr, "error: nix could not build path:"), strings.Index(r.stderr, c.nix)
			if ours < 0 || theirs < ours || !strings.Contains(r.stderr, c.own) {
				t.Errorf("got %s", r.stderr)
			}
		})
	}
}

// The original's example, with a stand-in for nixpkgs.
func TestExample(t *testing.T) { testExample(t, bootKernel(t)) }

func TestTrixieExample(t *testing.T) { testExample(t, trixieKernel(t)) }

func testExample(t *testing.T, k *kernel) {
	stub := k.lab.flake("minimal")
	copyOver(t, filepath.Join(stub, "flake.nix"), "testdata/flake/nixpkgs/flake.nix")
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "nixos"), os.DirFS("../../examples")); err != nil {
		t.Fatal(err)
	}
	var stubbed struct {
		Locked map[string]any `json:"locked"`
	}
	if err := json.Unmarshal([]byte(k.lab.tool("nix", "flake", "metadata", "--json", "path:"+stub)), &stubbed); err != nil {
		t.Fatal(err)
	}
	delete(stubbed.Locked, "__final") // nix 2.26 shows it, and may not read it
	locked, err := json.Marshal(stubbed.Locked)
	if err != nil {
		t.Fatal(err)
	}
	lock := fmt.Sprintf(`{
	"nodes": {
		"nixpkgs": {
			"locked": %s,
			"original": {"owner": "NixOS", "ref": "nixos-26.05", "repo": "nixpkgs", "type": "github"}
		},
		"root": {"inputs": {"nixpkgs": "nixpkgs"}}
	},
	"root": "root", "version": 7
}`, locked)
	if err := os.WriteFile(filepath.Join(dir, "nixos/flake.lock"), []byte(lock), 0o644); err != nil {
		t.Fatal(err)
	}
	k.lab.env = append(k.lab.env, "HOME="+t.TempDir()) // there the system is kept outside of a tree
	k.lab.dir = dir
	if len(k.lab.wrap) > 0 {
		k.lab.enterTrixie()
	}
	r := k.lab.expect(k.lab.run("--share=share:./", "--flake=./nixos", "--kernel="+filepath.Join(k.build, "vmlinux"), "--",
		"hostname; cat /mnt/share/nixos/flake.nix; echo from the guest >/mnt/share/guest"), 0)
	flake, err := os.ReadFile("../../examples/flake.nix")
	if err != nil {
		t.Fatal(err)
	}
	if r.stdout != "run-kernel\n"+string(flake) {
		t.Errorf("got %q", r.stdout)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "guest")); err != nil || string(data) != "from the guest\n" {
		t.Errorf("the guest wrote %q, %v", data, err)
	}

	// To the letter, which ends at root's prompt.
	s, terminal, _ := k.lab.atTerminal("--serial=stdio", "--share=share:./", "--flake=./nixos", "--kernel="+filepath.Join(k.build, "vmlinux"))
	s.wait("the guest answers") // which would come in the middle of what the guest says
	fmt.Fprint(terminal, "\r")
	s.wait("# ")
	quieten(s, terminal)
	fmt.Fprint(terminal, "cat /mnt/share/guest; echo host=$(hostname) uid=$(id -u)\r")
	s.wait("from the guest\r\n")
	s.wait("host=run-kernel uid=0\r\n")
	fmt.Fprint(terminal, "\r~.")
	s.awaitEnd()
}

func copyOver(t *testing.T, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err = errors.Join(err, os.WriteFile(to, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// nixosKernel is a kernel with what NixOS needs, for the systems of a flake.
func nixosKernel(t *testing.T, name string, prepare func(l *lab, flake string)) (k *kernel, flake string) {
	t.Helper()
	k = richKernel(t)
	flake = k.lab.flake(name)
	if prepare != nil {
		prepare(k.lab, flake)
	}
	k.lab.env = append(k.lab.env, "RUN_KERNEL_RUN_FLAKE="+flake, "RUN_KERNEL_KCONFIG_REQUIRE="+k.require)
	return k, flake
}

// systemdKernel is that with a userland of which systemd is the first process.
func systemdKernel(t *testing.T) (k *kernel, flake string) {
	t.Helper()
	if os.Getenv("RUN_KERNEL_TEST_DEBIAN_ROOT") == "" && os.Geteuid() != 0 {
		t.Skip("RUN_KERNEL_TEST_DEBIAN_ROOT isn't set: making one takes root")
	}
	root := need(t, "RUN_KERNEL_TEST_DEBIAN_ROOT", "Debian root with systemd")
	return nixosKernel(t, "systemd", func(l *lab, flake string) {
		err := testflake.AddRoot(flake, root, func(args ...string) (string, error) {
			return l.tool(append([]string{"nix-store"}, args...)...), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestSystemd(t *testing.T) { testSystemd(t, "virtiofs") }

func TestSystemd9P(t *testing.T) { testSystemd(t, "9p") }

func testSystemd(t *testing.T, mountType string) {
	k, _ := systemdKernel(t)
	r := k.lab.expect(k.boot("--mount-type", mountType, "--", `
set -e
grep -q ' /nix/store `+mountType+` ro' /proc/mounts
systemctl is-active multi-user.target
systemctl is-system-running
systemctl --failed --no-legend
cat /run/private
ls -A /mnt
bwrap --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp --unshare-all --hostname bubble hostname
systemd-run --quiet --pipe --property=PrivateMounts=yes --property=PrivateUsers=yes --property=PrivateNetwork=yes cat /proc/1/comm
`), 0)
	if want := "active\nrunning\ninside\nbubble\nsystemd\n"; r.stdout != want {
		t.Errorf("got %q, want %q\n%s", r.stdout, want, r.stderr)
	}
}

// Another terminal reaches the guest. When that shuts down, systemd ends every
// process but the agent, which tells how.
func TestSystemdExecAndPowerOff(t *testing.T) {
	k, _ := systemdKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "--", "echo up; exec sleep infinity")...)
	s.wait("up\n")
	r := k.lab.expect(k.lab.run(k.flags("exec", "--", "cat", "/proc/1/comm")...), 0)
	if r.stdout != "systemd\n" {
		t.Errorf("the first process is %q", r.stdout)
	}
	k.lab.expect(k.lab.run(k.flags("exec", "--", "systemctl", "poweroff")...), 0)
	if status := s.awaitEnd(); status != 128+int(syscall.SIGTERM) {
		t.Errorf("status %d, want that of SIGTERM", status)
	}
}

// stop has systemd end what it has started, in order; a command of another terminal's
// gets the signal that all processes get.
func TestSystemdStop(t *testing.T) {
	k, _ := systemdKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "--", `
systemd-run --quiet --unit=mine --property=ExecStop='/bin/sh -c "echo stopped in order >/dev/kmsg"' sleep infinity
echo up
exec sleep infinity`)...)
	s.wait("up\n")
	other := newParrot(k, "")
	other.say("hello")
	r := k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	other.awaitLoss()
	if !strings.Contains(r.stderr, "the guest has powered itself off") {
		t.Errorf("stop says %q", r.stderr)
	}
	s.awaitEnd()
	log, err := os.ReadFile(filepath.Join(k.build, ".run-kernel/console.log"))
	if err != nil || !bytes.Contains(log, []byte("stopped in order")) {
		t.Errorf("the service wasn't asked: %v\n%s", err, log)
	}
}

// A kernel without what systemd needs shows at once.
func TestSystemdOnALesserKernel(t *testing.T) {
	k, _ := systemdKernel(t)
	lesser := testKernel(t)
	r := k.lab.expect(k.lab.run("-O", lesser.build, "boot", "--no-build", "--", "true"), statusFailed)
	for _, want := range []string{
		"warning: .config lacks ", `init failed: systemd: Failed to mount (API filesystems|cgroup v1 hierarchy)`, "`run-kernel kconfig fix` enables",
	} {
		if !regexp.MustCompile(want).MatchString(r.stderr) {
			t.Errorf("no %q in %s", want, r.stderr)
		}
	}
}

// A change of the system is booted like one of the kernel.
func TestWatchFlake(t *testing.T) {
	k, flake := nixosKernel(t, "minimal", nil)
	s := k.lab.start(k.flags("watch", "--exec", "cat /run/greeting")...)
	s.wait("hello\n")
	s.wait("waiting for changes")
	replace(t, filepath.Join(flake, "init"), "greeting=hello", "greeting=changed")
	s.wait("\nchanged\n")
	s.wait("waiting for changes")
	// So is one of a file that the flake has got since.
	added := filepath.Join(flake, "greetings/one")
	if err := errors.Join(os.Mkdir(filepath.Dir(added), 0o755), os.WriteFile(added, []byte("greeting=first\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(flake, "init"), "b() {", ". $source/greetings/one\nb() {")
	s.wait("\nfirst\n")
	s.wait("waiting for changes")
	replace(t, added, "first", "second")
	s.wait("\nsecond\n")
	s.wait("waiting for changes")
	// A flake that is broken leaves the guest alone.
	replace(t, filepath.Join(flake, "flake.nix"), "outputs =", "outputs")
	s.wait("error: nix could not build")
	s.wait("the previous guest keeps running; waiting for changes")
	if status, _ := s.end(syscall.SIGINT); status != 130 {
		t.Errorf("status %d", status)
	}
}
