// SPDX-License-Identifier: GPL-3.0-only

//go:build man

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/metaspace/run-kernel/internal/config"
)

// With the tag man, the program is another one: it writes the manual pages from the
// same data as --help. So they cost run-kernel's own binary nothing. DIR is laid out
// as share/man is:
//
//	go run -tags man ./cmd/run-kernel DIR
//
// See groff_man(7).
func init() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run -tags man ./cmd/run-kernel DIR")
		os.Exit(statusUsage)
	}
	if err := writeManual(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// writeManual writes a page for each command, and one for run-kernel.cfg.
func writeManual(dir string) error {
	for _, section := range []string{"man1", "man5"} {
		if err := os.MkdirAll(filepath.Join(dir, section), 0o755); err != nil {
			return err
		}
	}
	var each func(c *cobra.Command) error
	each = func(c *cobra.Command) error {
		if !c.IsAvailableCommand() && c.HasParent() || c.Name() == "help" {
			return nil
		}
		if err := os.WriteFile(filepath.Join(dir, "man1", pageName(c)+".1"), []byte(page(c)), 0o644); err != nil {
			return err
		}
		for _, sub := range c.Commands() {
			if err := each(sub); err != nil {
				return err
			}
		}
		return nil
	}
	if err := each(new(app).rootCommand()); err != nil {
		return err
	}
	text, err := configPage()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "man5", config.FileName+".5"), []byte(text), 0o644)
}

// pageName is the name of a command's page, such as run-kernel-kconfig-check.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// page is the manual page of a command.
func page(c *cobra.Command) string {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" run-kernel \"User Commands\"\n", strings.ToUpper(escape(pageName(c))))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(pageName(c)), escape(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n%s\n", escape(c.CommandPath()), escape(strings.TrimPrefix(c.UseLine(), c.CommandPath()+" ")))
	text := c.Long
	if text == "" {
		text = strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
	}
	b.WriteString(".SH DESCRIPTION\n" + paragraphs(text))
	var also []string
	if c.HasParent() {
		also = append(also, pageName(c.Parent())+"(1)")
	}
	if c.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", escape(pageName(sub)), escape(sub.Short))
				also = append(also, pageName(sub)+"(1)")
			}
		}
	}
	if list := sections(c); len(list) > 0 {
		b.WriteString(".SH OPTIONS\n")
		for _, s := range list {
			if len(list) > 1 {
				fmt.Fprintf(&b, ".SS %s\n", escape(s.heading))
			}
			s.flags.VisitAll(func(f *pflag.Flag) { b.WriteString(option(f)) })
		}
	}
	if c.Example != "" {
		b.WriteString(".SH EXAMPLES\n" + literal(c.Example))
	}
	also = append(also, config.FileName+"(5)")
	b.WriteString(".SH SEE ALSO\n")
	for i, name := range also {
		name, rest, _ := strings.Cut(name, "(")
		if i < len(also)-1 {
			rest += ","
		}
		fmt.Fprintf(&b, ".BR %s (%s\n", escape(name), rest)
	}
	return b.String()
}

// option is the paragraph of a flag.
func option(f *pflag.Flag) string {
	name, usage := pflag.UnquoteUsage(f)
	label := "\\fB\\-\\-" + escape(f.Name) + "\\fR"
	if f.Shorthand != "" {
		label = "\\fB\\-" + f.Shorthand + "\\fR, " + label
	}
	if name != "" {
		label += " \\fI" + escape(name) + "\\fR"
	}
	switch f.DefValue {
	case "", "0", "0s", "false", "[]":
	default:
		usage += " (default " + f.DefValue + ")"
	}
	return ".TP\n" + label + "\n" + escape(usage) + "\n"
}

// configPage is the manual page of the configuration file. Its keys are those of the
// sample: a comment with a key's help, and the key with its default.
func configPage() (string, error) {
	var sample strings.Builder
	if err := config.Sample(&sample); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 5 \"\" run-kernel \"File Formats\"\n", strings.ToUpper(escape(config.FileName)))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- configuration of run-kernel\n.SH DESCRIPTION\n", escape(config.FileName))
	var help []string
	for line := range strings.Lines(sample.String()) {
		line = strings.TrimSpace(line)
		switch text, comment := strings.CutPrefix(line, "#"); {
		case comment && (text == "" || text[0] == ' '):
			help = append(help, strings.TrimPrefix(text, " "))
		case comment:
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", escape(text), escape(strings.Join(help, " ")))
			help = nil
		case strings.HasPrefix(line, "["):
			fmt.Fprintf(&b, ".SS %s\n", escape(line))
		case len(help) > 0: // the introduction ends
			b.WriteString(paragraphs(strings.Join(help, "\n")))
			help = nil
		}
	}
	b.WriteString(".SH SEE ALSO\n.BR run\\-kernel (1)\n")
	return b.String(), nil
}

// paragraphs sets text whose paragraphs are separated by empty lines. Indented lines
// stay as they are.
func paragraphs(text string) string {
	var b strings.Builder
	for i, p := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		var plain, indented []string
		flush := func() {
			if len(plain) > 0 {
				b.WriteString(escape(strings.Join(plain, "\n")) + "\n")
			}
			if len(indented) > 0 {
				b.WriteString(literal(strings.Join(indented, "\n")))
			}
			plain, indented = nil, nil
		}
		for _, line := range strings.Split(p, "\n") {
			if strings.HasPrefix(line, "  ") {
				indented = append(indented, line)
				continue
			}
			if len(indented) > 0 {
				flush()
			}
			plain = append(plain, line)
		}
		flush()
	}
	return b.String()
}

// literal sets lines as they are.
func literal(text string) string { return ".PP\n.EX\n" + escape(text) + "\n.EE\n" }

// escape makes text of what would be requests, escapes or a hyphen where a minus is
// meant; groff_char(7).
func escape(text string) string {
	var b strings.Builder
	start := true
	for _, r := range text {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case start && (r == '.' || r == '\''):
			b.WriteString(`\&` + string(r))
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r > 126:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
		start = r == '\n'
	}
	return b.String()
}
