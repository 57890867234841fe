// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"errors"
	"net"
	"time"
)

// acceptPause is how long no connection is taken after one couldn't be.
const acceptPause = 50 * time.Millisecond

// Accept calls take with each connection that accept returns, until its listener is closed.
func Accept[C net.Conn](accept func() (C, error), take func(C)) {
	for {
		conn, err := accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Without descriptors, say, of which there may be some again soon.
			time.Sleep(acceptPause)
			continue
		}
		take(conn)
	}
}
