// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"fmt"
	"io"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Print writes the configuration as a file that can be read again, with the
// origin of each value as a comment.
func (l *Loaded) Print(w io.Writer) error {
	if len(l.Trust) > 0 {
		text, err := toml.Marshal(map[string]any{trustKey: l.Trust})
		if err != nil {
			return err
		}
		// A comment: in most files it is an error.
		fmt.Fprintf(w, "# %s\n", strings.TrimSpace(string(text)))
	}
	table := ""
	for _, k := range keys {
		if k.table != table {
			if table != "" {
				fmt.Fprintln(w)
			}
			table = k.table
			fmt.Fprintf(w, "[%s]\n", table)
		}
		text, err := assignment(k, &l.Config)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%-40s # %s\n", text, l.Origin(k.name)); err != nil {
			return err
		}
	}
	return nil
}

// A Value is a setting, for programs.
type Value struct {
	Key    string `json:"key"` // table.name
	Value  any    `json:"value"`
	Origin string `json:"origin"`
}

// Values lists all settings.
func (l *Loaded) Values() []Value {
	var values []Value
	for _, k := range keys {
		values = append(values, Value{k.name, k.value(&l.Config), l.Origin(k.name)})
	}
	return values
}

// assignment is the line of a key in a configuration file.
func assignment(k key, c *Config) (string, error) {
	_, name, _ := strings.Cut(k.name, ".")
	text, err := toml.Marshal(map[string]any{name: k.value(c)})
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// Sample writes a configuration file with every key at its default, as a
// comment, under a comment that says what it is.
func Sample(w io.Writer) error {
	c := Default()
	table := ""
	fmt.Fprint(w, "# Configuration of run-kernel: every key, with its default.\n"+
		"#\n# run-kernel reads $XDG_CONFIG_HOME/run-kernel/run-kernel.cfg, then the file of\n"+
		"# this name at the top of the kernel source tree. Environment variables\n# (RUN_KERNEL_RUN_SMP=4) win over both files, and flags (--smp=4) over everything.\n")
	for _, k := range keys {
		if k.table != table {
			table = k.table
			fmt.Fprintf(w, "\n[%s]\n", table)
		}
		text, err := assignment(k, &c)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s#%s\n", comment(strings.ToUpper(k.help[:1])+k.help[1:]), text)
	}
	return nil
}

// commentWidth is that of the lines of a comment.
const commentWidth = 78

// comment is text as a comment, in lines.
func comment(text string) string {
	var b strings.Builder
	width := 0
	for _, word := range strings.Fields(text) {
		switch {
		case width == 0:
			b.WriteString("#")
			width = 1
		case width+1+len(word) > commentWidth:
			b.WriteString("\n#")
			width = 1
		}
		b.WriteString(" " + word)
		width += 1 + len(word)
	}
	return b.String() + "\n"
}
