// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const deadline = 30 * time.Second

// A monitor is the other end of a QMP.
type monitor struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

type request struct {
	Execute   string
	Arguments map[string]any
	ID        json.RawMessage
}

// connect returns a QMP and the monitor that it talks to, after its greeting.
func connect(t *testing.T) (*QMP, *monitor) {
	t.Helper()
	ours, theirs := net.Pipe()
	if err := theirs.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	q := NewQMP(ours)
	t.Cleanup(func() {
		_ = q.Close()
		_ = theirs.Close()
		await(t, "the reader", q.Done())
	})
	m := &monitor{t, theirs, bufio.NewReader(theirs)}
	m.say(`{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}`)
	return q, m
}

func (m *monitor) say(text string) {
	if _, err := io.WriteString(m.conn, text+"\r\n"); err != nil {
		m.t.Error(err)
	}
}

func (m *monitor) hear() request {
	var r request
	line, err := m.r.ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &r)
	}
	if err != nil {
		m.t.Errorf("%q: %v", line, err)
	}
	return r
}

// answer replies to a request; text is of the object after its braces.
func (m *monitor) answer(r request, text string) {
	if len(r.ID) > 0 {
		text += `, "id": ` + string(r.ID)
	}
	m.say("{" + text + "}")
}

// negotiate takes the first command, which must be the negotiation.
func (m *monitor) negotiate() {
	r := m.hear()
	if r.Execute != "qmp_capabilities" {
		m.t.Errorf("the first command is %s", r.Execute)
	}
	m.answer(r, `"return": {}`)
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(deadline):
		t.Fatalf("%s: not within %s", what, deadline)
	}
}

// within runs f, which must return in time.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	await(t, what, done)
}

const event = `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "%s", "data": {"guest": true, "reason": "%s"}}`

func TestExecute(t *testing.T) {
	q, m := connect(t)
	go func() {
		m.negotiate()
		r := m.hear()
		if r.Execute != "query-status" || r.Arguments != nil {
			t.Errorf("got %+v", r)
		}
		m.say(fmt.Sprintf(event, "NIC_RX_FILTER_CHANGED", "x"))
		m.answer(r, `"return": {"status": "running", "running": true}`)
		r = m.hear()
		if diff := cmp.Diff(map[string]any{"protocol": "file:/x", "paging": false}, r.Arguments); diff != "" {
			t.Error(diff)
		}
		m.say(fmt.Sprintf(event, "SHUTDOWN", "guest-reset"))
		m.answer(r, `"error": {"class": "GenericError", "desc": "no room"}`)
		m.answer(m.hear(), `"return": [1, 2]`)
	}()
	within(t, "three commands", func() {
		var status struct{ Status string }
		if err := q.Execute("query-status", nil, &status); err != nil || status.Status != "running" {
			t.Errorf("got %+v %v", status, err)
		}
		if r := q.ShutdownReason(); r != "" {
			t.Errorf("reason %q before the event", r)
		}
		err := q.Execute("dump-guest-memory", map[string]any{"protocol": "file:/x", "paging": false}, nil)
		var refused *QMPError
		if !errors.As(err, &refused) || refused.Class != "GenericError" || err.Error() != "qmp dump-guest-memory: no room" {
			t.Errorf("got %v", err)
		}
		if r := q.ShutdownReason(); r != "guest-reset" {
			t.Errorf("reason %q", r)
		}
		if err := q.Execute("x", nil, &status); err == nil || !strings.Contains(err.Error(), "qmp x: ") {
			t.Errorf("a list for a struct: got %v", err)
		}
	})
}

