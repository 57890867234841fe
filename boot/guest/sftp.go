// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pkg/sftp"
)

// sftpName is what the SFTP server is called. It is a process of its own, like
// any command of a session: what a client sends can't bring the agent down, which
// may be the first process.
const sftpName = "run-kernel-sftp"

// SFTPMain serves the file transfer protocol on the standard streams. It returns
// at once when this process isn't for that, and otherwise never.
func SFTPMain() {
	if os.Args[0] != sftpName {
		return
	}
	server, err := sftp.NewServer(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})
	if err == nil {
		err = server.Serve()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "run-kernel: sftp: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// home is where the files are that a client names without a directory. Sessions
// start elsewhere, in the caller's own directory, which may be read-only.
func (s *session) home() string {
	for _, e := range s.environ("") {
		if dir, ok := strings.CutPrefix(e, "HOME="); ok {
			return dir
		}
	}
	return "/"
}
