// SPDX-License-Identifier: GPL-3.0-only

package guest

// Payloads of RFC 4254, sections 6 and 7, for ssh.Marshal.
type (
	// PTY is "pty-req".
	PTY struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	// WindowChange is "window-change".
	WindowChange struct{ Columns, Rows, Width, Height uint32 }
	// Env is "env".
	Env struct{ Name, Value string }
	// Exec is "exec": a line for a shell.
	Exec struct{ Command string }
	// Subsystem is "subsystem": a server by its name.
	Subsystem struct{ Name string }
	// Signal is "signal"; the name lacks its SIG.
	Signal struct{ Signal string }
	// ExitStatus is "exit-status".
	ExitStatus struct{ Status uint32 }
	// ExitSignal is "exit-signal"; the name lacks its SIG.
	ExitSignal struct {
		Signal   string
		Core     bool
		Message  string
		Language string
	}
	// Crash is CrashRequest: what the kernel said, and of an oops before that.
	Crash struct{ Message, Cause string }
	// DirectTCPIP opens the channel "direct-tcpip". Who the origin is nobody asks.
	DirectTCPIP struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
)

// Requests beyond RFC 4254.
const (
	ArgvRequest = "argv@run-kernel" // of a session: a command as a JSON array, for no shell
	// CrashRequest is of a session, in place of its exit status, and comes from who owns
	// the guest: its kernel crashed.
	CrashRequest = "crash@run-kernel"

	SyncRequest = "sync@run-kernel" // global: write everything back

	PowerOffRequest = "poweroff@run-kernel" // global: power the guest off; answered before it is
)
