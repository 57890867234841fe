// SPDX-License-Identifier: GPL-3.0-only

package grant

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Forward makes a TCP port of the host's loopback one of the guest's.
type Forward struct{ Host, Guest int }

// ForwardHint is the form of a forwarded port, for people.
const ForwardHint = "a forwarded port is HOST:GUEST, as in --forward 8080:80, and needs --network user"

// ParseForward parses HOST:GUEST.
func ParseForward(text string) (Forward, error) {
	host, guest, ok := strings.Cut(text, ":")
	if !ok {
		return Forward{}, fmt.Errorf("%q has no colon", text)
	}
	var f Forward
	for _, part := range []struct {
		text string
		port *int
	}{{host, &f.Host}, {guest, &f.Guest}} {
		n, err := strconv.ParseUint(part.text, 10, 16)
		if err != nil || n == 0 {
			return Forward{}, fmt.Errorf("%q: %q is no port: they are 1 to 65535", text, part.text)
		}
		*part.port = int(n)
	}
	return f, nil
}

// CheckForwards says what is wrong with ports that lead into one guest.
func CheckForwards(forwards []string, network bool) error {
	seen := make(map[int]bool)
	for _, text := range forwards {
		f, err := ParseForward(text)
		if err != nil {
			return err
		}
		if seen[f.Host] {
			return fmt.Errorf("%q: port %d is used twice", text, f.Host)
		}
		seen[f.Host] = true
	}
	if len(forwards) > 0 && !network {
		return errors.New("the guest has no network")
	}
	return nil
}
