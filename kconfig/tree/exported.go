// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/kconfig/probe"
)

// exported are the variables that the Makefiles export and newEnviron doesn't
// compute, such as PAHOLE_VERSION since 7.2. Only make can tell their values. It is
// asked when a Kconfig file reads one of them, and the answer is kept.
type exported struct {
	runner   *probe.Runner
	key      string            // of the answers
	names    map[string]bool   // all of them
	known    map[string]string // those that make was asked for
	missing  map[string]bool   // those that have been read since, and aren't known
	programs map[string]string // identities of what the answers may come from
	scripts  map[string][]string
}

// A keptExports is what is kept of exported.
type keptExports struct {
	Values   map[string]string
	Programs map[string]string
}

var (
	exportLine = pattern.New(`(?m)^[ \t]*export[ \t]+(.*)$`)
	assignment = pattern.New(`^([\w.-]+)\s*(?::{0,3}|\?|\+)=`)
	reference  = pattern.New(`\$\{?(\w+)`)
	scriptSets = pattern.New(`\b(\w+)=`)
)

// exportedNames are the variables that a Makefile exports by their names.
func exportedNames(makefile string) []string {
	var names []string
	for _, m := range exportLine.FindAllStringSubmatch(strings.ReplaceAll(makefile, "\\\n", " "), -1) {
		if a := assignment.FindStringSubmatch(m[1]); a != nil {
			names = append(names, a[1])
			continue
		}
		for _, name := range strings.Fields(m[1]) {
			if strings.HasPrefix(name, "#") {
				break
			}
			names = append(names, name)
		}
	}
	return names
}

// newExported looks for them in the Makefiles of a tree, and for what make has
// said of them before.
func newExported(in *Source) (*exported, error) {
	x := &exported{
		runner: in.runner, names: map[string]bool{}, known: map[string]string{}, missing: map[string]bool{}, programs: map[string]string{},
		scripts: map[string][]string{},
	}
	h := sha256.New()
	for _, name := range []string{"Makefile", filepath.Join("arch", in.env["SRCARCH"], "Makefile")} {
		data, err := os.ReadFile(filepath.Join(in.Srctree, name))
		if os.IsNotExist(err) && name != "Makefile" {
			continue
		}
		if err != nil {
			return nil, err
		}
		h.Write(data)
		for _, name := range exportedNames(string(data)) {
			if !in.computes(name) && !noise.MatchString(name+"=") {
				x.names[name] = true
			}
		}
	}
	x.key = fmt.Sprintf("make exports %x", h.Sum(nil))
	var kept keptExports
	if text, ok := x.runner.Recall(x.key); !ok || json.Unmarshal([]byte(text), &kept) != nil {
		return x, nil
	}
	for program, identity := range kept.Programs {
		if x.runner.Identity(program) != identity {
			return x, nil
		}
	}
	x.programs = kept.Programs
	x.learn(kept.Values)
	return x, nil
}

func (x *exported) learn(values map[string]string) {
	for name, value := range values {
		x.known[name] = value
		x.runner.Setenv(name, value)
	}
}

// reads notes that a variable is read. It tells whether only make knows its value.
func (x *exported) reads(name string) bool {
	if !x.names[name] {
		return false
	}
	if _, ok := x.known[name]; ok {
		return false
	}
	x.missing[name] = true
	return true
}

// runs notes the variables that a command reads, and the scripts that it calls.
func (x *exported) runs(command string) (missing bool) {
	for _, m := range reference.FindAllStringSubmatch(command, -1) {
		missing = x.reads(m[1]) || missing
	}
	for _, word := range strings.Fields(command) {
		if !filepath.IsAbs(word) || !strings.HasSuffix(word, ".sh") {
			continue
		}
		names, ok := x.scripts[word]
		if !ok {
			names = x.readBy(word)
			x.scripts[word] = names
		}
		for _, name := range names {
			missing = x.reads(name) || missing
		}
	}
	return missing
}

// readBy are the variables that a script reads and doesn't set.
func (x *exported) readBy(script string) []string {
	data, err := os.ReadFile(script)
	if err != nil {
		return nil
	}
	text := string(data)
	var set, names []string
	for _, m := range scriptSets.FindAllStringSubmatch(text, -1) {
		set = append(set, m[1])
	}
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		if x.names[m[1]] && !slices.Contains(set, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

// ask asks make for the values of what is missing.
func (x *exported) ask(ctx context.Context, environ func(context.Context) ([]string, error)) error {
	names := slices.Sorted(maps.Keys(x.missing))
	if environ == nil {
		return &UnsupportedError{strings.Join(names, ", ") + " of the Makefile, which Kconfig files read,"}
	}
	list, err := environ(ctx)
	if err != nil {
		return err
	}
	values := map[string]string{}
	for _, name := range names {
		values[name] = "" // what has no value isn't asked for again
	}
	for _, v := range list {
		name, value, _ := strings.Cut(v, "=")
		if _, ok := values[name]; ok {
			values[name] = value
		}
		if fields := strings.Fields(value); x.names[name] && len(fields) > 0 {
			if id := x.runner.Identity(fields[0]); id != "" {
				x.programs[fields[0]] = id
			}
		}
	}
	x.learn(values)
	clear(x.missing)
	data, err := json.Marshal(keptExports{x.known, x.programs})
	if err != nil {
		return err
	}
	x.runner.Keep(x.key, string(data))
	return nil
}
