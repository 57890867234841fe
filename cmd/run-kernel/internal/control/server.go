// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/trust"
)

// A Server is the owner's side.
type Server struct {
	lock     *os.File // of the address
	socket   string   // its path
	kept     func()   // no longer has the socket removed when we are killed
	listener *net.UnixListener
	config   *ssh.ServerConfig
	stop     func()
	stopping sync.WaitGroup // those who stop us and have no answer yet
	channels sync.WaitGroup // those that are connected with a guest

	mu      sync.Mutex
	status  Status
	guest   *Guest // nil when there is none
	stopped bool   // somebody has asked for the end
	closed  bool   // by Close
}

// A Guest is what others may act on.
type Guest struct {
	Image  string
	Client *ssh.Client // to its agent; nil as long as that doesn't answer

	Serial   func() io.ReadWriteCloser          // connects to the serial port
	Debugger func() (io.ReadWriteCloser, error) // connects to qemu's debugging stub
	Dump     func(f *os.File, virtual bool) error
	PowerOff func(silence, limit time.Duration) bool // as that of boot.VM
	Crash    func() *guest.Crash                     // of a guest that ends now; nil without one

	pulse pulse
}

// Listen takes an address. It fails with a *BusyError when somebody has it. stop is
// called when another process asks for the end, after the guest was asked to power
// itself off. The policy says whose state directory root uses beside its own.
func Listen(p *trust.Policy, a Address, command string, stop func()) (*Server, error) {
	lock, err := a.lock(p)
	if errors.Is(err, unix.EWOULDBLOCK) {
		busy := &BusyError{Address: a}
		if c, err := Dial(a); err == nil {
			busy.Status, _ = c.Status()
			_ = c.Close()
		}
		return nil, busy
	} else if err != nil {
		return nil, err
	}
	s, err := serve(lock, a, command, stop)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control: %w", err), lock.Close())
	}
	return s, nil
}

// serve listens, and writes into the lock where.
func serve(lock *os.File, a Address, command string, stop func()) (*Server, error) {
	path, err := socketPath(lock)
	if err != nil {
		return nil, err
	}
	l, err := private.Listen(path)
	if err != nil {
		return nil, err
	}
	kept, err := private.RemoveAtEnd(path)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &Server{
		lock: lock, socket: path, kept: kept, listener: l, config: &ssh.ServerConfig{NoClientAuth: true}, stop: stop,
		status: Status{PID: os.Getpid(), Command: command, Build: a.Build, Name: a.Name, Started: time.Now()},
	}
	s.config.AddHostKey(signer)
	if _, err := lock.WriteAt([]byte(path+"\n"), 0); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	go s.accept()
	return s, nil
}

// Close gives the name back, once those who have stopped us know what became of
// the guest, and those whose commands ended with it how they did. The guest must
// have gone. Who doesn't read is not waited for long.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	told := make(chan struct{})
	go func() {
		s.channels.Wait()
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(tellTime):
	}
	s.stopping.Wait()
	// As long as we have the lock, nobody else has the socket's name.
	err = errors.Join(err, os.Remove(s.socket))
	s.kept()
	return errors.Join(err, s.lock.Close())
}

// Stopped says whether another process has asked for the end. The guest may still
// be powering itself off; then stop is called.
func (s *Server) Stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// SetTree tells which source tree the owner works on, and which directories of modules
// outside of it.
func (s *Server) SetTree(source string, external []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Source, s.status.External = source, external
}

// SetPhase tells what the owner is doing.
func (s *Server) SetPhase(phase string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Phase = phase
}

// SetGuest tells which guest there is, nil meaning none.
func (s *Server) SetGuest(g *Guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guest = g
	s.status.Guest, s.status.Image = g != nil && g.Client != nil, ""
	if g != nil {
		s.status.Image = g.Image
	}
}

func (s *Server) accept() {
	private.Accept(s.listener.AcceptUnix, func(conn *net.UnixConn) { go s.serve(conn) })
}

func (s *Server) serve(conn *net.UnixConn) {
	defer conn.Close()
	// The directory keeps others out as well, but one mistake must not be enough.
	if cred, err := private.Peer(conn); err != nil || int(cred.Uid) != os.Geteuid() {
		return
	}
	files := &fileConn{UnixConn: conn}
	defer files.keep(nil)
	_, channels, requests, err := ssh.NewServerConn(files, s.config)
	if err != nil {
		return
	}
	go func() {
		for r := range requests {
			s.answer(r, files)
		}
	}()
	for c := range channels {
		s.mu.Lock()
		guest := s.guest
		if s.closed {
			guest = nil
		}
		if guest != nil {
			s.channels.Add(1)
		}
		s.mu.Unlock()
		if guest == nil {
			_ = c.Reject(codeOf(ErrNoGuest), ErrNoGuest.Error())
			continue
		}
		go func() {
			defer s.channels.Done()
			guest.connect(c)
		}()
	}
}

// connect connects a channel with what it asks for, until either ends.
func (g *Guest) connect(c ssh.NewChannel) {
	switch {
	case c.ChannelType() == serialChannel:
		join(c, func() (io.ReadWriteCloser, error) { return g.Serial(), nil })
	case c.ChannelType() == debuggerChannel:
		join(c, g.Debugger)
	case g.Client == nil:
		_ = c.Reject(ssh.ConnectionFailed, "the guest doesn't answer yet")
	default:
		g.forward(c)
	}
}

