// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/spell"
	"github.com/metaspace/run-kernel/internal/ui"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/explain"
	"github.com/metaspace/run-kernel/kconfig/model"
)

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [flags] SYMBOL[=VALUE]…",
		Short: "print why an option has its value, and how to change it",
		Long: `Explain prints for each SYMBOL: its value, and the reason for that value; where it is
defined, and what it depends on, with the value of each term; its defaults, its range,
its choice, and the options that select it. With =VALUE, or if the value is n, it also
prints the fewest options that lead to this value, or a proof that it is impossible, or
that it found no way. Explain changes nothing.

With --json it prints an array with one object per symbol. The fields are symbol, type,
value, why (text, at), places (at, prompt, visible, depends, help), defaults, ranges,
selectedBy, impliedBy, selects, choice, and path (want, and settings or proof). The
field at is a file and a line. Empty fields are left out.`,
		Example: `  run-kernel kconfig explain VIRTIO_FS
  run-kernel kconfig explain BTRFS_FS=m NR_CPUS=512
  run-kernel kconfig explain --json KASAN`,
		Annotations:       map[string]string{helpFlags: "arch output cross-compile cc llvm config-file json verbose"},
		ValidArgsFunction: a.completeOptions,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{problem: "kconfig explain needs a symbol", hint: "such as run-kernel kconfig explain VIRTIO_FS"}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.explain(c.Context(), args) },
	}
}

func (a *app) explain(ctx context.Context, args []string) error {
	tree, err := a.existingTree()
	if err != nil {
		return err
	}
	a.printsDocument()
	c := a.kernel(tree)
	f, err := c.ReadConfig()
	if err != nil {
		return err
	}
	m, err := c.Model(ctx)
	if err != nil && !prepare.NotUnderstood(err) {
		return err
	}
	if err != nil {
		a.events.Emit(event.Notice{Text: fmt.Sprintf("there is no more to say than what .config has: the Kconfig files aren't understood: %v", err)})
	}
	list := []*explain.Explanation{}
	for _, arg := range args {
		if m == nil {
			list = append(list, explainFile(f, arg))
			continue
		}
		e, err := explainOne(m, f, arg)
		if err != nil {
			return err
		}
		list = append(list, e)
	}
	if a.json {
		return json.NewEncoder(a.out).Encode(list)
	}
	for i, e := range list {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		a.printExplanation(e)
	}
	return nil
}

// explainFile is what .config alone says of a symbol.
func explainFile(f *kconfig.File, arg string) *explain.Explanation {
	name, _, _ := strings.Cut(strings.TrimPrefix(arg, "CONFIG_"), "=")
	e := &explain.Explanation{Symbol: name, Type: "unknown", Why: explain.Reason{Text: ".config doesn't have it"}}
	if value, ok := f.Get(name); ok {
		e.Value, e.Why.Text = value, ".config says so"
	}
	return e
}

func explainOne(m *model.Model, f *kconfig.File, arg string) (*explain.Explanation, error) {
	name, want := strings.TrimPrefix(arg, "CONFIG_"), (*kconfig.Requirement)(nil)
	if strings.Contains(arg, "=") {
		r, err := kconfig.ParseRequire(arg)
		if err != nil {
			return nil, &usageError{problem: err.Error(), hint: "see run-kernel kconfig explain --help"}
		}
		name, want = r.Symbol, &r
		want.Optional = false
	}
	sym := m.Lookup(name)
	if sym == nil || name == "" {
		return nil, unknownSymbol(m, name)
	}
	e, err := explain.Explain(m, f, sym, want)
	if err == nil && want == nil && e.Value == "n" && sym.Defined() {
		r, err := kconfig.ParseRequire(name + "=y")
		if err != nil {
			return nil, err
		}
		return explain.Explain(m, f, sym, &r)
	}
	return e, err
}

func unknownSymbol(m *model.Model, name string) error {
	hint := "names are those of the Kconfig files, without CONFIG_"
	if question := spell.Question(strings.ToUpper(name), m.Names()); question != "" {
		hint = question
	}
	return &usageError{problem: fmt.Sprintf("this kernel has no option %q", name), hint: hint}
}

