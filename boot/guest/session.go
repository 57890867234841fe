// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"

// Exit statuses as a POSIX shell has them.
const (
	statusCannotRun = 126
	statusNotFound  = 127
)

// A session is one SSH channel with at most one command.
type session struct {
	agent   *agent
	channel ssh.Channel

	env     []string
	term    *os.File // our end of the pty; nil without one
	tty     *os.File // the command's end, until it runs
	started bool

	mu  sync.Mutex
	pid int // of the command and its process group; 0 when none runs
}

func newSession(a *agent, c ssh.Channel) *session {
	return &session{agent: a, channel: c}
}

func (s *session) serve(requests <-chan *ssh.Request) {
	for r := range requests {
		err := s.handle(r)
		if r.WantReply {
			_ = r.Reply(err == nil, nil)
		}
		if err != nil && r.WantReply {
			fmt.Fprintf(s.channel.Stderr(), "run-kernel: %s: %v\r\n", r.Type, err)
		}
	}
	// The client went away: what it started ends, as on a terminal's hangup.
	s.signal(unix.SIGHUP)
	if s.term != nil {
		_ = s.term.Close()
	}
}

func (s *session) handle(r *ssh.Request) error {
	switch r.Type {
	case "pty-req":
		var p PTY
		if err := ssh.Unmarshal(r.Payload, &p); err != nil {
			return err
		}
		return s.openPty(&p)
	case "window-change":
		var w WindowChange
		if err := ssh.Unmarshal(r.Payload, &w); err != nil || s.term == nil {
			return err
		}
		return pty.Setsize(s.term, &pty.Winsize{Rows: uint16(w.Rows), Cols: uint16(w.Columns)})
	case "env":
		var e Env
		if err := ssh.Unmarshal(r.Payload, &e); err != nil {
			return err
		}
		s.env = append(s.env, e.Name+"="+e.Value)
		return nil
	case "signal":
		var sig Signal
		if err := ssh.Unmarshal(r.Payload, &sig); err != nil {
			return err
		}
		n := unix.SignalNum("SIG" + sig.Signal)
		if n == 0 {
			return fmt.Errorf("no signal %q", sig.Signal)
		}
		s.signal(n)
		return nil
	case "shell":
		shell := s.shell()
		return s.start(func() (string, []string) { return shell, []string{"-" + filepath.Base(shell)} }, r)
	case "exec":
		var e Exec
		if err := ssh.Unmarshal(r.Payload, &e); err != nil {
			return err
		}
		return s.start(func() (string, []string) { return "/bin/sh", []string{"sh", "-c", e.Command} }, r)
	case ArgvRequest:
		var argv []string
		if err := json.Unmarshal(r.Payload, &argv); err != nil || len(argv) == 0 {
			return errors.Join(errors.New("no command"), err)
		}
		return s.start(func() (string, []string) { return argv[0], argv }, r)
	}
	return fmt.Errorf("request %q isn't supported", r.Type)
}

func (s *session) shell() string {
	for _, shell := range []string{s.agent.config.Shell, "/bin/bash", "/run/current-system/sw/bin/bash"} {
		if shell != "" && unix.Access(shell, unix.X_OK) == nil {
			return shell
		}
	}
	return "/bin/sh"
}

func (s *session) openPty(p *PTY) error {
	term, tty, err := pty.Open()
	if err != nil {
		return err
	}
	s.term, s.tty = term, tty
	if p.Term != "" {
		s.env = append(s.env, "TERM="+p.Term)
	}
	return pty.Setsize(term, &pty.Winsize{Rows: uint16(p.Rows), Cols: uint16(p.Columns)})
}

func (s *session) environ() []string {
	env := []string{"PATH=" + searchPath, "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=" + s.shell()}
	return append(append(env, s.agent.config.Env...), s.env...)
}

