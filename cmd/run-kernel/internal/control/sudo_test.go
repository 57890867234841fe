// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/metaspace/run-kernel/internal/trust"
)

// Who calls run-kernel with sudo and without in the same build directory has it once, and
// is told who has it.
func TestSudo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	const nobody = 65534
	base := t.TempDir()
	for dir := base; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build, theirs, ours := filepath.Join(base, "build"), filepath.Join(base, "theirs"), filepath.Join(base, "ours")
	for dir, uid := range map[string]int{build: nobody, theirs: nobody, ours: 0} {
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, uid, uid)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("XDG_RUNTIME_DIR", ours)
	as := func(role string) *exec.Cmd {
		cmd := command(role, build)
		cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+theirs)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return cmd
	}
	sudo := nobody
	policy, a := &trust.Policy{Sudo: &sudo}, Address{Build: build}

	owner := as("owner")
	out, err := owner.StdoutPipe()
	if err == nil {
		err = owner.Start()
	}
	if err != nil {
		t.Skipf("can't become another user: %v", err)
	}
	defer func() {
		_ = owner.Process.Kill()
		_ = owner.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the user's owner says %q, %v", line, err)
	}
	if s, err := Listen(policy, a, "boot", nil); !errors.As(err, new(*BusyError)) {
		t.Errorf("beside the user's, root gets the directory: %v", err)
		_ = s.Close()
	}
	if _, err := Dial(a); err == nil || !strings.Contains(err.Error(), "is that of "+trust.UserName(nobody)) {
		t.Errorf("root at the user's: %v", err)
	}
	// What only root sees hides nothing else.
	names := filepath.Join(build, ".run-kernel", namesDir)
	if err := errors.Join(os.Mkdir(names, 0o700), os.Chown(names, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(policy, Address{build, "second"}, "boot", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if out, _ := as("list").Output(); string(out) != fmt.Sprintf("[{%s }] <nil>\n", build) {
		t.Errorf("beside root's with a name, the user lists: %s", out)
	}
	_ = owner.Process.Kill()
	_ = owner.Wait()

	s, err := Listen(policy, a, "boot", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if out, _ := as("owner").Output(); !strings.HasPrefix(string(out), "another run-kernel") {
		t.Errorf("beside root's, the user gets: %s", out)
	}
	if out, _ := as("client").Output(); !strings.Contains(string(out), "is that of root (uid 0)") {
		t.Errorf("the user at root's: %s", out)
	}
}
