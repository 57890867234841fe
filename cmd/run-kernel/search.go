// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/explain"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/solver"
)

func (a *app) searchCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "search [flags] WORD…",
		Short: "find options by their names, prompts and help texts",
		Long: `Search lists the options of this kernel and architecture that have every WORD in their
name, prompt or help text. Options that have every WORD in their name come first. Upper and
lower case don't matter. If there is a .config, the values are from it.

With --json it prints an array of objects with the fields symbol, type, prompt, value, at
(file:line) and in (name, prompt or help).`,
		Example: `  run-kernel kconfig search virtio fs
  run-kernel kconfig search --limit 0 sanitizer`,
		Annotations: map[string]string{helpFlags: "arch output cross-compile cc llvm config-file json"},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{problem: "kconfig search needs a word", hint: "such as run-kernel kconfig search virtio"}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.search(c.Context(), args, limit) },
	}
	c.Flags().IntVar(&limit, "limit", 40, "list this `number` of options at most (0: no limit)")
	return c
}

func (a *app) search(ctx context.Context, words []string, limit int) error {
	t, err := a.existingTree()
	if err != nil {
		return err
	}
	k := a.kernel(t)
	m, err := k.Model(ctx)
	if err != nil {
		return err
	}
	var state *model.State
	if f, err := kconfig.ReadFile(t.ConfigPath()); err == nil {
		state = solver.Evaluate(m, f)
	}
	list := explain.Search(m, state, words)
	if len(list) == 0 {
		return &usageError{problem: fmt.Sprintf("no option has %q", strings.Join(words, " ")), hint: "options of other architectures aren't looked at"}
	}
	more := 0
	if limit > 0 && len(list) > limit {
		more = len(list) - limit
		list = list[:limit]
	}
	if a.json {
		return json.NewEncoder(a.out).Encode(list)
	}
	var rows [][]string
	for _, match := range list {
		name := match.Symbol
		if match.Value != "" {
			name += "=" + match.Value
		}
		rows = append(rows, []string{name, match.At, match.Prompt})
	}
	a.rows(a.out, rows)
	if more > 0 {
		_, err = fmt.Fprintf(a.out, "and %d more; --limit 0 lists all\n", more)
	}
	return err
}
