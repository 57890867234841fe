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
	fmt.Fprint(w, "# The configuration of run-kernel: every key, at its default.\n"+
		"# It is read from the top of the kernel tree, after\n# $XDG_CONFIG_HOME/run-kernel/run-kernel.cfg. Environment variables\n"+
		"# (RUN_KERNEL_RUN_SMP=4) and flags (--smp=4) win over it.\n")
	for _, k := range keys {
		if k.table != table {
			table = k.table
			fmt.Fprintf(w, "\n[%s]\n", table)
		}
		text, err := assignment(k, &c)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "# %s\n#%s\n", strings.ToUpper(k.help[:1])+k.help[1:], text)
	}
	return nil
}
