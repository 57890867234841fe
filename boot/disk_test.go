// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/qemu"
)

// qcow2 is the header of an image with these incompatible features.
func qcow2(features uint64) string {
	head := make([]byte, 512)
	copy(head, "QFI\xfb")
	binary.BigEndian.PutUint32(head[4:], 3)
	binary.BigEndian.PutUint64(head[72:], features)
	return string(head)
}

func diskFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDisks(t *testing.T) {
	for _, test := range []struct{ name, content, format string }{
		{"raw.qcow2", strings.Repeat("\x00", 512), "raw"},
		{"qcow2.img", qcow2(0), "qcow2"},
		{"dirty, with a comma", qcow2(1), "qcow2"},
		{"short", "QFI\xfb\x00\x00\x00\x02", "qcow2"}, // qemu says what is wrong with it
		{"tiny", "x", "raw"},
	} {
		path := diskFile(t, test.name, test.content)
		for _, readOnly := range []bool{false, true} {
			got, err := Disk{path, readOnly}.plan("disk7")
			if want := (qemu.Disk{Path: path, Format: test.format, Serial: "disk7", ReadOnly: readOnly}); err != nil || got != want {
				t.Errorf("%s: got %+v, %v", test.name, got, err)
			}
		}
	}
}

func TestBadDisks(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, want string }{
		{"/nonexistent/disk", "no such file"},
		{t.TempDir(), "it is a directory"},
		{"/dev/null", "neither a file nor a block device"},
		{fifo, "neither a file nor a block device"},
		{diskFile(t, "empty", ""), "it is empty"},
		{diskFile(t, "vmdk", "KDMV\x01\x00\x00\x00"), "it is a VMDK image"},
		{diskFile(t, "vdi", "<<< Oracle VM VirtualBox Disk Image >>>\n"), "it is a VDI image"},
		{diskFile(t, "elsewhere", qcow2(4)), "whose data are in another file"},
	} {
		_, err := Disk{Path: test.path}.plan("disk0")
		var bad *DiskError
		if !errors.As(err, &bad) || bad.Hint() == "" || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: got %v", test.path, err)
		}
	}
}

func TestDiskWithoutRights(t *testing.T) {
	path := diskFile(t, "disk", "x")
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		_ = f.Close()
		t.Skip("root may write anything")
	}
	_, err := Disk{Path: path}.plan("disk0")
	var bad *DiskError
	if !errors.As(err, &bad) || !errors.Is(err, os.ErrPermission) || !strings.Contains(bad.Hint(), ":ro") {
		t.Errorf("got %v", err)
	}
	if _, err := (Disk{path, true}).plan("disk0"); err != nil {
		t.Errorf("read-only: %v", err)
	}
}

// The bytes are those that qemu locks for a disk that it writes, and for one that
// it reads.
func TestDiskInUse(t *testing.T) {
	for name, test := range map[string]struct {
		bytes                          []int64
		refusesWriting, refusesReading bool
	}{
		"nobody":    {nil, false, false},
		"a reader":  {[]int64{100, 201, 203}, true, false},
		"a writer":  {[]int64{100, 101, 103, 201, 203}, true, true},
		"an editor": {[]int64{100, 101, 200}, true, true},
	} {
		path := diskFile(t, "disk", strings.Repeat("\x00", 512))
		other, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range test.bytes {
			lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Start: b, Len: 1}
			if err := unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
				t.Fatal(err)
			}
		}
		for readOnly, refused := range map[bool]bool{false: test.refusesWriting, true: test.refusesReading} {
			if _, err := (Disk{path, readOnly}).plan("disk0"); (err != nil) != refused || err != nil && !strings.Contains(err.Error(), "in use") {
				t.Errorf("%s has it, read-only %v: got %v", name, readOnly, err)
			}
		}
		_ = other.Close()
	}
}

func TestForwards(t *testing.T) {
	lab := newLab(t, "")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	o := lab.options()
	o.Network, o.Forwards = true, []Forward{{port, 80}}
	_, err = Cmdline(context.Background(), o)
	var busy *ForwardError
	if !errors.As(err, &busy) || !errors.Is(err, unix.EADDRINUSE) || busy.Hint() == "" {
		t.Errorf("a busy port: %v", err)
	}
	_ = l.Close()
	if _, err := Cmdline(context.Background(), o); err != nil {
		t.Error(err)
	}
	o.Network = false
	if _, err := Cmdline(context.Background(), o); !errors.As(err, &busy) || !strings.Contains(err.Error(), "no network") {
		t.Errorf("without a network: %v", err)
	}
}
