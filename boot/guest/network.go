// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bringUpNetwork starts the loopback and, unless n is nil, gives the first
// Ethernet interface its address. There is nobody to ask by DHCP whose answer
// isn't known beforehand.
func bringUpNetwork(n *Network) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ENOSYS) {
			return errors.New("the kernel lacks CONFIG_INET")
		}
		return err
	}
	defer unix.Close(fd)
	if err := up(fd, "lo"); err != nil {
		return err
	}
	if n == nil {
		return nil
	}
	name, err := ethernet()
	if err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(n.Address)
	if err != nil {
		return err
	}
	gateway, err := netip.ParseAddr(n.Gateway)
	if err != nil {
		return err
	}
	if err := setAddr(fd, name, unix.SIOCSIFADDR, prefix.Addr()); err != nil {
		return err
	}
	if err := setAddr(fd, name, unix.SIOCSIFNETMASK, mask(prefix.Bits())); err != nil {
		return err
	}
	if err := up(fd, name); err != nil {
		return err
	}
	return addDefaultRoute(fd, gateway)
}

// ethernet finds the first interface that has a device behind it. The driver
// may still be probing, so it waits for up to a second.
func ethernet() (string, error) {
	for deadline := time.Now().Add(time.Second); ; time.Sleep(2 * time.Millisecond) {
		dirs, _ := filepath.Glob("/sys/class/net/*/device")
		if len(dirs) > 0 {
			return filepath.Base(filepath.Dir(dirs[0])), nil
		}
		if time.Now().After(deadline) {
			return "", errors.New("no interface: the kernel needs CONFIG_VIRTIO_NET=y")
		}
	}
}

func up(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	// Setting replaces all flags, IFF_MULTICAST among them.
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return nil
}

func setAddr(fd int, name string, request uint, addr netip.Addr) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := ifr.SetInet4Addr(addr.AsSlice()); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, request, ifr); err != nil {
		return fmt.Errorf("address of %s: %w", name, err)
	}
	return nil
}

func mask(bits int) netip.Addr {
	m := ^uint32(0) << (32 - bits)
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)})
}

// rtentry is struct rtentry of <linux/route.h> on 64-bit machines.
type rtentry struct {
	_       uint64
	dst     unix.RawSockaddrInet4
	gateway unix.RawSockaddrInet4
	genmask unix.RawSockaddrInet4
	flags   uint16
	_       [62]byte
}

func addDefaultRoute(fd int, gateway netip.Addr) error {
	r := rtentry{
		dst:     unix.RawSockaddrInet4{Family: unix.AF_INET},
		gateway: unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: gateway.As4()},
		genmask: unix.RawSockaddrInet4{Family: unix.AF_INET},
		flags:   unix.RTF_UP | unix.RTF_GATEWAY,
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return fmt.Errorf("default route by %s: %w", gateway, errno)
	}
	return nil
}
