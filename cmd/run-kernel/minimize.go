// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/minimize"
)

// skipped is the status of a test that can't tell, as for git bisect run.
const skipped = 125

// What a shell says of a command that it can't run.
const (
	notExecutable = 126
	notFound      = 127
)

// A notRunError says that a command says nothing about the configuration.
type notRunError struct {
	name   string
	status int
}

func (e *notRunError) Error() string {
	what := "isn't executable"
	if e.status == notFound {
		what = "isn't found"
	}
	return fmt.Sprintf("%s: status %d: it, or a command in it, %s", e.name, e.status, what)
}

// Hint is how that is found out.
func (e *notRunError) Hint() string {
	return "run the command by hand first; with .config as it is, it must succeed"
}

// An undecidedError says that a command can't tell where it must fail.
type undecidedError struct{ name, config string }

func (e *undecidedError) Error() string {
	return fmt.Sprintf("%s: status %d: it can't tell with %s, with which it must fail", e.name, skipped, e.config)
}

// Hint is how the reason is found out.
func (e *undecidedError) Hint() string {
	return "run the command by hand first, with that as .config"
}

// minimizeGrace is how long a command has to end once it is asked to.
const minimizeGrace = 15 * time.Second

func (a *app) minimizeCommand() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "minimize [flags] --to FILE -- CMD [ARG…]",
		Short: "find the fewest options that make a command fail",
		Long: `Minimize bisects configurations. CMD succeeds with .config, and fails with FILE. Minimize
finds the fewest settings of FILE with which CMD still fails, and prints them as a fragment.

For each step, it writes a .config in which the kernel's conf has nothing to change, and
runs CMD. Status 0 is success. Status 125 means that CMD can't tell, and counts as success.
To find one setting among n takes about log2(n) steps. At the end, .config is as it was.

Minimize doesn't lock the build directory, so CMD can be run-kernel itself.`,
		Example: `  run-kernel kconfig minimize --to config-broken -- run-kernel test -- true
  run-kernel kconfig minimize --to /boot/config-6.12.0 -- make -j8 vmlinux >guilty.config`,
		Annotations: map[string]string{helpFlags: "arch output cross-compile cc llvm config-file quiet"},
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case to == "":
				return &usageError{problem: "kconfig minimize needs --to FILE", hint: "the configuration with which the command fails"}
			case len(args) == 0:
				return &usageError{problem: "kconfig minimize needs a command", hint: "after --, such as: -- run-kernel test -- true"}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.minimize(c.Context(), to, args) },
	}
	c.Flags().StringVar(&to, "to", "", "the `file` with the configuration with which the command fails")
	return c
}

// An unfinishedError says that a minimize was killed.
type unfinishedError struct{ saved, config string }

func (e *unfinishedError) Error() string {
	return e.saved + " is there: another minimize is running, or was killed"
}

func (e *unfinishedError) Hint() string {
	return fmt.Sprintf("once none is running, mv %s %s brings back what it started from", e.saved, e.config)
}

// keepConfig keeps a .config beside it, until restore brings it back. The error is an
// *unfinishedError where one is kept already.
func keepConfig(path string, config []byte) (restore func() error, err error) {
	saved := path + ".minimize"
	f, err := os.OpenFile(saved, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, &unfinishedError{saved, path}
	}
	if err != nil {
		return nil, err
	}
	_, err = f.Write(config)
	if err := errors.Join(err, f.Close()); err != nil {
		// Half of it, on a full disk, must not be taken for what to bring back.
		return nil, errors.Join(err, os.Remove(saved))
	}
	return func() error {
		// Where it couldn't be written, it is as it was.
		now, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(now, config) {
			// It may be a link: what it leads to is written.
			err = os.WriteFile(path, config, 0o644)
		}
		if err != nil {
			return &advisedError{
				fmt.Errorf("%s isn't as it was: %w", path, err),
				fmt.Sprintf("mv %s %s brings it back", saved, path),
			}
		}
		_ = os.Remove(saved)
		return nil
	}, nil
}

func (a *app) minimize(ctx context.Context, to string, command []string) error {
	t, err := a.existingTree()
	if err != nil {
		return err
	}
	a.printsDocument()
	k := a.kernel(t)
	from, err := k.ReadConfig()
	if err != nil {
		return err
	}
	bad, err := kconfig.ReadFile(to)
	if err != nil {
		return err
	}
	m, err := k.Model(ctx)
	if err != nil {
		return err
	}
	// What reads our messages may end, such as head: then we don't, with .config as it is.
	unread := make(chan os.Signal, 1)
	signal.Notify(unread, syscall.SIGPIPE)
	defer signal.Stop(unread)
	path := t.ConfigPath()
	restore, err := keepConfig(path, from.Bytes())
	if err != nil {
		return err
	}
	all := minimize.Settings(m, from, bad)
	step, undecided := 0, false
	fails := func(ctx context.Context, settings []kconfig.Setting) (bool, error) {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		config, err := minimize.Config(m, from, settings)
		if err != nil {
			return false, err
		}
		if err := os.WriteFile(path, config, 0o644); err != nil {
			return false, err
		}
		step++
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdout, cmd.Stderr = a.env.Stderr, a.env.Stderr
		err = proc.Run(ctx, cmd, minimizeGrace)
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return false, fmt.Errorf("%s: %w", command[0], err)
		}
		// As git bisect run does, only where it should succeed: what a kernel lacks may be
		// why a program can't run in its guest.
		if step == 1 && exit != nil && (exit.ExitCode() == notExecutable || exit.ExitCode() == notFound) {
			return false, &notRunError{command[0], exit.ExitCode()}
		}
		what := "succeeds"
		undecided = exit != nil && exit.ExitCode() == skipped
		switch {
		case err == nil:
		case undecided:
			what, err = "can't tell", nil
		default:
			what = "fails"
		}
		a.events.Emit(event.Notice{Text: fmt.Sprintf("step %d: with %d of %d settings, %s %s", step, len(settings), len(all), command[0], what)})
		return err != nil, nil
	}
	found, err := minimize.Minimize(ctx, all, fails)
	if errors.Is(err, minimize.ErrPasses) && undecided {
		err = &undecidedError{command[0], to}
	}
	failed := restore()
	if err != nil {
		return errors.Join(fmt.Errorf("kconfig minimize: %w", err), failed)
	}
	text := fmt.Sprintf("%d of %d settings make it fail, found in %d steps", len(found), len(all), step)
	if failed == nil {
		text += "; .config is as it was"
	}
	a.events.Emit(event.Notice{Text: text})
	for _, s := range found {
		fmt.Fprintln(a.out, s.Line())
	}
	return failed
}