// start runs the command and returns as soon as it runs; r gets its reply
// before any output, as RFC 4254 wants it.
func (s *session) start(command func() (path string, argv []string), r *ssh.Request) error {
	if s.started {
		return errors.New("this session has its command already")
	}
	s.started = true
	dir := s.agent.config.Dir
	if unix.Access(dir, unix.X_OK) != nil {
		dir = "/"
	}
	path, argv := command()
	path, err := look(path, dir)
	if err != nil {
		s.fail(argv[0], err, r)
		return nil
	}
	attr := &os.ProcAttr{Dir: dir, Env: append(s.environ(), "PWD="+dir), Sys: &syscall.SysProcAttr{Setsid: true}}
	var pipes pipes
	if s.tty != nil {
		attr.Files = []*os.File{s.tty, s.tty, s.tty}
		attr.Sys.Setctty = true
	} else if attr.Files, err = pipes.open(); err != nil {
		s.fail(argv[0], err, r)
		return nil
	}
	pid, ended, err := s.agent.reaper.start(path, argv, attr)
	for _, f := range attr.Files {
		_ = f.Close()
	}
	if err != nil {
		pipes.close()
		s.fail(argv[0], err, r)
		return nil
	}
	s.mu.Lock()
	s.pid = pid
	s.mu.Unlock()
	if r.WantReply {
		_ = r.Reply(true, nil)
		r.WantReply = false
	}
	go s.copyAndWait(&pipes, ended)
	return nil
}

// fail ends the session with the status and message that a shell would give.
func (s *session) fail(name string, err error, r *ssh.Request) {
	status := statusCannotRun
	if errors.Is(err, os.ErrNotExist) {
		status = statusNotFound
	}
	if r.WantReply {
		_ = r.Reply(true, nil)
		r.WantReply = false
	}
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	fmt.Fprintf(s.channel.Stderr(), "run-kernel: %s: %v\r\n", name, err)
	s.exit(unix.WaitStatus(status << 8))
}

// look finds a program as execvp(3) does in the working directory dir.
func look(name, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, unix.Access(name, unix.F_OK)
	}
	var found error = os.ErrNotExist
	for _, dir := range filepath.SplitList(searchPath) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && !st.IsDir() {
			if st.Mode()&0o111 != 0 {
				return path, nil
			}
			found = os.ErrPermission
		}
	}
	return "", found
}

// pipes are our ends of a command's standard streams.
type pipes struct{ in, out, err *os.File }

// open makes the pipes and returns the command's ends.
func (p *pipes) open() ([]*os.File, error) {
	theirs := make([]*os.File, 3)
	for i, ours := range []**os.File{&p.in, &p.out, &p.err} {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			theirs[i], *ours = r, w
		} else {
			theirs[i], *ours = w, r
		}
	}
	return theirs, nil
}

func (p *pipes) close() {
	for _, f := range []*os.File{p.in, p.out, p.err} {
		if f != nil {
			_ = f.Close()
		}
	}
}

func (s *session) copyAndWait(p *pipes, ended <-chan unix.WaitStatus) {
	var output sync.WaitGroup
	if s.term != nil {
		go func() { _, _ = io.Copy(s.term, s.channel) }()
		output.Go(func() { _, _ = io.Copy(s.channel, s.term) })
	} else {
		go func() {
			_, _ = io.Copy(p.in, s.channel)
			_ = p.in.Close()
		}()
		output.Go(func() { _, _ = io.Copy(s.channel, p.out) })
		output.Go(func() { _, _ = io.Copy(s.channel.Stderr(), p.err) })
	}
	status := <-ended
	s.mu.Lock()
	s.pid = 0
	s.mu.Unlock()
	// As ssh does it, wait for all that was written, also by what the command
	// left in the background with its standard output open.
	output.Wait()
	p.close()
	s.exit(status)
}

func (s *session) exit(status unix.WaitStatus) {
	if status.Signaled() {
		name := strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
		_, _ = s.channel.SendRequest("exit-signal", false, ssh.Marshal(ExitSignal{Signal: name, Core: status.CoreDump()}))
	} else {
		_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(ExitStatus{Status: uint32(status.ExitStatus())}))
	}
	_ = s.channel.Close()
}

func (s *session) signal(n syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 {
		_ = unix.Kill(-s.pid, n)
	}
}