// Whoever is first, the negotiation comes before.
func TestNegotiationIsFirst(t *testing.T) {
	for range 50 {
		q, m := connect(t)
		go func() {
			m.negotiate()
			m.answer(m.hear(), `"return": {}`)
		}()
		within(t, "a command at once", func() {
			if err := q.Execute("quit", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// Replies find their commands, though several are under way.
func TestConcurrentCommands(t *testing.T) {
	q, m := connect(t)
	const n = 20
	go func() {
		m.negotiate()
		for range n {
			r := m.hear()
			m.say(fmt.Sprintf(event, "RESUME", ""))
			m.answer(r, fmt.Sprintf(`"return": %q`, r.Execute))
		}
	}()
	within(t, "all commands", func() {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				name, got := fmt.Sprintf("command-%d", i), ""
				if err := q.Execute(name, nil, &got); err != nil || got != name {
					t.Errorf("%s: got %q %v", name, got, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestConnectionEnds(t *testing.T) {
	for name, end := range map[string]func(m *monitor){
		"before the negotiation": func(m *monitor) { m.conn.Close() },
		"before the command": func(m *monitor) {
			m.negotiate()
			m.conn.Close()
		},
		"before the reply": func(m *monitor) {
			m.negotiate()
			m.hear()
			m.conn.Close()
		},
		"within the reply": func(m *monitor) {
			m.negotiate()
			m.hear()
			_, _ = io.WriteString(m.conn, `{"return": {`)
			m.conn.Close()
		},
		"with rubbish": func(m *monitor) {
			m.negotiate()
			m.hear()
			_, _ = io.WriteString(m.conn, "qemu: rubbish\n")
		},
	} {
		q, m := connect(t)
		go end(m)
		within(t, name, func() {
			if err := q.Execute("query-status", nil, nil); err == nil || !strings.HasPrefix(err.Error(), "qmp query-status: ") {
				t.Errorf("%s: got %v", name, err)
			}
			<-q.Done()
			if err := q.Execute("quit", nil, nil); err == nil {
				t.Errorf("%s: a command afterwards succeeds", name)
			}
		})
	}
}

// The last reply counts, though the connection ends with it.
func TestReplyAndEnd(t *testing.T) {
	for range 50 {
		q, m := connect(t)
		go func() {
			m.negotiate()
			r := m.hear()
			m.answer(r, `"return": {}`)
			m.say(fmt.Sprintf(event, "SHUTDOWN", "host-qmp-quit"))
			m.conn.Close()
		}()
		within(t, "quit", func() {
			if err := q.Execute("quit", nil, nil); err != nil {
				t.Error(err)
			}
			<-q.Done()
			if r := q.ShutdownReason(); r != "host-qmp-quit" {
				t.Errorf("reason %q", r)
			}
		})
	}
}

// Replies that nobody waits for don't stop the events behind them.
func TestUnexpectedReplies(t *testing.T) {
	q, m := connect(t)
	go func() {
		m.negotiate()
		for range 3 {
			m.say(`{"return": {}}`)
			m.say(`{"return": {}, "id": 4711}`)
			m.say(`{"error": {"class": "GenericError", "desc": "JSON parse error"}}`)
		}
		m.say(fmt.Sprintf(event, "SHUTDOWN", "guest-shutdown"))
		m.conn.Close()
	}()
	await(t, "the end", q.Done())
	if r := q.ShutdownReason(); r != "guest-shutdown" {
		t.Errorf("reason %q", r)
	}
}

// Close frees who waits, also for a qemu that reads nothing.
func TestClose(t *testing.T) {
	for _, reads := range []bool{true, false} {
		q, m := connect(t)
		failed := make(chan error, 1)
		go func() { failed <- q.Execute("query-status", nil, nil) }()
		if reads {
			m.negotiate()
			m.hear()
		}
		within(t, "Close", func() {
			_ = q.Close()
			if err := <-failed; err == nil {
				t.Error("success")
			}
			<-q.Done()
		})
	}
}

// What can't be sent fails alone.
func TestBadArguments(t *testing.T) {
	q, m := connect(t)
	go func() {
		m.negotiate()
		m.answer(m.hear(), `"return": {}`)
	}()
	within(t, "both", func() {
		if err := q.Execute("x", map[string]any{"f": func() {}}, nil); err == nil {
			t.Error("a function is no argument")
		}
		if err := q.Execute("y", nil, nil); err != nil {
			t.Error(err)
		}
	})
}
