// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/event"
)

// authorizedKeys is the file in the guest that has the key of this boot. A userland whose
// sshd reads it needs no password for root, which the port on this host's loopback would
// hand to every user of the host.
const authorizedKeys = keysDir + "/authorized_keys"

const keysDir = "/run/run-kernel"

// An identity is a key for the guest's sshd that exists as long as we do.
type identity struct {
	private *os.File
	public  []byte // a line of authorized_keys
}

func newIdentity() (*identity, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "run-kernel")
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("run-kernel-identity", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "identity")
	err = f.Chmod(0o600) // ssh refuses a key that others can read
	if err == nil {
		_, err = f.Write(pem.EncodeToMemory(block))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &identity{private: f, public: ssh.MarshalAuthorizedKey(key)}, nil
}

// path is where ssh finds the private key. It closes what it inherits.
func (i *identity) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), i.private.Fd()) }

func (i *identity) close() { _ = i.private.Close() }

// handOver gives the guest a key of this boot. Without one, its sshd asks for whatever
// it has been told to; then the identity is nil.
func (g *Guest) handOver(ctx context.Context) *identity {
	i, err := newIdentity()
	if err == nil {
		var status int
		var said bytes.Buffer
		status, err = boot.Run(ctx, g.vm.Client(), boot.Command{
			Shell: "umask 077 && mkdir -p " + keysDir + " && cat >" + authorizedKeys,
			Stdin: bytes.NewReader(i.public), Stdout: &said, Stderr: &said,
		})
		if err == nil && status != 0 {
			err = fmt.Errorf("%s", bytes.TrimSpace(said.Bytes()))
		}
		if err != nil {
			i.close()
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			g.session.Events.Emit(event.Warning{Text: "the guest gets no key for its sshd: " + err.Error()})
		}
		return nil
	}
	return i
}
