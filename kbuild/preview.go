// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/proc"
)

// previewed is for how many files at most errors are looked for ahead of make. Of
// more, as a checkout changes them, it has them sooner itself.
const previewed = 3

// preview looks for errors in files that have just been saved, by the compiler
// commands of the last build, while make still walks the tree, which takes it
// seconds. Make stays the judge; what it finds again isn't reported again.
func (t *Tree) preview(ctx context.Context, commands []string, found *findings) {
	for _, command := range commands {
		var out bytes.Buffer
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = t.BuildDir, Environ(), &out, &out
		// That it fails is what it is for.
		_ = proc.Run(ctx, cmd, grace)
		if ctx.Err() != nil {
			return
		}
		p := &output{tree: t, events: func(event.Event) {}, found: found, log: bufio.NewWriter(io.Discard), began: time.Now()}
		p.read(&out)
	}
}

// checkCommands are the commands by which preview looks at files. There are none where a
// Makefile has changed, or what headers are made from, such as a table of system calls: the
// commands, or the headers, are those from before until make has come to them.
func (t *Tree) checkCommands(changed []string) []string {
	if len(changed) == 0 || len(changed) > previewed || t.reconfigured() {
		return nil
	}
	var commands []string
	for _, file := range changed {
		switch filepath.Ext(file) {
		case ".c", ".h", ".S":
		default:
			return nil
		}
		if command := t.checkCommand(file); command != "" {
			commands = append(commands, command)
		}
	}
	return commands
}

// reconfigured says whether .config has changed since the last build, so that its
// commands and headers tell nothing.
func (t *Tree) reconfigured() bool {
	config, err := os.Stat(t.ConfigPath())
	if err != nil {
		return true
	}
	made, err := os.Stat(filepath.Join(t.BuildDir, "include/config/auto.conf"))
	return err != nil || made.ModTime().Before(config.ModTime())
}

var (
	// The command of an object: "savedcmd_x.o := …", "cmd_x.o" before 6.3. See
	// cmd_and_savecmd in scripts/Kbuild.include.
	savedCommand = pattern.New(`^(?:saved)?cmd_\S+ := (.*)$`)
	// What compiles C: its output, and the list of what it includes.
	compileWords = pattern.New(`^(.*) -c -o (\S+) (\S+\.c)\s*$`)
	listsHeaders = pattern.New(` -Wp,-MM?D,\S+`)
)

// checkCommand is the command that compiled a C file in the last build, made to
// look at it and to write nothing; empty if there is none.
func (t *Tree) checkCommand(file string) string {
	rel, err := filepath.Rel(t.Source, file)
	if err != nil || !filepath.IsLocal(rel) || filepath.Ext(rel) != ".c" {
		return ""
	}
	if _, err := os.Stat(file); err != nil {
		return "" // deleted: make says what it needs
	}
	dir, base := filepath.Split(rel)
	data, err := os.ReadFile(filepath.Join(t.BuildDir, dir, "."+strings.TrimSuffix(base, ".c")+".o.cmd"))
	if err != nil {
		return ""
	}
	command := savedCompile(data)
	m := compileWords.FindStringSubmatch(command)
	if m == nil {
		return ""
	}
	return listsHeaders.ReplaceAllString(m[1], "") + " -fsyntax-only " + m[3]
}
