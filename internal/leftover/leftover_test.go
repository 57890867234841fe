// SPDX-License-Identifier: GPL-3.0-only

package leftover

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sleeper starts a process that lasts as long as its standard input.
func sleeper(t *testing.T, env ...string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.Env = append(os.Environ(), env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

func TestMarkedProcesses(t *testing.T) {
	mark := Mark(fmt.Sprintf("LEFTOVER_TEST=%d", time.Now().UnixNano()))
	// Not one whose value goes on, nor one whose name does.
	sleeper(t, string(mark)+"0")
	sleeper(t, "MORE_"+string(mark))
	if found := mark.Processes(); len(found) > 0 {
		t.Errorf("found %v before there was any", found)
	}
	pid, end := sleeper(t, string(mark))
	if diff := cmp.Diff(map[int]string{pid: "cat "}, mark.Processes()); diff != "" {
		t.Error(diff)
	}
	if cmdline := Descendants(os.Getpid())[pid]; cmdline != "cat " {
		t.Errorf("among the descendants it is %q", cmdline)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("%d: cat ", pid)}, mark.Await(time.Now(), nil)); diff != "" {
		t.Error(diff)
	}
	if left := mark.Await(time.Now(), func(cmdline string) bool { return cmdline == "cat " }); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	time.AfterFunc(20*time.Millisecond, end)
	if left := mark.Await(time.Now().Add(time.Minute), nil); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestStock(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "before"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("leftover test %d", time.Now().UnixNano())
	s, err := Take([]string{name}, []string{dir, filepath.Join(dir, "none")})
	if err != nil {
		t.Fatal(err)
	}
	if added, err := s.Added(); err != nil || len(added) > 0 {
		t.Errorf("at once there is %v, %v", added, err)
	}
	for _, name := range []string{name, "other" + strings.TrimPrefix(name, "leftover")} {
		l, err := net.Listen("unix", "@"+name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	after := filepath.Join(dir, "none/after")
	if err := os.Mkdir(filepath.Dir(after), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(after, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	added, err := s.Added()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"file " + filepath.Dir(after), "file " + after, "socket @" + name}, added); diff != "" {
		t.Error(diff)
	}
}
