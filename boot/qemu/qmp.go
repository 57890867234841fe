// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A QMP is a connection to a monitor; see docs/interop/qmp-spec.rst of qemu.
type QMP struct {
	conn io.ReadWriteCloser

	call  sync.Mutex // one command at a time: replies carry no name
	reply chan qmpReply

	mu       sync.Mutex
	shutdown string
}

type qmpReply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// NewQMP starts to read events from conn, which it owns. It waits for nothing:
// qemu answers once it runs.
func NewQMP(conn io.ReadWriteCloser) *QMP {
	q := &QMP{conn: conn, reply: make(chan qmpReply)}
	go q.read()
	// Events flow only after the negotiation; its reply is read like any other.
	go func() { _ = q.Execute("qmp_capabilities", nil, nil) }()
	return q
}

func (q *QMP) read() {
	defer close(q.reply)
	d := json.NewDecoder(bufio.NewReader(q.conn))
	for {
		var m struct {
			qmpReply
			Event string `json:"event"`
			Data  struct {
				Reason string `json:"reason"`
			} `json:"data"`
		}
		if d.Decode(&m) != nil {
			return
		}
		switch {
		case m.Event == "SHUTDOWN":
			q.mu.Lock()
			q.shutdown = m.Data.Reason
			q.mu.Unlock()
		case m.Return != nil || m.Error != nil:
			q.reply <- m.qmpReply
		}
	}
}

// ShutdownReason is the reason of qemu's SHUTDOWN event, such as guest-shutdown
// or guest-reset, and "" before it.
func (q *QMP) ShutdownReason() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.shutdown
}

// Execute runs a command and decodes its result into result unless that is nil.
func (q *QMP) Execute(command string, arguments, result any) error {
	q.call.Lock()
	defer q.call.Unlock()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	data, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	if _, err := q.conn.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	r, ok := <-q.reply
	switch {
	case !ok:
		return fmt.Errorf("qmp %s: %w", command, io.ErrUnexpectedEOF)
	case r.Error != nil:
		return fmt.Errorf("qmp %s: %w", command, errors.New(r.Error.Desc))
	case result != nil:
		return json.Unmarshal(r.Return, result)
	}
	return nil
}

// Close ends the connection.
func (q *QMP) Close() error { return q.conn.Close() }
