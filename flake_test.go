// SPDX-License-Identifier: GPL-3.0-only

package runkernel

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/internal/testflake"
)

// nix runs nix without a network, or skips the test where there is none.
func nix(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("nix"); err != nil {
		if os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err := testflake.Usable(); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("nix", args...)
	cmd.Env = append(os.Environ(), testflake.NixConfig)
	cmd.Stderr = new(strings.Builder)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nix %s: %v: %s", strings.Join(args, " "), err, cmd.Stderr)
	}
	return strings.TrimSpace(string(out))
}

// copyOf is a directory with a copy of flake.nix, so that nothing else has to be
// copied into the store.
func copyOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "flake.nix"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// nixpkgs can't be had here: a stand-in takes down what it is asked for.
func TestFlakeEvaluates(t *testing.T) {
	flake, nixpkgs := copyOf(t, "flake.nix"), copyOf(t, "testdata/nixpkgs/flake.nix")
	evaluate := func(attribute string, v any) {
		t.Helper()
		text := nix(t, "eval", "--json", "--no-write-lock-file", "--override-input", "nixpkgs", "path:"+nixpkgs, "path:"+flake+"#"+attribute)
		if err := json.Unmarshal([]byte(text), v); err != nil {
			t.Fatalf("%s: %v in %s", attribute, err, text)
		}
	}
	dir := filepath.Join(t.TempDir(), "vendor")
	if out, err := exec.Command("go", "mod", "vendor", "-o", dir).CombinedOutput(); err != nil {
		t.Fatalf("go mod vendor: %v: %s", err, out)
	}
	vendorHash := nix(t, "hash", "path", dir)
	for _, system := range []string{"x86_64-linux", "aarch64-linux"} {
		var p struct {
			VendorHash, PostInstall string
			SubPackages             []string
			Meta                    struct{ MainProgram string }
		}
		evaluate("packages."+system+".default", &p)
		if len(p.SubPackages) != 1 || p.SubPackages[0] != "cmd/run-kernel" || p.Meta.MainProgram != "run-kernel" ||
			!strings.Contains(p.PostInstall, "/"+system+"/qemu/bin:/"+system+"/virtiofsd/bin") {
			t.Errorf("%s: %+v", system, p)
		}
		if p.VendorHash != vendorHash {
			t.Errorf("vendorHash is %s, and what go mod vendor makes has %s", p.VendorHash, vendorHash)
		}
		var shell struct{ Packages []string }
		evaluate("devShells."+system+".default", &shell)
		if len(shell.Packages) < 10 || !strings.HasPrefix(shell.Packages[0], "/"+system+"/") {
			t.Errorf("%s: the shell has %v", system, shell.Packages)
		}
	}
}
