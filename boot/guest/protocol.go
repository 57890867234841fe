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
	// User is UserRequest: a user of the guest, by name or number.
	User struct{ Name string }
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
	// Synced answers SyncRequest: /proc/sys/kernel/tainted, where it could be read.
	Synced struct {
		Known bool
		Taint uint64
	}
	// Clock is ClockRequest: for how long the guest stood still.
	Clock struct{ Nanoseconds uint64 }
	// DirectTCPIP opens the channel "direct-tcpip". Who the origin is nobody asks.
	DirectTCPIP struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
)

// ModulesChannel is a channel on which modules are replaced. The agent writes a
// ModuleState. The host writes a ModulePlan, and then the files of what it loads, one
// after the other; or it closes the channel. The agent writes a ModuleResult. All three
// are JSON, each a line.
const ModulesChannel = "modules@run-kernel"

type (
	// ModuleState is which modules the guest's kernel has.
	ModuleState struct {
		Release string         `json:"release"` // uname -r
		Taint   uint64         `json:"taint"`   // /proc/sys/kernel/tainted
		Loaded  []LoadedModule `json:"loaded"`
		BuiltIn []string       `json:"built_in"` // those of them that /sys/module has
	}
	// LoadedModule is a module that was loaded.
	LoadedModule struct {
		Name    string   `json:"name"`
		Live    bool     `json:"live"`              // neither being loaded nor being unloaded
		Users   int      `json:"users"`             // its reference count; -1: the kernel unloads no modules
		Holders []string `json:"holders,omitempty"` // modules that need it
		// Parameters are those that can be read.
		Parameters []string `json:"parameters,omitempty"`
		BuildID    string   `json:"build_id,omitempty"` // in hexadecimal; empty: unknown
	}
	// ModulePlan is what to unload, and then to load, in this order.
	ModulePlan struct {
		Unload []string     `json:"unload"`
		Load   []ModuleFile `json:"load"`
	}
	// ModuleFile is a module to load. One that was unloaded gets its parameters back.
	ModuleFile struct {
		Name string `json:"name"`
		Size int64  `json:"size"`
		// Parameters are those that it knows, and takes as it shows them.
		Parameters []string `json:"parameters"`
	}
	// ModuleResult is what came of a plan.
	ModuleResult struct {
		Error string `json:"error,omitempty"` // why the plan wasn't carried out to its end
		Taint uint64 `json:"taint"`           // after it
		// Log is what the kernel logged meanwhile, as /dev/kmsg has it; empty where it has none.
		Log string `json:"log,omitempty"`
		// Parameters are those that each module was loaded with, as in a line for modprobe.
		Parameters map[string]string `json:"parameters,omitempty"`
		// Lost are those that no such line can give back.
		Lost map[string][]string `json:"lost,omitempty"`
	}
)

// Requests beyond RFC 4254.
const (
	ArgvRequest = "argv@run-kernel" // of a session: a command as a JSON array, for no shell
	UserRequest = "user@run-kernel" // of a session, before its command: a User, as whom it runs
	// CrashRequest is of a session, in place of its exit status, and comes from who owns
	// the guest: its kernel crashed.
	CrashRequest = "crash@run-kernel"

	SyncRequest = "sync@run-kernel" // global: write everything back; answered with Synced

	ClockRequest = "clock@run-kernel" // global: set the wall clock forward; a Clock

	PowerOffRequest = "poweroff@run-kernel" // global: power the guest off; answered before it is
)
