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
	"github.com/metaspace/run-kernel/internal/grant"
)

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

// planDisk looks at a disk and makes it a device. Nobody else may use it: what
// qemu would say of that comes after a build's minutes, and without a next step.
func planDisk(d Disk, serial string) (qemu.Disk, error) {
	q := qemu.Disk{Path: d.Path, ReadOnly: d.ReadOnly, Serial: serial}
	path, err := filepath.Abs(d.Path)
	if err != nil {
		return q, &DiskError{d.Path, err, "cd to a directory that exists"}
	}
	q.Path = path
	f, err := openDisk(d)
	if err != nil {
		return q, err
	}
	defer f.Close()
	if q.Format, err = diskFormat(d, f); err != nil {
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

func openDisk(d Disk) (*os.File, error) {
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

// The header of a qcow2 image; see docs/interop/qcow2.txt of qemu.
const (
	qcow2Magic    = "QFI\xfb"
	qcow2Version  = 4
	qcow2Backing  = 8   // offset of the backing file's name, and, in 4 bytes behind it, its length
	qcow2Features = 72  // incompatible ones, of version 3
	qcow2Length   = 100 // length of the header, of version 3, behind which extensions are
	qcow2Size     = 72 + 32
	maxCluster    = 2 << 20    // in the first one is all of the header
	externalData  = 1 << 2     // a feature: the data are in another file
	backingFormat = 0xe2792aca // an extension: the format of the backing file
)

// diskFormat is the format in which the guest gets an image: raw unless the user has
// said qcow2. What an image begins with decides nothing. The first bytes of a raw disk
// are the guest's to write, and a header that names a backing file would give it any
// file of the host at the next boot.
func diskFormat(d Disk, f *os.File) (string, error) {
	refuse := func(problem, hint string) (string, error) {
		return "", &DiskError{f.Name(), errors.New(problem), hint}
	}
	head := make([]byte, qcow2Size)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	isQCOW2 := strings.HasPrefix(string(head[:n]), qcow2Magic)
	if n == 0 {
		return refuse("it is empty", "give it a size: `truncate -s 1G FILE`")
	}
	quote := func(d Disk) string { return qemu.Quote([]string{"--disk", d.String()}) }
	as := func(format string) string {
		d := d
		d.Format = format
		return quote(d)
	}
	switch {
	case d.Format == grant.Raw:
		return grant.Raw, nil
	case d.Format == grant.QCOW2 && !isQCOW2:
		return refuse("it is no qcow2 image", "a raw one needs no word: --disk FILE")
	case isQCOW2 && d.Format == "":
		return refuse("it begins as a qcow2 image does, and a guest can write that, too", "if you made it as one: "+as(grant.QCOW2)+"; as a raw disk: "+as(grant.Raw))
	case d.Format == grant.QCOW2:
		return grant.QCOW2, checkQCOW2(d, f, head[:n])
	}
	for _, other := range otherFormats {
		if strings.HasPrefix(string(head[:n]), other.magic) {
			return refuse(fmt.Sprintf("it is a %s image", other.name), "raw and qcow2 ones can be used: `qemu-img convert -O qcow2 FILE NEW`")
		}
	}
	return grant.Raw, nil
}

// checkQCOW2 refuses an image that has qemu open other files than the user has named.
func checkQCOW2(d Disk, f *os.File, head []byte) error {
	const onePiece = "`qemu-img convert -O qcow2 FILE NEW` makes one of a piece"
	if len(head) == qcow2Size && binary.BigEndian.Uint32(head[qcow2Version:]) >= 3 && binary.BigEndian.Uint64(head[qcow2Features:])&externalData != 0 {
		return &DiskError{f.Name(), errors.New("it is a qcow2 image whose data are in another file"), onePiece}
	}
	backing, err := backingFile(f, head)
	switch {
	case err != nil:
		return err
	case backing == "":
		return nil // of a named one there is no need
	case strings.Contains(strings.SplitN(backing, "/", 2)[0], ":"):
		return &DiskError{f.Name(), fmt.Errorf("it is a qcow2 image on %q, which is no path", backing), onePiece}
	}
	if !filepath.IsAbs(backing) {
		backing = filepath.Join(filepath.Dir(f.Name()), backing)
	}
	if d.Backing == "" || filepath.Clean(d.Backing) != filepath.Clean(backing) {
		d.Backing = backing
		return &DiskError{
			f.Name(), fmt.Errorf("it is a qcow2 image on the backing file %s, which the guest would read", backing),
			"if it may: " + qemu.Quote([]string{"--disk", d.String()}) + "; " + onePiece,
		}
	}
	// What that is on the user hasn't named.
	below, err := os.Open(backing)
	if err != nil {
		return &DiskError{f.Name(), fmt.Errorf("its backing file: %w", err), onePiece}
	}
	defer below.Close()
	belowHead := make([]byte, qcow2Size)
	n, err := below.ReadAt(belowHead, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	isQCOW2 := strings.HasPrefix(string(belowHead[:n]), qcow2Magic)
	switch format := formatBelow(f, head); {
	case isQCOW2 && (format == "" || format == grant.QCOW2 || format == grant.Raw):
		return checkQCOW2(Disk{Path: backing}, below, belowHead[:n])
	case format != grant.Raw:
		// Without a word, qemu takes the file for what it begins as, and a guest may have
		// written that. A VMDK image has other files.
		return &DiskError{
			f.Name(), fmt.Errorf("it doesn't say that its backing file %s is raw or qcow2", backing),
			"if it is raw: `" + qemu.Quote([]string{"qemu-img", "rebase", "-u", "-F", grant.Raw, "-b", backing, f.Name()}) + "`",
		}
	}
	return nil
}

// formatBelow is the format that a qcow2 image says its backing file has; empty when it
// doesn't say, or contradicts itself. See qcow2_read_extensions in block/qcow2.c of qemu.
func formatBelow(f *os.File, head []byte) string {
	if len(head) < qcow2Size {
		return ""
	}
	at, end := int64(qcow2Features), int64(min(binary.BigEndian.Uint64(head[qcow2Backing:]), maxCluster))
	if binary.BigEndian.Uint32(head[qcow2Version:]) >= 3 {
		at = int64(binary.BigEndian.Uint32(head[qcow2Length:]))
	}
	format := ""
	for extension := make([]byte, 8); at < end; {
		if _, err := f.ReadAt(extension, at); err != nil {
			return ""
		}
		kind, size := binary.BigEndian.Uint32(extension), int64(binary.BigEndian.Uint32(extension[4:]))
		if kind == 0 {
			break
		}
		at += int64(len(extension))
		if kind == backingFormat {
			name := make([]byte, min(size, 16)) // qemu takes no longer one
			if _, err := f.ReadAt(name, at); err != nil || format != "" {
				return ""
			}
			format = string(name)
		}
		at += (size + 7) &^ 7
	}
	return format
}

// backingFile is the name that the header of a qcow2 image has of its backing file;
// empty when there is none.
func backingFile(f *os.File, head []byte) (string, error) {
	if len(head) < qcow2Backing+12 {
		return "", nil // qemu says what is wrong with it
	}
	offset, size := binary.BigEndian.Uint64(head[qcow2Backing:]), binary.BigEndian.Uint32(head[qcow2Backing+8:])
	if offset == 0 {
		return "", nil
	}
	// qemu takes no longer one.
	name := make([]byte, min(size, 1023))
	if _, err := f.ReadAt(name, int64(offset)); err != nil {
		return "", fmt.Errorf("the name of its backing file: %w", err)
	}
	return string(name), nil
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
