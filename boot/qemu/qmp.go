// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A QMP is a connection to a monitor; see docs/interop/qmp-spec.rst of qemu.
type QMP struct {
	conn io.ReadWriteCloser
	done chan struct{} // closed when nothing more can be read

	send sync.Mutex // held while a command is written, and until the negotiation was

	mu       sync.Mutex
	last     uint64 // id of the last command
	waiting  map[uint64]chan<- qmpReply
	shutdown string
}

type qmpReply struct {
	ID     uint64          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *QMPError       `json:"error"`
}

// A QMPError is qemu's refusal of a command.
type QMPError struct {
	Class string `json:"class"` // such as CommandNotFound or GenericError
	Desc  string `json:"desc"`
}

func (e *QMPError) Error() string { return e.Desc }

// Unwrap returns the error of the system behind it, which qemu only appends to its
// text: unix.ENOSPC, or nil for any other.
func (e *QMPError) Unwrap() error {
	if strings.HasSuffix(e.Desc, ": No space left on device") {
		return unix.ENOSPC
	}
	return nil
}

// NewQMP starts to read events from conn, which it owns. It waits for nothing:
// qemu answers once it runs.
func NewQMP(conn io.ReadWriteCloser) *QMP {
	q := &QMP{conn: conn, done: make(chan struct{}), waiting: make(map[uint64]chan<- qmpReply)}
	go q.read()
	// No command and no event comes before the negotiation. Its reply tells
	// nothing.
	q.send.Lock()
	go func() {
		defer q.send.Unlock()
		_, _ = io.WriteString(conn, `{"execute":"qmp_capabilities"}`+"\n")
	}()
	return q
}

func (q *QMP) read() {
	defer close(q.done)
	defer q.conn.Close() // so that nobody waits to write
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
		q.mu.Lock()
		if m.Event == "SHUTDOWN" {
			q.shutdown = m.Data.Reason
		}
		if c, ok := q.waiting[m.ID]; ok && m.Event == "" {
			delete(q.waiting, m.ID)
			c <- m.qmpReply // has room
		}
		q.mu.Unlock()
	}
}

// Done is closed when the connection has ended; then each event has been seen.
func (q *QMP) Done() <-chan struct{} { return q.done }

// ShutdownReason is the reason of qemu's SHUTDOWN event, such as guest-shutdown
// or guest-reset, and "" before it.
func (q *QMP) ShutdownReason() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.shutdown
}

// Execute runs a command and decodes its result into result unless that is nil.
// It waits for the reply or for the end of the connection, which Close brings
// about. When qemu refuses, the error is a *QMPError.
func (q *QMP) Execute(command string, arguments, result any) error {
	if err := q.execute(command, arguments, nil, result); err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	return nil
}

// Give hands a file over to qemu, which knows it by name until a command takes
// it. The connection must be a unix socket.
func (q *QMP) Give(name string, f *os.File) error {
	if err := q.execute("getfd", map[string]any{"fdname": name}, f, nil); err != nil {
		return fmt.Errorf("qmp getfd: %w", err)
	}
	return nil
}

// Monitor runs a command of the human monitor, for what QMP lacks, and returns
// what it says.
func (q *QMP) Monitor(line string) (string, error) {
	var text string
	err := q.Execute("human-monitor-command", map[string]any{"command-line": line}, &text)
	return text, err
}

func (q *QMP) execute(command string, arguments any, file *os.File, result any) error {
	reply := make(chan qmpReply, 1)
	q.mu.Lock()
	q.last++
	id := q.last
	q.waiting[id] = reply
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.waiting, id)
	}()
	request := map[string]any{"execute": command, "id": id}
	if arguments != nil {
		request["arguments"] = arguments
	}
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	q.send.Lock()
	err = q.write(append(data, '\n'), file)
	q.send.Unlock()
	if err != nil {
		return err
	}
	var r qmpReply
	select {
	case r = <-reply:
	case <-q.done:
		select {
		case r = <-reply: // the last thing that came
		default:
			return io.ErrUnexpectedEOF
		}
	}
	switch {
	case r.Error != nil:
		return r.Error
	case result != nil:
		return json.Unmarshal(r.Return, result)
	}
	return nil
}

// write sends a command, and a file along with it unless that is nil.
func (q *QMP) write(data []byte, file *os.File) error {
	if file == nil {
		_, err := q.conn.Write(data)
		return err
	}
	socket, ok := q.conn.(*net.UnixConn)
	if !ok {
		return errors.New("only a unix socket carries files")
	}
	n, _, err := socket.WriteMsgUnix(data, unix.UnixRights(int(file.Fd())), nil)
	if err == nil && n < len(data) {
		_, err = socket.Write(data[n:])
	}
	return err
}

// Close ends the connection.
func (q *QMP) Close() error { return q.conn.Close() }
