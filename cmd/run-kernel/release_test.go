// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/testflake"
)

// releaseVersion is that of the release that is made for tests.
const releaseVersion = "1.2.3-rc1"

// makeRelease runs scripts/release of a clone, with an environment beside the test's own.
func makeRelease(clone, dir string, env ...string) error {
	cmd := exec.Command(filepath.Join(clone, "scripts/release"), releaseVersion, dir)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("scripts/release: %w: %s", err, out)
	}
	return nil
}

// released is the release that tests share.
var released = sync.OnceValues(func() (string, error) {
	if err := makeProgramDir(); err != nil {
		return "", err
	}
	dir, clone := filepath.Join(programDir, "release"), filepath.Join(programDir, "clone")
	if out, err := exec.Command("git", "clone", "-q", "--depth=1", "file://"+topDir(), clone).CombinedOutput(); err != nil {
		return "", fmt.Errorf("git clone: %w: %s", err, out)
	}
	return dir, makeRelease(clone, dir)
})

// topDir is the top of the checkout.
func topDir() string {
	dir, err := filepath.Abs(top)
	if err != nil {
		panic(err)
	}
	return dir
}

func releaseDir(t *testing.T) string {
	t.Helper()
	need(t, "RUN_KERNEL_TEST_CACHE", "cache")
	dir, err := released()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A release of a commit is the same wherever and however it is made, and has it all.
func TestRelease(t *testing.T) {
	parallel(t)
	enter(t)
	dir := releaseDir(t)
	// An older one that lies there is no part of it.
	again := filepath.Join(t.TempDir(), "again")
	if err := os.Mkdir(again, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run-kernel_1.2.2_amd64.deb", "run-kernel-1.2.2-1.x86_64.rpm", "run-kernel-1.2.3-rc1-linux-mips.tar.gz"} {
		if err := os.WriteFile(filepath.Join(again, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := makeRelease(filepath.Join(programDir, "clone"), again, "TMPDIR="+t.TempDir(), "TZ=Asia/Tokyo", "LANG=C.UTF-8", "HOSTNAME=other", "GOFLAGS=-buildvcs=true"); err != nil {
		t.Fatal(err)
	}
	sums := func(dir string) string {
		data, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if diff := cmp.Diff(sums(dir), sums(again)); diff != "" {
		t.Errorf("made twice, they differ: %s", diff)
	}
	check := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	listed := map[string]bool{"SHA256SUMS": true}
	for line := range strings.Lines(sums(dir)) {
		listed[strings.Fields(line)[1]] = true
	}
	want := []string{
		"PKGBUILD", "SHA256SUMS", "run-kernel-1.2.3-rc1.tar.gz", "run-kernel.nix",
		"run-kernel-1.2.3-rc1-linux-amd64.tar.gz", "run-kernel-1.2.3-rc1-linux-arm64.tar.gz", "run-kernel-1.2.3-rc1-linux-riscv64.tar.gz",
		"run-kernel_1.2.3~rc1_amd64.deb", "run-kernel_1.2.3~rc1_arm64.deb", "run-kernel_1.2.3~rc1_riscv64.deb",
		"run-kernel-1.2.3~rc1-1.x86_64.rpm", "run-kernel-1.2.3~rc1-1.aarch64.rpm", "run-kernel-1.2.3~rc1-1.riscv64.rpm",
	}
	for _, name := range want {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil || !listed[name] {
			t.Errorf("%s: %v, in SHA256SUMS: %v", name, err, listed[name])
		}
	}
	if len(listed) != len(want) {
		t.Errorf("it has %v", listed)
	}

	// The program of each architecture is static, and the others' are with it.
	for _, arch := range []string{"amd64", "arm64", "riscv64"} {
		unpacked := t.TempDir()
		output(t, "tar", "-C", unpacked, "--strip-components=1", "-xf", filepath.Join(dir, "run-kernel-1.2.3-rc1-linux-"+arch+".tar.gz"))
		for _, of := range []string{"amd64", "arm64", "riscv64"} {
			path := filepath.Join(unpacked, "lib/run-kernel/run-kernel-linux-"+of)
			if of == arch {
				path = filepath.Join(unpacked, "bin/run-kernel")
			}
			want := map[string]string{"amd64": "Advanced Micro Devices X86-64", "arm64": "AArch64", "riscv64": "RISC-V"}[of]
			header := output(t, "readelf", "-hl", path)
			if !strings.Contains(header, want) || strings.Contains(header, "INTERP") {
				t.Errorf("in the archive for %s, the program for %s isn't static, or of another kind: %s", arch, of, header)
			}
		}
		for _, name := range []string{
			"share/man/man1/run-kernel.1.gz", "share/man/man5/run-kernel.cfg.5.gz", "share/bash-completion/completions/run-kernel",
			"share/zsh/site-functions/_run-kernel", "share/fish/vendor_completions.d/run-kernel.fish", "share/doc/run-kernel/copyright",
		} {
			if st, err := os.Stat(filepath.Join(unpacked, name)); err != nil || st.Size() < 100 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}

	// bash takes the PKGBUILD, and finds in it what makepkg looks for.
	recipe := output(t, "bash", "-euc", `. "$1"; declare -F build package >/dev/null; echo "$pkgname $pkgver $pkgrel ${arch[*]} ${source[*]##*/}"; bash -n "$1"`, "bash", filepath.Join(dir, "PKGBUILD"))
	if want := "run-kernel 1.2.3_rc1 1 aarch64 riscv64 x86_64 run-kernel-1.2.3-rc1.tar.gz\n"; recipe != want {
		t.Errorf("PKGBUILD: %q, want %q", recipe, want)
	}
	source := strings.Fields(output(t, "sha256sum", filepath.Join(dir, "run-kernel-1.2.3-rc1.tar.gz")))[0]
	if text := output(t, "cat", filepath.Join(dir, "PKGBUILD")); !strings.Contains(text, "sha256sums=('"+source+"')") {
		t.Errorf("PKGBUILD has another sum than %s: %s", source, text)
	}
}

// nix takes the expression for nixpkgs, which has the hash of the source.
func TestReleaseNix(t *testing.T) {
	dir := releaseDir(t)
	if err := testflake.Usable(); err != nil {
		t.Skip(err)
	}
	// A stand-in for nixpkgs: it returns what it is given.
	expression := fmt.Sprintf(`let p = import %s/run-kernel.nix {
  buildGoModule = a: a; fetchurl = a: a; installShellFiles = 1; makeWrapper = 2; qemu = 3; virtiofsd = 4;
  stdenv = { buildPlatform.canExecute = _: true; hostPlatform = 5; };
  lib = { optionalString = c: s: if c then s else ""; makeBinPath = l: "PATH"; licenses.gpl3Only = 6; platforms.linux = [ ]; };
}; in { inherit (p) version postInstall vendorHash; inherit (p.src) url hash; }`, dir)
	cmd := exec.Command(needProgram(t, "nix", true), "eval", "--impure", "--json", "--expr", expression)
	cmd.Env = append(os.Environ(), testflake.NixConfig)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nix eval: %v: %s", err, err.(*exec.ExitError).Stderr)
	}
	var p struct{ Version, PostInstall, VendorHash, URL, Hash string }
	if err := json.Unmarshal(out, &p); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "run-kernel-1.2.3-rc1.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if p.Version != releaseVersion || !strings.HasSuffix(p.URL, "/v1.2.3-rc1/run-kernel-1.2.3-rc1.tar.gz") || p.Hash != "sha256-"+base64.StdEncoding.EncodeToString(sum[:]) {
		t.Errorf("%+v", p)
	}
	if flake, err := os.ReadFile(filepath.Join(top, "flake.nix")); err != nil || !strings.Contains(string(flake), `vendorHash = "`+p.VendorHash+`"`) {
		t.Errorf("flake.nix has another hash of the modules: %s, %v", p.VendorHash, err)
	}
	for _, want := range []string{"--suffix PATH : PATH", "installManPage man/man1/*", "--zsh <($out/bin/run-kernel completion zsh)"} {
		if !strings.Contains(p.PostInstall, want) {
			t.Errorf("%q isn't in %s", want, p.PostInstall)
		}
	}
}

// output runs a command and returns what it prints.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// install has a lab run everything as an ordinary user in a copy of a root directory, in
// which the package is installed. The files are in the user's home.
func (l *lab) install(root string, files ...string) {
	l.t.Helper()
	if os.Geteuid() != 0 {
		l.t.Skip("installing a package takes root")
	}
	const script = `set -e
root=$1 over=$2 deb=$3 n=$4
shift 4
mount -t tmpfs tmpfs "$over"
mkdir "$over/upper" "$over/work" "$over/root"
mount -t overlay -o "lowerdir=$root,upperdir=$over/upper,workdir=$over/work" overlay "$over/root"
cd "$over/root"
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
mount -t tmpfs tmpfs tmp
chroot . chmod 1777 /tmp
cp "$deb" tmp/run-kernel.deb
chroot . dpkg --install /tmp/run-kernel.deb >/dev/null
mkdir -m 700 home/tester
while [ $n -gt 0 ]; do
	cp "$1" home/tester
	shift
	n=$((n-1))
done
chown -R 4711:4711 home/tester
exec chroot . setpriv --reuid=4711 --regid=4711 --clear-groups env -i HOME=/home/tester USER=tester TERM=dumb PATH=/usr/local/bin:/usr/bin:/bin sh -c 'cd && exec "$@"' sh "$@"`
	l.wrap = append([]string{
		"unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh",
		root, l.t.TempDir(), filepath.Join(releaseDir(l.t), "run-kernel_1.2.3~rc1_"+runtime.GOARCH+".deb"), strconv.Itoa(len(files)),
	}, files...)
	l.program = "/usr/bin/run-kernel"
}

// shell runs a shell's command where the lab runs its commands.
func (l *lab) shell(command string) result {
	l.t.Helper()
	other := *l
	other.program = "/bin/bash"
	return other.run("-c", command)
}

// The package works on a Debian that has nothing else, for an ordinary user.
func TestPackage(t *testing.T) {
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			roots := need(t, "RUN_KERNEL_TEST_BARE_ROOTS", "directory with bare Debian roots")
			l := newLab(t, "/")
			l.install(filepath.Join(roots, "bare-"+suite))

			r := l.expect(l.run("version"), 0)
			if !strings.HasPrefix(r.stdout, "run-kernel 1.2.3-rc1, go") {
				t.Errorf("version: %s", r.stdout)
			}
			for page, want := range map[string]string{
				"run-kernel": "the edit-build-boot loop for the Linux kernel", "run-kernel-kconfig-check": "--require", "run-kernel.cfg": "smp = 2",
			} {
				if r := l.expect(l.shell("man "+page), 0); !strings.Contains(r.stdout, want) {
					t.Errorf("man %s: %s%s", page, r.stdout, r.stderr)
				}
			}
			// As it is when a user types, and presses Tab.
			const complete = `. /usr/share/bash-completion/bash_completion
for load in _comp_load __load_completion; do ! declare -F $load >/dev/null || { $load run-kernel; break; }; done
COMP_WORDS=(run-kernel kconfig e) COMP_CWORD=2 COMP_LINE="run-kernel kconfig e" COMP_POINT=20 COMP_TYPE=9
eval "f() { $(complete -p run-kernel | sed 's/.* -F \([^ ]*\) .*/\1/') run-kernel e kconfig; }"
f; echo "${COMPREPLY[@]}"`
			if r := l.expect(l.shell(complete), 0); strings.TrimSpace(r.stdout) != "explain" {
				t.Errorf("completion: %q %s", r.stdout, r.stderr)
			}
			// All is missing, and it says how to get it; the init of other guests is there.
			if r := l.expect(l.run("doctor"), 1); !strings.Contains(r.stdout, "sudo apt install ") || !strings.Contains(r.stdout, "qemu-system-x86") {
				t.Errorf("doctor: %s%s", r.stdout, r.stderr)
			}
			if r := l.run("doctor", "--arch", "arm64"); !strings.Contains(r.stdout, "/usr/lib/run-kernel/run-kernel-linux-arm64") {
				t.Errorf("doctor --arch arm64: %s%s", r.stdout, r.stderr)
			}
		})
	}
}

// From the package, a guest boots.
func TestPackageBoots(t *testing.T) {
	needTrixie(t)
	k := bootKernel(t)
	l := newLab(t, "/")
	l.install(os.Getenv("RUN_KERNEL_TEST_TRIXIE"), filepath.Join(k.build, "vmlinux"))
	r := l.expect(l.run("boot", "--kernel", "vmlinux", "--", "uname -r; run-kernel version"), 0)
	if !strings.HasPrefix(r.stdout, "6.1.") || !strings.Contains(r.stdout, "run-kernel 1.2.3-rc1") {
		t.Errorf("the guest printed %s", r.stdout)
	}
}

// The GitHub Action builds again what changed since the build that was kept, although a
// checkout gives all files new times.
func TestAction(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(in(name)), 0o755), os.WriteFile(in(name), []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	// A run-kernel whose kernel are two objects. It says what it compiled.
	write("bin/run-kernel", `#!/bin/sh
[ "$1 $2 $4 $5" = "test -O --timeout 5m" ] || { echo "run-kernel $*"; exit 128; }
for c in *.c; do
	o=$3/${c%.c}.o
	[ "$o" -nt "$c" ] && continue
	grep -q broken "$c" && exit 125
	cp "$c" "$o"; echo "compiled $c"
done
eval "${7}"
`)
	write("origin/a.c", "1\n")
	write("origin/b.c", "1\n")
	commit := func() {
		t.Helper()
		git(t, in("origin"), "add", "-A")
		git(t, in("origin"), "commit", "-qm", "x")
	}
	git(t, dir, "init", "-q", "origin")
	commit()
	// job is a new machine with the kept build, and returns what was compiled.
	job := func(status int, prepare string) string {
		t.Helper()
		// A cache has times of whole seconds, in an archive.
		if err := os.RemoveAll(in("tree")); err != nil {
			t.Fatal(err)
		}
		git(t, dir, "clone", "-q", "origin", "tree")
		output(t, "bash", "-c", "cd \"$1\" && "+prepare, "bash", in("tree"))
		write("output", "")
		kept := in("kept")
		_ = os.RemoveAll(in("build"))
		if _, err := os.Stat(kept); err == nil {
			output(t, "cp", "-a", kept, in("build"))
		}
		cmd := exec.Command(top+"/scripts/action", "test")
		cmd.Env = append(os.Environ(), "PATH="+in("bin")+":"+os.Getenv("PATH"), "TREE="+in("tree"), "BUILD="+in("build"),
			"FLAGS=--timeout 5m", fmt.Sprintf("COMMAND=exit %d", min(status, 1)), "GITHUB_OUTPUT="+in("output"))
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != status {
			t.Fatalf("status %d, want %d: %v: %s", got, status, err, out)
		}
		built := output(t, "cat", in("output"))
		if want := map[bool]string{true: "built=true\n", false: ""}[status < 2]; built != want {
			t.Errorf("it told the next step %q, want %q", built, want)
		}
		if built != "" {
			_ = os.RemoveAll(kept)
			output(t, "cp", "-a", in("build"), kept)
		}
		return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", ", ")
	}
	for _, c := range []struct {
		what, change, prepare string
		status                int
		want                  string
	}{
		{"the first time", "", "true", 0, "compiled a.c, compiled b.c"},
		{"nothing changed", "", "true", 0, ""},
		{"one changed, and the command fails", "echo 2 >a.c", "true", 1, "compiled a.c"},
		{"that was kept", "", "true", 0, ""},
		{"a broken file", "echo 3 >a.c; echo broken >b.c", "true", 125, "compiled a.c"},
		{"as before, but for one", "echo 2 >a.c", "true", 125, ""},
		{"mended", "echo 4 >b.c", "true", 0, "compiled b.c"},
		{"changed by the job", "", "echo 5 >a.c", 0, "compiled a.c"},
		{"not any more", "", "true", 0, "compiled a.c"},
	} {
		if c.change != "" {
			output(t, "bash", "-c", "cd \"$1\" && "+c.change, "bash", in("origin"))
			commit()
		}
		if got := job(c.status, c.prepare); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	// The documented job has inputs that there are, and flags that run-kernel takes.
	blocks, _ := blocksOf(documents(t)["docs/ci.md"])
	action := output(t, "cat", top+"/action.yml")
	_, with, ok := strings.Cut(blocks[0].text(), "        with:\n")
	if !ok {
		t.Fatal("docs/ci.md has no job")
	}
	for line := range strings.Lines(with) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if !strings.Contains(action, "\n  "+name+":\n") {
			t.Errorf("action.yml has no input %s", name)
		}
		if name == "flags" {
			if _, err := parse(t.TempDir(), slices.Concat([]string{"test"}, strings.Fields(value), []string{"--", "true"})); err != nil {
				t.Error(err)
			}
		}
	}
	// The steps in action.yml are these.
	for _, want := range []string{`scripts/action" install`, `scripts/action" test`, "TREE: ", "BUILD: ", "FLAGS: ", "COMMAND: ", "steps.test.outputs.built"} {
		if !strings.Contains(action, want) {
			t.Errorf("action.yml doesn't have %s", want)
		}
	}
}
