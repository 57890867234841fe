// SPDX-License-Identifier: GPL-3.0-only

package virtiofs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/boot/readonly"
	"github.com/metaspace/run-kernel/internal/confine"
	"github.com/metaspace/run-kernel/internal/proc"
)

// helpTime is how long --help may take.
const helpTime = 10 * time.Second

// Dirs is where distributions put virtiofsd, beside $PATH.
var Dirs = []string{"/usr/libexec", "/usr/lib", "/usr/lib/qemu"}

// A Program is an installed virtiofsd and what it can do.
type Program struct {
	Path string
	Rust bool // else the C one

	SocketDir string // where sockets are bound for a moment; empty: in the user's directory for them

	readOnly   bool // has --readonly
	noAnnounce bool // has --no-announce-submounts
	modcaps    bool // has --modcaps
	translate  bool // has --translate-uid and --translate-gid
}

// Find looks for virtiofsd, or examines the one at path unless that is empty.
// A missing one is a *proc.MissingToolError.
func Find(ctx context.Context, path string) (*Program, error) {
	if path == "" {
		path = "virtiofsd"
	}
	path, err := proc.Look(path, Dirs...)
	if err != nil {
		return nil, err
	}
	// The generations have no version scheme in common; the help tells them apart.
	ctx, cancel := context.WithTimeoutCause(ctx, helpTime, fmt.Errorf("no end after %s", helpTime))
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--help")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	help := string(out)
	p := &Program{
		Path: path, Rust: strings.Contains(help, "--shared-dir"),
		readOnly:   strings.Contains(help, "--readonly"),
		modcaps:    strings.Contains(help, "--modcaps"),
		noAnnounce: strings.Contains(help, "--no-announce-submounts"),
		translate:  strings.Contains(help, "--translate-uid") && strings.Contains(help, "--translate-gid"),
	}
	if !p.Rust && !strings.Contains(help, "source=") {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if err == nil {
			err = errors.New("it names neither --shared-dir nor source=")
		}
		return nil, fmt.Errorf("%s doesn't look like a virtiofsd: --help: %w", path, err)
	}
	return p, nil
}

// CanRun says whether the daemon can serve this user, with shares that are
// read-only for certain, and if not, why.
func (p *Program) CanRun() error { return p.canRun(confine.CanReadOnly()) }

func (p *Program) canRun(landlock bool) error {
	switch {
	case readonly.Privileged():
		return nil
	case !p.Rust:
		return &needsRootError{p.Path}
	case !p.readOnly && !landlock:
		return &needsReadOnlyError{p.Path}
	}
	return nil
}

type needsRootError struct{ path string }

func (e *needsRootError) Error() string {
	text := e.path + " is the C virtiofsd, which works for root only"
	if os.Geteuid() == 0 {
		text += ", with CAP_SYS_ADMIN, which this root lacks, as in most containers"
	}
	return text
}

func (e *needsRootError) Hint() string {
	return "install the Rust virtiofsd (https://gitlab.com/virtio-fs/virtiofsd) and name it with --virtiofsd, or run as root"
}

// A needsReadOnlyError is about an older Rust daemon on a host without Landlock. A mount
// that is read-only takes a namespace of users where there are no privileges. There
// root's files look like nobody's, and so the guest's mount, su and other setuid programs
// would run as nobody. Nor is a descriptor of a read-only mount, as 9p gets, of any use:
// the daemon resolves the links of --shared-dir (1.13.2 does), and of /proc/self/fd/N of
// such a mount that makes the host's own root.
type needsReadOnlyError struct{ path string }

func (e *needsReadOnlyError) Error() string {
	return e.path + " has no --readonly and this kernel no Landlock, without which it works for root only"
}

func (e *needsReadOnlyError) Hint() string {
	return "virtiofsd 1.13 (https://gitlab.com/virtio-fs/virtiofsd) has it, Linux 5.13 and later has Landlock (lsm=landlock,… on the host's command line turns it on); --virtiofsd names a daemon that isn't in $PATH"
}

// optionList escapes what libfuse takes apart in the argument of -o.
var optionList = strings.NewReplacer(`\`, `\\`, `,`, `\,`)

// modcaps are the capabilities that a daemon of a writable share does without: what a
// guest makes with them, devices and files with capabilities, is for any user of the
// host.
const modcaps = "-mknod:-setfcap"

// An owner is as whom the daemon runs.
type owner struct {
	uid, gid   int
	privileged bool
}

// args are the daemon's arguments for a share of dir, on the listening socket
// with descriptor 3.
func (p *Program) args(s Share, dir string, o owner) []string {
	if !p.Rust {
		args := []string{
			"--fd=3", "-o", "source=" + optionList.Replace(dir), "-o", "cache=" + string(s.Cache), "-o", "sandbox=chroot",
			"-o", "xattr", "-f",
		}
		if !s.ReadOnly {
			args = append(args, "-o", "modcaps="+modcaps)
		}
		return args
	}
	args := []string{"--fd=3", "--shared-dir=" + dir, "--cache=" + string(s.Cache), "--log-level=error"}
	if o.privileged {
		args = append(args, "--sandbox=chroot")
	} else {
		args = append(args, "--sandbox=none")
	}
	if !s.ReadOnly && p.modcaps && o.privileged {
		args = append(args, "--modcaps="+modcaps)
	}
	if s.ReadOnly && p.readOnly {
		args = append(args, "--readonly")
	}
	if o.uid != 0 && !s.ReadOnly && p.translate {
		args = append(args, translation("uid", o.uid)...)
		args = append(args, translation("gid", o.gid)...)
	}
	if p.noAnnounce {
		// A mount of the host below the share looks like a directory: as a mount
		// of the guest, an overlay couldn't look into it.
		args = append(args, "--no-announce-submounts")
	}
	return args
}

// translation makes the files of a guest's users, root among them, ours, and
// ours its root's. Without it root in the guest can create files, but not chown
// them, as cp -a, tar and package managers do, and its other users can do neither.
func translation(kind string, id int) []string {
	return []string{
		fmt.Sprintf("--translate-%s=squash-guest:0:%d:%d", kind, id, uint32(math.MaxUint32)),
		fmt.Sprintf("--translate-%s=host:%d:0:1", kind, id),
	}
}
