// SPDX-License-Identifier: GPL-3.0-only

package guest_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pkg/sftp"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/guest"
)

func TestSFTP(t *testing.T) {
	home := t.TempDir()
	a := startAgent(t, &guest.Config{Dir: "/", Env: []string{"HOME=" + home}})
	before := a.settle()
	client, err := sftp.NewClient(a.Client)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if wd, err := client.Getwd(); err != nil || wd != home {
		t.Errorf("it starts in %q, %v", wd, err)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16)
	f, err := client.Create("data")
	check(err)
	_, err = f.ReadFrom(bytes.NewReader(data))
	check(err)
	check(f.Close())
	check(client.Chmod("data", 0o640))
	when := time.Unix(1e9, 0)
	check(client.Chtimes("data", when, when))
	check(client.Symlink("data", "link"))
	check(client.Mkdir("dir"))
	check(client.PosixRename("data", "dir/moved"))

	moved := filepath.Join(home, "dir/moved")
	got, err := os.ReadFile(moved)
	check(err)
	st, err := os.Stat(moved)
	check(err)
	if !bytes.Equal(got, data) || st.Mode() != 0o640 || !st.ModTime().Equal(when) {
		t.Errorf("%d bytes of %d, %s, %s", len(got), len(data), st.Mode(), st.ModTime())
	}
	if target, err := os.Readlink(filepath.Join(home, "link")); err != nil || target != "data" {
		t.Errorf("the link names %q, %v", target, err)
	}
	f, err = client.Open("dir/moved")
	check(err)
	got, err = io.ReadAll(f)
	check(err)
	check(f.Close())
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d came back", len(got), len(data))
	}
	if _, err := client.Open("none"); !os.IsNotExist(err) {
		t.Errorf("a file that isn't there: %v", err)
	}
	check(client.Close())
	a.awaitUse(before)
}

// A home that the guest lacks is no reason to refuse.
func TestSFTPWithoutHome(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/", Env: []string{"HOME=/nonexistent"}})
	client, err := sftp.NewClient(a.Client)
	if err != nil {
		t.Fatal(err)
	}
	if wd, err := client.Getwd(); err != nil || wd != "/" {
		t.Errorf("it starts in %q, %v", wd, err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// What a client sends ends the server, and nothing else.
func TestSFTPGetsGarbage(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/"})
	before := a.settle()
	s, err := a.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestSubsystem("sftp"); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(bytes.Repeat([]byte{0xff}, 100)); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err == nil {
		t.Error("the server is content")
	}
	if out, _, _ := a.run(boot.Command{Shell: "echo on"}); out != "on\n" {
		t.Errorf("afterwards: %q", out)
	}
	a.awaitUse(before)
}
