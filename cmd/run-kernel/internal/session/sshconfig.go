// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/kbuild"
)

// GuestHost is what ssh_config calls the guest, besides its host name.
const GuestHost = "guest"

// hostsPrefix begins the line of the guest's names.
const hostsPrefix = "Host "

// plainHost is a name without the signs of a pattern.
var plainHost = pattern.New(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// sshConfig is the text of an ssh_config(5) for the guest of a build directory, or
// for its VM of a name, which program connects to.
func sshConfig(program, build, name, hostname string) (string, error) {
	if strings.ContainsAny(program+build, "\n\r\x00") {
		return "", errors.New("an ssh_config can't hold a path with a line break")
	}
	hosts := GuestHost
	for _, host := range []string{name, hostname} {
		if host != GuestHost && plainHost.MatchString(host) {
			hosts += " " + host
		}
	}
	// A shell gets it, after ssh has replaced its own % signs.
	proxy := strings.ReplaceAll(qemu.Quote([]string{program, "ssh", "--stdio", "-O", build, "--name=" + name}), "%", "%%")
	return fmt.Sprintf(`# How ssh, scp, sftp and rsync reach the guest of
# %s
# run-kernel ssh and each boot write it anew.
%s%s
	ProxyCommand %s
	User root
	# The key is new at each start. Whose the socket is has been checked.
	StrictHostKeyChecking no
	UserKnownHostsFile /dev/null
	GlobalKnownHostsFile /dev/null
	LogLevel ERROR
	ConnectTimeout 10
`, build, hostsPrefix, hosts, proxy), nil
}

// WriteSSHConfig writes the ssh_config of a tree's guest, or of its VM of a name,
// in one step, and returns its path.
func WriteSSHConfig(tree *kbuild.Tree, name, hostname string) (string, error) {
	path, err := replaceSSHConfig(tree, name, hostname, func(old, text string) bool { return old == text })
	if err != nil {
		return "", fmt.Errorf("ssh_config: %w", err)
	}
	return path, nil
}

// RefreshSSHConfig is WriteSSHConfig for another terminal than the guest's own, which
// leaves alone what that has written: it knows the guest's host name.
func RefreshSSHConfig(tree *kbuild.Tree, name, hostname string) (string, error) {
	path, err := replaceSSHConfig(tree, name, hostname, func(old, text string) bool { return withoutHosts(old) == withoutHosts(text) })
	if err != nil {
		return "", fmt.Errorf("ssh_config: %w", err)
	}
	return path, nil
}

// withoutHosts is the text of an ssh_config of ours without the guest's names.
func withoutHosts(text string) string {
	before, after, _ := strings.Cut(text, "\n"+hostsPrefix)
	_, after, _ = strings.Cut(after, "\n")
	return before + after
}

// replaceSSHConfig leaves a text alone that is good enough for the one to write.
func replaceSSHConfig(tree *kbuild.Tree, name, hostname string, good func(old, text string) bool) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	text, err := sshConfig(program, tree.BuildDir, name, hostname)
	if err != nil {
		return "", err
	}
	state, err := prepare.VMDir(tree, name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(state, "ssh_config")
	if old, err := os.ReadFile(path); err == nil && good(string(old), text) {
		return path, nil
	}
	// ssh wants its configuration to be the user's alone.
	if err := atomicfile.Write(path, []byte(text), 0o600); err != nil {
		return "", err
	}
	return path, nil
}
