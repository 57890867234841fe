// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// searchPath is Debian's, then NixOS's.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/wrappers/bin:/run/current-system/sw/bin"

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
	account *account // whose the command is; nil: root's
	term    *os.File // our end of the pty; nil without one
	tty     *os.File // the command's end
	pipes   pipes    // without a pty
	started bool

	mu     sync.Mutex
	pid    int  // of the command and its process group; 0 when none runs
	hungUp bool // the client has gone
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
	// The client went away: what it started ends, as on a terminal's hangup. What
	// doesn't take the signal finds nobody at the other end.
	s.hangup()
	s.pipes.close()
	for _, f := range []*os.File{s.term, s.tty} {
		if f != nil {
			_ = f.Close()
		}
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
		return setSize(s.term, w.Rows, w.Columns)
	case "env":
		var e Env
		if err := ssh.Unmarshal(r.Payload, &e); err != nil {
			return err
		}
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") || strings.Contains(e.Value, "\x00") {
			return fmt.Errorf("no variable can be %q", e.Name+"="+e.Value)
		}
		s.env = append(s.env, e.Name+"="+e.Value)
		return nil
	case UserRequest:
		var u User
		if err := ssh.Unmarshal(r.Payload, &u); err != nil {
			return err
		}
		account, err := findAccount(u.Name)
		if err != nil {
			return err
		}
		s.account = account
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
		return s.start(shell, []string{"-" + filepath.Base(shell)}, s.agent.config.Dir, r)
	case "exec":
		var e Exec
		if err := ssh.Unmarshal(r.Payload, &e); err != nil {
			return err
		}
		return s.start("/bin/sh", []string{"sh", "-c", e.Command}, s.agent.config.Dir, r)
	case "subsystem":
		var sub Subsystem
		if err := ssh.Unmarshal(r.Payload, &sub); err != nil {
			return err
		}
		if sub.Name != "sftp" {
			return fmt.Errorf("no subsystem %q", sub.Name)
		}
		return s.start("/proc/self/exe", []string{sftpName}, s.home(), r)
	case ArgvRequest:
		var argv []string
		if err := json.Unmarshal(r.Payload, &argv); err != nil || len(argv) == 0 {
			return errors.Join(errors.New("no command"), err)
		}
		return s.start(argv[0], argv, s.agent.config.Dir, r)
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
	if s.term != nil || s.started {
		return errors.New("too late, or there is one already")
	}
	term, tty, err := openPty()
	if err != nil {
		return err
	}
	s.term, s.tty = term, tty
	if p.Term != "" {
		s.env = append(s.env, "TERM="+p.Term)
	}
	return setSize(term, p.Rows, p.Columns)
}

// environ is the environment of a command in dir. Each variable comes once:
// of two, some programs would see the first and others the last.
func (s *session) environ(dir string) []string {
	all := []string{"PATH=" + searchPath, "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=" + s.shell()}
	all = append(all, s.agent.config.Env...)
	if s.account != nil {
		all = append(all, s.account.environ()...)
	}
	all = append(all, s.env...)
	all = append(all, "PWD="+dir)
	seen := make(map[string]bool)
	var env []string
	for _, e := range slices.Backward(all) {
		if name, _, _ := strings.Cut(e, "="); !seen[name] {
			seen[name] = true
			env = append(env, e)
		}
	}
	slices.Reverse(env)
	return env
}

// directory is dir where the command's user can enter it, and else the root.
func (s *session) directory(dir string) string {
	if s.account != nil && !s.account.mayEnter(dir) {
		return "/"
	}
	return directory(dir)
}

// directory is dir where that is one which can be entered, and else the root.
func directory(dir string) string {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() || unix.Access(dir, unix.X_OK) != nil {
		return "/"
	}
	return dir
}

