// SPDX-License-Identifier: GPL-3.0-only

package tty

import (
	"bytes"
	"io"
)

// Commands and options of RFC 854, 857 and 858.
const (
	telnetSE   = 240
	telnetSB   = 250
	telnetWill = 251
	telnetDont = 254
	telnetIAC  = 255

	telnetEcho            = 1
	telnetSuppressGoAhead = 3
)

// A Telnet is a server's end of a telnet connection, for a guest's serial port:
// the client sends each character as it is typed, and echoes none.
type Telnet struct {
	io.ReadWriteCloser
	state telnetState
	cr    bool // the last character was a carriage return
}

type telnetState int

const (
	telnetData telnetState = iota
	telnetCommand
	telnetOption   // after WILL, WONT, DO or DONT
	telnetSub      // in a subnegotiation
	telnetSubAfter // there, after IAC
)

// NewTelnet tells the client at the other end of conn how to behave.
func NewTelnet(conn io.ReadWriteCloser) (*Telnet, error) {
	_, err := conn.Write([]byte{telnetIAC, telnetWill, telnetEcho, telnetIAC, telnetWill, telnetSuppressGoAhead})
	return &Telnet{ReadWriteCloser: conn}, err
}

// Read returns what was typed, without telnet's commands.
func (t *Telnet) Read(p []byte) (int, error) {
	for {
		n, err := t.ReadWriteCloser.Read(p)
		// It never becomes more.
		kept := p[:0]
		for _, b := range p[:n] {
			if t.take(b) {
				kept = append(kept, b)
			}
		}
		if len(kept) > 0 || err != nil {
			return len(kept), err
		}
	}
}

// take says whether a byte is data.
func (t *Telnet) take(b byte) bool {
	switch t.state {
	case telnetData:
		cr := t.cr
		t.cr = b == '\r'
		switch {
		case b == telnetIAC:
			t.state = telnetCommand
			return false
		case cr && (b == 0 || b == '\n'): // the end of a line is CR LF, and CR NUL is a plain CR
			return false
		}
		return true
	case telnetCommand:
		switch {
		case b == telnetIAC: // the byte itself
			t.state = telnetData
			return true
		case b == telnetSB:
			t.state = telnetSub
		case telnetWill <= b && b <= telnetDont:
			t.state = telnetOption
		default:
			t.state = telnetData
		}
	case telnetOption:
		// What the client would do by itself is all right, and no answer refuses the
		// rest.
		t.state = telnetData
	case telnetSub:
		if b == telnetIAC {
			t.state = telnetSubAfter
		}
	case telnetSubAfter:
		t.state = telnetSub
		if b == telnetSE {
			t.state = telnetData
		}
	}
	return false
}

// Write sends data as it is.
func (t *Telnet) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, telnetIAC) < 0 {
		return t.ReadWriteCloser.Write(p)
	}
	if _, err := t.ReadWriteCloser.Write(bytes.ReplaceAll(p, []byte{telnetIAC}, []byte{telnetIAC, telnetIAC})); err != nil {
		return 0, err
	}
	return len(p), nil
}
