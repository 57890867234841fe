// SPDX-License-Identifier: GPL-3.0-only

package guest_test

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/guest"
)

// A command can be another user's, with that user's groups, home and files.
func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may become others")
	}
	u, err := user.Lookup("daemon")
	if err != nil {
		t.Skip(err)
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, &guest.Config{Dir: closed, Env: []string{"HOME=/root"}})
	for _, name := range []string{u.Username, u.Uid} {
		for _, c := range []struct {
			command boot.Command
			want    string
		}{
			{boot.Command{Shell: "id -un; id -g; echo $USER $LOGNAME $HOME; pwd"}, u.Username + "\n" + u.Gid + "\n" + u.Username + " " + u.Username + " " + u.HomeDir + "\n/\n"},
			{boot.Command{Argv: []string{"id", "-G"}}, u.Gid + "\n"},
			{boot.Command{Shell: "echo opened >/dev/stdout; echo opened >/dev/stderr"}, "opened\n"},
			{boot.Command{Shell: "cat /dev/stdin", Stdin: strings.NewReader("read\n")}, "read\n"},
			{boot.Command{Shell: "echo opened >/dev/tty; id -un", Terminal: &boot.Terminal{Type: "dumb", Size: boot.Size{Rows: 24, Columns: 80}}}, "opened\r\n" + u.Username + "\r\n"},
			{boot.Command{Shell: "ls " + closed + " 2>&1 | grep -o denied"}, "denied\n"},
			{boot.Command{Shell: "grep -E '^Cap(Eff|Prm)' /proc/self/status | sort -u | cut -f 2"}, "0000000000000000\n0000000000000000\n"},
		} {
			c.command.User = name
			out, stderr, status := a.run(c.command)
			if out != c.want || status != 0 {
				t.Errorf("%s: %s: got %q, %q, %d", name, c.command.Shell, out, stderr, status)
			}
		}
	}
	// The agent is still root.
	if out, _, _ := a.run(boot.Command{Shell: "id -u; pwd"}); out != "0\n"+closed+"\n" {
		t.Errorf("root's command: %q", out)
	}
	_, err = boot.Run(context.Background(), a.Client, boot.Command{Shell: "true", User: "no such one"})
	if unknown := (*boot.UserError)(nil); !errors.As(err, &unknown) || unknown.Hint() == "" {
		t.Errorf("got %v", err)
	}
}