// start runs a command in the directory dir, where there is one, and returns as soon
// as it runs; r gets its reply before any output, as RFC 4254 wants it.
func (s *session) start(program string, argv []string, dir string, r *ssh.Request) error {
	if s.started {
		return errors.New("this session has its command already")
	}
	s.started = true
	dir = s.directory(dir)
	env := s.environ(dir)
	path, err := look(program, dir, env)
	if err != nil {
		s.fail(argv[0], err, r)
		return nil
	}
	attr := &os.ProcAttr{Dir: dir, Env: env, Sys: &syscall.SysProcAttr{Setsid: true}}
	if s.tty != nil {
		attr.Files = []*os.File{s.tty, s.tty, s.tty}
		attr.Sys.Setctty = true
	} else if attr.Files, err = s.pipes.open(); err != nil {
		s.fail(argv[0], err, r)
		return nil
	}
	if s.account != nil {
		attr.Sys.Credential = &s.account.credential
		if err := s.account.own(attr.Files); err != nil {
			s.fail(argv[0], err, r)
			return nil
		}
	}
	pid, ended, err := s.agent.reaper.start(path, argv, attr)
	if errors.Is(err, unix.ENOEXEC) {
		// A script without #!, which execvp(3) hands to a shell.
		pid, ended, err = s.agent.reaper.start("/bin/sh", append([]string{"sh", path}, argv[1:]...), attr)
	}
	for _, f := range attr.Files {
		_ = f.Close()
	}
	if err != nil {
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
	go s.copyAndWait(ended)
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

// look finds a program as execvp(3) does in the working directory dir, with the
// PATH of env.
func look(name, dir string, env []string) (string, error) {
	absolute := func(path string) string {
		if filepath.IsAbs(path) {
			return path
		}
		// Not cleaned: x/.. is something else where x is a link.
		return dir + "/" + path
	}
	if strings.Contains(name, "/") {
		path := absolute(name)
		return path, unix.Access(path, unix.F_OK)
	}
	var search string
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			search = value
		}
	}
	var found error = os.ErrNotExist
	for _, d := range strings.Split(search, ":") {
		path := absolute(d) + "/" + name
		if st, err := os.Stat(path); name != "" && err == nil && !st.IsDir() {
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
			for _, f := range theirs[:i] {
				_ = f.Close()
			}
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

func (s *session) copyAndWait(ended <-chan unix.WaitStatus) {
	var output sync.WaitGroup
	over := make(chan struct{}) // closed when the command has ended
	if s.term != nil {
		go func() { _, _ = io.Copy(s.term, s.channel) }()
		output.Go(func() { s.copyTerminal(over) })
	} else {
		go func() {
			_, _ = io.Copy(s.pipes.in, s.channel)
			_ = s.pipes.in.Close()
		}()
		output.Go(func() { _, _ = io.Copy(s.channel, s.pipes.out) })
		output.Go(func() { _, _ = io.Copy(s.channel.Stderr(), s.pipes.err) })
	}
	status := <-ended
	s.mu.Lock()
	if s.hungUp {
		go hangupAgain(s.pid)
	}
	s.pid = 0
	s.mu.Unlock()
	close(over)
	// Without a terminal, wait as ssh does for all that was written, also by what the
	// command left in the background with its standard output open.
	output.Wait()
	s.exit(status)
}

const (
	// drainSize is more than a pty holds of what nobody has read yet, in bytes: see
	// pty_common_install in drivers/tty/pty.c, and N_TTY_BUF_SIZE.
	drainSize = 64 << 10
	// drainQuiet is the silence after which all of that is read, and drainTime how long
	// it may take.
	drainQuiet = 250 * time.Millisecond
	drainTime  = 2 * time.Second
)

// copyTerminal copies what is written to the terminal until all who have it open have
// closed it, but not for longer than until the command has ended, and what it had
// written is read: the jobs that a shell leaves behind keep its terminal.
func (s *session) copyTerminal(over <-chan struct{}) {
	copied := make(chan struct{})
	defer close(copied)
	go func() {
		select {
		case <-over:
			_ = s.term.SetReadDeadline(time.Now())
		case <-copied:
		}
	}()
	var ended time.Time
	rest := drainSize
	buf := make([]byte, 32<<10)
	for {
		n, err := s.term.Read(buf)
		if n > 0 {
			if _, err := s.channel.Write(buf[:n]); err != nil {
				return
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ended.IsZero():
			ended = time.Now()
		case err != nil:
			return
		case ended.IsZero():
			continue
		}
		if rest -= n; rest <= 0 || time.Since(ended) > drainTime {
			return
		}
		_ = s.term.SetReadDeadline(time.Now().Add(drainQuiet))
	}
}

func (s *session) exit(status unix.WaitStatus) {
	name := strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
	switch {
	case !status.Signaled():
		s.exitStatus(status.ExitStatus())
	case name == "":
		// The real-time signals have no names.
		s.exitStatus(128 + int(status.Signal()))
	default:
		_, _ = s.channel.SendRequest("exit-signal", false, ssh.Marshal(ExitSignal{Signal: name, Core: status.CoreDump()}))
	}
	// The client's answer to this ends serve, which closes the rest.
	_ = s.channel.Close()
}

func (s *session) exitStatus(status int) {
	_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(ExitStatus{Status: uint32(status)}))
}

func (s *session) signal(n syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 {
		_ = unix.Kill(-s.pid, n)
	}
}

// hangup sends SIGHUP to the command's group and to all of its session: a shell's
// jobs have groups of their own, and bash, when the signal meets it reading a
// line, ends without passing it on.
func (s *session) hangup() {
	s.signal(unix.SIGHUP)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 {
		s.hungUp = true
		hangup(s.pid)
	}
}

// hangup sends SIGHUP to all processes of a session.
func hangup(session int) {
	told := make(map[int]bool)
	for more := true; more; {
		// One that is told may have forked before it was.
		more = false
		for _, pid := range members(session) {
			if !told[pid] {
				told[pid], more = true, true
				tell(pid)
			}
		}
	}
}

// tell sends SIGHUP to a process, also to a stopped one.
func tell(pid int) {
	_ = unix.Kill(pid, unix.SIGHUP)
	_ = unix.Kill(pid, unix.SIGCONT)
}

// hangupAgain tells those who are left of a session whose leader has ended. What a
// shell forked last takes the signal with the shell's own handler until it becomes
// another program, which then knows nothing of it.
func hangupAgain(session int) {
	left := members(session)
	for wait := 10 * time.Millisecond; len(left) > 0 && wait < 10*time.Second; wait *= 4 {
		for _, pid := range left {
			tell(pid)
		}
		time.Sleep(wait)
		now := members(session)
		left = slices.DeleteFunc(left, func(pid int) bool { return !slices.Contains(now, pid) })
	}
}

// members lists the processes of a session.
func members(session int) []int {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// After the command name, in parentheses: state, parent, group, session;
		// see proc_pid_stat(5).
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && len(fields) > 3 && fields[3] == strconv.Itoa(session) {
			pids = append(pids, pid)
		}
	}
	return pids
}
