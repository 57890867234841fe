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
	"github.com/metaspace/run-kernel/internal/grant"
)

// qcow2 is the header of an image with these incompatible features.
func qcow2(features uint64) string {
	head := make([]byte, 512)
	copy(head, "QFI\xfb")
	binary.BigEndian.PutUint32(head[4:], 3)
	binary.BigEndian.PutUint64(head[72:], features)
	return string(head)
}

// onBacking is the header of an image on another file.
func onBacking(name string) string {
	head := []byte(qcow2(0))
	binary.BigEndian.PutUint64(head[8:], 200)
	binary.BigEndian.PutUint32(head[16:], uint32(len(name)))
	copy(head[200:], name)
	return string(head)
}

// onFormat is the header of an image on another file, whose format it says.
func onFormat(name, format string) string {
	head := []byte(onBacking(name))
	binary.BigEndian.PutUint32(head[100:], 104)
	for _, extension := range []struct {
		kind uint32
		data string
	}{{0x6803f857, "feature"}, {0xe2792aca, format}} {
		at := 104
		for head[at] != 0 {
			at += 16
		}
		binary.BigEndian.PutUint32(head[at:], extension.kind)
		binary.BigEndian.PutUint32(head[at+4:], uint32(len(extension.data)))
		copy(head[at+8:], extension.data)
	}
	return string(head)
}

// A backing file is one that the user has named, and so is what that is on.
func TestBackingFiles(t *testing.T) {
	base := diskFile(t, "base", strings.Repeat("\x00", 512))
	overlay := diskFile(t, "overlay", onFormat(base, "raw"))
	top := diskFile(t, "top", onBacking(overlay))
	// A guest may have written it.
	descriptor := diskFile(t, "descriptor", "version=1\ncreateType=\"monolithicFlat\"\nRW 2 FLAT \"/etc/shadow\" 0\n")
	guessed := diskFile(t, "guessed", onBacking(descriptor))
	vmdk := diskFile(t, "vmdk", onFormat(descriptor, "vmdk"))
	raw := diskFile(t, "raw", onFormat(descriptor, "raw"))
	for text, want := range map[string]string{
		overlay + ":qcow2:backing=" + base:              "",
		overlay + ":qcow2:backing=" + base + "/../base": "",
		overlay + ":qcow2":                              "--disk " + overlay + ":qcow2:backing=" + base,
		top + ":qcow2:backing=" + overlay:               "of a piece",
		guessed + ":qcow2:backing=" + descriptor:        "qemu-img rebase -u -F raw -b " + descriptor + " " + guessed,
		vmdk + ":qcow2:backing=" + descriptor:           "qemu-img rebase -u -F raw -b " + descriptor + " " + vmdk,
		raw + ":qcow2:backing=" + descriptor:            "",
	} {
		_, err := planDisk(grant.ParseDisk(text), "disk0")
		var bad *DiskError
		if want == "" && err != nil || want != "" && (!errors.As(err, &bad) || !strings.Contains(bad.Hint(), want)) {
			t.Errorf("%s: got %v", text, err)
		}
	}
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
	for _, test := range []struct{ name, content, said, format string }{
		{"raw.qcow2", strings.Repeat("\x00", 512), "", "raw"},
		{"raw", strings.Repeat("\x00", 512), "raw", "raw"},
		{"qcow2.img", qcow2(0), "qcow2", "qcow2"},
		{"dirty, with a comma", qcow2(1), "qcow2", "qcow2"},
		{"short", "QFI\xfb\x00\x00\x00\x02", "qcow2", "qcow2"}, // qemu says what is wrong with it
		{"written by a guest", onBacking("/etc/shadow"), "raw", "raw"},
		{"tiny", "x", "", "raw"},
	} {
		path := diskFile(t, test.name, test.content)
		for _, readOnly := range []bool{false, true} {
			got, err := planDisk(Disk{Path: path, ReadOnly: readOnly, Format: test.said}, "disk7")
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
		{diskFile(t, "unsaid", qcow2(0)), "it begins as a qcow2 image does"},
		{diskFile(t, "guest's", onBacking("/etc/shadow")), "it begins as a qcow2 image does"},
		{diskFile(t, "raw", "x") + ":qcow2", "it is no qcow2 image"},
		{diskFile(t, "elsewhere", qcow2(4)) + ":qcow2", "whose data are in another file"},
		{diskFile(t, "backed", onBacking("/etc/shadow")) + ":qcow2", "on the backing file /etc/shadow, "},
		{diskFile(t, "other", onBacking("/etc/shadow")) + ":qcow2:backing=/etc/passwd", "on the backing file /etc/shadow, "},
		{diskFile(t, "protocol", onBacking("json:{\"driver\":\"file\"}")) + ":qcow2", "which is no path"},
		{diskFile(t, "protocol", onBacking("nbd://localhost/x")) + ":qcow2", "which is no path"},
	} {
		disk := grant.ParseDisk(test.path)
		test.path = disk.Path
		_, err := planDisk(disk, "disk0")
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
	_, err := planDisk(Disk{Path: path}, "disk0")
	var bad *DiskError
	if !errors.As(err, &bad) || !errors.Is(err, os.ErrPermission) || !strings.Contains(bad.Hint(), ":ro") {
		t.Errorf("got %v", err)
	}
	if _, err := planDisk(Disk{Path: path, ReadOnly: true}, "disk0"); err != nil {
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
			if _, err := planDisk(Disk{Path: path, ReadOnly: readOnly}, "disk0"); (err != nil) != refused || err != nil && !strings.Contains(err.Error(), "in use") {
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
	o.Network, o.Forwards = true, []Forward{{Host: port, Guest: 80}}
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
