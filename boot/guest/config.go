// SPDX-License-Identifier: GPL-3.0-only

package guest

const (
	// ConfigPath is where the initramfs holds the Config, as JSON.
	ConfigPath = "/run-kernel.json"

	// AgentPort is the name of the virtio-serial port that the agent serves.
	AgentPort = "run-kernel.agent"

	// FatalPrefix begins the console line with which the init gives up.
	FatalPrefix = "run-kernel: init failed: "

	// WarningPrefix begins the console line with which the init says what the guest has
	// to do without.
	WarningPrefix = "run-kernel: warning: "
)

// Config tells the init what to bring up.
type Config struct {
	Hostname string   `json:"hostname"`
	Root     *Share   `json:"root"`    // the userland; nil: a tmpfs
	Init     *Init    `json:"init"`    // nil: the agent stays the first process
	Shares   []Share  `json:"shares"`  // mounted over the userland, in this order
	Dir      string   `json:"dir"`     // where sessions start
	Shell    string   `json:"shell"`   // for sessions without a command
	Env      []string `json:"env"`     // of sessions, beside the usual
	Network  *Network `json:"network"` // nil: loopback only
	Disks    int      `json:"disks"`   // that the machine has, by virtio-blk
	Modules  *Modules `json:"modules"` // nil: none
	Console  *Console `json:"console"` // nil: no shell on the serial port

	// PowerOff is called in place of ending all processes and the system. Only an agent
	// that serves outside of a guest, in a test, has it.
	PowerOff func() `json:"-"`
}

// Init is a program of the userland that becomes the first process. It finds
// what the kernel would give it on a root of its own: nothing is mounted but what
// the Config says, /proc neither.
type Init struct {
	Path      string `json:"path"`
	Systemctl string `json:"systemctl"` // path; tells when the userland is up. Empty: it is with /bin/sh
}

// Modules are the kernel's modules.
type Modules struct {
	Dir     string `json:"dir"`     // a directory of one of the shares
	Release string `json:"release"` // uname -r
}

// A Console is the terminal at the other end of the serial port.
type Console struct {
	Rows    int `json:"rows"` // 0: unknown
	Columns int `json:"columns"`
}

// File systems of shares, as mount(2) names them.
const (
	Virtiofs = "virtiofs"
	NineP    = "9p"
)

// A Share is a directory of the host.
type Share struct {
	Tag      string `json:"tag"`
	Path     string `json:"path"` // where the guest mounts it; made when missing. The root has none
	Type     string `json:"type"` // of the file system
	Options  string `json:"options"`
	ReadOnly bool   `json:"read_only"`
}

// NinePOptions are the options of a mount by 9p with a cache of that kind.
func NinePOptions(cache string) string {
	// The default size of a message is for slower transports.
	return "trans=virtio,version=9p2000.L,msize=262144,cache=" + cache
}

// Network is the configuration of the first Ethernet interface.
type Network struct {
	Address string `json:"address"` // CIDR
	Gateway string `json:"gateway"`
	DNS     string `json:"dns"`
}

// UserNetwork is what qemu's user-mode network expects of a guest; see the
// "-netdev user" section of qemu(1).
func UserNetwork() *Network {
	return &Network{Address: "10.0.2.15/24", Gateway: "10.0.2.2", DNS: "10.0.2.3"}
}
