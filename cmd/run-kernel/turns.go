// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/internal/ansi"
	"github.com/metaspace/run-kernel/internal/ui"
)

// showTurns shows the last turns of the loop.
func (a *app) showTurns(n int) error {
	if n < 1 {
		return &usageError{problem: "--turns: there is nothing to print", hint: "as in run-kernel status --turns=50"}
	}
	tree, err := a.existingTree()
	if err != nil {
		return err
	}
	turns, err := session.Turns(tree, n)
	if builds := session.Builds(tree.Source); err == nil && len(turns) == 0 && a.config.Build.Output == "" && len(builds) > 0 {
		// Who builds elsewhere need not say so again.
		if tree, err = a.treeIn(builds[0]); err == nil {
			turns, err = session.Turns(tree, n)
		}
	}
	if err != nil {
		return err
	}
	if len(turns) == 0 {
		return &advisedError{fmt.Errorf("no turn of run-kernel watch is recorded in %s", tree.BuildDir), "start it: run-kernel watch; with another build directory, say so here as well: -O DIR"}
	}
	var rows [][]string
	for _, t := range turns {
		if a.json {
			fmt.Fprintln(a.out, t.Line)
			continue
		}
		changed := strings.Join(t.Changed, " ")
		if rest := t.Total - len(t.Changed); rest > 0 {
			changed += fmt.Sprintf(" and %d more", rest)
		}
		row := []string{t.Time.Local().Format("01-02 15:04:05")}
		for _, s := range []float64{t.Compile, t.Link, t.Boot, t.Command, t.Elapsed} {
			cell := ""
			if s > 0 {
				cell = fmt.Sprintf("%.1f s", s)
			}
			row = append(row, cell)
		}
		rows = append(rows, append(row, t.Result, ansi.Strip(changed)))
	}
	if !a.json {
		ui.Table(a.out, 0, []string{"ENDED", "COMPILE", "LINK", "BOOT", "COMMAND", "TOTAL", "RESULT", "CHANGED"}, rows)
	}
	return nil
}
