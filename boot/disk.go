// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/qemu"
)

// A Disk is a file, or a block device, of the host that the guest gets as a
// disk: the first is /dev/vda there.
type Disk struct {
	Path     string
	ReadOnly bool
}

// A DiskError says that a disk can't be given to the guest.
type DiskError struct {
	Path string
	err  error
	hint string
}

func (e *DiskError) Error() string {
	err := e.err
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Sprintf("disk %s: %v", e.Path, err)
}

func (e *DiskError) Unwrap() error { return e.err }

// Hint is the next step.
func (e *DiskError) Hint() string { return e.hint }

// plan looks at a disk and makes it a device. Nobody else may use it: what
// qemu would say of that comes after a build's minutes, and without a next step.
func (d Disk) plan(serial string) (qemu.Disk, error) {
	q := qemu.Disk{Path: d.Path, ReadOnly: d.ReadOnly, Serial: serial}
	path, err := filepath.Abs(d.Path)
	if err != nil {
		return q, &DiskError{d.Path, err, "cd to a directory that exists"}
	}
	q.Path = path
	f, err := d.open()
	if err != nil {
		return q, err
	}
	defer f.Close()
	if q.Format, err = diskFormat(f); err != nil {
		var unsupported *DiskError
		if errors.As(err, &unsupported) {
			return q, err
		}
		return q, &DiskError{d.Path, err, "can the file be read at all? cat it to /dev/null"}
	}
	used, err := diskInUse(f, d.ReadOnly)
	if err != nil {
		return q, &DiskError{d.Path, err, "a file system without locks can't tell whether another VM has the disk; copy it to another"}
	}
	if used {
		hint := "another VM or qemu-img has it: end that first (`run-kernel stop`); `fuser -v " + qemu.Quote([]string{path}) + "` says who. Two VMs may share a disk that both have with :ro"
		return q, &DiskError{d.Path, errors.New("it is in use"), hint}
	}
	return q, nil
}

func (d Disk) open() (*os.File, error) {
	st, err := os.Stat(d.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, &DiskError{d.Path, err, "make one: `truncate -s 1G FILE`, or `qemu-img create -f qcow2 FILE 1G`"}
	case err != nil:
		return nil, &DiskError{d.Path, err, "may you look into that directory? ls -ld says so"}
	case st.IsDir():
		return nil, &DiskError{d.Path, errors.New("it is a directory"), "a directory is given to the guest by --share TAG:PATH"}
	}
	device := st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0
	if !st.Mode().IsRegular() && !device {
		return nil, &DiskError{d.Path, errors.New("it is neither a file nor a block device"), "name the disk's image"}
	}
	flags := os.O_RDWR
	if d.ReadOnly {
		flags = os.O_RDONLY
	} else if device {
		flags |= unix.O_EXCL // fails when the host has mounted it; see open(2)
	}
	f, err := os.OpenFile(d.Path, flags, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, &DiskError{d.Path, err, "this machine has mounted it: umount it first, or the two ruin its file system"}
	case errors.Is(err, os.ErrPermission) && d.ReadOnly:
		return nil, &DiskError{d.Path, err, "you need the right to read it; ls -l says who has it"}
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EROFS):
		return nil, &DiskError{d.Path, err, "you need the right to write it; with :ro after its name, the guest can only read it"}
	case err != nil:
		return nil, &DiskError{d.Path, err, "is there such a device on this machine?"}
	}
	return f, nil
}

// otherFormats are images that a guest would take for garbage if they were
// handed to it as they are.
var otherFormats = []struct{ name, magic string }{
	{"VMDK", "KDMV"}, {"VMDK", "# Disk DescriptorFile"}, {"VHDX", "vhdxfile"}, {"VHD", "conectix"}, {"VDI", "<<< "}, {"QED", "QED\x00"},
}

// diskFormat tells a qcow2 image from a raw one by how it begins; see
// docs/interop/qcow2.txt of qemu.
func diskFormat(f *os.File) (string, error) {
	const (
		magic        = "QFI\xfb"
		features     = 72      // incompatible ones, in the header of version 3
		externalData = 1 << 2  // the data are in another file
		headerSize   = 72 + 32 // of version 3, at least
	)
	head := make([]byte, headerSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	if strings.HasPrefix(string(head), magic) {
		// A raw disk's first bytes are the guest's to write: by them it must not get
		// a file of the host's to write to.
		if len(head) == headerSize && binary.BigEndian.Uint32(head[4:]) >= 3 && binary.BigEndian.Uint64(head[features:])&externalData != 0 {
			return "", &DiskError{f.Name(), errors.New("it is a qcow2 image whose data are in another file"), "`qemu-img convert -O qcow2 FILE NEW` makes one of a piece"}
		}
		return "qcow2", nil
	}
	for _, other := range otherFormats {
		if strings.HasPrefix(string(head), other.magic) {
			return "", &DiskError{f.Name(), fmt.Errorf("it is a %s image", other.name), "raw and qcow2 ones can be used: `qemu-img convert -O qcow2 FILE NEW`"}
		}
	}
	if n == 0 {
		return "", &DiskError{f.Name(), errors.New("it is empty"), "give it a size: `truncate -s 1G FILE`"}
	}
	return "raw", nil
}

// diskInUse says whether another process, such as another VM's qemu, uses an
// image so that we can't. qemu locks a byte for each thing that it does, and one
// for each that nobody else may do; see block/file-posix.c.
func diskInUse(f *os.File, readOnly bool) (bool, error) {
	const (
		does   = 100 // and then: reads, writes, …
		denies = 200
		reads  = 0
		writes = 1
	)
	bytes := []int64{does + writes, denies + reads}
	if !readOnly {
		bytes = append(bytes, does+reads, denies+writes)
	}
	for _, b := range bytes {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: b, Len: 1}
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock)
		if err != nil {
			return false, fmt.Errorf("ask for its locks: %w", err)
		}
		if lock.Type != unix.F_UNLCK {
			return true, nil
		}
	}
	return false, nil
}