func (a *app) printExplanation(e *explain.Explanation) {
	w := a.out
	value := e.Value
	if value == "" {
		value = "absent"
	}
	fmt.Fprintf(w, "%s is %s: %s", e.Symbol, value, e.Why.Text)
	if e.Why.At != "" {
		fmt.Fprintf(w, " (%s)", e.Why.At)
	}
	fmt.Fprintln(w)
	for _, p := range e.Places {
		what := e.Type
		if p.Prompt != "" {
			what += fmt.Sprintf(" %q", p.Prompt)
		}
		fmt.Fprintf(w, "\n%s: %s\n", p.At, what)
		if a.verbose && p.Help != "" {
			fmt.Fprintf(w, "\n  %s\n\n", strings.ReplaceAll(p.Help, "\n", "\n  "))
		}
		var rows [][]string
		for _, t := range p.Depends {
			title := "  depends on"
			if t.Prompt {
				title = "  prompt if"
			}
			rows = append(rows, []string{title, t.Value, t.At, t.Text})
		}
		a.rows(w, rows)
	}
	var rows [][]string
	for _, d := range e.Defaults {
		rows = append(rows, []string{"  default", mark(d.Active), d.At, conditional(d.Value, d.If)})
	}
	for _, r := range e.Ranges {
		rows = append(rows, []string{"  range", mark(r.Active), r.At, conditional(r.Low+" to "+r.High, r.If)})
	}
	for _, c := range e.Choice {
		rows = append(rows, []string{"  choice", "", "", c})
	}
	rows = append(rows, links("  selected by", e.SelectedBy)...)
	rows = append(rows, links("  implied by", e.ImpliedBy)...)
	rows = append(rows, links("  selects", e.Selects)...)
	a.rows(w, rows)
	a.printPath(e)
}

func (a *app) rows(w io.Writer, rows [][]string) {
	if len(rows) > 0 {
		ui.Rows(w, a.width(), rows)
	}
}

func mark(active bool) string {
	if active {
		return "*"
	}
	return ""
}

func conditional(text, cond string) string {
	if cond != "" {
		text += " if " + cond
	}
	return text
}

// shownLinks is how many of those that don't matter now are shown.
const shownLinks = 5

func links(title string, list []explain.Link) [][]string {
	var rows [][]string
	idle := 0
	for _, l := range list {
		if l.Value == "n" {
			if idle++; idle > shownLinks {
				continue
			}
		}
		rows = append(rows, []string{title, l.Value, l.At, conditional(l.Symbol, l.If)})
	}
	if idle > shownLinks {
		rows = append(rows, []string{title, "n", "", fmt.Sprintf("and %d more", idle-shownLinks)})
	}
	return rows
}

func (a *app) printPath(e *explain.Explanation) {
	w := a.out
	switch p := e.Path; {
	case p == nil:
	case p.Proof != nil:
		switch p.Verdict {
		case kconfig.NotFound:
			fmt.Fprintf(w, "\nNo way was found to make it %s, which doesn't prove that there is none:\n", p.Want)
		case kconfig.Forced:
			fmt.Fprintf(w, "\nIt can only be %s by a select that ignores what its target depends on:\n", p.Want)
		default:
			fmt.Fprintf(w, "\nIt can't be %s:\n", p.Want)
		}
		a.rows(w, proofRows(*p.Proof, "  "))
	case len(p.Settings) == 0:
		fmt.Fprintf(w, "\nIt is %s already.\n", p.Want)
	default:
		fmt.Fprintf(w, "\nTo make it %s, set\n", p.Want)
		var rows [][]string
		for _, s := range p.Settings {
			why := ""
			if s.For != "" {
				why = fmt.Sprintf("%s needs it (%s)", s.For, s.At)
			}
			rows = append(rows, []string{"  " + s.Symbol + "=" + s.Value, why})
		}
		a.rows(w, rows)
		fmt.Fprintf(w, "as `run-kernel kconfig fix %s` does beside what a guest needs.\n", qemu.Quote([]string{"--require", p.Require}))
	}
}

func proofRows(s kconfig.Step, indent string) [][]string {
	rows := [][]string{{indent + s.Symbol + "=" + s.Want, s.At, s.Text}}
	for _, next := range s.Because {
		rows = append(rows, proofRows(next, indent+"  ")...)
	}
	return rows
}
