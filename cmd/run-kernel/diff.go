// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/explain"
)

func (a *app) diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff [flags] A [B]",
		Short: "print what differs between two configurations, and why",
		Long: `Diff compares what the kernel's conf makes of the files A and B. With one file, it compares
.config with A. It first prints the differences that a user has decided. Then it prints
those that follow from them: options that are selected, that have their default, or that
are no longer possible. With -v, it also prints the reasons for the values in A.

With --json it prints an array of objects with the fields symbol, from, to, user (whether a
user has decided it), whyFrom and whyTo (text, at).`,
		Example: `  run-kernel kconfig diff /boot/config-6.12.0
  run-kernel kconfig diff .config.old .config`,
		Annotations: map[string]string{helpFlags: "arch output cross-compile cc llvm config-file json verbose"},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return &usageError{problem: "kconfig diff needs one file or two", hint: "such as run-kernel kconfig diff .config.old .config"}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.diff(c.Context(), args) },
	}
}

func (a *app) diff(ctx context.Context, args []string) error {
	t, err := a.existingTree()
	if err != nil {
		return err
	}
	k := a.kernel(t)
	var files []*kconfig.File
	if len(args) == 1 {
		f, err := k.ReadConfig()
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	for _, path := range args {
		f, err := kconfig.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	m, err := k.Model(ctx)
	if err != nil {
		return err
	}
	list := explain.Diff(m, files[0], files[1])
	if a.json {
		if list == nil {
			list = []explain.Difference{}
		}
		return json.NewEncoder(a.out).Encode(list)
	}
	for _, user := range []bool{true, false} {
		var rows [][]string
		for _, d := range list {
			if d.User != user {
				continue
			}
			why := located(d.WhyTo)
			if a.verbose {
				why = "before: " + located(d.WhyFrom) + "; now: " + why
			}
			rows = append(rows, []string{"  " + d.Symbol, shownValue(d.From) + " -> " + shownValue(d.To), why})
		}
		if len(rows) == 0 {
			continue
		}
		title := fmt.Sprintf("%d decided:", len(rows))
		if !user {
			title = fmt.Sprintf("%d that follow:", len(rows))
		}
		fmt.Fprintln(a.out, title)
		a.rows(a.out, rows)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.out, "to the kernel's conf, they are the same")
	}
	return nil
}

// located is a reason with its place.
func located(r explain.Reason) string {
	if r.At == "" {
		return r.Text
	}
	return r.Text + " (" + r.At + ")"
}

func shownValue(value string) string {
	if value == "" {
		return "absent"
	}
	return value
}
