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
)

// Global requests.
const (
	statusRequest = "status@run-kernel" // answered with a Status as JSON
	stopRequest   = "stop@run-kernel"   // ends the process that owns the VM; answered with an Outcome
	dumpRequest   = "dump@run-kernel"   // writes the guest's memory to a file: dumpPayload
)

// Types of channels, beside those that the guest's agent knows.
const (
	serialChannel   = "serial@run-kernel"
	debuggerChannel = "debugger@run-kernel"
)

// They change in tests only.
var (
	answerTime   = 10 * time.Second // how long an owner may take to answer
	powerOffTime = time.Minute      // how long a guest may take to power itself off
	silenceTime  = 8 * time.Second  // how long it may write nothing meanwhile
	tellTime     = time.Second      // how long callers may take to read how their commands ended
)

// An Outcome is what became of the guest when its owner was stopped.
type Outcome string

// The outcomes.
const (
	NoGuest    Outcome = "no guest"    // there was none
	PoweredOff Outcome = "powered off" // it did so itself
	Ended      Outcome = "ended"       // it didn't in time, and was ended
)

// Status is what an owner says of itself.
type Status struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`        // watch, boot …
	Build   string    `json:"build"`          // the build directory
	Name    string    `json:"name,omitempty"` // of the VM
	Started time.Time `json:"started"`
	Phase   string    `json:"phase"`           // check, build, boot, run, wait
	Guest   bool      `json:"guest"`           // whether a guest answers
	Image   string    `json:"image,omitempty"` // of that guest
}

// A BusyError says that another run-kernel has an address.
type BusyError struct {
	Address Address
	Status  Status // the zero one when it doesn't answer
}

func (e *BusyError) Error() string {
	switch {
	case e.Address.Name != "" && e.Status.PID == 0:
		return fmt.Sprintf("another run-kernel has a VM %q of this build directory", e.Address.Name)
	case e.Address.Name != "":
		return fmt.Sprintf("another run-kernel (process %d) has a VM %q of %s", e.Status.PID, e.Address.Name, e.Status.Build)
	case e.Status.PID == 0:
		return "another run-kernel works in this build directory"
	}
	return fmt.Sprintf("another run-kernel (%s, process %d) works in %s", e.Status.Command, e.Status.PID, e.Status.Build)
}

// Hint names what can be done beside it.
func (e *BusyError) Hint() string {
	if strings.HasPrefix(e.Status.Command, "kconfig") || e.Status.Command == "build" {
		return "wait until it has ended, or end it with `run-kernel stop`; or use another build directory with -O"
	}
	if e.Address.Name != "" {
		return "`run-kernel stop --name " + e.Address.Name + "` ends it; or use another name"
	}
	return "`run-kernel exec -- CMD` runs a command in its guest, `run-kernel stop` ends it; " +
		"`run-kernel boot --no-build --name NAME` boots another VM beside it; or use another build directory with -O"
}

// ErrNone says that nobody owns a VM of the build directory.
var ErrNone = errors.New("no run-kernel runs for this tree")

// ErrNoGuest says that an owner has no guest to act on.
var ErrNoGuest = errors.New("no guest runs at the moment")

// A Server is the owner's side.
type Server struct {
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
}

// Listen takes an address. It fails with a *BusyError when
// somebody has it. stop is called when another process asks for the end, after the
// guest was asked to power itself off.
func Listen(a Address, command string, stop func()) (*Server, error) {
	socket, err := a.socket()
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if errors.Is(err, unix.EADDRINUSE) {
		busy := &BusyError{Address: a}
		if c, err := Dial(a); err == nil {
			busy.Status, _ = c.Status()
			_ = c.Close()
		}
		return nil, busy
	} else if err != nil {
		return nil, fmt.Errorf("control: %w", err)
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
		listener: l, config: &ssh.ServerConfig{NoClientAuth: true}, stop: stop,
		status: Status{PID: os.Getpid(), Command: command, Build: a.Build, Name: a.Name, Started: time.Now()},
	}
	s.config.AddHostKey(signer)
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
	return err
}

// Stopped says whether another process has asked for the end. The guest may still
// be powering itself off; then stop is called.
func (s *Server) Stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
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
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			return
		}
		go s.serve(conn)
	}
}

func (s *Server) serve(conn *net.UnixConn) {
	defer conn.Close()
	// Abstract names have no file mode: ask who it is. Root may do it all anyway.
	if cred, err := peer(conn); err != nil || cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return
	}
	_, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	go func() {
		for r := range requests {
			s.answer(r)
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
			_ = c.Reject(ssh.ConnectionFailed, ErrNoGuest.Error())
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
		_ = c.Reject(ssh.ConnectionFailed, err.Error())
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

func (s *Server) answer(r *ssh.Request) {
	switch r.Type {
	case statusRequest:
		s.mu.Lock()
		data, err := json.Marshal(s.status)
		s.mu.Unlock()
		_ = r.Reply(err == nil, data)
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
		if err := s.dump(r.Payload); err != nil {
			_ = r.Reply(false, []byte(err.Error()))
		} else {
			_ = r.Reply(true, nil)
		}
	default:
		_ = r.Reply(false, nil)
	}
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

// pass sends a request on, and its reply back.
func pass(r *ssh.Request, to ssh.Channel) {
	ok, err := to.SendRequest(r.Type, r.WantReply, r.Payload)
	if r.WantReply {
		_ = r.Reply(ok && err == nil, nil)
	}
}

// peer returns whose the other end is; see SO_PEERCRED in unix(7).
func peer(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, credErr
}

// A Client is another process's side.
type Client struct {
	*ssh.Client
	pid int // of the owner; 0 when it is in a namespace that we don't see
}

// Connect connects to the owner at an address, for a caller that speaks SSH
// itself. Without any owner, the error is ErrNone.
func Connect(a Address) (net.Conn, error) {
	conn, _, err := connect(a)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// connect returns also whose the other end is.
func connect(a Address) (*net.UnixConn, *unix.Ucred, error) {
	socket, err := a.socket()
	if err != nil {
		return nil, nil, fmt.Errorf("control: %w", err)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil, ErrNone
	} else if err != nil {
		return nil, nil, fmt.Errorf("control: %w", err)
	}
	cred, err := peer(conn)
	if err == nil && int(cred.Uid) != os.Geteuid() {
		// Also when we are root: anybody could have taken the name.
		err = fmt.Errorf("the run-kernel for %s is user %d's", a.Build, cred.Uid)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("control: %w", err), conn.Close())
	}
	return conn, cred, nil
}

// Dial connects to the owner at an address. Without any, the error is ErrNone.
func Dial(a Address) (*Client, error) {
	conn, cred, err := connect(a)
	if err != nil {
		return nil, err
	}
	// An owner that is stopped (SIGSTOP) must not hang us here.
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	c, channels, requests, err := ssh.NewClientConn(conn, a.Build, &ssh.ClientConfig{
		User: "root", HostKeyCallback: ssh.InsecureIgnoreHostKey(), // its user was checked
	})
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("control: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	return &Client{ssh.NewClient(c, channels, requests), int(cred.Pid)}, nil
}

// Status asks the owner what it does.
func (c *Client) Status() (Status, error) {
	var s Status
	data, err := c.ask(statusRequest, answerTime)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// ask sends a request and returns its reply. When none comes within limit, it
// ends the connection.
func (c *Client) ask(request string, limit time.Duration) ([]byte, error) {
	late := time.AfterFunc(limit, func() { _ = c.Close() })
	ok, data, err := c.SendRequest(request, true, nil)
	switch inTime := late.Stop(); {
	case !inTime:
		return nil, fmt.Errorf("control: no answer within %s", limit)
	case err != nil:
		return nil, fmt.Errorf("control: %w", err)
	case !ok:
		return nil, fmt.Errorf("control: it knows no request %q; is it another version of run-kernel?", request)
	}
	return data, nil
}

// Stop asks the owner to end, which asks its guest first, and waits until it has.
// It says what became of the guest.
func (c *Client) Stop() (Outcome, error) {
	// A process closes its descriptors one by one: when this connection has ended,
	// it may still have the name.
	owner := -1
	if c.pid != 0 {
		if fd, err := unix.PidfdOpen(c.pid, 0); err == nil {
			owner = fd
			defer unix.Close(fd)
		}
	}
	outcome, err := c.ask(stopRequest, powerOffTime+answerTime)
	if err != nil {
		return "", err
	}
	_ = c.Wait()
	if owner >= 0 {
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(owner), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
	return Outcome(outcome), nil
}