// join joins a channel with a stream of the VM until either ends.
func join(c ssh.NewChannel, open func() (io.ReadWriteCloser, error)) {
	stream, err := open()
	if err != nil {
		_ = c.Reject(codeOf(err), err.Error())
		return
	}
	defer stream.Close()
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	go func() {
		// They end with the channel; a caller whose input has ended may go on to read.
		ssh.DiscardRequests(requests)
		_ = stream.Close()
	}()
	go func() { _, _ = io.Copy(stream, channel) }()
	_, _ = io.Copy(channel, stream)
}

func (s *Server) answer(r *ssh.Request, files *fileConn) {
	switch r.Type {
	case statusRequest:
		go func() {
			data, err := json.Marshal(s.now())
			_ = r.Reply(err == nil, data)
		}()
	case stopRequest:
		s.mu.Lock()
		closed := s.closed
		if !closed {
			s.stopping.Add(1)
		}
		s.mu.Unlock()
		if closed {
			return // the end of the connection tells the caller
		}
		go func() {
			defer s.stopping.Done()
			_ = r.Reply(true, []byte(s.end()))
		}()
	case dumpRequest:
		if err := s.dump(r.Payload, files.take()); err != nil {
			_ = r.Reply(false, refusal{codeOf(err), err.Error()}.marshal())
		} else {
			_ = r.Reply(true, nil)
		}
	default:
		_ = r.Reply(false, nil)
	}
}

// now is the status, for which the guest is asked whether it answers.
func (s *Server) now() Status {
	s.mu.Lock()
	status, guest := s.status, s.guest
	s.mu.Unlock()
	if status.Guest {
		ask := func() { _, _, _ = guest.Client.SendRequest(pingRequest, true, nil) }
		status.Silent = guest.pulse.silence(ask, pulseTime).Seconds()
	}
	return status
}

// end asks the guest to power itself off, ends the owner, and says which of the
// two ended the guest.
func (s *Server) end() Outcome {
	s.mu.Lock()
	guest := s.guest
	s.stopped = true
	s.mu.Unlock()
	outcome := NoGuest
	if guest != nil {
		outcome = Ended
		if guest.Client != nil && guest.PowerOff(silenceTime, powerOffTime) {
			outcome = PoweredOff
		}
	}
	s.stop()
	return outcome
}

// forward connects a channel with a new one to the guest's agent.
func (g *Guest) forward(c ssh.NewChannel) {
	agent, guestRequests, err := g.Client.OpenChannel(c.ChannelType(), c.ExtraData())
	if open := (*ssh.OpenChannelError)(nil); errors.As(err, &open) {
		_ = c.Reject(open.Reason, open.Message)
		return
	} else if err != nil {
		_ = c.Reject(ssh.ConnectionFailed, "the guest has gone")
		return
	}
	caller, callerRequests, err := c.Accept()
	if err != nil {
		_ = agent.Close()
		return
	}
	var answering sync.Mutex // held from a request of the caller's to its reply
	go func() {
		for r := range callerRequests {
			answering.Lock()
			pass(r, agent)
			answering.Unlock()
		}
		_ = agent.Close()
	}()
	go func() {
		_, _ = io.Copy(agent, caller)
		_ = agent.CloseWrite()
	}()
	var output sync.WaitGroup
	output.Go(func() { _, _ = io.Copy(caller, agent) })
	output.Go(func() { _, _ = io.Copy(caller.Stderr(), agent.Stderr()) })
	passed := make(chan struct{})
	go func() {
		// Of a connection, the guest's side may end and the caller's go on.
		output.Wait()
		_ = caller.CloseWrite()
		close(passed)
	}()
	ended := false
	for r := range guestRequests {
		ended = ended || strings.HasPrefix(r.Type, "exit-")
		clampStatus(r)
		pass(r, caller)
	}
	<-passed
	if !ended && c.ChannelType() == "session" && g.Crash != nil {
		if crash := g.Crash(); crash != nil {
			_, _ = caller.SendRequest(guest.CrashRequest, false, ssh.Marshal(crash))
		}
	}
	// A command may be over before the caller has heard that it was started.
	answering.Lock()
	defer answering.Unlock()
	_ = caller.Close()
}

// clampStatus makes a status one that a process can have: ssh hands it to exit(3),
// which keeps 8 bits of it, and 256 would be success.
func clampStatus(r *ssh.Request) {
	var s guest.ExitStatus
	if r.Type == "exit-status" && ssh.Unmarshal(r.Payload, &s) == nil && s.Status > 255 {
		r.Payload = ssh.Marshal(guest.ExitStatus{Status: 255})
	}
}

// pass sends a request on, and its reply back.
func pass(r *ssh.Request, to ssh.Channel) {
	ok, err := to.SendRequest(r.Type, r.WantReply, r.Payload)
	if r.WantReply {
		_ = r.Reply(ok && err == nil, nil)
	}
}

// dump writes the guest's memory to a file that the client has opened: what the
// client may not write, or not there, its owner doesn't write for it.
func (s *Server) dump(payload []byte, f *os.File) (err error) {
	if f == nil {
		return errors.New("no file came with the request; is it another version of run-kernel?")
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var p dumpPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return err
	}
	s.mu.Lock()
	guest := s.guest
	s.mu.Unlock()
	if guest == nil {
		return ErrNoGuest
	}
	return guest.Dump(f, p.Virtual)
}
